/** Syncs a field database in a process of its own and prints what it took: `VmHWM` of this process before and after, in KiB. */

import { readFileSync } from "node:fs";
import { openField } from "../../services/field/index.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";

const [path, url, token, schemas] = process.argv.slice(2) as [string, string, string, string];
const peakKb = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);

const field = openField({ path, schemas: createGate(loadSchemas(schemas)) });
const bareKb = peakKb();
// Where no hub takes batches from the broker, the sync ends with what is queued.
await field.sync({ url, token, maxTries: 1 }).catch((error: unknown) => {
  if (!String(error).includes("are queued at the hub's broker")) throw error;
});
const { levels } = field.status();
field.close();
process.stdout.write(JSON.stringify({ levels, bareKb, peakKb: peakKb() }));
