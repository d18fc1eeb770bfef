/**
 * What an auditor asks. In go the log and the views; out come trails, rows as of a position, and the proof that log, audit and views
 * agree. Never a write.
 */
export {
  type AuditRow,
  type DecisionRow,
  type EntityTrail,
  entityTrail,
  eventRecord,
  parseEntity,
  type RowAsOf,
  rowAsOf,
} from "./entity.ts";
export { type Problem, type VerifyDeps, type VerifyReport, verify } from "./verify.ts";
