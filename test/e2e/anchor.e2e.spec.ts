import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { hubKey } from "../../services/cli/keys.ts";
import { openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { gate, number, registration } from "../support/hub.ts";
import { type HubProcess, jsonOf, openDir, runHub, tributary } from "../support/hub-process.ts";
import { eventually } from "../support/temp.ts";

const lag = (hub: HubProcess) => jsonOf<{ events: number; unconfirmed: string | null }>(["lag", "--data", hub.dir]);
const ready = async ({ state }: HubProcess) =>
  (await (await fetch(`${state.httpUrl}/readyz`)).json()) as {
    readonly anchor?: string;
    readonly incarnation: string;
    readonly warnings: readonly { readonly part: string; readonly reason: string }[];
  };

it("a hub whose whole data folder was set back says so at its start, in /readyz and in lag, until somebody confirms it (I24)", async () => {
  const work = openDir();
  const dir = join(work, "hub");
  const anchor = join(work, "anchor.json");
  const field = openField({ path: join(work, "juba.db"), name: { org: "relief", site: "juba", device: "t1" }, schemas: gate });
  onTestFinished(() => field.close());
  const send = async ({ state }: HubProcess, from: number, confirmed = 20): Promise<void> => {
    await field.appendMany(Array.from({ length: 20 }, (_, n) => registration(number(from + n))));
    const token = await issueToken(await hubKey(dir), { org: "relief", site: "juba", lifetimeS: 3600, nowMs: Date.now() });
    expect(await field.sync({ url: state.natsUrl, token })).toMatchObject({ confirmed });
  };

  let hub = await runHub(dir, ["--anchor", anchor]);
  await send(hub, 0);
  expect(await hub.stop()).toBe(0);
  // Log, views, settings and keys: all that is in the folder.
  execFileSync("cp", ["-a", dir, join(work, "copy")]);
  hub = await runHub(dir, ["--anchor", anchor]);
  await send(hub, 100);
  await eventually("the views", async () => (await lag(hub)).events === 0);
  expect(await ready(hub)).toMatchObject({ anchor: "ok", incarnation: "ok" });
  expect(await hub.stop()).toBe(0);
  expect(existsSync(anchor)).toBe(true);
  const evidence = readFileSync(anchor, "utf8");

  renameSync(dir, join(work, "gone"));
  renameSync(join(work, "copy"), dir);
  hub = await runHub(dir, ["--anchor", anchor]);
  expect(hub.output()).toContain("holds less than its anchor");
  expect(hub.output()).toContain("nobody has declared a restore");
  expect((await ready(hub)).warnings).toEqual(
    expect.arrayContaining([
      { part: "incarnation", reason: expect.stringContaining("holds less than its anchor") },
      { part: "anchor", reason: expect.stringContaining("no operator has confirmed it") },
    ]),
  );
  expect((await lag(hub)).unconfirmed).toContain("holds less than its anchor");
  const verified = await tributary(["audit", "verify", "--anchor", anchor, "--data", dir]);
  expect(verified).toMatchObject({ code: 6, output: expect.stringContaining("anchor  NOT GOOD") });
  expect(readFileSync(anchor, "utf8")).toBe(evidence);

  // The device sends again what the log lacks; that alone does not make it good.
  await send(hub, 200, 40);
  expect((await tributary(["restore", "--confirm", "--data", dir])).code).toBe(0);
  await eventually("the anchor of the new life", async () => readFileSync(anchor, "utf8") !== evidence);
  await eventually("the views", async () => (await lag(hub)).events === 0);
  expect((await lag(hub)).unconfirmed).toBeNull();
  expect((await tributary(["audit", "verify", "--anchor", anchor, "--data", dir])).output).toContain("All of it agrees.");
  expect(await hub.stop()).toBe(0);
});
