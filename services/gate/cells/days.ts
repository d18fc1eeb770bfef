/** Days and times as tables write them. In comes a cell; out comes a day like 2026-05-03, or an instant of UTC, or why that cannot be said. */
import type { DayOrder, Reading } from "./habit.ts";

const ISO_DAY = /^(\d{4})-(\d{2})-(\d{2})$/;
const ANY_DAY = /^(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})$/;
/** The time that spreadsheets add to a day that has none. */
const MIDNIGHT = /[T ]0{1,2}:00(:00(\.0+)?)?$/;
const CLOCK = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?$/;
const TIME = /^(.+?)[T ]\s*(\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)\s*(Z|[+-]\d{2}:?\d{2})?$/i;
const DAY_MS = 86_400_000;

const MONTHS = "January February March April May June July August September October November December".split(" ");

/** A day of the calendar, as YYYY-MM-DD; `null` for one that does not exist, like 2026-02-30. */
function day(year: number, month: number, date: number): string | null {
  const at = new Date(0);
  at.setUTCFullYear(year, month - 1, date);
  return year >= 1 && month >= 1 && date >= 1 && at.getUTCMonth() === month - 1 && at.getUTCDate() === date
    ? `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}-${String(date).padStart(2, "0")}`
    : null;
}

const inWords = (iso: string): string => {
  const [, , month, date] = /^(\d+)-(\d+)-(\d+)$/.exec(iso) ?? [];
  return `${Number(date)} ${MONTHS[Number(month) - 1] ?? ""}`;
};

/**
 * Reads a day in the file's order. A day like 2026-05-03 is read in every order. Without an order, a day written in another way is a problem, whose words say which days it
 * could be: 03/05/2026 is 3 May in Juba and 5 March in Houston.
 */
export function readDay(cell: string, order: DayOrder | undefined): Reading<string> {
  const text = cell.replace(MIDNIGHT, "");
  const iso = ISO_DAY.exec(text);
  if (iso !== null) {
    const value = day(Number(iso[1]), Number(iso[2]), Number(iso[3]));
    return value === null ? { problem: `"${cell}" is not a day of the calendar` } : { value };
  }
  const parts = ANY_DAY.exec(text);
  if (parts === null) return null;
  const [, first = "", , second = "", third = ""] = parts;
  const as = (wanted: DayOrder): string | null => {
    const [y, m, d] =
      wanted === "ymd" ? [first, second, third] : wanted === "dmy" ? [third, second, first] : [third, first, second];
    return y.length === 4 && d.length <= 2 && m.length <= 2 ? day(Number(y), Number(m), Number(d)) : null;
  };
  if (order !== undefined) {
    const value = as(order);
    if (value !== null) return { value };
    const isShort = first.length < 3 && third.length < 3;
    return { problem: isShort ? `"${cell}" has a year of two digits` : `"${cell}" is not a day in the order ${order}` };
  }
  if (first.length < 3 && third.length < 3) return { problem: `"${cell}" has a year of two digits` };
  const could = (["dmy", "mdy", "ymd"] as const).flatMap((each) => {
    const value = as(each);
    return value === null ? [] : [{ each, value }];
  });
  const [one, other] = could;
  if (one === undefined) return { problem: `"${cell}" is not a day of the calendar` };
  return {
    problem:
      other === undefined || other.value === one.value
        ? `"${cell}" is not written like ${one.value}; say in which order the file writes days (--dates ${one.each})`
        : `"${cell}" may be ${inWords(one.value)} or ${inWords(other.value)}; say in which order the file writes days (--dates ${one.each} or ${other.each})`,
  };
}

/** Reads a time of day as milliseconds since midnight: 14:20, 14:20:05.5. */
export function readClock(cell: string): number | null {
  const [, hours, minutes, seconds = "0", fraction = ""] = CLOCK.exec(cell) ?? [];
  if (hours === undefined || Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59) return null;
  return ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000 + Number(fraction.slice(0, 3).padEnd(3, "0"));
}

/** Reads a day with a time as an instant, ISO 8601 with `Z`. `zone`: the zone of a time that names none; without it, such a time is a problem. */
export function readTime(cell: string, order: DayOrder | undefined, zone: string | undefined): Reading<string> {
  const [, date, clock, offset] = TIME.exec(cell) ?? [];
  if (date === undefined || clock === undefined) return null;
  const on = readDay(date, order);
  if (on === null || on.problem !== undefined) return on;
  const ofDay = readClock(clock);
  if (ofDay === null) return { problem: `"${cell}" is not a time of day` };
  const local = Date.parse(`${on.value}T00:00:00.000Z`) + ofDay;
  if (offset === undefined && zone === undefined)
    return { problem: `"${cell}" does not name its time zone; say which the file has (--zone)` };
  const instants = instantsOf(local, offset ?? zone ?? "Z");
  const [instant] = instants;
  if (instant === undefined) return { problem: `"${cell}" was skipped when the clocks of ${zone} went forward` };
  if (instants.length > 1) return { problem: `"${cell}" came twice when the clocks of ${zone} went back` };
  return { value: new Date(instant).toISOString() };
}

/** The instants (ms) at which the clocks of a zone show what UTC's clocks show at `local` (ms): none, one or two. */
function instantsOf(local: number, zone: string): readonly number[] {
  const fixed = fixedOffset(zone);
  if (fixed !== null) return [local - fixed];
  const offsets = new Set([zoneOffset(local - DAY_MS, zone), zoneOffset(local + DAY_MS, zone)]);
  return [...offsets].map((offset) => local - offset).filter((instant) => instant + zoneOffset(instant, zone) === local);
}

/** How many milliseconds `+02:00`, `+0200` or `Z` is ahead of UTC; `null`: the zone is not written like that. */
function fixedOffset(zone: string): number | null {
  if (/^(z|utc)$/i.test(zone)) return 0;
  const [, sign, hours, minutes] = /^([+-])(\d{2}):?(\d{2})$/.exec(zone) ?? [];
  if (sign === undefined || Number(hours) > 14 || Number(minutes) > 59) return null;
  return (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
}

const clocks = new Map<string, Intl.DateTimeFormat>();
function clockOf(zone: string): Intl.DateTimeFormat {
  let clock = clocks.get(zone);
  if (clock === undefined) {
    const parts = {
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    } as const;
    clock = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", era: "short", ...parts });
    clocks.set(zone, clock);
  }
  return clock;
}

/** How many milliseconds a named zone is ahead of UTC at an instant (ms). */
function zoneOffset(instant: number, zone: string): number {
  const shown = new Map(
    clockOf(zone)
      .formatToParts(instant)
      .map(({ type, value }) => [type, value]),
  );
  const part = (name: Intl.DateTimeFormatPartTypes): number => Number(shown.get(name));
  const year = shown.get("era") === "BC" ? 1 - part("year") : part("year");
  const at = new Date(0);
  at.setUTCFullYear(year, part("month") - 1, part("day"));
  at.setUTCHours(part("hour"), part("minute"), part("second"));
  return at.getTime() - Math.floor(instant / 1000) * 1000;
}

/** Whether this is the name of a time zone, or an offset. */
export function isZone(zone: string): boolean {
  if (fixedOffset(zone) !== null) return true;
  try {
    clockOf(zone);
    return true;
  } catch {
    return false;
  }
}
