/** How a table writes what a form wants: each file has its habit, and nothing here guesses it. */

/** The order of day, month and year in a day that is not written like 2026-05-03. */
export type DayOrder = "dmy" | "mdy" | "ymd";
export const DAY_ORDERS: readonly DayOrder[] = ["dmy", "mdy", "ymd"];

/** What stands before a number's decimals. */
export type DecimalMark = "." | ",";

export interface CellHabit {
  /** Default: days are written like 2026-05-03, and another way is a problem that is told. */
  readonly dates?: DayOrder;
  /** Default: numbers are written like 1234.5, and another way is a problem that is told. */
  readonly decimal?: DecimalMark;
  /** The time zone of times that name none: `+02:00`, `Z`, or a name like `Africa/Juba`. Default: such a time is a problem that is told. */
  readonly zone?: string;
  /** Cells that say that nothing is known, exactly as they are written: `n/a`, `-`. An empty cell always does. */
  readonly missing?: readonly string[];
}

/** A cell that was read as something, or why it could not be; `null`: it does not look like that at all. */
export type Reading<T> =
  | { readonly value: T; readonly problem?: undefined }
  | { readonly problem: string; readonly value?: undefined }
  | null;
