import { TributaryError } from "../core/index.ts";
import type { Range } from "./args.ts";

export const DAY_HOURS = 24;
const MAX_EVERY_HOURS = 365 * DAY_HOURS;
export const EVERY_HOURS: Range = { least: 1, most: MAX_EVERY_HOURS };

/** Throws `usage` for hours that are too few or too many. Node's timers end at 24 days, so the reconciler sleeps hour by hour. */
export function checkEvery(hours: number): void {
  if (hours < 1 || hours > MAX_EVERY_HOURS)
    throw new TributaryError(
      "usage",
      `every ${hours} hours is not an interval`,
      `Give 1 to ${MAX_EVERY_HOURS} hours, for example 24.`,
    );
}
