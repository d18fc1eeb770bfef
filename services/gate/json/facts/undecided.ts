import { CostlyError, PatternError } from "../patterns.ts";

/** The two schemas are too intricate to compare; nothing is claimed about them. */
export class TooComplexError extends Error {}
/** Whether somebody gave up, rather than failed: the schemas are too intricate, or one of their patterns is refused or costs too much. */
export const isUndecided = (error: unknown): error is Error =>
  error instanceof TooComplexError ||
  error instanceof PatternError ||
  error instanceof CostlyError ||
  // The stack is bounded too: what nests that deep is too intricate.
  (error instanceof RangeError && error.message.includes("call stack"));
