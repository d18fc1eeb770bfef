import type { FeedStore, Seal } from "./store.ts";

/** While the feed is made for other columns than it would be read by, nothing is sealed for whoever reads it. */
const UNREADY: Seal = { number: 0, through: null };

/**
 * A store that says nothing while its feed is made for other scope columns than `scopes`, those by which it is read: by other columns a village would be taken for a district, and replicas would
 * delete what they may hold, or be given what they may not. It is so for a moment where a view with another scope was swapped in, and the process that serves pulls still has the earlier declaration.
 */
export function inLine(store: FeedStore, scopes: ReadonlyMap<string, readonly string[]>): FeedStore {
  const { atOnce } = store;
  const newest = async (from: FeedStore, told?: number): Promise<Seal> => {
    const seal = await from.newest(told);
    return seal.scopes === undefined || isMadeFor(seal.scopes, scopes) ? seal : UNREADY;
  };
  const guarded = (from: FeedStore): FeedStore => ({ ...from, newest: (told) => newest(from, told) });
  return {
    ...guarded(store),
    ...(atOnce === undefined ? {} : { atOnce: (work) => atOnce((from) => work(guarded(from))) }),
  };
}

const isMadeFor = (made: NonNullable<Seal["scopes"]>, scopes: ReadonlyMap<string, readonly string[]>): boolean =>
  [...scopes].every(([type, columns]) => Object.hasOwn(made, type) && JSON.stringify(made[type]) === JSON.stringify(columns));
