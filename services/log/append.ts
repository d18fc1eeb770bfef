import { type EventData, type EventStoreDBClient, WrongExpectedVersionError } from "@eventstore/db-client";
import {
  type Appendable,
  assert,
  GENESIS,
  type Noted,
  type OriginHead,
  type OriginId,
  position,
  type QuarantineMark,
  type Seq,
  TributaryError,
} from "../core/index.ts";
import { within } from "./client.ts";
import { entryAt, originHead } from "./read.ts";
import { storedBytes, streamOf, toStored } from "./stored.ts";

/**
 * The most bytes of events in one call, unless one event alone is larger. The server takes 1 MiB; smaller calls keep other writers waiting for less time. A default
 * batch (500 events) is still one call.
 */
export const MAX_APPEND_BYTES = 480_000;
/** How many races with another writer of the same run are lost before giving up. Each means that somebody else was first. */
const MAX_RACES = 5;

export type AppendOutcome =
  /** All events are in the log now. `written`: how many of them were not there before. */
  | { readonly kind: "appended"; readonly head: OriginHead; readonly written: number }
  /** Events between the log's last and the run's first are missing. */
  | { readonly kind: "gap"; readonly head: OriginHead | null }
  /** The log holds another event at `seq`: two devices have written as one origin. */
  | { readonly kind: "fork"; readonly seq: Seq; readonly head: OriginHead };

/** Signs the notes on the events that one call is about to append, so a hub signs only what it has written. */
export type SignNotes = (written: readonly Appendable[]) => Noted | null;

/**
 * Appends a run of one origin's consecutive events, exactly once. `known` is where the caller last saw the origin
 * (`undefined`: not looked up). Appending again what is there writes nothing and succeeds; the hash chain decides, so
 * comparing one hash compares all before it.
 */
export async function appendRun(
  client: EventStoreDBClient,
  run: readonly Appendable[],
  known?: OriginHead | null,
  note?: SignNotes,
): Promise<AppendOutcome> {
  assert(run.length > 0, "a run holds events");
  const origin = run[0]!.head.origin;
  let head = known === undefined ? await headNow(client, origin) : known;
  let isFresh = known === undefined;
  let written = 0;
  for (let races = 0; ; ) {
    const step = await compare(client, origin, run, head);
    // Only an append proves that what was seen before still holds: another process may have written since, or the log may have been set back under us.
    // Above all, an event that is there only according to memory is not acknowledged.
    if (step.kind !== "append" && !isFresh) {
      head = await headNow(client, origin);
      isFresh = true;
      continue;
    }
    if (step.kind === "missing")
      throw new TributaryError(
        "data-corrupt",
        `the log lacks event ${step.seq} of ${origin}`,
        "Run `tributary audit verify`: it tells what else is missing.",
      );
    if (step.kind !== "append") return step.kind === "present" ? { kind: "appended", head: step.head, written } : step;
    const chunk = cut(run, step.from);
    try {
      const last = chunk.at(-1)!.head;
      const marked = markEach(signed(chunk, note), head);
      const result = await within(
        "append",
        client.appendToStream(streamOf(origin), marked.stored, {
          expectedRevision: head === null ? "no_stream" : BigInt(head.through),
        }),
      );
      assert(result.success && result.position, "an append that does not throw has a position");
      const mark = marked.last === undefined ? {} : { lastQuarantined: marked.last };
      head = { through: last.seq, hash: last.hash, position: position(result.position.commit), ...mark };
      isFresh = true;
      written += chunk.length;
    } catch (error) {
      if (!(error instanceof WrongExpectedVersionError)) throw error;
      if (++races > MAX_RACES) {
        throw new TributaryError(
          "backend-failed",
          `another writer keeps appending to ${origin}`,
          "Find the other process that writes this origin, and stop it.",
          {
            cause: error,
          },
        );
      }
      head = await headNow(client, origin);
    }
  }
}

const headNow = (client: EventStoreDBClient, origin: OriginId): Promise<OriginHead | null> =>
  within(`reading ${origin}`, originHead(client, origin));

/** The chunk with the signature of its notes on its last event. */
function signed(chunk: readonly Appendable[], note: SignNotes | undefined): readonly Appendable[] {
  const noted = note?.(chunk) ?? null;
  return noted === null ? chunk : [...chunk.slice(0, -1), { ...chunk.at(-1)!, noted }];
}

/** The chunk in its stored form, each event with the last quarantined one before it. */
function markEach(
  chunk: readonly Appendable[],
  head: OriginHead | null,
): { readonly stored: EventData[]; readonly last: QuarantineMark } {
  let mark: QuarantineMark = head === null ? null : head.lastQuarantined;
  const stored = chunk.map((item) => {
    const form = toStored(item, mark);
    if (item.content.kind === "quarantined") mark = item.head.seq;
    return form;
  });
  return { stored, last: mark };
}

type Step =
  | { readonly kind: "append"; readonly from: number }
  /** The log lacks an event that must be there according to its own end. */
  | { readonly kind: "missing"; readonly seq: Seq }
  | { readonly kind: "present"; readonly head: OriginHead }
  | Extract<AppendOutcome, { kind: "gap" | "fork" }>;

/** How a run compares with the log, given where the origin stands. */
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
  const stored =
    shared === head.through ? head.hash : (await within(`reading ${origin}`, entryAt(client, origin, shared as Seq)))?.head.hash;
  const mine = run[shared - first.seq]!.head;
  if (stored === undefined) return { kind: "missing", seq: mine.seq };
  if (mine.hash !== stored) return { kind: "fork", seq: mine.seq, head };
  return last.seq <= head.through ? { kind: "present", head } : { kind: "append", from: head.through + 1 - first.seq };
}

/** As many events from `from` on as fit into one call. */
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
