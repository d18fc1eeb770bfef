import { TributaryError } from "./errors.ts";
import type { OriginId } from "./ids.ts";

declare const brand: unique symbol;

/**
 * A hybrid logical clock stamp as text: `2026-05-03T08:00:00.000Z-0007` (wall milliseconds, then a counter of four
 * hexadecimal digits). Sorting the texts sorts the stamps. The origin, which makes a stamp unique, stands beside it
 * in the event. Source: Kulkarni et al., "Logical Physical Clocks", 2014.
 */
export type Hlc = string & { readonly [brand]: "Hlc" };

export interface HlcParts {
  readonly wallMs: number;
  readonly counter: number;
}

export const MAX_COUNTER = 0xffff;
/** Years 0000–9999: what the fixed-width ISO form can hold. Before 1970 no UUIDv7 exists, so 0 is the least. */
export const MAX_WALL_MS = 253_402_300_799_999;

/** No device stamped an event before this: an earlier stamp comes from a clock that had lost the time (1970, after a dead battery). */
export const EARLIEST_STAMP_MS = Date.UTC(2020, 0, 1);

const HLC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z-[0-9a-f]{4}$/;

export function formatHlc({ wallMs, counter }: HlcParts): Hlc {
  if (!Number.isInteger(wallMs) || wallMs < 0 || wallMs > MAX_WALL_MS || counter < 0 || counter > MAX_COUNTER) {
    throw new TributaryError(
      "input-malformed",
      `not a clock stamp: ${wallMs} ms, counter ${counter}`,
      "Check the device's clock.",
    );
  }
  return `${new Date(wallMs).toISOString()}-${counter.toString(16).padStart(4, "0")}` as Hlc;
}

export const isHlc = (text: string): text is Hlc => {
  if (!HLC.test(text)) return false;
  const ms = Date.parse(text.slice(0, 24));
  return ms >= 0 && new Date(ms).toISOString() === text.slice(0, 24);
};

export const parseHlc = (hlc: Hlc): HlcParts => ({
  wallMs: Date.parse(hlc.slice(0, 24)),
  counter: Number.parseInt(hlc.slice(25), 16),
});

export const wallMsOf = (hlc: Hlc): number => Date.parse(hlc.slice(0, 24));

/** The stamp after `last` at wall time `nowMs`: never earlier than `last`, however the wall clock jumps. */
export function tick(last: HlcParts | null, nowMs: number): HlcParts {
  const wallMs = Math.min(Math.max(Math.trunc(nowMs), 0), MAX_WALL_MS);
  if (last === null || wallMs > last.wallMs) return { wallMs, counter: 0 };
  return last.counter < MAX_COUNTER
    ? { wallMs: last.wallMs, counter: last.counter + 1 }
    : { wallMs: last.wallMs + 1, counter: 0 };
}

/**
 * Moves the clock past a stamp seen from elsewhere, so that what is written next sorts after what was read.
 * A stamp further ahead of `nowMs` than `driftLimitMs` is not followed: one wrong clock must not pull all others along.
 */
export function observe(last: HlcParts | null, seen: HlcParts, nowMs: number, driftLimitMs: number): HlcParts | null {
  if (seen.wallMs > nowMs + driftLimitMs) return last;
  if (last === null || seen.wallMs > last.wallMs) return seen;
  return seen.wallMs === last.wallMs && seen.counter > last.counter ? seen : last;
}

/** Orders two stamps, and equal ones by origin, so the order is total and the same everywhere. */
export function compareStamps(a: { hlc: Hlc; origin: OriginId }, b: { hlc: Hlc; origin: OriginId }): number {
  if (a.hlc !== b.hlc) return a.hlc < b.hlc ? -1 : 1;
  return a.origin === b.origin ? 0 : a.origin < b.origin ? -1 : 1;
}
