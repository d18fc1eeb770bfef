/**
 * What is known of a view's entities. Hot ones are in memory; the least recently used go first. What a folded page makes of them is staged: pages folded after it
 * see it, and it becomes known once that page is written. A page that is not written leaves nothing behind.
 *
 *   folded ─▶ staged ─┬─ written ─▶ known
 *                     └─ dropped ─▶ gone, and with it what was folded on top of it
 */
import { assert } from "../core/index.ts";
import { type Projection, unpackState } from "../merge/engine.ts";
import { type Db, LIVE, statesOf } from "../views/index.ts";
import type { Held, KnownStates, Moved } from "./fold-view.ts";

/** How many entities' states are kept in memory between pages; others are read back from the view when needed. */
export const MAX_HOT_ENTITIES = 50_000;

/** What a folded page makes of a view's entities, until it is known whether the page is written. */
export interface Staged {
  written(): void;
  dropped(): void;
}

export interface States extends KnownStates {
  /** Makes sure that the states of these entities are at hand. */
  load(ids: Iterable<string>): Promise<void>;
  /** Takes what a page makes of entities. Pages are written in the order in which they are staged. */
  stage(moved: Moved): Staged;
  /** Takes note that an entity was folded again: its state is looked up when it is needed. */
  refolded(id: string, isParked: boolean): void;
  /** How many entities are parked. */
  parkedCount(): number;
}

export interface StatesOptions {
  readonly maxHot?: number;
  readonly namespace?: string;
  /** The view has no rows yet, so nothing need be looked up until an entity has left memory. */
  readonly isEmpty?: boolean;
  /** The entities that are parked. */
  readonly parked?: Iterable<string>;
}

/** Opens the states of a view's entities; nothing is in memory yet. `db`: where states are looked up. */
export function openStates(db: Db, projection: Projection, options: StatesOptions = {}): States {
  const { maxHot = MAX_HOT_ENTITIES, namespace = LIVE, isEmpty = false } = options;
  let knowsAll = isEmpty;
  const hot = new Map<string, Held | null>();
  const parked = new Set(options.parked);
  /** Oldest first: the page that is being written, and those folded on top of it. */
  const layers: Moved[] = [];
  const put = (id: string, held: Held | null): void => {
    hot.delete(id);
    hot.set(id, held);
  };
  return {
    async load(ids) {
      const cold: string[] = [];
      for (const id of ids) {
        const held = hot.get(id);
        if (held !== undefined) put(id, held);
        else if (!layers.some(({ states }) => states.has(id))) cold.push(id);
      }
      // The entities in memory that this page needs have just become the most recent, so they are never put out.
      for (const id of hot.keys()) {
        if (hot.size + cold.length <= maxHot) break;
        hot.delete(id);
        knowsAll = false;
      }
      if (cold.length === 0) return;
      if (knowsAll) {
        for (const id of cold) put(id, null);
        return;
      }
      const found = await statesOf(db, namespace, projection.name, cold);
      for (const id of cold) put(id, null);
      for (const { id, state, firstPosition } of found) put(id, { state: unpackState(state), firstPosition });
    },
    get(id) {
      for (let at = layers.length - 1; at >= 0; at--) {
        const held = layers[at]!.states.get(id);
        if (held !== undefined) return held;
      }
      return hot.get(id) ?? undefined;
    },
    isParked: (id) => parked.has(id) || layers.some((layer) => layer.parked.has(id)),
    stage(moved) {
      layers.push(moved);
      return {
        written() {
          const at = layers.indexOf(moved);
          // The page was dropped with a page before it.
          if (at < 0) return;
          assert(at === 0, "pages are written in the order in which they were folded");
          layers.shift();
          for (const [id, held] of moved.states) put(id, held);
          for (const id of moved.parked) parked.add(id);
        },
        dropped() {
          const at = layers.indexOf(moved);
          if (at >= 0) layers.length = at;
        },
      };
    },
    refolded(id, isParked) {
      hot.delete(id);
      knowsAll = false;
      if (isParked) parked.add(id);
      else parked.delete(id);
    },
    parkedCount: () => parked.size,
  };
}
