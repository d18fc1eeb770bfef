/**
 * All of PostgreSQL: connection, migrations, the catalog of builds, their tables, leases, swap, and all that is written and read. In come plain data and
 * declarations; out go plain data. No other folder names a table or the driver; nothing here knows the log or the gate.
 */
export { type Addition, additionsOf, claimedKeys } from "./additions.ts";
export { type AskedEntity, answerAsked, askedAtOf, askedEntities, askRefold, askWaiting, isAsked } from "./asked.ts";
export { type Audited, auditedAfter, auditedUpTo, lastAudited, lastOfOrigins } from "./audited.ts";
export { balance, noteReconciled, type Reconciled } from "./balance.ts";
export { addBuilds, type NewBuild, takeUp } from "./begin.ts";
export { beyondNow, cutBeyond } from "./beyond.ts";
export { areAbreast, type Generation, generationsOf, isBuiltAs, livePositions, notePositions, parkedIn } from "./catalog.ts";
export type {
  Claim,
  DecisionRow,
  EndedDecision,
  HistoryRow,
  Ordering,
  OriginRow,
  PageChanges,
  ParkedRow,
  PassedOver,
  RowCheck,
  ViewBuild,
  ViewChanges,
  ViewRow,
  WaitingEntity,
} from "./changes.ts";
export { differingLeaves } from "./checksums.ts";
export { type Clinging, clingingSays, clingingToOld } from "./clinging.ts";
export { declaredColumns, sqlType } from "./columns.ts";
export { type Comparison, compareBuild } from "./compare.ts";
export { asPageWriter, connectViews, type Db, inSavepoint, inTransaction, rehearse, waitAtMost } from "./connect.ts";
export { type Connections, openConnections } from "./connections.ts";
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
  isOfValues,
  LACKS_A_RIGHT,
  MAX_REPEATS,
  sqlState,
  wordsOf,
} from "./failures.ts";
export { bucketIds, entityName, type FeedChanges, type FeedRow, feedChanges, type Move, type Placement } from "./feed/lines.ts";
export { type BeforeSealing, type Sealed, type SealedEntity, type SealedRow, seal, type UnsealedRow } from "./feed/sealing.ts";
export { beginFeed, clearFeedBeyond, isFeedInLine, shutFeed } from "./feed-due.ts";
export { type FeedPart, nextFeedPart } from "./feed-in-line.ts";
export { dropForkCasesBut, type ForkCase, nextForkRevision, writeForkCase } from "./fork-cases.ts";
export { parkedCounts, type ShardsNow, shardsNow } from "./health.ts";
export { type FoldedIncarnation, foldedIncarnations, incarnationOf, noteIncarnation } from "./incarnations.ts";
export {
  enroll,
  giveBack,
  type Layout,
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
export { migrate, migrations, refuseNewer, SEALER_NAME } from "./migrate.ts";
export { LIVE } from "./names.ts";
export { openOrgCases } from "./org-cases.ts";
export { type Roles, rolesOf } from "./owned.ts";
export {
  type AuditRow,
  auditEvent,
  auditEvents,
  type EventAddress,
  hasNote,
  lastSeen,
} from "./read/audit-events.ts";
export { type BeyondEvent, beyondOf } from "./read/beyond.ts";
export {
  type CaseFilter,
  type CaseNote,
  type CaseRow,
  type Cases,
  caseById,
  caseEvents,
  caseNotes,
  cases,
  casesOf,
  type InvolvedEvent,
  openViolations,
  type StandingValue,
} from "./read/cases.ts";
export {
  type ChangedRow,
  type ChangedRows,
  changedRows,
  checkFollowed,
  type Followed,
  followedView,
  isChanged,
  isFarBehind,
  type MadeOf,
  type MostChanged,
  type Where,
} from "./read/changed.ts";
export { changedCases } from "./read/changed-cases.ts";
export { declaredTypes, readColumns } from "./read/columns.ts";
export type { Stated } from "./read/conditions.ts";
export { answers, limitQueries } from "./read/connection.ts";
export { type CountedEvent, countedEvents, type EntityEvents, entitiesOf, type ReadData } from "./read/counted.ts";
export { byBytes, type Cursor } from "./read/cursor.ts";
export { type OwedBucket, type ReplicaRow, replicaRows } from "./read/debts.ts";
export {
  decisionsOn,
  decisionsStanding,
  decisionsSuperseded,
  type RecordedDecision,
  type SupersededDecision,
} from "./read/decisions.ts";
export {
  type ChildRow,
  type ClaimRow,
  type EntityTables,
  type KeptRow,
  openEntityTables,
  type VersionRow,
} from "./read/entity-tables.ts";
export {
  type AfterLine,
  hasHead,
  headsAfter,
  historiesOf,
  historiesUpTo,
  type KnownHead,
  type LeftEntity,
  type LinePlace,
  leftSince,
  linesAfter,
  type NewestSeal,
  newestSeal,
  newestSealAndReach,
  placeOf,
  type SealedLine,
} from "./read/feed.ts";
export { type EntryAt, notedEvents } from "./read/feed-events.ts";
export { type HeldEntity, membersOf, namedMembers, partsOfRange, type RangeSum, rangeOf } from "./read/feed-members.ts";
export { packedStates } from "./read/feed-states.ts";
export { holdingOf } from "./read/holding.ts";
export { type Lag, lag } from "./read/lag.ts";
export {
  type Due,
  dueTargets,
  hasOutbox,
  type KeptNotification,
  keptNotifications,
  type Listed,
  listNotifications,
  type NotificationState,
  toldThrough,
} from "./read/outbox.ts";
export { isShown } from "./read/owners.ts";
export {
  type Asked,
  type Parked,
  type ParkedEntity,
  type ParkedWhere,
  parkedMarks,
  parkedRows,
  refoldsAsked,
  whereParked,
} from "./read/parked.ts";
export {
  homeHub,
  placedRuns,
  placesAt,
  positionAt,
  type TakenEvent,
  type TakenNews,
  takenAfter,
  takenNews,
} from "./read/places.ts";
export { type PolicyRow, policiesThatHold, policyIn, policyRows } from "./read/policies.ts";
export { upToCommon } from "./read/position.ts";
export { positionAsked } from "./read/position-asked.ts";
export { presentOf } from "./read/present.ts";
export {
  type QuarantineFilter,
  type QuarantineRate,
  type QuarantineRow,
  quarantine,
  quarantineCount,
  quarantinedEvent,
  quarantinePage,
  quarantineRates,
} from "./read/quarantine.ts";
export { type Readers, readersOf } from "./read/readers.ts";
export { canResume, leastOf, type Present, type Resume, resumeIn, resumeText } from "./read/resume.ts";
export {
  type AsOf,
  columnTypes,
  type FoundRows,
  mustBeView,
  packedState,
  type RowById,
  type Rows,
  type RowsQuestion,
  rows,
  rowsById,
  viewNames,
  withRows,
} from "./read/rows.ts";
export { type PageQuestion, type RowCursor, type RowsPage, readAsked, rowsPage } from "./read/rows-page.ts";
export { type ScopeSize, scopeSize } from "./read/scope-size.ts";
export { settledEvents } from "./read/settled.ts";
export { type SiteStatus, siteRoles, sites } from "./read/sites.ts";
export { inComparison, inSnapshot } from "./read/snapshot.ts";
export { type SyncedOrigin, syncsBetween } from "./read/syncs.ts";
export { listenForChanges, type ToldChange } from "./read/told.ts";
export { type Trail, trail } from "./read/trail.ts";
export { type RowVersion, versionsOf } from "./read/versions.ts";
export { asViewer } from "./read/viewer.ts";
export {
  type AuditedEntity,
  arePositionsLost,
  auditedBefore,
  commonPosition,
  foldedTo,
  furthest,
  lockPositions,
  moveLaggingOn,
  setPositionsBack,
  takeShardsFromAll,
} from "./shard-positions.ts";
export { asPosition, furthestOf, least, NOWHERE, type Positions, SHARDS, shardOf } from "./shards.ts";
export { isEmpty, type KeptState, type ShownRow, shownRow, statesOf } from "./states.ts";
export { changeLayout, prepareSwap, type Swap, swap } from "./swap.ts";
export { createIndexes, shapeOf } from "./tables.ts";
export { copyAudit, writeAuditRow, writeCanary } from "./write/audit.ts";
export { writeCaseNotes } from "./write/case-notes.ts";
export { type CaseChange, type ChangeNote, caseNote, noteChanges } from "./write/change-notes.ts";
export { confirmPurges, noteDebts, type OwedPurge } from "./write/debts.ts";
export { lockFeed, placeCaseNotes, writeFeed } from "./write/feed.ts";
export { writeHistory } from "./write/history.ts";
export { type NotedHolding, noteHolding } from "./write/holding.ts";
export { writeOrigins } from "./write/origins.ts";
export {
  type Attempted,
  type DigestQuestion,
  failUnknown,
  forgetTold,
  listenForNotifications,
  NOTIFICATION_CHANNEL,
  noteAttempts,
  noteTold,
  putBackNotifications,
  restoreKnown,
  retryFailed,
  type Taken,
  takeDigest,
  takeDue,
} from "./write/outbox.ts";
export { writeOwners } from "./write/owners.ts";
export { askAgain, type Hold, tellPage, writeChanges, writePage } from "./write/page.ts";
export { writeParked } from "./write/parked.ts";
export { withPlaceholders } from "./write/placeholders.ts";
export { askPlaced, entitiesPlaced, lockOrder } from "./write/places.ts";
export { writeQuarantine } from "./write/quarantine.ts";
export { notePassedOver, type Refolded, type Replaced, replaceEntity, stayParked } from "./write/replace.ts";
export {
  beforeSealing,
  boundShut,
  type FeedStanding,
  feedStanding,
  type LinesToSeal,
  linesToSeal,
  lockSealing,
  openFeedAgain,
  writeBeginning,
  writeSeal,
  writeSealed,
} from "./write/seal.ts";
export { settledAt, settleQuarantine } from "./write/settlement.ts";
export { tellChanged } from "./write/tell.ts";
export { tellSwapped } from "./write/tell-swapped.ts";
export { writeViews } from "./write/view.ts";
