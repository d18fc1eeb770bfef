/**
 * Folds the log into PostgreSQL. In come pages of the log; out go, in one transaction a page, view rows, their past, audit rows, decisions, cases
 * and how far it came. Never two writers to a shard, never a page twice, never a page in part.
 */
export { differences, familyOf, targetsFor } from "./builds.ts";
export { type Counting, counting, type Judged } from "./counts.ts";
export { toFoldEvent } from "./fold-event.ts";
export { checkFunctions, eventsIn } from "./fold-view.ts";
export { type ProjectorHealth, projectorHealth } from "./health.ts";
export type { ViewTarget } from "./page.ts";
export { type Progress, type RebuildOptions, type Rebuilt, rebuild } from "./rebuild.ts";
export { reconcile } from "./reconcile.ts";
export { eventsOf, type Rehearsed, rehearseRefold } from "./refold.ts";
export { type Projector, startProjector } from "./run.ts";
export type { ProjectorOptions } from "./session.ts";
export { keepUpWithLog, mayBeSetBack } from "./setback.ts";
export { shardOfEntry } from "./shards.ts";
