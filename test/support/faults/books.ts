/** The end of a run: everybody syncs, then log and views are compared with what was written. */
import type { Client } from "pg";
import { connectViews } from "../../../services/views/index.ts";
import { sleep } from "../temp.ts";
import { command, stateOf } from "./hub.ts";
import { keysInLog } from "./log.ts";
import { openTablet, syncOnce } from "./tablets.ts";
import { QUIET_TIMEOUT_MS, SYNC_TIMEOUT_MS, type Tablet, type World } from "./world.ts";

/** Everybody syncs until all have their receipts. */
export async function beQuiet(world: World): Promise<void> {
  const until = Date.now() + QUIET_TIMEOUT_MS;
  let open: Tablet[] = [...world.tablets];
  // This is done twice, because the hub may meanwhile have been found to lack events that a tablet must send again.
  for (let calm = 0; calm < 2; ) {
    const done = await Promise.all(open.map((tablet) => syncOnce(world, tablet, SYNC_TIMEOUT_MS)));
    open = open.filter((_, i) => !done[i]);
    if (open.length === 0) {
      calm++;
      open = [...world.tablets];
    } else if (Date.now() > until) {
      throw new Error(
        `${open.map(({ site, device }) => `${site}-${device}`).join(", ")} could not sync in ${QUIET_TIMEOUT_MS} ms`,
      );
    }
  }
}

export async function balance(world: World): Promise<{ readonly problems: string[]; readonly inLog: number }> {
  const problems: string[] = [];
  for (const tablet of world.tablets) {
    const field = openTablet(tablet);
    const { levels } = field.status();
    if (levels.LOCAL + levels.QUEUED > 0)
      problems.push(`${tablet.path} has ${levels.LOCAL} LOCAL and ${levels.QUEUED} QUEUED events`);
    field.close();
  }
  const found = await keysInLog(world);
  const missing = [...world.due].filter((key) => !found.has(key));
  if (missing.length > 0) problems.push(`${missing.length} writes are lost: ${missing.slice(0, 5).join(", ")} …`);
  const doubled = [...found].filter(([, at]) => at.length > 1);
  if (doubled.length > 0)
    problems.push(
      `${doubled.length} writes are doubled: ${doubled
        .slice(0, 3)
        .map(([key, at]) => `${key} at ${at.join(" and ")}`)
        .join("; ")} …`,
    );
  const unknown = [...found.keys()].filter((key) => !world.due.has(key) && !world.destroyed.has(key));
  if (unknown.length > 0) problems.push(`${unknown.length} writes in the log were never made: ${unknown.slice(0, 5).join(", ")}`);
  problems.push(...(await balanceViews(world, found)));
  return { problems, inLog: found.size };
}

async function balanceViews(world: World, found: ReadonlyMap<string, string[]>): Promise<string[]> {
  const problems: string[] = [];
  const verified = await untilZero(() => command(["audit", "verify", "--data", world.data]));
  if (verified.code !== 0) problems.push(`audit verify ended with ${verified.code}:\n${verified.stdout}${verified.stderr}`);
  const db = await connectViews(stateOf(world).postgresUrl, "tributary-soak");
  try {
    const movements = [...found.keys()].filter((key) => key.startsWith("M-")).length;
    const shown = await untilShown(db, movements);
    if (shown !== null) problems.push(`the log has ${movements} movements, ${shown}`);
    const { rows: parked } = await db.query<{ count: string }>("SELECT count(*) FROM tributary.parked");
    if (Number(parked[0]!.count) > 0) problems.push(`${parked[0]!.count} entities are parked`);
  } finally {
    await db.end();
  }
  return problems;
}

/**
 * What the views show instead of this many movements; `null` once they show this many. Views that agree with a log may still be on their way to its end,
 * as after a kill of PostgreSQL.
 */
async function untilShown(db: Client, movements: number): Promise<string | null> {
  for (const until = Date.now() + QUIET_TIMEOUT_MS / 2; ; await sleep(1_000)) {
    const { rows } = await db.query<{ rows: string; received: string }>(
      "SELECT (SELECT count(*) FROM views.stock_movements) AS rows, (SELECT coalesce(sum(received), 0) FROM views.stock_ledger) AS received",
    );
    const { rows: shown, received } = rows[0]!;
    if (Number(shown) === movements && Number(received) === movements) return null;
    if (Date.now() > until) return `the view ${shown}, and the ledger adds up ${received}`;
  }
}

/** Views follow the log in their own time. */
async function untilZero(
  run: () => Promise<{ code: number; stdout: string; stderr: string }>,
): Promise<Awaited<ReturnType<typeof run>>> {
  for (const until = Date.now() + QUIET_TIMEOUT_MS / 2; ; await sleep(2_000)) {
    const ended = await run();
    if (ended.code === 0 || Date.now() > until) return ended;
  }
}
