/**
 * Where a follower of live views stands: how far each shard was folded, and the last note of what changes at no position of its own (`022_changes.sql`). Each shard counts by
 * itself: one that is behind holds up nothing, and nothing is told twice. Followers keep it as a text that only this file reads.
 */
import { type Position, position, TributaryError } from "../../core/index.ts";
import { least, type Positions, SHARDS } from "../shards.ts";

export interface Resume {
  /** Names the log's incarnation and the count of notes: positions and numbers of another life mean other things. */
  readonly life: string;
  readonly number: bigint;
  readonly positions: Positions;
}

/** How things stand in a snapshot. */
export interface Present extends Resume {
  /** Notes up to this number may be gone. */
  readonly trimmed: bigint;
  /** Names the views' tables as they are: it changes with each swap. */
  readonly layout: string;
}

const LIFE = /^[0-9a-f]{12}$/;
/** A whole number to base 36, below 2^63. */
const DIGITS = /^[0-9a-z]{1,13}$/;
const MOST = 2n ** 63n - 1n;

/** Numbers from 0 on; a shard that has not begun stands before them. */
const ordinal = (at: Position | null): bigint => (at === null ? 0n : at + 1n);

/** `life.number.least`, and where shards differ, how far each is beyond the least. */
export function resumeText({ life, number, positions }: Resume): string {
  const all = positions.map(ordinal);
  const low = all.reduce((a, b) => (b < a ? b : a));
  const beyond = all.map((each) => (each - low).toString(36));
  return [life, number.toString(36), low.toString(36), ...(beyond.every((each) => each === "0") ? [] : beyond)].join(".");
}

/** Reads a resume position. Throws `input-malformed` for what none of ours is. */
export function resumeIn(text: string): Resume {
  const [life = "", ...rest] = text.split(".");
  const [number, low, ...beyond] = rest.map(wholeIn);
  const isRight =
    LIFE.test(life) && number != null && low != null && !beyond.includes(null) && [0, SHARDS].includes(beyond.length);
  if (!isRight) throw malformed();
  const positions = Array.from({ length: SHARDS }, (_, shard) => {
    const at = low + (beyond[shard] ?? 0n);
    if (at > MOST) throw malformed();
    return at === 0n ? null : position(at - 1n);
  });
  return { life, number, positions };
}

function wholeIn(text: string): bigint | null {
  if (!DIGITS.test(text)) return null;
  let whole = 0n;
  for (const digit of text) whole = whole * 36n + BigInt(Number.parseInt(digit, 36));
  return whole > MOST ? null : whole;
}

const malformed = (): TributaryError =>
  new TributaryError(
    "input-malformed",
    "this is not a resume position that a hub has given",
    "Read the view again, and follow it from the position that comes with it.",
  );

/** Whether all that changed between the two is still known. `false`: read again. */
export const canResume = (from: Resume, now: Present): boolean =>
  from.life === now.life &&
  from.number <= now.number &&
  from.number >= now.trimmed &&
  from.positions.every((at, shard) => ordinal(at) <= ordinal(now.positions[shard] ?? null));

/** Before all positions, as SQL compares them. */
const BEFORE_ALL = -1n;

/** The position after which the events stand that a follower may not have seen. */
export const leastOf = ({ positions }: Resume): bigint => least(positions) ?? BEFORE_ALL;

/** The position up to which a follower has seen a shard. */
export const seenOf = ({ positions }: Resume, shard: number): bigint => positions[shard] ?? BEFORE_ALL;
