/**
 * What people decide: cases, quarantine, parked entities, sites, which views are rebuilt, and whether changed rules are good. In go plain requests; out come plain results, and events that the
 * hub's own console writes. No check is left to the caller, and nothing here knows the command line.
 */
export {
  type Builder,
  type BuildOrder,
  type BuildRequest,
  type Differing,
  rebuildViews,
  rollBack,
  viewNamesOf,
  type WhichViews,
} from "./builds.ts";
export {
  accept,
  acceptRefusal,
  assign,
  type CaseDetails,
  caseDetails,
  comment,
  type Noted,
} from "./cases.ts";
export {
  type ConsoleName,
  type ConsoleOptions,
  consoleWriter,
  inTurns,
  PROGRAMS_SITE,
  programsOf,
  programsOfHub,
} from "./console.ts";
export { type Chosen, type Decided, type DecideRequest, decide } from "./decide.ts";
export type { By, Desk, Shown, Write, Written } from "./desk.ts";
export {
  askAgain,
  type Correction,
  correct,
  correctable,
  parkedMeant,
  parkedNamed,
  type RetryRequest,
  retryParked,
} from "./parked.ts";
export { type Choice, choicesOf, pickCodes } from "./pick.ts";
export {
  type Absent,
  absentHolders,
  type GrantSize,
  type KnownPolicy,
  type Preview,
  policies,
  policyNamed,
  previewPolicies,
  readPolicy,
  removePolicy,
  setPolicy,
} from "./policies.ts";
export {
  type Change,
  type Examined,
  examine,
  nameOf,
  parsedObject,
  type RejectRequest,
  type ReleaseRequest,
  type ReleaseResult,
  reject,
  release,
  type Which,
} from "./quarantine.ts";
export { type KnownReplica, type OwedPurges, replicas } from "./replicas.ts";
export {
  type Admission,
  type Grant,
  type NewSite,
  type RegisteredSite,
  registerSite,
  rolesFor,
  rolesOfSite,
  setSiteRoles,
  silentSites,
  siteTypes,
} from "./sites.ts";
export { type Form, formOf, type Matter, type Standing, standing } from "./standing.ts";
export { type ChangedRow, type Tried, tryRules } from "./try.ts";
