/**
 * Live queries: what changes in views, as those may see it who follow them. In come commits of projectors, by PostgreSQL's NOTIFY; out go async iterables, each with resume
 * positions by which a follower goes on elsewhere or later. Nothing is missed, nothing is told twice, and nobody is told what is not theirs. It knows no transport.
 */
import { TributaryError, type Viewer } from "../core/index.ts";
import type { View } from "../merge/engine.ts";
import {
  asViewer,
  type CaseRow,
  type ChangedRow,
  type Db,
  openConnections,
  presentOf,
  resumeText,
  type Stated,
  type SyncedOrigin,
  type ToldChange,
} from "../views/index.ts";
import { type Board, type FollowOptions, openBoard, type Subject } from "./live/board.ts";
import { LIMITS, type Limits } from "./live/limits.ts";
import { keepListening, type Listening } from "./live/listener.ts";
import type { Batch } from "./live/pending.ts";
import { caseTopic, syncTopic, viewTopic } from "./live/topics.ts";

/** What every follower may be told. */
export type Standing =
  /** All up to `resume` has been told. It comes first, and now and then where nothing changes. */
  | { readonly kind: "standing"; readonly resume: string }
  /** Not all that changed is known: read again what you follow, then go on. All that changes after `resume` is told. */
  | { readonly kind: "reset"; readonly resume: string };

export type RowsTold =
  | Standing
  /** Rows of a view of entities. `rows`: those that changed and match now; `gone`: ids of those that changed and do not match, or are there no more. */
  | { readonly kind: "rows"; readonly resume: string; readonly rows: readonly ChangedRow[]; readonly gone: readonly string[] }
  /** A view of totals or of SQL may show other rows. */
  | { readonly kind: "changed"; readonly resume: string };

/** Cases that were opened, changed or closed, as they are now. */
export type CasesTold = Standing | { readonly kind: "cases"; readonly resume: string; readonly cases: readonly CaseRow[] };

export type SyncsTold = Standing | { readonly kind: "syncs"; readonly resume: string; readonly syncs: readonly SyncedOrigin[] };

export interface LiveOptions {
  readonly postgresUrl: string;
  /** The declarations of the hub's views. */
  readonly views: () => readonly View[];
  /** Default: `LIMITS`. */
  readonly limits?: Partial<Limits>;
  readonly say?: (event: Record<string, unknown>) => void;
}

export interface RowsFollowed extends FollowOptions {
  readonly view: string;
  /** Conditions that all hold. */
  readonly where?: readonly Stated[];
}

export interface Live {
  /** Follows a view. Fails with `not-found`, `input-malformed`, `not-permitted`, `too-slow`, `backend-…`. */
  changes(followed: RowsFollowed): AsyncIterable<RowsTold>;
  casesChanged(options: FollowOptions): AsyncIterable<CasesTold>;
  /** Only that cases are opened: a conflict that waits for a person, a broken invariant, a fork. */
  conflictsOpened(options: FollowOptions): AsyncIterable<CasesTold>;
  /** That all views show what a device has sent up to some event. */
  syncsCompleted(options: FollowOptions): AsyncIterable<SyncsTold>;
  /** Runs `work` in a snapshot that shows what somebody may see, and says from where to follow what it has read. */
  read<T>(viewer: Viewer, work: (db: Db) => Promise<T>): Promise<{ readonly found: T; readonly resume: string }>;
  /** How many follow, in how many groups that share what is read, and how many snapshots were read for them. */
  counts(): { readonly followers: number; readonly groups: number; readonly reads: number };
  close(): Promise<void>;
}

