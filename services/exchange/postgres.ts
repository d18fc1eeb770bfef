/** The feed store over a hub's PostgreSQL, for serving pulls. */
import { entityViews, type Projection, type View } from "../merge/engine.ts";
import {
  type Connections,
  type Db,
  type EntryAt,
  hasHead,
  headsAfter,
  historiesOf,
  historiesUpTo,
  holdingOf,
  inSnapshot,
  leftSince,
  linesAfter,
  membersOf,
  namedMembers,
  newestSeal,
  newestSealAndReach,
  noteDebts,
  notedEvents,
  noteHolding,
  openConnections,
  packedStates,
  partsOfRange,
  placeOf,
  policiesThatHold,
  rangeOf,
  siteRoles,
} from "../views/index.ts";
import { rarely } from "./rarely.ts";
import type { FeedStore } from "./store.ts";

/** How many pulls are answered at a time, and how many statements run beside them. */
const MAX_PULLS = 4;
const MAX_BESIDE = 2;
/** So long a statement may take. The doors wait a little longer for a page. */
const STATEMENT_MS = 8_000;

export interface PostgresFeedOptions {
  readonly postgresUrl: string;
  /** The hub's views as they are declared. */
  readonly views: readonly View[];
  /** One event of the log: for what the audit cannot hold as it is. */
  readonly entryAt: EntryAt;
  /** So long a statement may take. Milliseconds. */
  readonly statementMs?: number;
  /** Milliseconds that only go forward. */
  readonly nowMs?: () => number;
}

export interface PostgresFeed extends FeedStore {
  close(): Promise<void>;
}

/** Opens the feed store of a hub. It connects when it is first asked, and again when a connection was lost; then it throws `backend-unreachable` until PostgreSQL answers. */
export function openPostgresFeed({
  postgresUrl,
  views,
  entryAt,
  statementMs = STATEMENT_MS,
  nowMs = () => performance.now(),
}: PostgresFeedOptions): PostgresFeed {
  const pulls = openConnections(postgresUrl, { name: "tributary-exchange", size: MAX_PULLS, timeoutMs: statementMs });
  // Nobody who has one of these waits for another connection, so those who have one of the others may wait for these.
  const beside = openConnections(postgresUrl, { name: "tributary-exchange beside", size: MAX_BESIDE, timeoutMs: statementMs });
  const newest = rarely(() => pulls.use(newestSealAndReach), nowMs);
  const apart = apartFrom(beside, entityViews(views));
  return {
    ...feedOver((work) => pulls.use(work), entryAt),
    ...apart,
    newest,
    atOnce: (work) => pulls.use((db) => inSnapshot(db, () => work({ ...feedOver((ask) => ask(db), entryAt), ...apart }))),
    async close() {
      await Promise.all([pulls.close(), beside.close()]);
    },
  };
}

type Ask = <T>(work: (db: Db) => Promise<T>) => Promise<T>;

/** What is read of the feed and the audit. */
const feedOver = (ask: Ask, entryAt: EntryAt) =>
  ({
    newest: () => ask(newestSeal),
    headsAfter: (seal) => ask((db) => headsAfter(db, seal)),
    hasHead: (bucket, seal, head) => ask((db) => hasHead(db, bucket, seal, head)),
    placeOf: (bucket, at) => ask((db) => placeOf(db, bucket, at)),
    lines: (bucket, after, limit) => ask((db) => linesAfter(db, bucket, after, limit)),
    left: (bucket, of, limit) => ask((db) => leftSince(db, bucket, of, limit)),
    members: (bucket, of, limit) => ask((db) => membersOf(db, bucket, of, limit)),
    named: (bucket, entityIds) => ask((db) => namedMembers(db, bucket, entityIds)),
    parts: (bucket, prefix) => ask((db) => partsOfRange(db, bucket, prefix)),
    range: (bucket, prefix) => ask((db) => rangeOf(db, bucket, prefix)),
    histories: (bucket, entities, most) => ask((db) => historiesOf(db, bucket, entities, most)),
    historiesUpTo: (bucket, lines, most) => ask((db) => historiesUpTo(db, bucket, lines, most)),
    events: (refs) => ask((db) => notedEvents(db, refs, entryAt)),
  }) satisfies Partial<FeedStore>;

/**
 * What is never read in a snapshot that began earlier: a view that was swapped in since would have no rows there. Without rows, policies would give nobody anything and sites would have no roles, and replicas would delete all that they have.
 */
const apartFrom = ({ use }: Connections, views: readonly Projection[]) =>
  ({
    states: (entityType, entityIds) => {
      const asked = views.filter(({ entity, hubOnly }) => entity === entityType && !hubOnly);
      return use((db) => packedStates(db, asked, entityIds));
    },
    policies: () => use(policiesThatHold),
    roles: () => use(siteRoles),
    owes: (debts) => use((db) => noteDebts(db, debts)),
    noteHolding: (told) => use((db) => noteHolding(db, told)),
    holdingOf: (holder, digest) => use((db) => holdingOf(db, holder, digest)),
  }) satisfies Partial<FeedStore>;
