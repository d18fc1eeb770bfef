/**
 * Folding, for our own services: registers, states, decisions, and the types of declarations. In come events and views; out come states, rows and decisions.
 * There is no I/O, and no outcome depends on the order, repetition or delay of arrival.
 */
export { type Anew, foldAnew } from "./anew.ts";
export { type Column, columnWords, normal } from "./columns.ts";
export type { Crdt, CrdtWrite } from "./crdt.ts";
export {
  checkRow,
  type Decision,
  decide,
  decisionsOf,
  type EntityState,
  type FoldEvent,
  type Folded,
  type FullRow,
  fold,
  isWithheld,
  type Row,
  rowOf,
  rowWith,
  seenOf,
  siblingsOf,
  waitingFor,
} from "./fold.ts";
export { foldHeadOf, type KeptEvent, seenEvent } from "./fold-event.ts";
export {
  type CheckedRow,
  checkInvariants,
  checkScopeSeen,
  contributionsOf,
  isBroken,
  keysHeld,
  problemOfTotal,
  problemsIn,
  unknownIn,
} from "./invariants.ts";
export { type Mask, maskedState, maskOf } from "./masked.ts";
export { fitsViews, misfitIn } from "./misfit.ts";
export { narrowColumns } from "./narrow.ts";
export { type PersonalForm, type PersonalScope, personalScopes } from "./personal.ts";
export {
  type Columns,
  DELETED,
  type DecidedRule,
  type Declaration,
  type EventRule,
  type Invariant,
  type ProjectedEvent,
  type Projection,
  RESOLVED,
  type RegisterRule,
} from "./projection.ts";
export { type Author, applyWrite, type Register, reachOf, type Sibling, type Write } from "./register.ts";
export {
  type CustomRule,
  isOneOf,
  NO_CONTEXT,
  problemsOfRule,
  type Reason,
  type ResolveContext,
  type Resolver,
  type Who,
} from "./resolvers.ts";
export { rowsHash, rowText, type Withheld } from "./rows-hash.ts";
export { bucketOf, scopedViews, scopesOf } from "./scope.ts";
export { shapeDigest } from "./shape.ts";
export { packState, unpackState } from "./state.ts";
export { isResolution, type RegisterStory, registersWith, type Step, type Story, type StoryEvent, tell } from "./story.ts";
export { type UnfedEvent, unfedEvents } from "./unfed.ts";
export {
  checkViews,
  closureOf,
  columnsOf,
  entityViews,
  inOrder,
  type SqlView,
  type Totals,
  tablesOf,
  type View,
} from "./views.ts";
