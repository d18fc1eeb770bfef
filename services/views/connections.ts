/** A few connections that are used in turns, for a service that answers many at a time. They are made when they are needed, and made again when they were lost. */
import { connectViews, type Db } from "./connect.ts";
import { limitQueries } from "./read/connection.ts";

export interface Connections {
  /** Runs `work` with a connection that nobody else has meanwhile; waits until one is free. Throws `backend-unreachable`, and what `work` throws. */
  use<T>(work: (db: Db) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface ConnectionsOptions {
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** How many there are at most. */
  readonly size: number;
  /** A statement that takes longer fails. Milliseconds. */
  readonly timeoutMs: number;
}

export function openConnections(url: string, { name, size, timeoutMs }: ConnectionsOptions): Connections {
  const idle: Db[] = [];
  const waiting: (() => void)[] = [];
  const lost = new WeakSet<Db>();
  let taken = 0;
  let isClosed = false;
  const connect = async (): Promise<Db> => {
    const db = await connectViews(url, name);
    db.on("end", () => lost.add(db));
    db.on("error", () => lost.add(db));
    try {
      await limitQueries(db, timeoutMs);
    } catch (error) {
      await db.end().catch(() => {});
      throw error;
    }
    return db;
  };
  const take = async (): Promise<Db> => {
    for (let db = idle.pop(); db !== undefined; db = idle.pop()) if (!lost.has(db)) return db;
    return connect();
  };
  return {
    async use(work) {
      while (taken >= size) await new Promise<void>((resolve) => waiting.push(resolve));
      taken++;
      let db: Db | null = null;
      try {
        db = await take();
        return await work(db);
      } finally {
        taken--;
        if (db !== null) {
          if (isClosed || lost.has(db)) await db.end().catch(() => {});
          else idle.push(db);
        }
        waiting.shift()?.();
      }
    },
    async close() {
      isClosed = true;
      await Promise.all(idle.splice(0).map((db) => db.end().catch(() => {})));
    },
  };
}
