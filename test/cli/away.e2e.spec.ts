import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { freePort, isAlive, portOf, removeAbandoned } from "../../services/local/index.ts";
import { type Environment, runHere, runHereWith } from "../support/here.ts";
import { newDir } from "../support/home.ts";
import { beginHub, type HubProcess, jsonOf, openDir, runHub, tributary } from "../support/hub-process.ts";
import { eventually, promptly } from "../support/temp.ts";
import { startWorker } from "../support/workers.ts";

/** What the start of a command takes here, as it was measured last. */
let startMs: Promise<number> | undefined;
const measureStart = async (): Promise<number> => {
  const begunMs = performance.now();
  await startWorker(["view", "--help"]).ended;
  return performance.now() - begunMs;
};

/**
 * What a command may take to say that the hub is not there: two seconds, beside three times what its start takes here and now. That is measured again for a
 * command that was late.
 */
const atOnce = (): (() => Promise<number>) => {
  let tries = 0;
  return async () => {
    if (tries++ > 0) startMs = undefined;
    startMs ??= measureStart();
    return 2_000 + 3 * (await startMs);
  };
};

/** A command of each kind that needs the hub or one of its servers. */
const COMMANDS: readonly (readonly string[])[] = [
  ["site", "add", "juba"],
  ["site", "list"],
  ["view", "beneficiaries"],
  ["lag"],
  ["audit", "verify"],
  ["audit", "entity", "beneficiary/A"],
  ["schema", "list"],
  ["quarantine", "list"],
  ["quarantine", "release", "--all"],
  ["case", "list"],
  ["explain", "beneficiary", "A"],
  ["rebuild", "--all"],
  ["reconcile", "--all"],
  ["notify", "list"],
  ["parked", "list"],
  ["device", "list"],
  ["device", "revoke", "juba/t1"],
  ["site", "revoke", "juba"],
  ["token", "revoke", "3f2c0d1e-0000-4000-8000-000000000000"],
  ["key", "rotate"],
  ["key", "retire", "hub"],
  ["dead", "list"],
  ["dead", "show", "1"],
  ["dead", "retry", "1"],
  ["restore", "--declare"],
  ["restore", "--confirm"],
];

describe("a command", () => {
  /** Shared by these tests: one suspends its servers, and a later one kills it. */
  let hub: HubProcess;
  const ends: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    const dir = newDir("away");
    chmodSync(dir, 0o755);
    hub = await beginHub((end) => ends.push(end), dir);
  });
  afterAll(async () => {
    for (const end of ends) await end();
    await removeAbandoned(hub.dir);
    rmSync(hub.dir, { recursive: true, force: true });
  });

  it("says which server is away when one is, and needs no other than its own", async () => {
    const { dir } = hub;
    const suspend = async (name: "nats" | "eventstore" | "postgres", work: () => Promise<void>): Promise<void> => {
      const pid = hub.serverPid(name);
      process.kill(pid, "SIGSTOP");
      try {
        await work();
      } finally {
        process.kill(pid, "SIGCONT");
      }
    };
    const refused = async (args: readonly string[], title: string): Promise<void> => {
      const { code, output } = await promptly(args.join(" "), atOnce(), () => tributary([...args, "--data", dir]));
      expect(output).toContain(`${title} of the hub in ${dir} does not answer`);
      expect(code).toBe(7);
    };
    await suspend("nats", async () => {
      await refused(["site", "add", "juba"], "NATS");
      expect((await tributary(["view", "sites", "--data", dir])).code).toBe(0);
      // Nothing was written that would be sent later without anybody asking.
      expect(existsSync(join(dir, "console.db"))).toBe(false);
    });
    await suspend("postgres", async () => {
      await refused(["view", "sites"], "PostgreSQL");
      await refused(["lag"], "PostgreSQL");
      expect((await tributary(["schema", "list", "--data", dir])).code).toBe(0);
    });
    await suspend("eventstore", async () => {
      await refused(["lag"], "the event store");
      await refused(["schema", "list"], "the event store");
      await refused(["restore", "--declare"], "the event store");
    });
    const added = await tributary(["site", "add", "juba", "--data", dir]);
    expect(added.code).toBe(0);
    expect(added.output).toContain("work on this machine only");
    expect(added.output).toContain("--public-url");
  });

  it("about a hub that is not running says so at once, whatever the command: after a SIGKILL that left its servers, and after its end", async () => {
    const { dir } = hub;
    await hub.kill("SIGKILL");
    for (const args of COMMANDS) {
      const { code, stderr } = await promptly(args.join(" "), atOnce(), () => runHere(...args, "--data", dir));
      expect(stderr, args.join(" ")).toContain(`The hub in ${dir} is not running. Start it with \`tributary hub\`.`);
      expect(code, args.join(" ")).toBe(7);
    }
    const lag = startWorker(["lag", "--data", dir]);
    expect(await lag.ended).toBe(7);
    expect(lag.output()).toContain("is not running");
    const json = await tributary(["view", "sites", "--data", dir, "--json"]);
    expect(json.output).toContain('{"error":{"code":"backend-unreachable"');

    await removeAbandoned(dir);
    mkdirSync(dir, { recursive: true });
    expect(await tributary(["site", "add", "juba", "--data", dir])).toMatchObject({
      code: 4,
      output: expect.stringContaining("there is no hub"),
    });
  });

  it("whose server the environment names, and that does not answer, says which variable it is", async () => {
    const dir = openDir();
    const away = "127.0.0.1:1";
    const env = {
      TRIBUTARY_NATS_URL: `nats://${away}`,
      TRIBUTARY_EVENTSTORE_URL: `esdb://${away}?tls=false`,
      TRIBUTARY_POSTGRES_URL: `postgres://u:p@${away}/tributary`,
    };
    expect(await tributary(["view", "sites", "--data", dir], env)).toMatchObject({
      code: 7,
      output: expect.stringMatching(/TRIBUTARY_POSTGRES_URL names, does not answer \(127.0.0.1:1: nothing listens there\)/),
    });
    expect(await tributary(["schema", "list", "--data", dir], env)).toMatchObject({
      code: 7,
      output: expect.stringContaining("TRIBUTARY_EVENTSTORE_URL names"),
    });
  });
});

