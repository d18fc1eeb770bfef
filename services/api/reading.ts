/** Reading for somebody: each question on a connection of its own, in a snapshot that shows what they may see. */
import { turns, type Viewer } from "../core/index.ts";
import { asViewer, type Db, openConnections } from "../views/index.ts";

export interface Reading {
  /**
   * Runs `work` with a database that shows one moment of what a viewer may see; waits until a connection is free. Organisations have them in turns, and none has all of them. Throws `backend-failed`
   * where too much of the same organisation waits already.
   */
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
  /** How many questions of those who see the same organisations are answered at a time, and how many of theirs may wait. */
  readonly each: number;
  readonly waitingEach: number;
}

/** Opens it. Connections are made when they are needed. */
export function openReading({ postgresUrl, name, size, statementMs, each, waitingEach }: ReadingOptions): Reading {
  const connections = openConnections(postgresUrl, { name, size, timeoutMs: statementMs });
  const shared = turns({ max: size, maxEach: each, maxWaitingEach: waitingEach });
  const nameOf = ({ orgs }: Viewer): string =>
    orgs === null ? "who sees all organisations" : orgs.length === 0 ? "who sees none" : orgs.join(" and ");
  return {
    read: (viewer, work) => shared.run(nameOf(viewer), () => connections.use((db) => asViewer(db, viewer, () => work(db)))),
    close: () => connections.close(),
  };
}
