/**
 * What an auditor asks. In go the log and the views; out come trails, rows as of a position, and the proof that log, audit and views
 * agree. Nothing is ever written.
 */

export type { VerifyDeps, VerifyProgress } from "./compared.ts";
export {
  type EntityTrail,
  entityTrail,
  eventRecord,
  type RowAsOf,
  rowAsOf,
} from "./entity.ts";
export { type Explanation, explainEntity } from "./explain.ts";
export { builtOtherwise, readWith } from "./live.ts";
export { parseEntity } from "./names.ts";
export { PARTS, type Part, type Problem, type Verdict, type Verdicts } from "./verdicts.ts";
export { type VerifyReport, verify } from "./verify.ts";
