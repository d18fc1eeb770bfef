import type { Client } from "pg";
import type { PartChecks, PartState } from "../ingress/index.ts";
import type { Log } from "../log/index.ts";
import { asPosition, connectViews } from "../projector/index.ts";

/** Views this far behind the log, for this long, mean that nobody folds. */
const MAX_LAG_MS = 60_000;
const QUERY_TIMEOUT_MS = 2_000;

/** Parts of a hub's health that lie in PostgreSQL: whether it answers, whether the views follow the log, and what is parked. One connection, opened when asked. */
export function viewParts(postgresUrl: string, log: Log): { readonly parts: PartChecks; close(): Promise<void> } {
  let connecting: Promise<Client> | null = null;
  const connected = (): Promise<Client> => {
    connecting ??= connectViews(postgresUrl, "tributary-health").then(async (db) => {
      await db.query(`SET statement_timeout = ${QUERY_TIMEOUT_MS}`);
      return db;
    });
    return connecting;
  };
  const ask = async <T>(question: (db: Client) => Promise<T>): Promise<T> => {
    const mine = connected();
    try {
      return await question(await mine);
    } catch (error) {
      // A connection that failed once is not trusted again.
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
          await db.query("SELECT 1");
          return { state: "ok" };
        }),
      projector: () => ask((db) => lag(db, log)),
      parked: () => ask(parked),
    },
    close: async () => {
      await connecting?.then((db) => db.end()).catch(() => {});
    },
  };
}

/** The views are behind when their checkpoint has not moved for long although the log goes beyond it. */
function lagWatch(): (db: Client, log: Log) => Promise<PartState> {
  let stuckAt: bigint | null = null;
  let sinceMs: number | null = null;
  return async (db, log) => {
    const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
    const through = asPosition(rows[0]?.position);
    const waitingSinceMs = await firstWaiting(log, through);
    const facts = { through: through?.toString() ?? null };
    if (waitingSinceMs === null) {
      sinceMs = null;
      return { state: "ok", facts: { ...facts, behindMs: 0 } };
    }
    if (sinceMs === null || stuckAt !== through) sinceMs = Date.now();
    stuckAt = through;
    const behindMs = Math.max(0, Date.now() - waitingSinceMs);
    const stuckMs = Date.now() - sinceMs;
    if (stuckMs > MAX_LAG_MS)
      return {
        state: "failed",
        reason: `the views have not moved for ${Math.round(stuckMs / 1000)} s, and the log goes on: is the projector running?`,
        facts: { ...facts, behindMs },
      };
    if (behindMs > MAX_LAG_MS)
      return {
        state: "warning",
        reason: `the views are ${Math.round(behindMs / 1000)} s behind the log`,
        facts: { ...facts, behindMs },
      };
    return { state: "ok", facts: { ...facts, behindMs } };
  };
}

/** When the first event after a position was recorded; `null` when there is none. */
async function firstWaiting(log: Log, through: ReturnType<typeof asPosition>): Promise<number | null> {
  for await (const entry of log.readAll({ from: through }))
    if (through === null || entry.position > through) return entry.recordedAtMs;
  return null;
}

async function parked(db: Client): Promise<PartState> {
  const { rows } = await db.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM tributary.parked JOIN tributary.generation USING (view, generation) WHERE tributary.generation.state = 'live'",
  );
  const count = rows[0]?.count ?? 0;
  if (count === 0) return { state: "ok", facts: { count } };
  return { state: "warning", reason: `${count} entities are parked: \`tributary parked list\` shows them`, facts: { count } };
}
