/** What a replica lacks, and how a hub serves it from its feed. */

export type { Caller } from "./holdings.ts";
export { openPostgresFeed, type PostgresFeed, type PostgresFeedOptions } from "./postgres.ts";
export { type Asker, type ServeDeps, type Server, serve } from "./serve.ts";
export type {
  AfterLine,
  Debt,
  EventRef,
  FeedStore,
  HistoryAsk,
  LeftEntity,
  LinePlace,
  Member,
  Seal,
  StoredLine,
  ToldHolding,
} from "./store.ts";
