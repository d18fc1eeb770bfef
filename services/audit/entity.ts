import type { Client } from "pg";
import {
  clipsFromStored,
  clipWords,
  type EntityRef,
  type JsonObject,
  messageOf,
  type OriginId,
  type Position,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { type Author, type Decision, decisionsOf, foldAnew, waitingFor } from "../merge/engine.ts";
import type { View } from "../merge/index.ts";
import { incarnationOf } from "../views/index.ts";
import { aboutEntity, countedEvents, heldIn, instantText, readersOf } from "./events.ts";
import { builtOtherwise, viewsOfType } from "./live.ts";
import { notFound, parseEntity } from "./names.ts";

/** One event as the audit shows it. */
export interface AuditRow {
  readonly origin: OriginId;
  readonly seq: number;
  readonly position: string;
  readonly id: string;
  readonly type: string;
  readonly entity: string;
  readonly site: string;
  readonly device: string;
  readonly actor: string;
  readonly occurredAt: string;
  readonly recordedAt: string;
  readonly hlc: string;
  /** Device clock minus hub clock, where it was wrong. */
  readonly clockOffsetMs: number | null;
  readonly schema: string;
  readonly basis: Vector;
  /** What the hub takes back of the basis, in words. */
  readonly notes: readonly string[];
  readonly data: JsonObject | null;
  readonly hash: string;
  readonly prev: string;
  readonly quarantine: string | null;
  /** What became of a quarantined event; `null` for one that never was. */
  readonly settled: {
    readonly state: "held" | "released" | "rejected";
    readonly by: string | null;
    readonly at: string | null;
    readonly position: string | null;
    readonly note: string | null;
    readonly data: JsonObject | null;
  } | null;
  readonly projectionError: string | null;
  /** Columns of the audit that could not hold what the event says, which is shown here all the same. */
  readonly placeholders: readonly string[];
}

export interface DecisionRow {
  readonly view: string;
  readonly register: string;
  readonly position: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: Decision["reason"];
  /** What the row showed; the winner's, unless the rule made it of several. */
  readonly value: unknown;
  readonly winner: { readonly value: unknown; readonly by: Author };
  readonly losers: readonly { readonly value: unknown; readonly by: Author }[];
  /** A person was to decide. */
  readonly isOpen: boolean;
  /** The position of the event that changed it again; `null`: it stands. */
  readonly settledPosition: string | null;
}

export interface EntityTrail {
  readonly entity: string;
  /** The life of the log that all positions here are of. */
  readonly incarnation: string | null;
  readonly events: readonly AuditRow[];
  readonly decisions: readonly DecisionRow[];
  /** Views that the entity is parked in. */
  readonly parked: readonly { readonly view: string; readonly event: string; readonly error: string }[];
  /** Events about it that had been folded of a log that was set back since, and that have not come again. */
  readonly beyond: readonly {
    readonly incarnation: string | null;
    readonly event: string;
    readonly position: string;
    readonly type: string;
  }[];
}

const held = (column: string, read?: string): string => heldIn("audit", column, read);

const EVENT_COLUMNS = `audit.origin, audit.seq, audit.position, ${held("id", "id::text")} AS id, ${held("type")} AS type,
  ${held("entity_type")} || '/' || ${held("entity_id")} AS entity, site, device, ${held("actor")} AS actor,
  ${held("occurred_at", instantText("occurred_at"))} AS "occurredAt",
  to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "recordedAt",
  ${held("hlc")} AS hlc, clock_offset_ms::float8 AS "clockOffsetMs",
  ${held("schema_subject")} || '@' || ${held("schema_version", "schema_version::text")} AS schema,
  coalesce((held_otherwise ->> 'basis')::json, basis) AS basis, clipped, coalesce((held_otherwise ->> 'data')::json, data) AS data, ${held("hash")} AS hash,
  ${held("prev")} AS prev, ${held("quarantine_code")} AS quarantine, projection_error AS "projectionError",
  ARRAY(SELECT json_object_keys(held_otherwise)) AS placeholders`;

const SETTLED = `(SELECT json_build_object('state', state, 'by', settled_by,
    'at', to_char(settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'position', settled_position::text, 'note', settled_note,
    'data', released_data)
  FROM tributary.quarantine q WHERE q.origin = audit.origin AND q.seq = audit.seq) AS settled`;

function asAuditRow({ clipped, ...row }: Record<string, unknown>): AuditRow {
  const notes = clipWords(row.basis as Vector, clipsFromStored(clipped));
  return { ...(row as unknown as AuditRow), seq: Number(row.seq), notes };
}

/** All events of an entity in log order, and every decision on it. */
export async function entityTrail(db: Client, entity: string): Promise<EntityTrail> {
  const { type, id } = parseEntity(entity);
  const events = await db.query<Record<string, unknown>>(
    `SELECT ${EVENT_COLUMNS}, ${SETTLED} FROM tributary.audit WHERE ${aboutEntity("audit")} ORDER BY position`,
    [type, id],
  );
  const beyond = await beyondOf(db, { type, id });
  if (events.rows.length === 0 && beyond.length === 0) throw notFound(entity);
  const decisions = await db.query<DecisionRow & Record<string, unknown>>(
    `SELECT view, register, position, rule, rule_version AS "ruleVersion", reason, value, winner, losers, is_open AS "isOpen", settled_position AS "settledPosition" FROM tributary.decision
     WHERE entity_id = $1 ORDER BY position, register`,
    [id],
  );
  return {
    entity,
    incarnation: await incarnationOf(db),
    events: events.rows.map(asAuditRow),
    decisions: decisions.rows,
    parked: await parkedIn(db, { type, id }),
    beyond,
  };
}

/** Where an entity is parked. */
export async function parkedIn(db: Client, { type, id }: EntityRef): Promise<EntityTrail["parked"]> {
  const { rows } = await db.query<EntityTrail["parked"][number]>(
    `SELECT p.view, p.origin || '/' || p.seq AS event, p.error FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     JOIN tributary.audit a ON a.origin = p.origin AND a.seq = p.seq
     WHERE g.state = 'live' AND p.entity_id = $2 AND ${heldIn("a", "entity_type")} = $1 ORDER BY p.view`,
    [type, id],
  );
  return rows;
}

async function beyondOf(db: Client, { type, id }: EntityRef): Promise<EntityTrail["beyond"]> {
  const { rows } = await db.query<EntityTrail["beyond"][number]>(
    `SELECT b.incarnation, b.origin || '/' || b.seq AS event, b.position::text, b.type FROM tributary.audit_beyond b
     WHERE b.entity_type = $1 AND b.entity_id = $2
       AND NOT EXISTS (SELECT 1 FROM tributary.audit a WHERE a.origin = b.origin AND a.seq = b.seq AND a.hash = b.hash) ORDER BY b.position`,
    [type, id],
  );
  return rows;
}

/** One event by its id, or by `origin/seq`. */
export async function eventRecord(db: Client, name: string): Promise<AuditRow> {
  const slash = name.lastIndexOf("/");
  const isUuid = /^[0-9a-f-]{36}$/i.test(name);
  if (!isUuid && (slash < 1 || !/^\d+$/.test(name.slice(slash + 1)))) {
    throw new TributaryError("usage", `${JSON.stringify(name)} is no event`, "Name it by its id, or as origin/seq.");
  }
  const { rows } = isUuid
    ? await db.query<Record<string, unknown>>(`SELECT ${EVENT_COLUMNS}, ${SETTLED} FROM tributary.audit WHERE id = $1`, [name])
    : await db.query<Record<string, unknown>>(
        `SELECT ${EVENT_COLUMNS}, ${SETTLED} FROM tributary.audit WHERE origin = $1 AND seq = $2`,
        [name.slice(0, slash), name.slice(slash + 1)],
      );
  if (rows[0] === undefined) throw notFound(`event ${name}`);
  return asAuditRow(rows[0]);
}

/** A row as a view showed it, or shows it, with what was contested. */
export interface RowAsOf {
  readonly view: string;
  readonly entity: string;
  /** Recorded time: only events up to this log position count. `null`: all. */
  readonly asOf: string | null;
  /** The life of the log that `asOf` is a position of. */
  readonly incarnation: string | null;
  readonly values: JsonObject;
  readonly deleted: boolean;
  readonly waitingFor: Vector;
  readonly decisions: readonly Decision[];
  readonly events: number;
  /** The event that what is shown stops at, as the view cannot show what it makes of the entity; `null`: it shows all of them. */
  readonly parked: { readonly event: string; readonly error: string } | null;
  /** The live view was built by another declaration: this row is by the file in projections/. */
  readonly builtOtherwise: boolean;
}

/** What the hub knew of an entity when the log ended at `asOf` (recorded time): the fold of its events up to there. */
export async function rowAsOf(
  deps: { readonly db: Client; readonly gate: Gate; readonly projections: readonly View[] },
  entity: string,
  asOf: Position | null,
  view: string | null = null,
): Promise<RowAsOf> {
  const { type, id } = parseEntity(entity);
  const [projection] = viewsOfType(deps.projections, type, view);
  const pins = (await readersOf(deps.db)).get(projection.name) ?? {};
  const events = await countedEvents({ ...deps, pins }, { type, id }, asOf);
  const { steps, shown, stop } = foldAnew(
    projection,
    id,
    events.map((event) => () => event),
  );
  const last = steps.slice(0, shown).findLast(({ row }) => row !== null);
  if (last?.folded == null || last.row === null) {
    if (stop === null) throw notFound(`${entity} up to position ${asOf?.toString() ?? "the end"}`);
    throw new TributaryError(
      "projection-failed",
      `${projection.name} cannot show ${entity}: ${messageOf(stop.error)}`,
      "`tributary parked list` shows what stopped at which event.",
    );
  }
  const { values, deleted } = last.row;
  const { state } = last.folded;
  return {
    view: projection.name,
    entity,
    asOf: asOf?.toString() ?? null,
    incarnation: await incarnationOf(deps.db),
    values,
    deleted,
    waitingFor: waitingFor(state),
    decisions: decisionsOf(projection, state),
    events: events.length,
    parked: stop === null ? null : { event: `${events[stop.at]!.origin}/${events[stop.at]!.seq}`, error: messageOf(stop.error) },
    builtOtherwise: (await builtOtherwise(deps.db, [projection])).size > 0,
  };
}
