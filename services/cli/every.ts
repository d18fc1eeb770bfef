import { TributaryError } from "../core/index.ts";

export const DAY_HOURS = 24;
const MAX_EVERY_HOURS = 365 * DAY_HOURS;

/** Throws `usage` for what is no interval between balancings. Timers of Node end at 24 days, so longer ones are slept hour by hour. */
export function checkEvery(hours: number): void {
  if (hours < 1 || hours > MAX_EVERY_HOURS)
    throw new TributaryError(
      "usage",
      `every ${hours} hours is no interval`,
      `Take 1 to ${MAX_EVERY_HOURS} hours, for example 24.`,
    );
}
