import {
  BACKWARDS,
  END,
  type EventStoreDBClient,
  FORWARDS,
  type ResolvedEvent,
  START,
  StreamNotFoundError,
} from "@eventstore/db-client";
import {
  isTributaryError,
  type LogEntry,
  type OriginHead,
  type OriginId,
  type Position,
  position,
  type Seq,
} from "../core/index.ts";
import { asTributary, LEADER } from "./client.ts";
import { fromStored, streamOf } from "./stored.ts";

/** Whether a read was ended by an event that cannot be read: the call itself still runs then, and must be cancelled. */
const isUnreadable = (error: unknown): boolean => isTributaryError(error) && error.code === "data-corrupt";

/** Reads an origin's events in order, from `from` on (a seq, inclusive; default: the first). Ends at once when there are none. */
export async function* readOrigin(
  client: EventStoreDBClient,
  origin: OriginId,
  options: { readonly from?: Seq; readonly maxCount?: number } = {},
): AsyncGenerator<LogEntry> {
  const events = client.readStream(streamOf(origin), {
    ...LEADER,
    direction: FORWARDS,
    fromRevision: options.from === undefined ? START : BigInt(options.from),
    ...(options.maxCount === undefined ? {} : { maxCount: options.maxCount }),
  });
  let isWhole = false;
  try {
    for await (const resolved of events) {
      const entry = fromStored(resolved);
      if (entry !== null) yield entry;
    }
    isWhole = true;
  } catch (error) {
    isWhole = !isUnreadable(error);
    if (error instanceof StreamNotFoundError) return;
    throw asTributary(`reading ${origin}`, error);
  } finally {
    if (!isWhole) await events.cancel();
  }
}

/** One event of an origin; `null` when the log has none at that seq. */
export async function entryAt(client: EventStoreDBClient, origin: OriginId, seq: Seq): Promise<LogEntry | null> {
  let found: LogEntry | null = null;
  for await (const entry of readOrigin(client, origin, { from: seq, maxCount: 1 })) found = entry;
  return found;
}

/** Where an origin stands when `entry` is its last event. */
function headAfter({ head, content, position, lastQuarantined: before }: LogEntry): OriginHead {
  const mark = content.kind === "quarantined" ? head.seq : before;
  return { through: head.seq, hash: head.hash, position, ...(mark === undefined ? {} : { lastQuarantined: mark }) };
}

/** Where an origin stands in the log; `null` when it has no events. */
export async function originHead(client: EventStoreDBClient, origin: OriginId): Promise<OriginHead | null> {
  try {
    let last: ResolvedEvent | null = null;
    // Read to its end: the client never releases a call that is left early.
    for await (const resolved of client.readStream(streamOf(origin), {
      ...LEADER,
      direction: BACKWARDS,
      fromRevision: END,
      maxCount: 1,
    })) {
      last = resolved;
    }
    const entry = last === null ? null : fromStored(last);
    return entry === null ? null : headAfter(entry);
  } catch (error) {
    if (error instanceof StreamNotFoundError) return null;
    throw asTributary(`reading ${origin}`, error);
  }
}

/**
 * Reads all origins' events in log order, from `from` (a position that was returned before, inclusive; default: the first)
 * up to `to` (inclusive; default: where the log ends at the time). `maxCount` counts events of any kind, so a look at the next few leaves no call open.
 */
export async function* readAll(
  client: EventStoreDBClient,
  options: { readonly from?: Position | null; readonly to?: Position; readonly maxCount?: number } = {},
): AsyncGenerator<LogEntry> {
  const { from, to, maxCount } = options;
  const events = client.readAll({
    ...LEADER,
    direction: FORWARDS,
    fromPosition: from == null ? START : { commit: from, prepare: from },
    ...(maxCount === undefined ? {} : { maxCount }),
  });
  let isWhole = false;
  try {
    for await (const resolved of events) {
      const entry = fromStored(resolved);
      if (entry === null) continue;
      if (to !== undefined && entry.position > to) return;
      yield entry;
    }
    isWhole = true;
  } catch (error) {
    isWhole = !isUnreadable(error);
    throw asTributary("reading the log", error);
  } finally {
    if (!isWhole) await events.cancel();
  }
}

/** The position of the last event of any kind in the log; `null` for an empty log. Tells whether a server answers. */
export async function logEnd(client: EventStoreDBClient): Promise<Position | null> {
  try {
    let end: Position | null = null;
    for await (const { event } of client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 })) {
      if (event !== undefined) end = position(event.position.commit);
    }
    return end;
  } catch (error) {
    throw asTributary("reading the log's end", error);
  }
}
