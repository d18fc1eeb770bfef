/**
 * A session: connections, views that stand as they are declared, and shards in hand. It is opened again whenever shards should change hands, views are swapped, or
 * something was away.
 */
import { TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { Projection, Totals, View } from "../merge/engine.ts";
import {
  alone,
  arePositionsLost,
  asPageWriter,
  beginFeed,
  connectViews,
  type Db,
  enroll,
  type Generation,
  generationsOf,
  giveBack,
  holdShards,
  inTransaction,
  isFeedInLine,
  type Layout,
  type Lease,
  leave,
  type Member,
  migrate,
  openOrgCases,
  othersAlive,
  refuseNewer,
  takeShards,
} from "../views/index.ts";
import type { RebuildDeps } from "./building.ts";
import { differences, isInLine, targetsFor } from "./builds.ts";
import { makeFeed } from "./feed-maker.ts";
import { takeForks } from "./forks.ts";
import type { ViewTarget } from "./page.ts";
import { bringUpToDate } from "./rebuild.ts";
import { refold } from "./refold.ts";
import { restorePositions } from "./restore-positions.ts";
import { keepUpWithLog } from "./setback.ts";

/** How often views may be swapped between looking at them and taking shards; more often is no longer an accident. */
const MAX_LOOKS = 10;

/** A process's membership among the projectors. */
export interface Membership {
  readonly db: Db;
  readonly member: Member;
  isLost(): boolean;
  end(): Promise<void>;
}

/** Shards in hand, and what they are folded into. */
export interface Session {
  readonly writer: Db;
  readonly reader: Db;
  readonly membership: Membership;
  readonly targets: readonly ViewTarget[];
  readonly leases: Lease[];
  readonly layout: Layout | null;
  /** The views as they stand now, with nothing in memory. They are read over the connection that is given. */
  targetsNow(db: Db): Promise<readonly ViewTarget[]>;
  close(): Promise<void>;
}

export interface ProjectorOptions {
  readonly postgresUrl: string;
  readonly log: Log;
  readonly gate: Gate;
  /** All views as they are declared. */
  readonly projections: readonly View[];
  /** Whether views that are declared otherwise than they stand may be rebuilt at the start. Default: yes, if no other projector is at work. */
  readonly mayBuild?: boolean;
  /** The name of this process in lists of projectors. Default: its pid. */
  readonly name?: string;
  readonly say?: (event: Record<string, unknown>) => void;
  /** The subscription's watchdog, in milliseconds. */
  readonly quietMs?: number;
}

/** What a session must know of the ones before it. */
export interface Since {
  /** The process has just been started, and may rebuild views that are declared otherwise than they stand. */
  readonly isStart: boolean;
  /** Shards may stand before what was folded, or the log may have been set back. */
  readonly arePositionsDoubted: boolean;
  /** The same error has come again and again without progress. */
  readonly insists: boolean;
  readonly stop: AbortSignal;
}

/** Brings the hub's tables up to this version, and enters this process into the list of projectors. */
export async function openMembership({
  postgresUrl,
  projections,
  name = `pid ${process.pid}`,
}: ProjectorOptions): Promise<Membership> {
  const db = await connectViews(postgresUrl, `tributary-projector ${name}`);
  let isLost = false;
  db.on("end", () => {
    isLost = true;
  });
  try {
    await migrate(db, { views: projections });
    await inTransaction(db, () => openOrgCases(db, projections));
    const member = await enroll(db, name);
    return {
      db,
      member,
      isLost: () => isLost,
      async end() {
        if (!isLost) await leave(db, member).catch(() => {});
        await db.end().catch(() => {});
      },
    };
  } catch (error) {
    await db.end();
    throw error;
  }
}

/** Connects, brings views up to date, takes shards, and folds the entities that wait to be folded again. */
export async function openSession(options: ProjectorOptions, membership: Membership, since: Since): Promise<Session> {
  const { postgresUrl, gate, log, projections: views, say = () => {} } = options;
  const writer = await connectViews(postgresUrl, "tributary-projector writes");
  const reader = await connectViews(postgresUrl, "tributary-projector reads").catch(async (error: unknown) => {
    await writer.end();
    throw error;
  });
  let leases: Lease[] = [];
  const close = async (): Promise<void> => {
    if (leases.length > 0) await giveBack(writer, leases).catch(() => {});
    await Promise.allSettled([writer.end(), reader.end()]);
  };
  try {
    await refuseNewer(writer);
    await asPageWriter(writer);
    const deps: RebuildDeps = { db: writer, reader, log, gate, views, say, unattended: since.stop };
    const rule = mayChange(deps, membership.member, since.isStart);
    await keepUpWithLog({ ...deps, say, isDoubted: since.arePositionsDoubted, mayChange: rule });
    await takeForks(writer, log, true);
    if (since.arePositionsDoubted || (await arePositionsLost(writer))) {
      const shards = await restorePositions(writer, log);
      if (shards.length > 0) say({ event: "positions-restored", shards });
    }
    const taken = await takeInLine(deps, membership.member, rule);
    leases = taken.leases;
    const tabled = views.filter((view): view is Projection | Totals => view.kind !== "sql");
    const targetsNow = (db: Db) => targetsFor(db, tabled, taken.seen, { feeds: true });
    const targets = await targetsNow(reader);
    const refolding = { db: writer, reader, log, gate, insists: since.insists };
    const refolded = leases.length === 0 ? 0 : await refold(refolding, targets, leases, taken.layout);
    if (refolded > 0) say({ event: "entities-refolded", entities: refolded });
    say({ event: "shards-taken", shards: leases.map(({ shard }) => shard), projector: membership.member.number });
    return { writer, reader, membership, targets, targetsNow, leases, layout: taken.layout, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Takes shards of views that stand as they are declared here. Views that do not are rebuilt first, under the rebuild lock. Where none must be, a rebuild elsewhere that takes hours keeps nobody
 * from taking shards.
 */
async function takeInLine(deps: RebuildDeps, member: Member, rule: () => Promise<unknown>) {
  const { db, gate, views } = deps;
  const look = (): Promise<Map<string, Generation>> => generationsOf(db, "live");
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    if (!isInLine(differences(views, gate, await look()))) await alone(db, true, () => bringUpToDate(deps, rule));
    await beginToMakeFeed(deps);
    const taken = await takeShards(db, member, look);
    if (isInLine(differences(views, gate, taken.seen))) return taken;
    await giveBack(db, taken.leases);
  }
  throw new TributaryError(
    "backend-failed",
    "views are swapped again and again",
    "See who rebuilds them: `tributary lag` lists the projectors.",
  );
}

/**
 * Begins to make the feeds of buckets from what was folded, where they were not made for the views as they are declared: in a database of an earlier version, and after the log was set back. The first part
 * of each is made before this returns; the rest follows beside the folding (`keepSealing`).
 */
async function beginToMakeFeed({ db, views, say }: RebuildDeps): Promise<void> {
  if (!(await isFeedInLine(db, views)))
    await alone(db, true, () =>
      inTransaction(db, async () => {
        await holdShards(db);
        if (!(await isFeedInLine(db, views))) await beginFeed(db, views, new Set());
      }),
    );
  await makeFeed({ db, views, ...(say === undefined ? {} : { say }) }, { once: true });
}

/** Returns a function that returns the views that are no longer declared. It throws where views are declared otherwise than they stand and this process may not rebuild them. */
const mayChange =
  ({ db, reader, gate, views }: RebuildDeps, member: Member, isStart: boolean) =>
  async (): Promise<readonly string[]> => {
    const live = await generationsOf(db, "live");
    const { changed, undeclared, stale } = differences(views, gate, live);
    // There are no views: the database is new, or was emptied.
    if (live.size === 0 || changed.length + undeclared.length === 0) return undeclared;
    const others = isStart ? await othersAlive(reader, member) : [];
    if (!isStart || others.length > 0) throw declaredOtherwise({ changed, undeclared, stale }, others);
    return undeclared;
  };

const declaredOtherwise = (
  { changed, undeclared }: ReturnType<typeof differences>,
  others: readonly string[] = [],
): TributaryError =>
  new TributaryError(
    "projection-malformed",
    others.length === 0
      ? `${[...changed, ...undeclared].join(", ")}: the live views were built by other declarations than this process has`
      : `this process declares ${[...changed, ...undeclared].join(", ")} otherwise than the views that ${others.join(" and ")} keep up to date`,
    others.length === 0
      ? "Run `tributary rebuild`, which builds them from the files as they are now; or put back the files that they were built with. Until then nothing is folded."
      : "Put the same files in place everywhere; then run `tributary rebuild`, which rebuilds the views while the others go on.",
  );
