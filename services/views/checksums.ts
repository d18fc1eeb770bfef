/** A checksum tree over the rows of a table. It compares two tables that are nearly the same in a few steps. */
import { hashOf } from "./compare.ts";
import type { Db } from "./connect.ts";
import { at, LIVE, q } from "./names.ts";

/** Leaves of the checksum tree: rows are dealt out to them by the hash of their id. */
const LEAVES = 4_096;
/** How many children each inner node has: a differing leaf is found in three steps. */
const FAN = 16;

/** A table that is compared. `key`: the column that says whose a row is. */
export interface Part {
  readonly table: string;
  readonly key: string;
  readonly columns: readonly string[];
}

/** The leaf of the checksum tree that a row falls into. */
const leafOf = (key: string): string => `(hashtextextended(t.${q(key)}, 1) & ${LEAVES - 1})::int`;

/** The checksum of each leaf: the exclusive or of its rows' hashes, and how many rows there are. */
export async function leavesOf(
  db: Db,
  namespace: string,
  { table, key, columns }: Part,
): Promise<{ readonly sums: readonly string[]; readonly rows: number }> {
  const { rows } = await db.query<{ leaf: number; sum: string; count: string }>(
    `SELECT ${leafOf(key)} AS leaf, bit_xor(${hashOf("t", [key, ...columns])})::text AS sum, count(*) AS count FROM ${at(namespace, table)} t GROUP BY 1`,
  );
  const sums: string[] = Array.from({ length: LEAVES }, () => "");
  let total = 0;
  for (const { leaf, sum, count } of rows) {
    sums[leaf] = `${sum}/${count}`;
    total += Number(count);
  }
  return { sums, rows: total };
}

/** The leaves whose checksums differ, found from the root down. Nodes that agree are not looked into. */
export function differingLeaves(
  a: readonly string[],
  b: readonly string[],
): { readonly differing: number[]; readonly comparisons: number } {
  let comparisons = 0;
  const differing: number[] = [];
  const look = (from: number, width: number): void => {
    comparisons++;
    const isEqual = a.slice(from, from + width).join(";") === b.slice(from, from + width).join(";");
    if (isEqual) return;
    if (width === 1) differing.push(from);
    else for (let child = 0; child < FAN; child++) look(from + (child * width) / FAN, width / FAN);
  };
  look(0, a.length);
  return { differing, comparisons };
}

/** The keys in these leaves whose rows are not the same live and in the build. */
export async function differingKeys(
  db: Db,
  namespace: string,
  { table, key, columns }: Part,
  leaves: readonly number[],
): Promise<string[]> {
  const inLeaves = (from: string): string =>
    `(SELECT t.${q(key)} AS key, bit_xor(${hashOf("t", columns)}) AS sum, count(*) AS count FROM ${at(from, table)} t
      WHERE ${leafOf(key)} = ANY($1) GROUP BY 1)`;
  const { rows } = await db.query<{ key: string }>(
    `SELECT coalesce(l.key, b.key) AS key FROM ${inLeaves(LIVE)} l FULL JOIN ${inLeaves(namespace)} b ON l.key = b.key
     WHERE l.key IS NULL OR b.key IS NULL OR l.sum <> b.sum OR l.count <> b.count`,
    [leaves],
  );
  return rows.map(({ key }) => key);
}
