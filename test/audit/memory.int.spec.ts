import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { number, openTestHub, type TestHub } from "../support/hub.ts";
import { change, oldWriter, person } from "../support/oldlog.ts";

const run = promisify(execFile);
const CHILD = join(import.meta.dirname, "child-books.ts");
/**
 * How much memory may be taken beyond the bare process, whatever the log's size. Measured here: verify 65 MiB, reconcile 59 to 112; before they were bounded, 126 and 396. For the whole
 * process at 100,000 small events: verify 233 MiB (429 before), reconcile 274 (517 before); at 300,000 of 180,000 entities 238 and 235.
 */
const MAX_MIB = { verify: 110, reconcile: 160 } as const;
const PEOPLE = 4_000;
/** 8,000 events of 4 kB. */
const TEXT_BYTES = 4_000;

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
  const writer = oldWriter(hub.log, "large");
  const text = (): string => randomBytes(TEXT_BYTES / 2).toString("hex");
  for (let from = 0; from < PEOPLE; from += 100) {
    const ids = Array.from({ length: 100 }, (_, i) => number(from + i));
    await writer.append(...ids.map((id) => person(id, { village: text() })));
    await writer.append(...ids.map((id) => change(id, { village: text() })));
  }
  await hub.projected();
  await hub.projector.close();
});
afterAll(() => hub?.close());

interface Peak {
  readonly bareKb: number;
  readonly peakKb: number;
  readonly wrong: number;
}

async function child(what: string): Promise<Peak> {
  const { eventstore, postgres } = hub.backends;
  const args = ["--disable-warning=ExperimentalWarning", CHILD, what, eventstore.url, postgres.url];
  return JSON.parse((await run(process.execPath, args)).stdout) as Peak;
}

// Only Linux has VmHWM.
describe.skipIf(!existsSync("/proc/self/status"))("a log of 32 MB, whose entities and events would not fit", () => {
  it.each(["verify", "reconcile"] as const)("does not exceed the bound of memory in %s", async (what) => {
    const { bareKb, peakKb, wrong } = await child(what);
    expect(wrong).toBe(0);
    expect((peakKb - bareKb) / 1024).toBeLessThan(MAX_MIB[what]);
  });
});