describe("a hub's addresses", () => {
  it("can be chosen and are kept: a chosen port that is taken is an error, a kept one makes room; `site add` prints what devices reach", async () => {
    const dir = openDir();
    const [nats, eventstore, postgres, http] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    const chosen = [
      ...["--nats-port", String(nats), "--eventstore-port", String(eventstore), "--postgres-port", String(postgres)],
      ...["--listen", `0.0.0.0:${http}`],
    ];
    const first = await runHub(dir, chosen);
    const portsIn = ({ state }: typeof first) =>
      [state.natsUrl, state.eventstoreUrl, state.postgresUrl, state.httpUrl].map(portOf);
    expect(portsIn(first)).toEqual([nats, eventstore, postgres, http]);
    expect(first.state.httpUrl).toBe(`http://127.0.0.1:${http}`);
    const site = await jsonOf<{ urls: string[]; isReachable: boolean }>(["site", "add", "juba", "--data", dir]);
    // A machine without a network has no address that others reach.
    expect(site.isReachable).toBe(site.urls.every((url) => !url.includes("127.0.0.1")));
    expect(site.urls.every((url) => url.endsWith(`:${http}`) || !site.isReachable)).toBe(true);
    expect(await first.stop()).toBe(0);

    const other = createServer().listen(nats, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    onTestFinished(() => {
      other.close();
    });
    const refused = await tributary(["hub", "--data", dir, ...chosen]);
    expect(refused).toMatchObject({
      code: 8,
      output: expect.stringContaining(`port ${nats} of 127.0.0.1, wanted for NATS, is in use`),
    });
    const urls = ["--public-url", "https://hub.example.org/,nats://hub.example.org:4222"];
    const second = await runHub(dir, urls);
    expect(second.output()).toContain(`Another program listens on port ${nats}, where NATS was before`);
    expect(portsIn(second).slice(1)).toEqual([eventstore, postgres, http]);
    expect(second.state.listen).toEqual({ host: "0.0.0.0", port: http });
    const added = await tributary(["site", "add", "kampala", "--data", dir]);
    expect(added.output).toContain("tributary field sync --hub https://hub.example.org --token TOKEN");
    expect(added.output).toContain("The hub is also at nats://hub.example.org:4222");
    expect(added.output).not.toContain("work on this machine only");
    expect(await second.stop()).toBe(0);
    // Kept for later starts.
    expect(JSON.parse(readFileSync(join(dir, "config.json"), "utf8"))).toMatchObject({
      org: "relief",
      publicUrls: ["https://hub.example.org", "nats://hub.example.org:4222"],
      ports: { eventstore, postgres, nats: portOf(second.state.natsUrl) },
      listen: { host: "0.0.0.0", port: http },
    });
  });

  it("that devices cannot use, or that hold a password, are refused as public ones", async () => {
    const dir = openDir();
    // The organisation is looked at later, and is not one: an address that passes starts no hub in this process.
    const refused = async (args: readonly string[], words: string, env: Environment = {}): Promise<void> =>
      expect(await runHereWith(env, ["hub", "--data", dir, "--org", "No Name", ...args])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(words),
      });
    await refused(["--public-url", "nats://user:secret@hub:4222"], "printed for everybody");
    await refused(["--public-url", "ftp://hub"], "not an address that devices sync with");
    await refused(["--nats-port", "70000"], "is not a whole number from 1 to 65535");
    await refused(["--nats-port", "4222"], "TRIBUTARY_NATS_URL", { TRIBUTARY_NATS_URL: "nats://127.0.0.1:1" });
  });
});

describe("a hub", () => {
  it("that is stopped while it starts takes its servers with it", async () => {
    const dir = openDir();
    const worker = startWorker(["hub", "--data", dir]);
    onTestFinished(async () => {
      worker.child.kill("SIGTERM");
      await worker.ended;
    });
    const pid = await eventually(
      "its first server",
      async () => (JSON.parse(readFileSync(join(dir, "nats.pid"), "utf8")) as { pid: number }).pid,
    );
    worker.child.kill("SIGTERM");
    expect(await worker.ended).toBe(0);
    expect(isAlive(pid)).toBe(false);
    expect(existsSync(join(dir, "lock"))).toBe(false);
  });

  it("whose server does not come back ends with the reason", async () => {
    const dir = openDir();
    const hub = await runHub(dir);
    const pid = hub.serverPid("eventstore");
    // The next start finds no database there.
    writeFileSync(join(dir, "eventstore/events.db-wal"), "");
    writeFileSync(join(dir, "eventstore/events.db"), "just words, and enough of them to be read as a file that is no database");
    process.kill(pid, "SIGKILL");
    expect(await hub.ended).toBe(8);
    expect(hub.output()).toMatch(/tributary: The event store did not start: .*events\.db is damaged.*: it is not started again/);
  });
});
