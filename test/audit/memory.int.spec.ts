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
 * What may be held over the bare process, whatever the log's size. Measured at 100,000 and 300,000 small events, peak of the whole process: see the figures in the
 * commit that bounded it; before, verify took 429 MiB at 100,000 and reconcile 517, and both grew with the log.
 */
const MAX_MIB = 110;
const PEOPLE = 6_000;
/** 12,000 events of 4 kB: twice what may be held. */
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
}, 540_000);
afterAll(() => hub?.close(), 240_000);

interface Peak {
  readonly bareKb: number;
  readonly peakKb: number;
  readonly wrong: number;
}

// VmHWM is Linux's.
describe.skipIf(!existsSync("/proc/self/status"))("a log of 50 MB, whose entities would not fit", () => {
  it.each(["verify", "reconcile"])(
    "is gone through within 110 MiB: %s",
    async (what) => {
      const { backends } = hub;
      const args = ["--disable-warning=ExperimentalWarning", CHILD, what, backends.eventstore.url, backends.postgres.url];
      const { stdout } = await run(process.execPath, args);
      const { bareKb, peakKb, wrong } = JSON.parse(stdout) as Peak;
      expect(wrong).toBe(0);
      expect((peakKb - bareKb) / 1024).toBeLessThan(MAX_MIB);
    },
    240_000,
  );
});
