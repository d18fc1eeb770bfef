/**
 * All of PostgreSQL: connection, migrations, the catalog of builds, their tables, leases, swap, and what is written and read of it all. In come plain data and
 * declarations; out go plain data. Nobody else names a table, or the driver; nothing here knows the log or the gate.
 */
export { type Addition, additionsOf, keyOf, seen } from "./additions.ts";
export { type AskedEntity, answerAsked, askedEntities, askRefold, askWaiting, isAsked } from "./asked.ts";
export { type Audited, auditedAfter, auditedUpTo, lastAudited, lastOfOrigins } from "./audited.ts";
export { balance, noteReconciled, type Reconciled } from "./balance.ts";
export { addBuilds, type NewBuild, takeUp } from "./begin.ts";
export { beyondNow, cutBeyond } from "./beyond.ts";
export { areAbreast, type Generation, generationsOf, isBuiltAs, livePositions, notePositions, parkedIn } from "./catalog.ts";
export type {
  Claim,
  DecisionRow,
  HistoryRow,
  OriginRow,
  PageChanges,
  ParkedRow,
  PassedOver,
  RowCheck,
  SettledDecision,
  ViewBuild,
  ViewChanges,
  ViewRow,
  WaitingEntity,
} from "./changes.ts";
export { differingLeaves } from "./checksums.ts";
export { type Clinging, clingingSays, clingingToOld } from "./clinging.ts";
export { declaredColumns, readColumn, sqlType } from "./columns.ts";
export { type Comparison, compareBuild } from "./compare.ts";
export { asPageWriter, connectViews, type Db, inSavepoint, inTransaction, rehearse, waitAtMost } from "./connect.ts";
export { dropGeneration, dropLetGo, dropOrLeave, isAnyLetGo } from "./drop.ts";
export { type EventName, eventNamesOf } from "./events-of.ts";
export type { AuditDifference, Expected } from "./expected/audit.ts";
export type { BeyondLog } from "./expected/beyond.ts";
export { type Books, openBooks, type Placeholders } from "./expected/books.ts";
export type { Differences } from "./expected/differing.ts";
export { openTotals, type TotalsBooks } from "./expected/totals.ts";
export {
  isAudited,
  isLockedOut,
  isMissing,
  isOfData,
  LACKS_A_RIGHT,
  MAX_REPEATS,
  sqlState,
  wordsOf,
} from "./failures.ts";
export { dropForkCasesBut, type ForkCase, nextForkRevision, writeForkCase } from "./fork-cases.ts";
export { parkedCounts, type ShardsNow, shardsNow } from "./health.ts";
export { type FoldedIncarnation, foldedIncarnations, incarnationOf, noteIncarnation } from "./incarnations.ts";
export {
  enroll,
  giveBack,
  type Lease,
  leave,
  type Member,
  moveShards,
  othersAlive,
  TEND_MS,
  takeShards,
  tend,
} from "./leases.ts";
export { alone, holdShards, isWaitedFor, mayBeLost } from "./lock.ts";
export { migrate } from "./migrate.ts";
export { LIVE } from "./names.ts";
export {
  type AuditedEntity,
  arePlacesLost,
  auditedBefore,
  commonPosition,
  foldedTo,
  furthest,
  lockPlaces,
  putPlacesRight,
  setPlacesBack,
  takeShardsFromAll,
} from "./places.ts";
export { asPosition, least, NOWHERE, type Positions, SHARDS, shardOf } from "./shards.ts";
export { isEmpty, type KeptState, type ShownRow, shownRow, statesOf } from "./states.ts";
export { changeLayout, type Swap, swap } from "./swap.ts";
export { createIndexes, shapeOf } from "./tables.ts";
export { copyAudit, writeAuditRow, writeCanary } from "./write/audit.ts";
export { writeCaseNotes } from "./write/case-notes.ts";
export { writeHistory } from "./write/history.ts";
export { writeOrigins } from "./write/origins.ts";
export { type Hold, writeChanges, writePage } from "./write/page.ts";
export { writeParked } from "./write/parked.ts";
export { withPlaceholders } from "./write/placeholders.ts";
export { writeQuarantine } from "./write/quarantine.ts";
export { notePassedOver, type Refolded, replaceEntity, stayParked } from "./write/replace.ts";
export { settledAt, settleQuarantine } from "./write/settlement.ts";
export { writeViews } from "./write/view.ts";