/** Begins to listen. `close` ends all that follow with `backend-unreachable`. */
export function openLive({ postgresUrl, views, limits: given = {}, say = () => {} }: LiveOptions): Live {
  const limits = { ...LIMITS, ...given };
  const stop = new AbortController();
  const { signal } = stop;
  const connections = openConnections(postgresUrl, {
    name: "tributary-live reads",
    size: limits.connections,
    timeoutMs: limits.queryMs,
  });
  let reads = 0;
  const onRead = (): void => {
    reads++;
  };
  const deps = { connections, limits, say, signal, onRead, nowMs: () => performance.now() };
  const [rows, cases, syncs] = [
    openBoard<ChangedRow | null>(deps),
    openBoard<CaseRow>(deps),
    openBoard<SyncedOrigin>(deps),
  ] as const;
  const boards = [rows, cases, syncs];
  const listening = listen(boards, { postgresUrl, say, signal, limits });
  const casesOf = (opened: boolean, options: FollowOptions): AsyncIterable<CasesTold> =>
    iterable(
      cases,
      () => ({ topic: caseTopic(opened), where: [] }),
      options,
      (of, resume) => ({ kind: "cases", resume, cases: [...of.values()] }),
    );
  return {
    changes: ({ view, where = [], ...options }) =>
      iterable(
        rows,
        () => ({ topic: viewTopic(views(), view, where), where }),
        options,
        (of, resume): RowsTold => (of.has("") ? { kind: "changed", resume } : rowsTold(of, resume)),
      ),
    casesChanged: (options) => casesOf(false, options),
    conflictsOpened: (options) => casesOf(true, options),
    syncsCompleted: (options) =>
      iterable(
        syncs,
        () => ({ topic: syncTopic, where: [] }),
        options,
        (of, resume): SyncsTold => ({ kind: "syncs", resume, syncs: [...of.values()] }),
      ),
    read: (viewer, work) =>
      connections.use((db) =>
        asViewer(db, viewer, async () => ({ resume: resumeText(await presentOf(db)), found: await work(db) })),
      ),
    counts() {
      const all = boards.map((board) => board.counts());
      return {
        followers: all.reduce((sum, { followers }) => sum + followers, 0),
        groups: all.reduce((sum, { groups }) => sum + groups, 0),
        reads,
      };
    },
    async close() {
      stop.abort();
      for (const board of boards) board.end(stopping());
      await listening;
      await connections.close();
    },
  };
}

/** Has boards look whenever something was told, and now and then; until `signal` aborts. */
async function listen(
  boards: readonly Pick<Board<unknown>, "look" | "ask">[],
  { postgresUrl, say, signal, limits }: Pick<Listening, "postgresUrl" | "say" | "signal"> & { readonly limits: Limits },
): Promise<void> {
  const look = (told: ToldChange | null): void => {
    for (const board of boards) board.look(told);
  };
  const rests = setInterval(() => look(null), limits.restMs);
  const asks = setInterval(() => {
    for (const board of boards) board.ask();
  }, limits.askEveryMs);
  await keepListening({ postgresUrl, onChange: look, onListening: () => look(null), say, signal });
  clearInterval(rests);
  clearInterval(asks);
}

const rowsTold = (of: ReadonlyMap<string, ChangedRow | null>, resume: string): RowsTold => ({
  kind: "rows",
  resume,
  rows: [...of.values()].filter((row) => row !== null),
  gone: [...of].flatMap(([id, row]) => (row === null ? [id] : [])),
});

const stopping = (): TributaryError =>
  new TributaryError("backend-unreachable", "the hub is being stopped", "Connect again with the last resume position.");

/** What a board tells of a topic, in the words of its followers. */
function iterable<T, W>(
  board: Board<T>,
  subject: () => Subject<T>,
  options: FollowOptions,
  say: (entries: ReadonlyMap<string, T>, resume: string) => W,
): AsyncIterable<W | Standing> {
  const told = ({ found, resume }: Batch<T>): W | Standing => {
    if (found.kind === "reset") return { kind: "reset", resume };
    return found.entries.size === 0 ? { kind: "standing", resume } : say(found.entries, resume);
  };
  return {
    [Symbol.asyncIterator]() {
      const of = board.follow(subject, options);
      return {
        async next() {
          const { done, value } = await of.next();
          return done === true ? { done, value: undefined } : { done: false, value: told(value) };
        },
        async return() {
          await of.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
