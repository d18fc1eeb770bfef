import type { ServerWritableStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { type Position, position, positionAfter } from "../../core/index.ts";
import { failure, streamDeleted } from "./failures.ts";
import {
  CAUGHT_UP,
  dataIn,
  encodeCheckpoint,
  encodeConfirmation,
  encodeNotFound,
  encodeResolved,
  type Filter,
  type ReadReq,
} from "./messages.ts";
import type { Store, StoredEvent } from "./store/contract.ts";

/** How many events are taken from the database at a time. Their bytes are bounded too (`MAX_READ_BYTES`), so only an empty page means that there is no more. */
const PAGE_EVENTS = 256;
/** How many events a live reader may lag behind, unless the node is started with another number. */
export const MAX_LIVE_LAG_EVENTS = 100_000;

export type ReadCall = ServerWritableStream<ReadReq, Buffer>;

/** Writes to a reader, and waits while the reader is slow. Returns false once the reader is gone. */
async function send(call: ReadCall, message: Buffer): Promise<boolean> {
  if (call.cancelled || call.destroyed) return false;
  if (call.write(message)) return true;
  return new Promise((resolve) => {
    const done = (alive: boolean) => (): void => {
      call.off("drain", onDrain);
      call.off("cancelled", onGone);
      call.off("close", onGone);
      resolve(alive);
    };
    const onDrain = done(true);
    const onGone = done(false);
    call.on("drain", onDrain);
    call.on("cancelled", onGone);
    call.on("close", onGone);
  });
}

const UNEXPECTED_STREAM = "Unexpected ReadStreamResult: Error";
const UNEXPECTED_ALL = "Unexpected ReadAllResult: Error";

/** A link's target, encoded with the link; the event itself when it is not a link or links are not to be resolved. */
function resolved(store: Store, event: StoredEvent, resolveLinks: boolean): Buffer {
  if (!resolveLinks || event.type !== "$>") return event.message;
  const target = /^(\d+)@(.+)$/s.exec(dataIn(event.message).toString("utf8"));
  const found = target === null ? undefined : store.readStream(target[2]!, Number(target[1]), 1, false)[0];
  const isThere =
    found !== undefined && found.revision === Number(target![1]) && found.revision >= store.view(found.stream).first;
  return encodeResolved(event.message, isThere ? found.message : null, event.position);
}

/** Answers a read of a stream or of the whole log with at most `count` events. */
export async function read(store: Store, call: ReadCall): Promise<void> {
  const { request } = call;
  const limit = request.count ?? 0;
  if (request.stream !== null) await readOne(store, call, request, limit);
  else if (limit > 0) await readAll(store, call, request, limit);
  // A real server never answers a read of 0 events of `$all`.
  else await new Promise((resolve) => call.once("cancelled", resolve));
}

type StreamReq = Extract<ReadReq, { readonly stream: string }>;
type AllReq = Extract<ReadReq, { readonly stream: null }>;

async function readOne(store: Store, call: ReadCall, request: StreamReq, limit: number): Promise<void> {
  const { stream, from, backwards, resolveLinks } = request;
  if (limit === 0 || (from.kind === "end" && !backwards)) throw failure(status.UNKNOWN, UNEXPECTED_STREAM);
  const view = store.view(stream);
  if (view.tombstoned) throw streamDeleted(stream);
  if (!view.exists || view.deleted) {
    await send(call, encodeNotFound(stream));
    return;
  }
  let at = from.kind === "at" ? from.at : from.kind === "start" ? 0 : view.last;
  at = backwards ? Math.min(at, view.last) : Math.max(at, view.first);
  for (let left = limit; left > 0; ) {
    const page = store.readStream(stream, at, Math.min(left, PAGE_EVENTS), backwards);
    for (const event of page) {
      if (event.revision < view.first) return;
      if (event.createdMs < view.notBeforeMs) continue;
      if (!(await send(call, resolved(store, event, resolveLinks)))) return;
      left--;
    }
    if (page.length === 0) return;
    at = page.at(-1)!.revision + (backwards ? -1 : 1);
    if (at < 0) return;
  }
}

const LOG_START = position(0n);
/** Beyond every position: the largest number that SQLite compares exactly. */
const LOG_BEYOND = position(BigInt(Number.MAX_SAFE_INTEGER));

/** Where a read of the whole log begins. Backwards, events before it are read. */
function startIn(store: Store, { from, backwards }: AllReq): Position {
  if (from.kind === "at") return from.at;
  if (from.kind === "start") return LOG_START;
  return backwards ? LOG_BEYOND : positionAfter(store.end());
}

async function readAll(store: Store, call: ReadCall, request: AllReq, limit: number): Promise<void> {
  const { from, backwards, resolveLinks, filter } = request;
  if (from.kind === "at" && from.at !== LOG_START && !store.isPosition(from.at)) throw failure(status.UNKNOWN, UNEXPECTED_ALL);
  const passes = filterOf(filter);
  let at = startIn(store, request);
  for (let left = limit; left > 0; ) {
    const page = store.readAll(at, filter === null ? Math.min(left, PAGE_EVENTS) : PAGE_EVENTS, backwards);
    for (const event of page) {
      if (!passes(event)) continue;
      if (left-- === 0) return;
      if (!(await send(call, resolved(store, event, resolveLinks)))) return;
    }
    const last = page.at(-1)?.position;
    if (last === undefined) return;
    at = backwards ? last : positionAfter(last);
  }
}

function filterOf(filter: Filter | null): (event: StoredEvent) => boolean {
  if (filter === null) return () => true;
  const subject =
    filter.on === "stream" ? (event: StoredEvent): string => event.stream : (event: StoredEvent): string => event.type;
  if (filter.regex !== "") {
    let regex: RegExp;
    try {
      regex = new RegExp(filter.regex);
    } catch {
      throw failure(status.INVALID_ARGUMENT, `the filter's regular expression ${JSON.stringify(filter.regex)} cannot be read`);
    }
    return (event) => regex.test(subject(event));
  }
  return (event) => filter.prefixes.some((prefix) => subject(event).startsWith(prefix));
}

/**
 * Answers a subscription: sends the events that are there, then those that come, for ever.
 *
 *   confirmed ─▶ catching up (pages from the database) ─▶ caught up ─▶ live (woken by each commit) ─▶ …
 *
 * It always reads from the database, so nothing is held in memory for a slow reader; a reader that lags more than `maxLagEvents`
 * behind while live is dropped, as a real server does, and must subscribe again from where it was.
 */
export async function subscribe(store: Store, call: ReadCall, maxLagEvents: number): Promise<void> {
  const { request } = call;
  const { stream } = request;
  const gone = Promise.withResolvers<void>();
  call.once("cancelled", gone.resolve);
  call.once("close", gone.resolve);
  let wake: () => void = () => {};
  let live = false;
  let lag = 0;
  let dropped = false;
  const passes = filterOf(request.filter);
  const concerns = (event: StoredEvent): boolean => (stream === null ? passes(event) : event.stream === stream);
  const unlisten = store.onCommit((events) => {
    if (live) lag += events.filter(concerns).length;
    if (live && lag > maxLagEvents) dropped = true;
    wake();
  });
  try {
    if (!(await send(call, encodeConfirmation(crypto.randomUUID())))) return;
    const source = request.stream === null ? followAll(store, call, request) : followStream(store, call, request);
    let caughtUp = false;
    while (!call.cancelled && !call.destroyed) {
      const more = await source.page((sent) => {
        lag = Math.max(0, lag - sent);
        if (dropped) throw tooSlow();
      });
      if (dropped) throw tooSlow();
      if (more === "gone") return;
      if (more === "more") continue;
      if (!caughtUp && more === "caught-up") {
        caughtUp = true;
        if (!(await source.caughtUp()) || !(await send(call, CAUGHT_UP))) return;
        // What was committed meanwhile is read before going to sleep.
        live = true;
        continue;
      }
      await Promise.race([
        new Promise<void>((resolve) => {
          wake = resolve;
          if (source.hasMore()) resolve();
        }),
        gone.promise,
      ]);
    }
  } finally {
    unlisten();
  }
}

const tooSlow = (): Error =>
  failure(status.ABORTED, "Operation timed out: Consumer too slow to handle event while live. Client resubscription required.");

interface Source {
  /** Sends a page; `caught-up`: nothing is left; `missing`: there is no such stream yet. */
  page(onSent: (count: number) => void): Promise<"more" | "caught-up" | "missing" | "gone">;
  caughtUp(): Promise<boolean>;
  hasMore(): boolean;
}

function followAll(store: Store, call: ReadCall, { from, resolveLinks, filter }: AllReq): Source {
  const passes = filterOf(filter);
  let after = from.kind === "end" ? store.end() : from.kind === "at" ? from.at : LOG_START;
  let considered = 0;
  const checkpoint = async (): Promise<boolean> => {
    considered = 0;
    return filter === null || after === LOG_START || send(call, encodeCheckpoint(after));
  };
  return {
    async page(onSent) {
      const page = store.readAll(positionAfter(after), PAGE_EVENTS, false);
      for (const event of page) {
        after = event.position;
        if (passes(event)) {
          if (!(await send(call, resolved(store, event, resolveLinks)))) return "gone";
          onSent(1);
        }
        if (filter !== null && ++considered >= filter.checkpointEvery && !(await checkpoint())) return "gone";
      }
      return page.length === 0 ? "caught-up" : "more";
    },
    caughtUp: checkpoint,
    hasMore: () => store.end() > after,
  };
}

function followStream(store: Store, call: ReadCall, { stream, from, resolveLinks }: StreamReq): Source {
  const start = store.view(stream);
  let next = from.kind === "end" ? start.last + 1 : from.kind === "at" ? from.at + 1 : 0;
  let seenTombstone = false;
  if (start.tombstoned) throw streamDeleted(stream);
  return {
    async page(onSent) {
      const view = store.view(stream);
      if (!view.exists) return "missing";
      if (!view.deleted) next = Math.max(next, Math.min(view.first, view.last + 1));
      const page = view.deleted ? [] : store.readStream(stream, next, PAGE_EVENTS, false);
      for (const event of page) {
        next = event.revision + 1;
        if (event.createdMs < view.notBeforeMs) continue;
        if (!(await send(call, resolved(store, event, resolveLinks)))) return "gone";
        onSent(1);
      }
      if (page.length > 0) return "more";
      if (!view.tombstoned) return "caught-up";
      seenTombstone = true;
      for (const event of store.readStream(stream, -1, 1, false)) if (!(await send(call, event.message))) return "gone";
      throw streamDeleted(stream);
    },
    caughtUp: async () => true,
    hasMore() {
      const view = store.view(stream);
      return (view.exists && !view.deleted && view.last >= next) || (view.tombstoned && !seenTombstone);
    },
  };
}
