import type { Client } from "pg";
import { type JsonObject, type OriginId, type Position, TributaryError, type Vector } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import {
  type Author,
  type Decision,
  decisionsOf,
  type EntityState,
  fold,
  rowWith,
  type View,
  waitingFor,
} from "../merge/index.ts";
import { countedEvents, readersOf } from "./events.ts";
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
  readonly events: readonly AuditRow[];
  readonly decisions: readonly DecisionRow[];
}

const EVENT_COLUMNS = `audit.origin, audit.seq, audit.position, id, type, entity_type || '/' || entity_id AS entity, site, device, actor,
  CASE WHEN occurred_at < '0001-01-01Z' THEN '0000' ELSE to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY') END ||
      to_char(occurred_at AT TIME ZONE 'UTC', '-MM-DD"T"HH24:MI:SS.MS"Z"') AS "occurredAt",
  to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "recordedAt",
  hlc, clock_offset_ms::float8 AS "clockOffsetMs", schema_subject || '@' || schema_version AS schema, basis, data, hash, prev,
  quarantine_code AS quarantine, projection_error AS "projectionError"`;

const SETTLED = `(SELECT json_build_object('state', state, 'by', settled_by,
    'at', to_char(settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'position', settled_position::text, 'note', settled_note,
    'data', released_data)
  FROM tributary.quarantine q WHERE q.origin = audit.origin AND q.seq = audit.seq) AS settled`;

const asAuditRow = (row: Record<string, unknown>): AuditRow => ({ ...(row as unknown as AuditRow), seq: Number(row.seq) });

/** All events of an entity in log order, and every decision on it. */
export async function entityTrail(db: Client, entity: string): Promise<EntityTrail> {
  const { type, id } = parseEntity(entity);
  const events = await db.query<Record<string, unknown>>(
    `SELECT ${EVENT_COLUMNS}, ${SETTLED} FROM tributary.audit WHERE entity_type = $1 AND entity_id = $2 ORDER BY position`,
    [type, id],
  );
  if (events.rows.length === 0) throw notFound(entity);
  const decisions = await db.query<DecisionRow & Record<string, unknown>>(
    `SELECT view, register, position, rule, rule_version AS "ruleVersion", reason, value, winner, losers, is_open AS "isOpen", settled_position AS "settledPosition" FROM tributary.decision
     WHERE entity_id = $1 ORDER BY position, register`,
    [id],
  );
  return { entity, events: events.rows.map(asAuditRow), decisions: decisions.rows };
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
  readonly values: JsonObject;
  readonly deleted: boolean;
  readonly waitingFor: Vector;
  readonly decisions: readonly Decision[];
  readonly events: number;
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
  let state: EntityState | undefined;
  for (const event of events) state = fold(projection, state, event)?.state ?? state;
  if (state === undefined) throw notFound(`${entity} up to position ${asOf?.toString() ?? "the end"}`);
  const { values, deleted } = rowWith(projection, id, state);
  return {
    view: projection.name,
    entity,
    asOf: asOf?.toString() ?? null,
    values,
    deleted,
    waitingFor: waitingFor(state),
    decisions: decisionsOf(projection, state),
    events: events.length,
    builtOtherwise: (await builtOtherwise(deps.db, [projection])).size > 0,
  };
}
