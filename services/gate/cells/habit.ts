/** How a table writes what a form asks for: each file has its habit, and nothing here guesses it. */

/** The order of day, month and year in a day that is not written like 2026-05-03. */
export type DayOrder = "dmy" | "mdy" | "ymd";
export const DAY_ORDERS: readonly DayOrder[] = ["dmy", "mdy", "ymd"];

/** The mark that stands before a number's decimals. */
export type DecimalMark = "." | ",";

export interface CellHabit {
  /** Default: days are written like 2026-05-03, and a day written in another way is a problem. */
  readonly dates?: DayOrder;
  /** Default: numbers are written like 1234.5, and a number written in another way is a problem. */
  readonly decimal?: DecimalMark;
  /** The time zone of times that name none: `+02:00`, `Z`, or a name like `Africa/Juba`. Default: such a time is a problem. */
  readonly zone?: string;
  /** The cells that say that nothing is known, exactly as they are written: `n/a`, `-`. An empty cell always says so. */
  readonly missing?: readonly string[];
}

/** What a cell was read as, or why it could not be read; `null`: it does not look like such a value at all. */
export type Reading<T> =
  | { readonly value: T; readonly problem?: undefined }
  | { readonly problem: string; readonly value?: undefined }
  | null;
