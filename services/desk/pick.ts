import { createHash } from "node:crypto";
import { TributaryError } from "../core/index.ts";
import type { StandingValue } from "../views/index.ts";
import { shown } from "./words.ts";

const MIN_CODE_DIGITS = 4;
const longCodeOf = (event: string): string => createHash("sha256").update(event).digest("hex");

/**
 * A short code for each of the values that stand side by side, made from its event: a person picks what was shown, whoever wrote meanwhile. A code is never a number in
 * the list, since that may change.
 */
export function pickCodes(events: readonly string[]): string[] {
  const codes = events.map(longCodeOf);
  const isClear = (digits: number): boolean => new Set(codes.map((code) => code.slice(0, digits))).size === new Set(codes).size;
  let digits = MIN_CODE_DIGITS;
  while (!isClear(digits)) digits++;
  return codes.map((code) => code.slice(0, digits));
}

/** A value that a person may pick. */
export interface Choice extends StandingValue {
  readonly pick: string;
}

/** The values, each with the code that picks it. */
export function choicesOf(values: readonly StandingValue[]): readonly Choice[] {
  const codes = pickCodes(values.map(({ event }) => event));
  return values.map((value, i) => ({ pick: codes[i]!, ...value }));
}

/** The value that a code or `origin/seq` names. A code that was shown when fewer values stood there holds while it names only one. Throws `usage`. */
export function picked(pick: string, values: readonly StandingValue[]): StandingValue {
  const isCode = new RegExp(`^[0-9a-f]{${MIN_CODE_DIGITS},64}$`).test(pick);
  const [first, ...others] = values.filter(({ event }) => event === pick || (isCode && longCodeOf(event).startsWith(pick)));
  if (first !== undefined && others.length === 0) return first;
  throw new TributaryError(
    "usage",
    `${pick} names ${first === undefined ? "none" : "several"} of the values that stand side by side`,
    `There are: ${choicesOf(values)
      .map(({ pick: code, value, actor }) => `${code} ${shown(value)} by ${actor}`)
      .join("; ")}.`,
  );
}
