/** Reading for somebody: each question on a connection of its own, in a snapshot that shows what they may see. */
import type { Viewer } from "../core/index.ts";
import { asViewer, type Db, openConnections } from "../views/index.ts";

export interface Reading {
  /** Runs `work` with a database that shows one moment of what a viewer may see; waits until a connection is free. */
  read<T>(viewer: Viewer, work: (db: Db) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface ReadingOptions {
  readonly postgresUrl: string;
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** How many questions are answered at a time. */
  readonly size: number;
  /** A statement that takes longer fails. Milliseconds. */
  readonly statementMs: number;
}

/** Opens it. Connections are made when they are needed. */
export function openReading({ postgresUrl, name, size, statementMs }: ReadingOptions): Reading {
  const connections = openConnections(postgresUrl, { name, size, timeoutMs: statementMs });
  return {
    read: (viewer, work) => connections.use((db) => asViewer(db, viewer, () => work(db))),
    close: () => connections.close(),
  };
}
