import type { Client } from "pg";

/** Rows that are held in memory at a time. */
const FETCH_ROWS = 500;
let cursors = 0;

/** A query's rows, one after the other, inside the caller's transaction. */
export interface Cursor<T> {
  /** The row at hand; `null`: there are no more. */
  peek(): Promise<T | null>;
  /** Takes the row at hand. */
  next(): Promise<T | null>;
  close(): Promise<void>;
}

export async function openCursor<T extends object>(db: Client, sql: string): Promise<Cursor<T>> {
  const name = `rows_${++cursors}`;
  await db.query(`DECLARE ${name} NO SCROLL CURSOR FOR ${sql}`);
  let rows: T[] = [];
  let at = 0;
  let isEnd = false;
  const peek = async (): Promise<T | null> => {
    if (at >= rows.length && !isEnd) {
      const fetched = await db.query<T & Record<string, unknown>>(`FETCH ${FETCH_ROWS} FROM ${name}`);
      rows = fetched.rows;
      at = 0;
      isEnd = rows.length < FETCH_ROWS;
    }
    return rows[at] ?? null;
  };
  return {
    peek,
    async next() {
      const row = await peek();
      if (row !== null) at++;
      return row;
    },
    close: async () => void (await db.query(`CLOSE ${name}`)),
  };
}

/** The order of bytes, in which SQLite sorts texts, and PostgreSQL by its collation "C". */
export const byBytes = (a: string, b: string): number => (a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b)));
