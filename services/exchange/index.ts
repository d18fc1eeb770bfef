/** What a replica lacks, and how a hub serves it from its feed. */
export type { Debt, EventRef, FeedStore, Member, Seal, StoredLine } from "./store.ts";
