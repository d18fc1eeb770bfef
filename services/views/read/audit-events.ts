import {
  clipsFromStored,
  clipWords,
  type EntityRef,
  type JsonObject,
  type OriginId,
  type Position,
  type Vector,
} from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { positionOf } from "../shards.ts";
import { aboutEntity, anyMillis, heldIn, millis, seconds } from "./sql.ts";

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
  /** The device's clock minus the hub's, where the device's was wrong; else `null`. */
  readonly clockOffsetMs: number | null;
  readonly schema: string;
  readonly basis: Vector;
  /** The parts of the basis that the hub does not count, in words. */
  readonly notes: readonly string[];
  readonly data: JsonObject | null;
  /** Members of the data that whoever asks may not see; they are left out. Not there where there are none. */
  readonly withheld?: readonly string[];
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
  /** The columns of the audit that could not hold what the event says. It is shown here all the same. */
  readonly placeholders: readonly string[];
}

const held = (column: string, read?: string): string => heldIn("audit", column, read);

type Read = Omit<AuditRow, "notes" | "withheld"> & { readonly clipped: unknown };

/** How each member is read: the compiler asks for a new one. */
const READ: Readonly<Record<keyof Read, string>> = {
  origin: "audit.origin",
  seq: "audit.seq::float8",
  position: "audit.position",
  id: held("id", "id::text"),
  type: held("type"),
  entity: `${held("entity_type")} || '/' || ${held("entity_id")}`,
  site: "site",
  device: "device",
  actor: held("actor"),
  occurredAt: held("occurred_at", anyMillis("occurred_at")),
  recordedAt: millis("recorded_at"),
  hlc: held("hlc"),
  clockOffsetMs: "clock_offset_ms::float8",
  schema: `${held("schema_subject")} || '@' || ${held("schema_version", "schema_version::text")}`,
  basis: "coalesce((held_otherwise ->> 'basis')::json, basis)",
  clipped: "clipped",
  data: "coalesce((held_otherwise ->> 'data')::json, data)",
  hash: held("hash"),
  prev: held("prev"),
  quarantine: held("quarantine_code"),
  projectionError: "projection_error",
  placeholders: "ARRAY(SELECT json_object_keys(held_otherwise))",
  settled: `(SELECT json_build_object('state', state, 'by', settled_by, 'at', ${seconds("settled_at")}, 'position', settled_position::text,
    'note', settled_note, 'data', released_data)
    FROM tributary.quarantine q WHERE q.origin = audit.origin AND q.seq = audit.seq)`,
};
const EVENTS = `SELECT ${Object.entries(READ)
  .map(([name, sql]) => `${sql} AS "${name}"`)
  .join(", ")} FROM tributary.audit`;

type Stored = Read & Record<string, unknown>;

function asAuditRow({ clipped, ...row }: Stored): AuditRow {
  return { ...row, notes: clipWords(row.basis, clipsFromStored(clipped)) };
}

const HELD: AuditRow["settled"] = { state: "held", by: null, at: null, position: null, note: null, data: null };

/** All events about an entity up to a position, in log order. What was released or rejected beyond it is shown as held. */
export async function auditEvents(db: Db, { type, id }: EntityRef, upTo: Position | null): Promise<readonly AuditRow[]> {
  if (upTo === null) return [];
  const { rows } = await db.query<Stored>(`${EVENTS} WHERE ${aboutEntity("audit")} AND position <= $3 ORDER BY position`, [
    type,
    id,
    upTo,
  ]);
  return rows.map((row) => {
    const event = asAuditRow(row);
    const settledAt = event.settled?.position ?? null;
    return settledAt !== null && positionOf(settledAt) > upTo ? { ...event, settled: HELD } : event;
  });
}

/** How one event is named: by its id, or by its origin and seq. */
export type EventAddress = { readonly id: string } | { readonly origin: string; readonly seq: string };

/** One event; `null`: the audit has no event of this name. */
export async function auditEvent(db: Db, name: EventAddress): Promise<AuditRow | null> {
  const { rows } =
    "id" in name
      ? await db.query<Stored>(`${EVENTS} WHERE id = $1`, [name.id])
      : await db.query<Stored>(`${EVENTS} WHERE origin = $1 AND seq = $2`, [name.origin, name.seq]);
  return rows[0] === undefined ? null : asAuditRow(rows[0]);
}

/** Whether an event's audit row has a note of these words. */
export async function hasNote(db: Db, { origin, seq }: { readonly origin: string; readonly seq: number }, words: string) {
  const { rows } = await db.query(
    "SELECT FROM tributary.audit WHERE origin = $1 AND seq = $2 AND position($3 IN coalesce(projection_error, '')) > 0",
    [origin, seq, words],
  );
  return rows.length > 0;
}

/** The seq of each origin's last event about an entity that the hub has: the basis of a correction. */
export async function lastSeen(db: Db, { type, id }: EntityRef): Promise<Vector> {
  const { rows } = await db.query<{ origin: OriginId; seq: Vector[OriginId] }>(
    `SELECT origin, max(seq)::float8 AS seq FROM tributary.audit a
     WHERE entity_type = $1 AND entity_id = $2 OR a.held_otherwise ->> 'entity_id' = $2
     GROUP BY origin`,
    [type, id],
  );
  return Object.fromEntries(rows.map(({ origin, seq }) => [origin, seq]));
}
