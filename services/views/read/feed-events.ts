/** Events as they travel to replicas: each with the text that its hash covers, and with what the hub says of it. */
import {
  canonicalize,
  clipsFromStored,
  type EventBody,
  eventText,
  type Hash,
  type LogEntry,
  type OriginId,
  orgOf,
  type PagedEvent,
  parseCanonical,
  type Seq,
  TributaryError,
  type Vector,
} from "../../core/index.ts";
import { chainHash } from "../../core/node.ts";
import type { Db } from "../connect.ts";
import type { EventName } from "../events-of.ts";
import { positionOf } from "../shards.ts";
import { anyMillis } from "./sql.ts";

/** One event of the log; `null`: the log has none of this name. */
export type EntryAt = (origin: OriginId, seq: Seq) => Promise<LogEntry | null>;

interface AuditRow {
  readonly n: number;
  readonly position: string | null;
  readonly type: string;
  readonly entity_type: string;
  readonly entity_id: string;
  readonly actor: string;
  readonly occurred_at: string;
  readonly recorded_ms: number;
  readonly hlc: EventBody["hlc"];
  readonly clock_offset_ms: number | null;
  readonly schema_subject: string;
  readonly schema_version: number;
  readonly basis: Vector;
  readonly clipped: unknown;
  readonly data: string | null;
  readonly correlation_id: string | null;
  readonly causation_id: string | null;
  readonly prev: Hash;
  readonly hash: Hash;
}

/**
 * The events of these names, in the order of the names. The audit says them where it holds what their hashes cover: each hash is computed again from what is returned. Where it does not (placeholders, quarantined
 * texts, rows that somebody changed), the log says them. Throws `data-corrupt` where neither has one.
 */
export async function notedEvents(db: Db, names: readonly EventName[], entryAt: EntryAt): Promise<readonly PagedEvent[]> {
  if (names.length === 0) return [];
  const { rows } = await db.query<AuditRow & Record<string, unknown>>({
    name: "noted-events",
    text: `SELECT x.n::int AS n, a.position, a.type, a.entity_type, a.entity_id, a.actor, ${anyMillis("a.occurred_at")} AS occurred_at,
        (extract(epoch FROM a.recorded_at) * 1000)::float8 AS recorded_ms, a.hlc, a.clock_offset_ms::float8 AS clock_offset_ms, a.schema_subject,
        a.schema_version, a.basis, a.clipped, a.data::text AS data, a.correlation_id, a.causation_id, a.prev, a.hash
      FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS x (origin, seq, n) JOIN tributary.audit a USING (origin, seq)`,
    values: [names.map(({ origin }) => origin), names.map(({ seq }) => seq)],
  });
  const found = new Map<number, PagedEvent>();
  for (const row of rows) {
    const name = names[row.n - 1];
    const event = name === undefined ? null : eventIn(row, name);
    if (event !== null) found.set(row.n - 1, event);
  }
  return Promise.all(names.map((name, i) => found.get(i) ?? fromLog(name, entryAt)));
}

/** An audit row as the event that it holds; `null`: it does not hold what the event's hash covers. */
function eventIn(row: AuditRow, { origin, seq }: EventName): PagedEvent | null {
  if (row.position === null || row.data === null) return null;
  const text = canonicalIn(row.data);
  const head: Omit<EventBody, "data"> = {
    type: row.type,
    origin,
    seq,
    entity: { type: row.entity_type, id: row.entity_id },
    schema: { subject: row.schema_subject, version: row.schema_version },
    actor: row.actor,
    org: orgOf(origin),
    occurredAt: row.occurred_at,
    hlc: row.hlc,
    basis: row.basis,
    ...(row.correlation_id === null ? {} : { correlationId: row.correlation_id }),
    ...(row.causation_id === null ? {} : { causationId: row.causation_id }),
  };
  if (text === null || chainHash(row.prev, eventText(head, text)) !== row.hash) return null;
  const clips = clipsFromStored(row.clipped);
  return {
    head,
    prev: row.prev,
    position: positionOf(row.position),
    recordedAtMs: Math.round(row.recorded_ms),
    held: null,
    clock: row.clock_offset_ms === null ? null : { offsetMs: row.clock_offset_ms },
    ...(clips === undefined ? {} : { clips }),
    text,
    hash: row.hash,
  };
}

/** The audit keeps data as JSON was written there; nearly always that is canonical already. `null`: it has no canonical form. */
function canonicalIn(data: string): string | null {
  if (parseCanonical(data) !== null) return data;
  try {
    return canonicalize(JSON.parse(data));
  } catch {
    return null;
  }
}

async function fromLog({ origin, seq }: EventName, entryAt: EntryAt): Promise<PagedEvent> {
  const entry = await entryAt(origin, seq);
  if (entry === null)
    throw new TributaryError(
      "data-corrupt",
      `the log lacks event ${seq} of ${origin}, which is in the feed`,
      "Run `tributary audit verify`: it tells what else is missing.",
    );
  const { head, content, clock, clips, position, recordedAtMs } = entry;
  const { id: _, prev, hash, ...body } = head;
  return {
    head: body,
    ...{ prev, position, recordedAtMs, clock, hash },
    held: content.kind === "accepted" ? null : content.reason,
    ...(clips === undefined ? {} : { clips }),
    text: content.kind === "accepted" ? canonicalize(content.data) : content.text,
  };
}
