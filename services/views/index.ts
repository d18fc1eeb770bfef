/**
 * All of PostgreSQL. In go questions, and changes of a page; out come plain data: days and instants as text, positions as text or branded. Never a
 * table's name, a row of the driver's or an SQL text to anybody outside.
 */
export {
  type AuditRow,
  auditEvent,
  auditEvents,
  type EventName,
  hasNote,
  lastSeen,
} from "./read/audit-events.ts";
export { type BeyondEvent, beyondOf } from "./read/beyond.ts";
export {
  type CaseFilter,
  type CaseNote,
  type CaseRow,
  caseById,
  caseEvents,
  caseNotes,
  cases,
  type InvolvedEvent,
  openViolations,
  type StandingValue,
} from "./read/cases.ts";
export { columnsOf, declaredTypes } from "./read/columns.ts";
export { answers, limitQueries } from "./read/connection.ts";
export { type CountedEvent, countedEvents, type EntityEvents, entitiesOf, type ReadData } from "./read/counted.ts";
export { byBytes, type Cursor } from "./read/cursor.ts";
export type { Db } from "./read/db.ts";
export { type DecisionRow, decisionsOn, decisionsStanding } from "./read/decisions.ts";
export {
  type ChildRow,
  type ClaimRow,
  type EntityTables,
  type KeptRow,
  openEntityTables,
  type VersionRow,
} from "./read/entity-tables.ts";
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
export {
  type Asked,
  type Parked,
  type ParkedIn,
  type ParkedRow,
  parkedIn,
  parkedMarks,
  parkedRows,
  refoldsAsked,
} from "./read/parked.ts";
export { commonPosition, presentIncarnation, upToCommon } from "./read/position.ts";
export {
  type QuarantineFilter,
  type QuarantineRate,
  type QuarantineRow,
  quarantine,
  quarantinedEvent,
  quarantineRates,
} from "./read/quarantine.ts";
export { type Readers, readersOf } from "./read/readers.ts";
export {
  type AsOf,
  columnTypes,
  packedState,
  type Rows,
  type RowsQuestion,
  rows,
  rowsById,
  type ShownRow,
  viewNames,
} from "./read/rows.ts";
export { type SiteStatus, sites } from "./read/sites.ts";
export { inComparison, inSnapshot } from "./read/snapshot.ts";
export { type Trail, trail } from "./read/trail.ts";
export {
  type DigestQuestion,
  failUnknown,
  forgetTold,
  listenForNotifications,
  NOTIFICATION_CHANNEL,
  noteTold,
  putBackNotifications,
  restoreKnown,
  retryFailed,
  type Settled,
  settle,
  type Taken,
  takeDigest,
  takeDue,
} from "./write/outbox.ts";
export { inTransaction } from "./write/transaction.ts";
