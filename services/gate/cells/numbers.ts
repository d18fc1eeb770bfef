/** Numbers as tables write them. In comes a cell; out comes the number that it stands for, or why that cannot be said. */
import type { DecimalMark, Reading } from "./habit.ts";

const PLAIN = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/;
/** In every habit, groups of three digits may be parted by a space (of any width) or an apostrophe. */
const GROUP = "[ \\u00a0\\u202f\\u2009'’]";
const PARTING = new RegExp(GROUP, "g");
const WITH_POINT = new RegExp(`^[+-]?\\d{1,3}((${GROUP}|,)\\d{3})+(\\.\\d+)?$`);
const WITH_COMMA = new RegExp(`^[+-]?(\\d{1,3}((${GROUP}|\\.)\\d{3})+|\\d+)(,\\d+)?$`);
const LOOKS_LIKE_ONE = new RegExp(`^[+-]?\\d+((${GROUP}|[.,])\\d+)+$`);

/**
 * Reads a number in the file's habit. `mark`: what stands before decimals; without it only the plain way is read (`1234.5`), and any other is a problem. A number with
 * more digits than a double keeps is a problem too: it would become another number.
 */
export function readNumber(cell: string, mark: DecimalMark | undefined): Reading<number> {
  if (mark === ",") {
    if (WITH_COMMA.test(cell)) return exactly(cell, cell.replace(PARTING, "").replaceAll(".", "").replace(",", "."));
    if (PLAIN.test(cell)) return { problem: `"${cell}" has a decimal point, and the file's numbers have a comma` };
    return LOOKS_LIKE_ONE.test(cell) ? { problem: `"${cell}" is not a number with a decimal comma` } : null;
  }
  if (PLAIN.test(cell)) return exactly(cell, cell);
  if (mark === "." && WITH_POINT.test(cell)) return exactly(cell, cell.replace(PARTING, "").replaceAll(",", ""));
  if (!LOOKS_LIKE_ONE.test(cell)) return null;
  return mark === "."
    ? { problem: `"${cell}" is not a number with a decimal point` }
    : { problem: `"${cell}" can be read in more than one way; say which decimal mark the file has (--decimal)` };
}

function exactly(cell: string, plain: string): Reading<number> {
  const value = Number(plain);
  if (Number.isFinite(value) && digitsOf(plain) === digitsOf(String(value))) return { value: value === 0 ? 0 : value };
  return { problem: `"${cell}" has more digits than a number keeps` };
}

/** A decimal number's sign, digits and power of ten, so that two texts of the same number give the same result: `1.50`, `15e-1`. */
function digitsOf(plain: string): string {
  const [, sign, whole = "", decimals = "", power = "0"] = /^([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(plain) ?? [];
  const digits = `${whole}${decimals}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  return `${sign === "-" ? "-" : ""}${significant}e${Number(power) - decimals.length + (digits.length - significant.length)}`;
}
