/**
 * Folds the log into PostgreSQL. In come pages of the log; out go, in one transaction for each page, view rows, their past, audit rows, decisions, cases
 * and the position reached. A shard never has two writers, and a page is never written twice or in part.
 */
export type { Progress, RebuildOptions, Rebuilt } from "./building.ts";
export { differences, targetsFor } from "./builds.ts";
export { type Counting, counting, type Judged } from "./counts.ts";
export { toFoldEvent } from "./fold-event.ts";
export { checkFunctions, eventsIn } from "./fold-view.ts";
export { type ProjectorHealth, projectorHealth } from "./health.ts";
export { keepNoting, noterOver } from "./noting.ts";
export type { ViewTarget } from "./page.ts";
export { fullPlacing, namingHubs, type Placing } from "./placing.ts";
export { rebuild } from "./rebuild.ts";
export { reconcile } from "./reconcile.ts";
export { eventsOf, type Rehearsed, rehearseRefold } from "./refold.ts";
export { type Projector, startProjector } from "./run.ts";
export type { ProjectorOptions } from "./session.ts";
export { keepUpWithLog, mayBeSetBack } from "./setback.ts";
export { shardOfEntry } from "./shards.ts";
