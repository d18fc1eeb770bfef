import { compareStamps } from "../core/index.ts";
import type { Author, Sibling } from "./register.ts";

/** What decided between siblings. */
export type Reason =
  /** The later stamp won. */
  | "later-stamp"
  /** The stamps are equal; the origin's name broke the tie, the same way everywhere. */
  | "origin-tie"
  /** All others come from devices whose clock was wrong. */
  | "clock-trusted";

export interface Resolution {
  readonly winner: Sibling;
  readonly reason: Reason;
}

/** Picks one of at least one sibling: a pure function of their set. */
export interface Resolver {
  readonly name: string;
  readonly version: number;
  resolve(siblings: readonly Sibling[]): Resolution;
}

const outranks = (a: Author, b: Author): boolean =>
  a.clockWrong === b.clockWrong ? (compareStamps(a, b) || a.seq - b.seq) > 0 : b.clockWrong;

/**
 * The write with the latest hybrid-clock stamp wins. A stamp of a clock known to be wrong never wins against one that is
 * not; between two such, the later still wins, so that the outcome is the same everywhere.
 */
export const lastWriteWins: Resolver = {
  name: "lastWriteWins",
  version: 1,
  resolve(siblings) {
    let winner = siblings[0]!;
    for (const other of siblings) if (outranks(other.by, winner.by)) winner = other;
    const others = siblings.filter((other) => other !== winner);
    const reason: Reason = others.every(({ by }) => by.clockWrong && !winner.by.clockWrong)
      ? "clock-trusted"
      : others.some(({ by }) => by.clockWrong === winner.by.clockWrong && by.hlc === winner.by.hlc)
        ? "origin-tie"
        : "later-stamp";
    return { winner, reason };
  },
};
