import type { Db } from "../connect.ts";

/** How many rows, and how many bytes of them as text, are held in memory at a time; a larger row is fetched alone. */
export const FETCH_ROWS = 500;
export const FETCH_BYTES = 2 * 1_048_576;
let cursors = 0;

/** A query's rows, one after the other, inside the caller's transaction. */
export interface Cursor<T> {
  /** The next row, which stays; `null`: there are no more. */
  peek(): Promise<T | null>;
  /** Takes the next row; `null`: there are no more. */
  next(): Promise<T | null>;
  /** Whether the row that was taken last was the last of those in memory. */
  isFetchEnd(): boolean;
  close(): Promise<void>;
}

/** Opens a cursor over `sql`, which must give its rows in the same order each time it runs: a second cursor gives their sizes before any row is fetched. */
export async function openCursor<T extends object>(db: Db, sql: string, values: readonly unknown[] = []): Promise<Cursor<T>> {
  const name = `rows_${++cursors}`;
  await db.query(`DECLARE ${name} NO SCROLL CURSOR FOR ${sql}`, [...values]);
  await db.query(`DECLARE ${name}_sizes NO SCROLL CURSOR FOR SELECT octet_length(r::text) AS bytes FROM (${sql}) r`, [...values]);
  let rows: T[] = [];
  let at = 0;
  let sizes: number[] = [];
  let isEnd = false;
  const fetchSizes = async (): Promise<void> => {
    const fetched = await db.query<{ bytes: number }>(`FETCH ${FETCH_ROWS} FROM ${name}_sizes`);
    sizes = fetched.rows.map(({ bytes }) => bytes);
    isEnd = sizes.length === 0;
  };
  const peek = async (): Promise<T | null> => {
    if (at < rows.length) return rows[at]!;
    if (sizes.length === 0 && !isEnd) await fetchSizes();
    if (isEnd) return null;
    const count = fitting(sizes);
    sizes = sizes.slice(count);
    rows = (await db.query<T & Record<string, unknown>>(`FETCH ${count} FROM ${name}`)).rows;
    at = 0;
    return rows[0] ?? null;
  };
  return {
    peek,
    async next() {
      const row = await peek();
      if (row !== null) at++;
      return row;
    },
    isFetchEnd: () => at >= rows.length,
    close: async () => void (await db.query(`CLOSE ${name}; CLOSE ${name}_sizes`)),
  };
}

/** How many rows of these sizes are fetched together: at least one. */
function fitting(sizes: readonly number[]): number {
  let bytes = 0;
  let count = 0;
  for (const each of sizes) {
    bytes += each;
    if (count > 0 && bytes > FETCH_BYTES) break;
    count++;
  }
  return count;
}

/** Compares texts by their bytes, as SQLite does, and PostgreSQL by its collation "C". */
export const byBytes = (a: string, b: string): number => (a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b)));
