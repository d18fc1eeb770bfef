import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SyncProgress } from "../../services/field/index.ts";
import { freePort } from "../../services/local/index.ts";
import { connectAs } from "../support/broker.ts";
import { openDoor, type TestDoor } from "../support/device-hub.ts";
import { number, update } from "../support/hub.ts";
import { eventually, promptly, sleep, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

let door: TestDoor;
beforeAll(async () => {
  door = await openDoor();
});
afterAll(() => door?.close());

const some = (count: number, from = 0) => Array.from({ length: count }, (_, i) => update(number(i), { village: `v${from + i}` }));
const inLog = async (site: string): Promise<number> =>
  (await door.entries()).filter(({ head }) => head.origin.startsWith(`relief.${site}.`)).length;
const frames = async (site: string): Promise<number> => {
  const nc = await connectAs(door.natsUrl);
  try {
    const { state } = await (await nc.jetstreamManager()).streams.info("INGRESS", {
      subjects_filter: `ingress.relief.${site}.>`,
    });
    return Object.values(state.subjects ?? {}).reduce((sum, count) => sum + count, 0);
  } finally {
    await nc.close();
  }
};

describe("while nobody can say where the hub's log stands", () => {
  it.each(["nats", "http"] as const)(
    "over %s a device hands over what it has, once, says so, and is confirmed later",
    async (way) => {
      const site = `away-${way}`;
      const field = door.field(site);
      await field.appendMany(some(30));
      const url = way === "nats" ? door.natsUrl : door.httpUrl;
      const options = { url, token: await door.token(site), batchEvents: 10, sleep: () => sleep(1) };
      const told: SyncProgress[] = [];
      await door.stopLog();
      const failure = field.sync({ ...options, onProgress: (progress) => told.push(progress) });
      await expect(failure).rejects.toMatchObject({
        code: "sync-gave-up",
        message: expect.stringContaining("30 events are queued at the hub's broker, not confirmed yet"),
      });
      expect(told.map(({ kind }) => kind)).toContain("queued");
      expect(field.status().levels).toEqual({ LOCAL: 0, QUEUED: 30, SYNCED: 0 });
      // Written meanwhile: only this is handed over.
      await field.appendMany(some(5, 30));
      await expect(field.sync({ ...options, maxTries: 1 })).rejects.toMatchObject({
        message: expect.stringContaining("35 events"),
      });
      expect(await frames(site)).toBe(4);
      await door.startLog();
      expect(await field.sync({ ...options, maxTries: 10_000, sleep: () => sleep(200) })).toMatchObject({ pending: 0 });
      expect(await inLog(site)).toBe(35);
      expect(field.status().levels).toEqual({ LOCAL: 0, QUEUED: 0, SYNCED: 35 });
    },
  );

  it("a device hands over its events to a hub without ingress, too: the broker keeps them", async () => {
    const field = door.field("no-ingress");
    await field.appendMany(some(12));
    await door.stopIngress();
    const options = { url: door.natsUrl, token: await door.token("no-ingress"), sleep: () => sleep(1) };
    await expect(field.sync(options)).rejects.toMatchObject({ message: expect.stringContaining("12 events are queued") });
    await door.startIngress();
    await eventually("the queued events in the log", async () => (await inLog("no-ingress")) === 12);
    expect(await field.sync(options)).toMatchObject({ confirmed: 12, batches: 0 });
  });
});

describe("a hub's broker that has no room", () => {
  it("is reported as disk-full, and nothing is lost", async () => {
    const field = door.field("full");
    await field.appendMany(some(40));
    const nc = await connectAs(door.natsUrl);
    const jsm = await nc.jetstreamManager();
    const { config } = await jsm.streams.info("INGRESS");
    await jsm.streams.update("INGRESS", { ...config, max_bytes: 100 });
    try {
      const options = { url: door.natsUrl, token: await door.token("full"), maxTries: 2, sleep: () => sleep(1) };
      await expect(field.sync(options)).rejects.toMatchObject({
        code: "disk-full",
        message: expect.stringContaining("broker is full"),
      });
      expect(field.status().levels).toMatchObject({ SYNCED: 0 });
      await jsm.streams.update("INGRESS", config);
      expect(await field.sync(options)).toMatchObject({ confirmed: 40, pending: 0 });
    } finally {
      await nc.close();
    }
  });
});

describe("tributary field sync", () => {
  const command = (args: readonly string[]): Promise<{ code: number | null; err: string; out: string; ms: number }> =>
    new Promise((resolve) => {
      const startedMs = performance.now();
      const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, "field", ...args]);
      let [out, err] = ["", ""];
      child.stdout.on("data", (data: Buffer) => (out += data.toString()));
      child.stderr.on("data", (data: Buffer) => (err += data.toString()));
      child.on("exit", (code) => {
        resolve({ code, out, err, ms: performance.now() - startedMs });
      });
    });

  it.each(["nats", "http"])("over %s says at once that nothing listens, and what to do", async (scheme) => {
    const db = join(tempDir(), "f.db");
    const init = await command(["init", "--org", "relief", "--site", "juba", "--device", "t1", "--db", db]);
    expect(init.code).toBe(0);
    const url = `${scheme}://127.0.0.1:${await freePort()}`;
    // Two seconds beside what a process takes to start here and now.
    const atOnce = async (): Promise<number> => 2_000 + 4 * (await command(["status", "--db", db])).ms;
    const { code, err } = await promptly("the refusal", atOnce, () =>
      command(["sync", "--db", db, "--hub", url, "--token", "t"]),
    );
    expect(code).toBe(7);
    expect(err).toContain(`nothing listens at ${new URL(url).host}`);
    expect(err).toContain("--tries 10");
  });

  it("keeps trying when it is told to, with a line for each pause", async () => {
    const db = join(tempDir(), "f.db");
    await command(["init", "--org", "relief", "--site", "juba", "--device", "t1", "--db", db]);
    const hub = `nats://127.0.0.1:${await freePort()}`;
    const { code, err } = await command(["sync", "--db", db, "--hub", hub, "--token", "t", "--tries", "3"]);
    expect(code).toBe(7);
    expect(err.match(/next try in \d+\.\d s\n/g)).toHaveLength(2);
    expect(err).toContain("the sync gave up after 3 tries");
  });
});
