import { CostlyError, PatternError } from "../patterns.ts";

/** The two schemas are beyond what is compared; nothing is claimed of them. */
export class TooComplexError extends Error {}
/** Whether somebody gave up, rather than failed: the schemas are too intricate, or a pattern of theirs is not taken or costs too much. */
export const isUndecided = (error: unknown): error is Error =>
  error instanceof TooComplexError ||
  error instanceof PatternError ||
  error instanceof CostlyError ||
  // The stack is bounded too: what nests that deep is too intricate.
  (error instanceof RangeError && error.message.includes("call stack"));
