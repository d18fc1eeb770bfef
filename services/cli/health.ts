import { isTributaryError } from "../core/index.ts";
import type { PartChecks, PartState } from "../ingress/index.ts";
import type { Log } from "../log/index.ts";
import { projectorHealth } from "../projector/index.ts";
import { answers, clingingSays, clingingToOld, connectViews, type Db, limitQueries, parkedCounts } from "../views/index.ts";

/** Views that are behind the log for this long mean that nobody folds. */
const MAX_LAG_MS = 60_000;
const QUERY_TIMEOUT_MS = 2_000;

/** Parts of a hub's health that lie in PostgreSQL: whether it answers, whether the views follow the log, and what is parked. Uses one connection, opened when first asked. */
export function viewParts(postgresUrl: string, log: Log): { readonly parts: PartChecks; close(): Promise<void> } {
  let connecting: Promise<Db> | null = null;
  const connected = (): Promise<Db> => {
    connecting ??= connectViews(postgresUrl, "tributary-health").then(async (db) => {
      await limitQueries(db, QUERY_TIMEOUT_MS);
      return db;
    });
    return connecting;
  };
  const ask = async <T>(question: (db: Db) => Promise<T>): Promise<T> => {
    const mine = connected();
    try {
      return await question(await mine);
    } catch (error) {
      // A connection that has failed once is not used again.
      if (connecting === mine) connecting = null;
      mine.then((db) => db.end()).catch(() => {});
      throw error;
    }
  };
  const lag = lagWatch();
  return {
    parts: {
      postgres: () =>
        ask(async (db): Promise<PartState> => {
          await answers(db);
          return { state: "ok" };
        }),
      projector: () => ask((db) => lag(db, log)),
      parked: () => ask(parked),
      builds: () => ask(builds),
    },
    close: async () => {
      await connecting?.then((db) => db.end()).catch(() => {});
    },
  };
}

/** The views are behind when their checkpoint has not moved for long although the log goes beyond it. */
function lagWatch(): (db: Db, log: Log) => Promise<PartState> {
  let stuckAt: bigint | null = null;
  let sinceMs: number | null = null;
  return async (db, log) => {
    const health = await projectorHealth(db, log, Date.now()).catch(unreadable);
    if ("state" in health) return health;
    const { lag, incarnation, unheldShards } = health;
    const { position, seconds } = lag;
    const facts = { through: position?.toString() ?? null, behindSeconds: seconds, incarnation, unheldShards };
    if (seconds === 0) {
      sinceMs = null;
      return { state: "ok", facts };
    }
    if (sinceMs === null || stuckAt !== position) sinceMs = Date.now();
    stuckAt = position;
    const stuckMs = Date.now() - sinceMs;
    if (stuckMs > MAX_LAG_MS)
      return {
        state: "failed",
        reason: `the views have not moved for ${Math.round(stuckMs / 1000)} s, and the log goes on: is the projector running?`,
        facts,
      };
    return seconds * 1000 > MAX_LAG_MS
      ? { state: "warning", reason: `the views are ${Math.round(seconds)} s behind the log`, facts }
      : { state: "ok", facts };
  };
}

/** An event that nobody can read stops the projector, which waits until the event is mended: waiting alone does not help. */
function unreadable(error: unknown): PartState {
  if (!isTributaryError(error) || error.code !== "data-corrupt") throw error;
  return { state: "failed", reason: `the projector waits before an event that cannot be read: ${error.message} ${error.hint}` };
}

/** Objects that are not ours and still read the tables that a view had before it was built again. */
async function builds(db: Db): Promise<PartState> {
  const clinging = await clingingToOld(db);
  const facts = { clinging: clinging.map(({ object, table }) => `${object} (on ${table})`) };
  const reason = clingingSays(clinging);
  return reason === null ? { state: "ok", facts } : { state: "warning", reason, facts };
}

async function parked(db: Db): Promise<PartState> {
  const views = await parkedCounts(db);
  const count = Object.values(views).reduce((sum, each) => sum + each, 0);
  const facts = { count, views };
  return count === 0
    ? { state: "ok", facts }
    : {
        state: "warning",
        reason: `${count === 1 ? "1 entity is" : `${count} entities are`} parked: \`tributary parked list\` shows them`,
        facts,
      };
}
