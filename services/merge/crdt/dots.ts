import type { OriginId, Seq } from "../../core/index.ts";
import type { Author } from "../register.ts";

/** A row of a state that belongs to one write, by its dot. States keep such rows sorted by origin, then by seq. */
export type Row = readonly [origin: OriginId, seq: Seq, ...rest: readonly unknown[]];

/** Orders texts by UTF-16 code units: the same on every machine, whatever its language. */
export const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Where the row of a write stands in sorted rows, or `-1 - index` of where it would. */
export function findRow(rows: readonly Row[], { origin, seq }: Pick<Author, "origin" | "seq">): number {
  let from = 0;
  let to = rows.length;
  while (from < to) {
    const mid = (from + to) >>> 1;
    const row = rows[mid]!;
    const order = byText(row[0], origin) || row[1] - seq;
    if (order === 0) return mid;
    if (order < 0) from = mid + 1;
    else to = mid;
  }
  return -1 - from;
}

/** Throws what a kind's `join` says of a value that its `problem` would have refused: the caller did not ask first. */
export function refuseProblem(kind: string, problem: string | null): void {
  if (problem !== null) throw new TypeError(`${kind}: ${problem}`);
}
