import type { EntityRef, JsonObject, JsonValue, Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { commonPosition } from "../shard-positions.ts";
import { seconds } from "./sql.ts";

/** A value that stands beside others. */
export interface StandingValue {
  /** The event that wrote it, as `origin/seq`. */
  readonly event: string;
  readonly actor: string;
  readonly hlc: string;
  readonly clockWrong: boolean;
  readonly value: JsonValue;
}

/** A case: something that waits for people. */
export interface CaseRow {
  readonly id: string;
  readonly state: "open" | "accepted" | "closed";
  readonly kind: "register" | "invariant" | "fork";
  readonly view: string;
  readonly entityType: string;
  /** The entity, or the key that entities share. */
  readonly subject: string;
  /** The register or the invariant. */
  readonly rule: string;
  readonly says: string;
  readonly about: {
    /** For a conflict: the values that stand side by side. */
    readonly siblings?: readonly StandingValue[];
    /** For a violated invariant: the entities, each with its events. */
    readonly members?: readonly { readonly entity: string; readonly events: readonly string[] }[];
    readonly values?: JsonObject;
    /** For a fork: the two branches. */
    readonly accepted?: JsonObject;
    readonly refused?: JsonObject;
  };
  readonly mark: string;
  readonly openedAt: string;
  readonly assignee: string | null;
  readonly acceptedBy: string | null;
  readonly acceptedNote: string | null;
  /** When it was accepted; `null`: it is not, or something was added to it since. */
  readonly acceptedAt: string | null;
}

const SHOWN = `
  SELECT id, state, kind, view, entity_type AS "entityType", subject, rule, says, about, mark, assignee, accepted_by AS "acceptedBy",
    accepted_note AS "acceptedNote", ${seconds("opened_at")} AS "openedAt",
    ${seconds("accepted_at")} AS "acceptedAt"`;
const CASES = `${SHOWN} FROM tributary.case`;

/** Which cases are asked for; a member that is left out lets all pass. */
export interface CaseFilter {
  readonly state?: CaseRow["state"];
  readonly view?: string;
  readonly rule?: string;
  /** `null`: the cases that are assigned to nobody. */
  readonly assignee?: string | null;
}

const MAX_CASES = 1_000;

/** Cases, and the position up to which the list is complete. */
export interface Cases {
  readonly cases: readonly CaseRow[];
  /** The position up to which all cases are shown: all shards have reached it. `null`: some have not begun. */
  readonly through: Position | null;
}

/**
 * The first thousand cases, oldest first. They are shown as they are now, also beyond the position that all shards have reached: somebody who has just decided
 * a case must not see it as open. A case that joins entities of several shards may therefore still lack a member;
 * `through` says up to which position none is missing.
 */
export async function cases(db: Db, { state, view, rule, assignee }: CaseFilter): Promise<Cases> {
  // Read first: what is committed meanwhile lies beyond it.
  const through = await commonPosition(db);
  const { rows } = await db.query<CaseRow & Record<string, unknown>>(
    `${CASES}
     WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR view = $2) AND ($3::text IS NULL OR rule = $3)
       AND (NOT $4 OR assignee IS NOT DISTINCT FROM $5)
     ORDER BY opened_position, id LIMIT $6`,
    [state ?? null, view ?? null, rule ?? null, assignee !== undefined, assignee ?? null, MAX_CASES],
  );
  return { cases: rows, through };
}

/** The cases that an entity is in, oldest first, closed ones too. */
export async function casesOf(db: Db, { type, id }: EntityRef): Promise<readonly CaseRow[]> {
  const { rows } = await db.query<CaseRow & Record<string, unknown>>(
    `${CASES}
     WHERE entity_type = $1 AND (kind <> 'invariant' AND subject = $2 OR kind = 'invariant' AND EXISTS (
       SELECT FROM jsonb_array_elements(CASE jsonb_typeof(about::jsonb -> 'members') WHEN 'array' THEN about::jsonb -> 'members' ELSE '[]' END) m
       WHERE m ->> 'entity' IN ($2, $1 || '/' || $2)))
     ORDER BY opened_position, id LIMIT $3`,
    [type, id, MAX_CASES],
  );
  return rows;
}

/** Cases by their ids, in the order of these. */
export async function casesByIds(db: Db, ids: readonly string[]): Promise<readonly CaseRow[]> {
  const { rows } = await db.query<CaseRow & Record<string, unknown>>(`${CASES} WHERE id = ANY($1) ORDER BY id`, [ids]);
  return rows;
}

/** One case; `null`: there is no case of this id. Who sees everything is also given the case of one organisation alone, which lists leave out beside the one across all. */
export async function caseById(db: Db, id: string): Promise<CaseRow | null> {
  const { rows } = await db.query<CaseRow & Record<string, unknown>>(`${SHOWN} FROM tributary.case_any WHERE id = $1`, [id]);
  return rows[0] ?? null;
}

/** What somebody did about a case. */
export interface CaseNote {
  readonly kind: string;
  readonly actor: string;
  readonly at: string;
  readonly text: string | null;
  readonly assignee: string | null;
}

/** What people did about a case, in log order. */
export async function caseNotes(db: Db, id: string): Promise<readonly CaseNote[]> {
  const { rows } = await db.query<CaseNote & Record<string, unknown>>(
    `SELECT kind, actor, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS at, text, assignee
     FROM tributary.case_note WHERE case_id = $1 ORDER BY position`,
    [id],
  );
  return rows;
}

/** An event that a case is about. */
export interface InvolvedEvent {
  readonly entity: string;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly data: JsonObject | null;
}

/** The events that a case is about, in log order. */
export async function caseEvents(db: Db, { about }: CaseRow): Promise<readonly InvolvedEvent[]> {
  const names = about.siblings?.map(({ event }) => event) ?? about.members?.flatMap(({ events }) => events) ?? [];
  const { rows } = await db.query<InvolvedEvent & Record<string, unknown>>(
    `SELECT a.entity_type || '/' || a.entity_id AS entity, a.origin || '/' || a.seq AS event, a.type, a.actor, a.site,
       to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS "occurredAt", a.data
     FROM tributary.audit a JOIN unnest($1::text[], $2::bigint[]) AS x (origin, seq) USING (origin, seq)
     ORDER BY a.position`,
    [names.map((name) => name.slice(0, name.lastIndexOf("/"))), names.map((name) => name.slice(name.lastIndexOf("/") + 1))],
  );
  return rows;
}

/** How many violated invariants of a view wait for people. */
export async function openViolations(db: Db, view: string): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM tributary.case WHERE view = $1 AND kind = 'invariant' AND state = 'open'",
    [view],
  );
  return rows[0]!.count;
}
