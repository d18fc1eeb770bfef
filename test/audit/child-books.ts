/** Verifies a hub or balances its books in a process of its own, and prints how much memory that took. */

import { readFileSync } from "node:fs";
import { verify } from "../../services/audit/index.ts";
import { PROJECTIONS_DIR, SCHEMAS_DIR } from "../../services/cli/program.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { openLog } from "../../services/log/index.ts";
import { reconcile } from "../../services/projector/index.ts";
import { alone, connectViews } from "../../services/views/index.ts";

const [what, eventstoreUrl, postgresUrl] = process.argv.slice(2) as [string, string, string];
const peakKb = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);

const log = openLog(eventstoreUrl);
const gate = createGate(loadSchemas(SCHEMAS_DIR));
const projections = await loadProjections(PROJECTIONS_DIR);
const db = await connectViews(postgresUrl, "tributary-test-books");
const reader = await connectViews(postgresUrl, "tributary-test-books reads");
await log.end();
const bareKb = peakKb();
const wrong = what === "verify" ? await check() : await balance();
process.stdout.write(JSON.stringify({ bareKb, peakKb: peakKb(), wrong }));
await Promise.all([db.end(), reader.end()]);
await log.close();

/** A view that is left out counts as well: it was folded by another declaration, and nothing of it was measured. */
async function check(): Promise<number> {
  const { problemCount, notCompared } = await verify({ log, views: { db, gate, projections } });
  return problemCount + notCompared.length;
}

async function balance(): Promise<number> {
  const names = projections.map(({ name }) => name);
  const found = await alone(db, true, () => reconcile({ db, reader, log, gate, views: projections }, { names, repair: false }));
  return found.reduce((sum, { differing }) => sum + differing, 0);
}
