import { type AllStreamSubscription, type EventStoreDBClient, START, streamNameFilter } from "@eventstore/db-client";
import { type Fact, type FollowOptions, messageOf, type Position, position } from "../core/index.ts";
import { within } from "./client.ts";
import { readFacts, toFact } from "./facts.ts";
import { logEnd } from "./read.ts";
import { type Relinking, relink } from "./relink.ts";

const MIN_PAUSE_MS = 100;
/** How often a link is made again: otherwise nobody would notice that the server has gone silent. */
const RENEW_MS = 60_000;
/** The server reports progress after this many × 32 events that are not facts. */
const CHECKPOINT_INTERVAL = 32;

/** Where a follower of facts stands. */
interface FactFollower extends Relinking {
  readonly client: EventStoreDBClient;
  readonly options: FollowOptions;
  /** How far the log has been searched, and the last fact that was found. */
  received: Position | null;
  last: Fact | null;
  /** `null`: between two links. */
  link: AllStreamSubscription | null;
  renewal: NodeJS.Timeout | undefined;
}

/**
 * Follows facts until `signal` aborts:
 *
 *   linked ── a minute has passed ─▶ linked again
 *      └── error, end ─▶ pausing (0.1 s doubling to 5 s) ─▶ asking whether the log was set back ─▶ linked
 */
export function followFacts(client: EventStoreDBClient, options: FollowOptions): void {
  const follower: FactFollower = {
    client,
    options,
    received: options.after,
    last: null,
    link: null,
    pauseMs: MIN_PAUSE_MS,
    renewal: undefined,
    retry: undefined,
  };
  options.signal.addEventListener(
    "abort",
    () => {
      clearTimeout(follower.retry);
      unlink(follower);
    },
    { once: true },
  );
  start(follower);
}

function start(follower: FactFollower): void {
  const { client, options, received } = follower;
  if (options.signal.aborted) return;
  const link = client.subscribeToAll({
    fromPosition: received === null ? START : { commit: received, prepare: received },
    filter: streamNameFilter({
      prefixes: [...options.prefixes],
      checkpointInterval: CHECKPOINT_INTERVAL,
      // Facts are few among many events: without this, the server would search all events again for each new link.
      checkpointReached: async (_, reached) => {
        if (link === follower.link && (follower.received === null || reached.commit > follower.received))
          follower.received = position(reached.commit);
      },
    }),
  });
  follower.link = link;
  follower.renewal = setTimeout(() => {
    unlink(follower);
    start(follower);
  }, RENEW_MS);
  follower.renewal.unref();
  link.on("data", (resolved) => {
    const fact = toFact(resolved);
    if (link !== follower.link || fact === null) return;
    if (follower.received !== null && fact.position <= follower.received) return;
    follower.pauseMs = MIN_PAUSE_MS;
    follower.received = fact.position;
    follower.last = fact;
    options.onFact(fact);
  });
  const lost = (message: string): void => {
    if (link !== follower.link) return;
    unlink(follower);
    pause(follower, message);
  };
  link.on("error", (error) => lost(messageOf(error)));
  link.on("end", () => lost("the server ended the subscription"));
  link.on("close", () => lost("the subscription was closed"));
}

function unlink(follower: FactFollower): void {
  const { link } = follower;
  follower.link = null;
  clearTimeout(follower.renewal);
  link?.unsubscribe().catch(() => {});
}

function pause(follower: FactFollower, message: string): void {
  if (follower.options.signal.aborted) return;
  follower.options.onInterruption?.(message);
  relink(follower, () => resume(follower));
}

/** Links again after a pause. The log may have been set back meanwhile: then known positions mean nothing any more, and facts come from the first one on. */
async function resume(follower: FactFollower): Promise<void> {
  if (follower.options.signal.aborted) return;
  try {
    const { client, last, received } = follower;
    if (await within("looking for the last fact received", isSetBack(client, last, received)))
      [follower.received, follower.last] = [null, null];
    start(follower);
    follower.options.onResumed?.();
  } catch (error) {
    pause(follower, messageOf(error));
  }
}

/** Whether the log ends before the position to which it was followed, or has something else where the last fact stood. */
async function isSetBack(client: EventStoreDBClient, last: Fact | null, received: Position | null): Promise<boolean> {
  if (received === null) return false;
  if (received > ((await logEnd(client)) ?? -1n)) return true;
  return last !== null && (await readFacts(client, last.stream, last.revision, 1))[0]?.position !== last.position;
}
