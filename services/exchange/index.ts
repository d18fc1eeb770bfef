/** What a replica lacks, and how a hub serves it from its feed. */

export type { Caller } from "./holdings.ts";
export { openPostgresFeed, type PostgresFeed, type PostgresFeedOptions } from "./postgres.ts";
export { type Asker, type ServeDeps, type Server, serve } from "./serve.ts";
export type { Debt, EventRef, FeedStore, Member, Seal, StoredLine } from "./store.ts";
