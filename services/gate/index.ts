/**
 * The schema gate. In come events in their writers' forms; out come verdicts: data that fits, or the reason why not, in words.
 * Never a value changed on its way through, never a schema fetched: the store is handed in.
 */
export { type Caster, type Casters, NO_CASTERS } from "./casters.ts";
export { type RowReader, rowReader } from "./cells/cells.ts";
export { isZone, readDay } from "./cells/days.ts";
export { type CellHabit, DAY_ORDERS, type DayOrder, type DecimalMark } from "./cells/habit.ts";
export { canRead, checkCompatibility, DEFAULT_LEVEL, type Finding, isLevel, LEVELS, type Level } from "./compatibility.ts";
export { decidedProblem } from "./decided.ts";
export { type Form, formsOf } from "./forms.ts";
export { createGate, type Fits, type FitsHead, type Gate, type GateOptions, withOpener } from "./gate/gate.ts";
export type { Verdict } from "./gate/hub.ts";
export { type Opening, openWith, type Pins } from "./gate/projector.ts";
export { type LintNote, lintCasters, lintSchema, memberChanges } from "./lint.ts";
export { type Announcement, announcedBy, announcementsOf } from "./registry/announcer.ts";
export type { RegistryHub } from "./registry/authority.ts";
export { MODES, type Mode, type Proposal, type Registered, type Registration, type Registry } from "./registry/registry.ts";
export {
  type Annotations,
  type Kind,
  type Reference,
  referencesIn,
  resolvedText,
  type SchemaStore,
  type SchemaText,
  type SchemaVersion,
  schemasDigest,
  schemaVersion,
  shortFingerprint,
  shortFingerprints,
  subjectName,
} from "./schema.ts";
export { type SchemaFile, schemaFile, schemaStore } from "./store.ts";
export { ANY_JSON, type DataType, dataTypes } from "./typescript/types.ts";
export { comment, memberName, namer, typeName } from "./typescript/words.ts";
export type { Problem } from "./words.ts";
