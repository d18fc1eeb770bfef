import { pause } from "../core/node.ts";
import type { View } from "../merge/engine.ts";
import { type Db, nextFeedPart } from "../views/index.ts";

/** How long to wait where lines are being sealed. */
const BUSY_MS = 50;

export interface FeedMaking {
  /** A connection of its own: each part is a transaction. */
  readonly db: Db;
  /** All views as they are declared. */
  readonly views: readonly View[];
  readonly say?: (event: Record<string, unknown>) => void;
}

/**
 * Brings the feeds of buckets in line, part by part, until nothing is left that a process with these views can do, or `signal` aborts. Pages are written between the parts. `once`: of each entity type one part
 * at most, so that a small hub is done at once, and nobody waits for a large one.
 */
export async function makeFeed(
  { db, views, say = () => {} }: FeedMaking,
  { signal, once = false, part }: { readonly signal?: AbortSignal; readonly once?: boolean; readonly part?: number } = {},
): Promise<void> {
  const stop = signal ?? new AbortController().signal;
  const entities = new Map<string, number>();
  const after = new Set<string>();
  while (!stop.aborted) {
    const done = await nextFeedPart(db, views, { after, ...(part === undefined ? {} : { part }) });
    if (done === null) return;
    if (done === "busy") {
      if (once) return;
      await pause(BUSY_MS, stop);
      continue;
    }
    const { entityType, doneTo } = done;
    const sum = (entities.get(entityType) ?? 0) + done.entities;
    entities.set(entityType, sum);
    if (once) after.add(entityType);
    say({ event: doneTo === null ? "feed-made" : "feed-making", entityType, entities: sum });
  }
}
