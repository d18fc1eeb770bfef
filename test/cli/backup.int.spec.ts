import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeBackup } from "../../services/cli/backup.ts";
import { hubOrg } from "../../services/cli/config.ts";
import { hubKey } from "../../services/cli/keys.ts";
import { checkFiles, readManifest } from "../../services/cli/manifest.ts";
import { writeState } from "../../services/cli/state.ts";
import { openTestHub, stateOf, type TestHub } from "../support/hub.ts";
import { oldWriter, person } from "../support/oldlog.ts";
import { tempDir } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
  hubOrg(hub.dir, "relief");
  await hubKey(hub.dir);
  writeState(hub.dir, stateOf(hub.backends));
});
afterAll(() => hub?.close());

it("backups that are taken at the same time never take each other's files: one complete backup remains, and nothing else", async () => {
  await oldWriter(hub.log, "juba").append(person("JUB-000001"));
  await hub.projected();
  const folder = tempDir();
  const to = join(folder, "backup");
  let beside = 0;
  const say = (): void => {
    beside = Math.max(beside, readdirSync(folder).length);
  };
  const taken = await Promise.allSettled([1, 2, 3].map(() => makeBackup({ dataDir: hub.dir, to, withoutLog: false, say })));
  // At least two of them were under way at once; on a busy machine the third may begin when one has ended.
  expect(beside).toBeGreaterThanOrEqual(2);
  expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  await checkFiles(to, readManifest(to), () => {});
  expect(readdirSync(folder)).toEqual(["backup"]);
});
