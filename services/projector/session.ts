/**
 * A session: connections, views that stand as they are declared, and shards in hand. Opened anew whenever shards should change hands, views are swapped, or
 * something was away.
 */
import { TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { Projection, Totals, View } from "../merge/engine.ts";
import {
  alone,
  arePlacesLost,
  asPageWriter,
  connectViews,
  type Db,
  enroll,
  type Generation,
  generationsOf,
  giveBack,
  type Lease,
  leave,
  type Member,
  migrate,
  othersAlive,
  takeShards,
} from "../views/index.ts";
import type { RebuildDeps } from "./building.ts";
import { differences, isInLine, targetsFor } from "./builds.ts";
import { takeForks } from "./forks.ts";
import type { ViewTarget } from "./page.ts";
import { restorePlaces } from "./places.ts";
import { bringUpToDate } from "./rebuild.ts";
import { refold } from "./refold.ts";
import { keepUpWithLog } from "./setback.ts";

/** How often views may be swapped between looking at them and taking shards before it is no accident any more. */
const MAX_LOOKS = 10;

/** A process's place among the projectors. */
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
  readonly layout: string;
  /** Views as they stand now, with nothing in memory; what is read goes over the connection given. */
  targetsNow(db: Db): Promise<readonly ViewTarget[]>;
  close(): Promise<void>;
}

export interface ProjectorOptions {
  readonly postgresUrl: string;
  readonly log: Log;
  readonly gate: Gate;
  /** All views as they are declared. */
  readonly projections: readonly View[];
  /** Whether views may be built anew at the start where they are declared otherwise than they stand. Default: yes, where no other projector is at work. */
  readonly mayBuild?: boolean;
  /** What this process is called where projectors are listed. Default: its pid. */
  readonly name?: string;
  readonly say?: (event: Record<string, unknown>) => void;
  /** Watchdog of the subscription, milliseconds. */
  readonly quietMs?: number;
}

/** What a session must know of the ones before it. */
export interface Since {
  /** The process has just been started, and may build views anew that are declared otherwise than they stand. */
  readonly isStart: boolean;
  /** Shards may stand before what was folded, or the log may have been set back. */
  readonly isPlaceDoubted: boolean;
  /** The same error has come again and again. */
  readonly insists: boolean;
  readonly stop: AbortSignal;
}

/** Enters this process into the list of projectors, with tables as this version has them. */
export async function openMembership({ postgresUrl, name = `pid ${process.pid}` }: ProjectorOptions): Promise<Membership> {
  const db = await connectViews(postgresUrl, `tributary-projector ${name}`);
  let isLost = false;
  db.on("end", () => {
    isLost = true;
  });
  try {
    await migrate(db);
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

/** Connects, brings tables and views up to date, takes shards, and folds anew what waits for it. */
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
    await asPageWriter(writer);
    const deps: RebuildDeps = { db: writer, reader, log, gate, views, say, unattended: since.stop };
    const rule = mayChange(deps, membership.member, since.isStart);
    await keepUpWithLog({ ...deps, say, isDoubted: since.isPlaceDoubted, mayChange: rule });
    await takeForks(writer, log, true);
    if (since.isPlaceDoubted || (await arePlacesLost(writer))) {
      const shards = await restorePlaces(writer, log);
      if (shards.length > 0) say({ event: "places-restored", shards });
    }
    const taken = await takeInLine(deps, membership.member, rule);
    leases = taken.leases;
    const tabled = views.filter((view): view is Projection | Totals => view.kind !== "sql");
    const targetsNow = (db: Db) => targetsFor(db, tabled, taken.seen);
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
 * Takes shards of views that stand as they are declared here. Views that do not are built anew first, alone; otherwise a rebuild that takes hours keeps nobody
 * from taking shards.
 */
async function takeInLine(deps: RebuildDeps, member: Member, rule: () => Promise<unknown>) {
  const { db, gate, views } = deps;
  const look = (): Promise<Map<string, Generation>> => generationsOf(db, "live");
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    if (!isInLine(differences(views, gate, await look()))) await alone(db, true, () => bringUpToDate(deps, rule));
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

/** Returns the views that are no longer declared. Throws where some are declared otherwise than they stand, and this process may not build them. */
const mayChange =
  ({ db, reader, gate, views }: RebuildDeps, member: Member, isStart: boolean) =>
  async (): Promise<readonly string[]> => {
    const live = await generationsOf(db, "live");
    const { changed, undeclared, stale } = differences(views, gate, live);
    // Nothing stands: the database is new, or was emptied.
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
      ? `${[...changed, ...undeclared].join(", ")}: the views that stand were built by other declarations than this process has`
      : `this process declares ${[...changed, ...undeclared].join(", ")} otherwise than the views that ${others.join(" and ")} keep up to date`,
    others.length === 0
      ? "`tributary rebuild` builds them from the files as they are now; or put back those that they were built with. Until then nothing is folded."
      : "Put the same files in place everywhere; then `tributary rebuild` builds the views anew while the others go on.",
  );
