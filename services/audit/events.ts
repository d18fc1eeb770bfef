import type { Client } from "pg";
import {
  clipsFromStored,
  clipWords,
  type Hlc,
  type JsonObject,
  type OriginId,
  type Position,
  type Seq,
  type Vector,
} from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, seenOf } from "../merge/engine.ts";

/** The versions of schemas that each view reads with. */
export async function readersOf(db: Client): Promise<Map<string, Pins>> {
  const { rows } = await db.query<{ name: string; readers: Pins | null }>("SELECT name, readers FROM tributary.view");
  return new Map(rows.map(({ name, readers }) => [name, readers ?? {}]));
}

/** An event of the audit as views count it, with what people want to see of it. Its data are read when they are asked for, which throws where the view cannot. */
export interface CountedEvent extends FoldEvent {
  readonly recordedAt: string;
  readonly device: string;
  /** What the hub takes back of what its author says to have seen, in words. */
  readonly notes: readonly string[];
}

/** What a column of an audit row holds, or was to hold where it stands with a placeholder. */
export const heldIn = (table: string, column: string, read: string = `${table}.${column}`): string =>
  `coalesce(${table}.held_otherwise ->> '${column}', ${read})`;
const held = (column: string, read?: string): string => heldIn("a", column, read);
/** An instant as ISO 8601 has it: PostgreSQL counts from the year 1 before Christ to the year 1, ISO 8601 by a year 0. */
export const instantText = (column: string): string =>
  `CASE WHEN ${column} < '0001-01-01Z' THEN '0000' ELSE to_char(${column} AT TIME ZONE 'UTC', 'YYYY') END ||
    to_char(${column} AT TIME ZONE 'UTC', '-MM-DD"T"HH24:MI:SS.MS"Z"')`;
/** Of the audit rows of a table's name, those about an entity: $1 its type, $2 its id. */
export const aboutEntity = (table: string): string =>
  `(${table}.entity_type = $1 AND ${table}.entity_id = $2 OR ${table}.held_otherwise IS NOT NULL AND ${table}.held_otherwise ->> 'entity_id' = $2
    AND ${heldIn(table, "entity_type")} = $1)`;
const DATA = `coalesce((a.held_otherwise ->> 'data')::json, a.data, q.released_data)`;

/** A page of events of one entity, or of all of a type in order of their ids; releases in their events' stead. */
const COUNTED = `SELECT ${held("entity_id")} AS entity_id, coalesce(q.settled_position, a.position) AS position, a.origin, a.seq, ${held("type")} AS type,
    ${held("actor")} AS actor, a.site, a.device, ${held("hlc")} AS hlc, coalesce((a.held_otherwise ->> 'basis')::json, a.basis) AS basis, a.clipped, ${DATA} AS data,
    a.clock_offset_ms, coalesce(q.released_subject, ${held("schema_subject")}) AS schema_subject,
    coalesce(q.released_version::text, ${held("schema_version", "a.schema_version::text")}) AS schema_version,
    ${held("occurred_at", instantText("a.occurred_at"))} AS occurred_at,
    to_char(a.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS recorded_at
  FROM tributary.audit a LEFT JOIN tributary.quarantine q ON q.origin = a.origin AND q.seq = a.seq AND q.state = 'released'
  WHERE ${DATA} IS NOT NULL`;
const OF_TYPE = `(a.entity_type = $1 OR a.held_otherwise IS NOT NULL AND a.held_otherwise ->> 'entity_type' = $1)`;

function asEvent(row: Record<string, unknown>, type: string, gate: Gate, pins: Pins): CountedEvent {
  const schema = { subject: row.schema_subject as string, version: Number(row.schema_version) };
  let data: JsonObject | undefined;
  const basis = row.basis as Vector;
  const clips = clipsFromStored(row.clipped);
  return {
    type: row.type as string,
    get data() {
      data ??= gate.read(schema, row.data as JsonObject, pins).data;
      return data;
    },
    entity: { type, id: row.entity_id as string },
    actor: row.actor as string,
    occurredAt: row.occurred_at as string,
    recordedAt: row.recorded_at as string,
    site: row.site as string,
    device: row.device as string,
    origin: row.origin as OriginId,
    seq: Number(row.seq) as Seq,
    hlc: row.hlc as Hlc,
    clockWrong: row.clock_offset_ms !== null,
    position: Number(row.position),
    ...seenOf(basis, clips),
    notes: clipWords(basis, clips),
  };
}

/** An entity's events up to a position (`null`: all), in log order. */
export async function countedEvents(
  { db, gate, pins }: { readonly db: Client; readonly gate: Gate; readonly pins: Pins },
  { type, id }: { readonly type: string; readonly id: string },
  upTo: Position | null,
): Promise<CountedEvent[]> {
  const { rows } = await db.query<Record<string, unknown>>(
    `${COUNTED} AND ${aboutEntity("a")} AND ($3::bigint IS NULL OR coalesce(q.settled_position, a.position) <= $3)
     ORDER BY coalesce(q.settled_position, a.position)`,
    [type, id, upTo?.toString() ?? null],
  );
  return rows.map((row) => asEvent(row, type, gate, pins));
}

const PAGE_ROWS = 2_000;

/** All entities of a type, one after the other with all their events in log order. Reads inside a transaction of its own, so that all is of one moment. */
export async function* entitiesOf(
  { db, gate, pins }: { readonly db: Client; readonly gate: Gate; readonly pins: Pins },
  type: string,
): AsyncGenerator<{ readonly id: string; readonly events: readonly CountedEvent[] }> {
  await db.query(
    `DECLARE entities NO SCROLL CURSOR FOR ${COUNTED} AND ${OF_TYPE} ORDER BY 1, coalesce(q.settled_position, a.position)`,
    [type],
  );
  let id: string | null = null;
  let events: CountedEvent[] = [];
  for (;;) {
    const { rows } = await db.query<Record<string, unknown>>(`FETCH ${PAGE_ROWS} FROM entities`);
    for (const row of rows) {
      const event = asEvent(row, type, gate, pins);
      if (event.entity.id !== id) {
        if (id !== null) yield { id, events };
        id = event.entity.id;
        events = [];
      }
      events.push(event);
    }
    if (rows.length < PAGE_ROWS) break;
  }
  if (id !== null) yield { id, events };
  await db.query("CLOSE entities");
}
