import {
  clipsFromStored,
  clipWords,
  type EntityRef,
  type Hlc,
  type JsonObject,
  type Opened,
  type OriginId,
  type Position,
  type SealedHead,
  type Seq,
  type Vector,
} from "../../core/index.ts";
import { type FoldEvent, foldHeadOf } from "../../merge/engine.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";
import { positionOf } from "../shards.ts";
import { COUNTED_AT, COUNTED_DATA, COUNTED_FROM, countedOf } from "./counts.ts";
import { anyMillis, heldIn, millis } from "./sql.ts";

/** An event of the audit as views count it, with what people want to see of it. Its data are read when they are asked for; that throws where the view cannot read them. */
export interface CountedEvent extends FoldEvent {
  readonly recordedAt: string;
  readonly device: string;
  /** The parts of its basis that the hub does not count, in words. */
  readonly notes: readonly string[];
}

/** Opens data, in the version of the schema that a view reads with: a gate's `openAs`, with the view's pins. */
export type ReadData = (head: SealedHead, data: JsonObject) => Opened;

const held = (column: string, read?: string): string => heldIn("a", column, read);

/** The events that count for views, with their data. A released event counts from the position of its release, with the data that it was released with. */
const COUNTED = `
  SELECT ${held("entity_id")} AS "entityId", ${COUNTED_AT} AS position, a.origin, a.seq, ${held("type")} AS type,
    ${held("actor")} AS actor, a.site, a.device, ${held("hlc")} AS hlc,
    coalesce((a.held_otherwise ->> 'basis')::json, a.basis) AS basis, a.clipped, ${COUNTED_DATA} AS data,
    a.clock_offset_ms IS NOT NULL AS "clockWrong",
    coalesce(q.released_subject, ${held("schema_subject")}) AS subject,
    coalesce(q.released_version::text, ${held("schema_version", "a.schema_version::text")}) AS version,
    ${held("occurred_at", anyMillis("a.occurred_at"))} AS "occurredAt", ${millis("a.recorded_at")} AS "recordedAt"
  ${COUNTED_FROM} AND ${COUNTED_DATA} IS NOT NULL`;
const OF_TYPE = `(a.entity_type = $1 OR a.held_otherwise IS NOT NULL AND a.held_otherwise ->> 'entity_type' = $1)`;

interface CountedRow {
  readonly entityId: string;
  readonly position: string;
  readonly origin: OriginId;
  readonly seq: string;
  readonly type: string;
  readonly actor: string;
  readonly site: string;
  readonly device: string;
  readonly hlc: Hlc;
  readonly basis: Vector;
  readonly clipped: unknown;
  readonly data: JsonObject;
  readonly clockWrong: boolean;
  readonly subject: string;
  readonly version: string;
  readonly occurredAt: string;
  readonly recordedAt: string;
}

function asEvent(row: CountedRow, entityType: string, read: ReadData): CountedEvent {
  const { entityId, seq, position, basis, clipped, data: stored, subject, version, recordedAt, device, ...plain } = row;
  const clips = clipsFromStored(clipped);
  const kept = { ...plain, entity: { type: entityType, id: entityId }, seq: Number(seq) as Seq, basis, clips };
  let opened: Opened | undefined;
  const open = (): Opened => {
    opened ??= read({ ...kept, schema: { subject, version: Number(version) } }, stored);
    return opened;
  };
  return {
    ...foldHeadOf({ ...kept, position: positionOf(position) }),
    ...{ recordedAt, device },
    get data() {
      return open().data;
    },
    get withheld() {
      return open().withheld;
    },
    notes: clipWords(basis, clips),
  };
}

/** An entity's events up to a position (`null`: all of them), in log order. */
export async function countedEvents(
  db: Db,
  { type, id }: EntityRef,
  upTo: Position | null,
  read: ReadData,
): Promise<CountedEvent[]> {
  const { rows } = await db.query<CountedRow & Record<string, unknown>>(
    `${COUNTED} AND ${countedOf("$3")} ORDER BY ${COUNTED_AT}`,
    [type, withoutNul(id), upTo],
  );
  return rows.map((row) => asEvent(row, type, read));
}

const PAGE_ROWS = 2_000;

/** An entity with all its events in log order. */
export interface EntityEvents {
  readonly id: string;
  readonly events: readonly CountedEvent[];
}

/** All entities of a type, one after the other, as they are now. Each belongs to one shard, so none is read in part. Runs inside the caller's transaction, so that all is of one moment. */
export async function* entitiesOf(db: Db, type: string, read: ReadData): AsyncGenerator<EntityEvents> {
  await db.query(`DECLARE entities NO SCROLL CURSOR FOR ${COUNTED} AND ${OF_TYPE} ORDER BY 1, ${COUNTED_AT}`, [type]);
  let id: string | null = null;
  let events: CountedEvent[] = [];
  for (;;) {
    const { rows } = await db.query<CountedRow & Record<string, unknown>>(`FETCH ${PAGE_ROWS} FROM entities`);
    for (const row of rows) {
      const event = asEvent(row, type, read);
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
