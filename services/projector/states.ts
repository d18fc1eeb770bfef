import type { Position } from "../core/index.ts";
import { type EntityState, unpackState } from "../merge/engine.ts";
import type { Projection } from "../merge/index.ts";
import { type Db, LIVE, statesOf } from "../views/index.ts";

/** Entities whose state is kept in memory between batches; the rest is read back from the view when needed. */
export const MAX_HOT_ENTITIES = 50_000;

export interface Held {
  readonly state: EntityState;
  readonly firstPosition: Position;
}

/** The states of a view's entities: the hot ones in memory, least recently used first out. */
export interface States {
  /** Makes sure that the states of these entities are at hand. */
  load(ids: Iterable<string>): Promise<void>;
  get(id: string): Held | undefined;
  set(id: string, held: Held): void;
  /** What is known of an entity has changed elsewhere: it is looked up when it is needed. */
  forget(id: string): void;
}

/** `isEmpty`: the view has no rows yet of what this process folds, so that nothing need be looked up that was never put out of memory. */
export function openStates(
  db: Db,
  projection: Projection,
  options: { readonly maxHot?: number; readonly place?: string; readonly isEmpty?: boolean } = {},
): States {
  const { maxHot = MAX_HOT_ENTITIES, place = LIVE, isEmpty = false } = options;
  let knowsAll = isEmpty;
  const hot = new Map<string, Held | null>();
  const put = (id: string, held: Held | null): void => {
    hot.delete(id);
    hot.set(id, held);
  };
  return {
    async load(ids) {
      const cold: string[] = [];
      for (const id of ids) {
        const held = hot.get(id);
        if (held === undefined) cold.push(id);
        else put(id, held);
      }
      // Those at hand have just become the most recent; what a batch needs is never what is put out.
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
      const found = await statesOf(db, place, projection.name, cold);
      for (const id of cold) put(id, null);
      for (const { id, state, firstPosition } of found) put(id, { state: unpackState(state), firstPosition });
    },
    get: (id) => hot.get(id) ?? undefined,
    set: put,
    forget(id) {
      hot.delete(id);
      knowsAll = false;
    },
  };
}

/** A state store of its own for a few entities: for folding them anew. */
export function freshStates(): States {
  const held = new Map<string, Held>();
  return {
    load: async () => {},
    get: (id) => held.get(id),
    set: (id, state) => {
      held.set(id, state);
    },
    forget: (id) => void held.delete(id),
  };
}
