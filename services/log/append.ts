import { type EventStoreDBClient, WrongExpectedVersionError } from "@eventstore/db-client";
import { assert, GENESIS, type OriginId, position, type Seq, TributaryError } from "../core/index.ts";
import { within } from "./client.ts";
import { originHead, readOrigin } from "./read.ts";
import { type Appendable, type OriginHead, streamOf, toStored } from "./stored.ts";

/** One call's events, at most: the server's limit of 1 MiB, less what its own framing may add. */
export const MAX_APPEND_BYTES = 960_000;
/** Lost races with another writer of the same run before giving up. Each means that somebody else got ahead. */
const MAX_RACES = 5;

export type AppendOutcome =
  /** All is in the log now. `written` of the events were not before. */
  | { readonly kind: "appended"; readonly head: OriginHead; readonly written: number }
  /** Events between the log's last and the run's first are missing. */
  | { readonly kind: "gap"; readonly head: OriginHead | null }
  /** The log holds another event at `seq`: two devices have written as one origin. */
  | { readonly kind: "fork"; readonly seq: Seq; readonly head: OriginHead };

/**
 * Appends a run of one origin's consecutive events, exactly once. `known` is where the caller last saw the origin
 * (`undefined`: not looked up). Sending again what is there writes nothing and succeeds; the hash chain decides, so
 * comparing one hash compares all before it.
 */
export async function appendRun(
  client: EventStoreDBClient,
  run: readonly Appendable[],
  known?: OriginHead | null,
): Promise<AppendOutcome> {
  assert(run.length > 0, "a run holds events");
  const origin = run[0]!.head.origin;
  let head = known === undefined ? await originHead(client, origin) : known;
  let isFresh = known === undefined;
  let written = 0;
  for (let races = 0; ; ) {
    const step = await compare(client, origin, run, head);
    // Another process may have written since `known` was seen.
    if ((step.kind === "gap" || step.kind === "fork") && !isFresh) {
      head = await originHead(client, origin);
      isFresh = true;
      continue;
    }
    if (step.kind !== "append") return step.kind === "present" ? { kind: "appended", head: step.head, written } : step;
    const chunk = cut(run, step.from);
    try {
      const last = chunk.at(-1)!.head;
      const result = await within(
        "append",
        client.appendToStream(streamOf(origin), chunk.map(toStored), {
          expectedRevision: head === null ? "no_stream" : BigInt(head.through),
        }),
      );
      assert(result.success && result.position, "an append that does not throw has a position");
      head = { through: last.seq, hash: last.hash, position: position(result.position.commit) };
      written += chunk.length;
    } catch (error) {
      if (!(error instanceof WrongExpectedVersionError)) throw error;
      if (++races > MAX_RACES) {
        throw new TributaryError("backend-failed", `another writer keeps appending to ${origin}`, "Stop the other process.", {
          cause: error,
        });
      }
      head = await originHead(client, origin);
    }
  }
}

type Step =
  | { readonly kind: "append"; readonly from: number }
  | { readonly kind: "present"; readonly head: OriginHead }
  | Extract<AppendOutcome, { kind: "gap" | "fork" }>;

/** What of the run the log lacks, given where the origin stands. */
async function compare(
  client: EventStoreDBClient,
  origin: OriginId,
  run: readonly Appendable[],
  head: OriginHead | null,
): Promise<Step> {
  const first = run[0]!.head;
  const last = run.at(-1)!.head;
  if (head === null) {
    if (first.seq > 0) return { kind: "gap", head };
    assert(first.prev === GENESIS, "a first event's prev is the genesis hash");
    return { kind: "append", from: 0 };
  }
  if (first.seq > head.through + 1) return { kind: "gap", head };
  if (first.seq === head.through + 1) {
    return first.prev === head.hash ? { kind: "append", from: 0 } : { kind: "fork", seq: first.seq, head };
  }
  const shared = Math.min(last.seq, head.through);
  const stored = shared === head.through ? head : await headAt(client, origin, shared as Seq);
  const mine = run[shared - first.seq]!.head;
  if (mine.hash !== stored.hash) return { kind: "fork", seq: mine.seq, head };
  return last.seq <= head.through ? { kind: "present", head } : { kind: "append", from: head.through + 1 - first.seq };
}

async function headAt(client: EventStoreDBClient, origin: OriginId, seq: Seq): Promise<OriginHead> {
  let found: OriginHead | null = null;
  for await (const entry of readOrigin(client, origin, { from: seq, maxCount: 1 })) {
    found = { through: entry.head.seq, hash: entry.head.hash, position: entry.position };
  }
  if (found !== null) return found;
  throw new TributaryError("data-corrupt", `the log lacks event ${seq} of ${origin}`, "Run `tributary audit verify`.");
}

/** As many events from `from` on as fit one call. */
function cut(run: readonly Appendable[], from: number): readonly Appendable[] {
  let bytes = 0;
  let to = from;
  while (to < run.length) {
    bytes += storedBytes(run[to]!);
    if (bytes > MAX_APPEND_BYTES && to > from) break;
    to++;
  }
  return run.slice(from, to);
}

/** An upper estimate of what the event store counts for an event: its data, its metadata, and framing. */
export function storedBytes({ head, content }: Appendable): number {
  const dataBytes =
    content.kind === "accepted"
      ? Buffer.byteLength(JSON.stringify(content.data))
      : Buffer.byteLength(JSON.stringify(content.text)) + 512;
  let basisBytes = 0;
  for (const origin in head.basis) basisBytes += origin.length + 16;
  // Names are at most 200 characters of at most 4 bytes; the fixed members (hashes, clock, ids, keys) take under 900.
  return (
    dataBytes + basisBytes + 900 + 4 * (head.type.length + head.actor.length + head.entity.id.length + head.entity.type.length)
  );
}
