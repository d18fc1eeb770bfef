import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import pg from "pg";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { TributaryError } from "../../services/core/index.ts";
import {
  isAlive,
  portOf,
  removeAbandoned,
  startBackends,
  startEventStore,
  startNats,
  startPostgres,
} from "../../services/local/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { connectAs, serveNats } from "../support/broker.ts";
import { openDir } from "../support/hub-process.ts";
import { eventually, tempDir } from "../support/temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const BOOTSTRAP = join(ROOT, "services/local/bootstrap.mjs");
const { fingerprint } = (await import(BOOTSTRAP)) as { fingerprint(lockText: string, platform?: string): string };

describe("a backend", () => {
  it("keeps its data between runs, and its password to itself", async () => {
    const dataDir = openDir();
    const query = async (sql: string): Promise<unknown[]> => {
      const postgres = await startPostgres({ dataDir });
      const client = new pg.Client({ connectionString: postgres.url });
      await client.connect();
      const { rows } = await client.query(sql);
      await client.end();
      await postgres.close();
      return rows;
    };
    await query("CREATE TABLE kept AS SELECT 7 AS n");
    expect(await query("SELECT n FROM kept")).toEqual([{ n: 7 }]);
    expect(statSync(join(dataDir, "postgres.password")).mode & 0o077).toBe(0);
  });

  it("of PostgreSQL comes from the npm package where none is on PATH", async ({ skip }) => {
    if (existsSync("/usr/lib/postgresql")) skip("a PostgreSQL of the system stands in /usr/lib/postgresql");
    const tools = openDir();
    vi.stubEnv("PATH", tools);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const postgres = await startPostgres({ dataDir: openDir() });
    expect(postgres).toMatchObject({ how: "embedded", detail: expect.stringContaining("PostgreSQL 18") });
    await postgres.close();
  });

  it.skipIf(process.getuid?.() !== 0)(
    "of PostgreSQL says which folder is closed to its own user and how to mend it, and keeps no data elsewhere (only root needs another user)",
    async () => {
      const closed = join(tempDir(), "closed");
      const dataDir = join(closed, "hub");
      mkdirSync(dataDir, { recursive: true });
      chmodSync(dirname(closed), 0o755);
      chmodSync(closed, 0o700);
      await expect(startPostgres({ dataDir })).rejects.toMatchObject({
        code: "backend-failed",
        message: expect.stringMatching(new RegExp(`${dataDir}/postgres.*${closed} is closed to the user (postgres|nobody)`)),
        hint: expect.stringContaining(`chmod o+x ${closed}`),
      });
      expect(existsSync(join(dataDir, "postgres"))).toBe(false);
      chmodSync(closed, 0o711);
      const postgres = await startPostgres({ dataDir });
      expect(isAlive(postgres.pid!)).toBe(true);
      expect(existsSync(join(dataDir, "postgres/PG_VERSION"))).toBe(true);
      await postgres.close();
    },
  );

  it.skipIf(process.getuid?.() !== 0)(
    "of PostgreSQL whose data an earlier version kept elsewhere says where they are and how to move them (only root's data were elsewhere)",
    async () => {
      const dataDir = openDir();
      const first = await startPostgres({ dataDir });
      await first.close();
      const elsewhere = join(
        "/var/lib/tributary",
        createHash("sha256").update(join(dataDir, "postgres")).digest("hex").slice(0, 16),
        "postgres",
      );
      onTestFinished(() => rmSync(dirname(elsewhere), { recursive: true, force: true }));
      mkdirSync(dirname(elsewhere), { recursive: true });
      const move = (from: string, to: string): void => {
        expect(spawnSync("mv", [from, to]).status).toBe(0);
      };
      move(join(dataDir, "postgres"), elsewhere);
      const refused = await startPostgres({ dataDir }).then(
        () => null,
        (error: TributaryError) => error,
      );
      expect(refused).toMatchObject({ code: "backend-failed", message: expect.stringContaining(elsewhere) });
      const [, from, to] = /mv (\S+) (\S+)/.exec(refused!.hint) ?? [];
      move(from!, to!);
      const again = await startPostgres({ dataDir });
      await again.close();
    },
  );

  it("listens where it did before; where another program has taken its port it says so and goes elsewhere, unless the port was asked for", async () => {
    const said: string[] = [];
    const dataDir = tempDir();
    const first = await startNats({ dataDir });
    const port = portOf(first.url);
    await first.close();
    const second = await startNats({ dataDir, lastPort: port, say: (line) => said.push(line) });
    expect(second.url).toBe(first.url);
    expect(said).toEqual([]);
    await second.close();
    const other = createServer().listen(port, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    onTestFinished(() => {
      other.close();
    });
    const third = await startNats({ dataDir, lastPort: port, say: (line) => said.push(line) });
    expect(portOf(third.url)).not.toBe(port);
    expect(said).toEqual([expect.stringMatching(new RegExp(`port ${port}.* ${portOf(third.url)} now`))]);
    await third.close();
    await expect(startNats({ dataDir, port })).rejects.toMatchObject({ code: "port-in-use" });
  });

  it("named in the environment is used, and is an error when it does not answer", async () => {
    const dataDir = tempDir();
    const nats = await startNats({ dataDir });
    vi.stubEnv("TRIBUTARY_NATS_URL", nats.url);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    expect(await startNats({ dataDir: tempDir() })).toMatchObject({ how: "environment", url: nats.url, pid: null });
    await nats.close();
    await expect(startNats({ dataDir: tempDir() })).rejects.toMatchObject({
      code: "backend-unreachable",
      message: expect.stringContaining("TRIBUTARY_NATS_URL"),
    });
  });

  it("on a port in use says which", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    await expect(startEventStore({ dataDir: tempDir(), port })).rejects.toMatchObject({
      code: "port-in-use",
      message: expect.stringContaining(String(port)),
    });
    server.close();
  });

  it("that fails to start shows its last words", async () => {
    const dataDir = tempDir();
    mkdirSync(join(dataDir, "eventstore"));
    writeFileSync(join(dataDir, "eventstore/events.db"), "no database at all, just words, and enough of them to be read");
    await expect(startEventStore({ dataDir })).rejects.toMatchObject({
      code: "data-corrupt",
      message: expect.stringMatching(/events\.db is damaged: file is not a database/),
    });
  });

  it("whose data another process has open is not said to be damaged", async () => {
    const dataDir = tempDir();
    const other = await startNode({ dataDir: join(dataDir, "eventstore") });
    onTestFinished(() => other.close());
    await expect(startEventStore({ dataDir })).rejects.toMatchObject({
      code: "data-locked",
      message: expect.stringMatching(/another process has .*events\.db open/),
    });
  });
});

describe("a data directory", () => {
  it("has one owner; a stale lock is taken over, and the start says so", async () => {
    const dataDir = openDir();
    const first = await startBackends({ dataDir });
    await expect(startBackends({ dataDir })).rejects.toMatchObject({
      code: "already-running",
      message: expect.stringContaining(String(process.pid)),
    });
    await first.close();
    writeFileSync(join(dataDir, "lock"), JSON.stringify({ pid: 999_999_999, start: "1" }));
    const said: string[] = [];
    const again = await startBackends({ dataDir, say: (line) => said.push(line) });
    await again.close();
    expect(said.join()).toContain("taking over its lock");
  });

  it("whose owner was killed with SIGKILL works again: what it left running is ended first", async () => {
    const dataDir = openDir();
    const script = `import { startBackends } from ${JSON.stringify(join(ROOT, "services/local/index.ts"))};
      await startBackends({ dataDir: ${JSON.stringify(dataDir)} }); console.log("ready"); setInterval(() => {}, 1000);`;
    const file = join(tempDir(), "owner.mts");
    writeFileSync(file, script);
    const owner = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise((resolve) => owner.stdout.once("data", resolve));
    const pids = ["nats", "eventstore", "postgres"].map(
      (name) => (JSON.parse(readFileSync(join(dataDir, `${name}.pid`), "utf8")) as { pid: number }).pid,
    );
    owner.kill("SIGKILL");
    await new Promise((resolve) => owner.once("exit", resolve));
    const again = await startBackends({ dataDir });
    for (const pid of pids) await eventually("the end of what was left", async () => !isAlive(pid));
    await again.close();
    await removeAbandoned(dataDir);
    expect(existsSync(dataDir)).toBe(false);
  });
});

describe("a start that is called off", () => {
  it("leaves no server, no lock and no pid file behind", async () => {
    const dataDir = openDir();
    const stop = new AbortController();
    const started = startBackends({ dataDir, signal: stop.signal });
    started.catch(() => {});
    const pidsSeen = await eventually("the first server", async () => {
      const pids = readdirSync(dataDir)
        .filter((name) => name.endsWith(".pid"))
        .map((name) => (JSON.parse(readFileSync(join(dataDir, name), "utf8")) as { pid: number }).pid);
      return pids.length > 0 && pids;
    });
    stop.abort();
    await expect(started).rejects.toMatchObject({ code: "backend-failed", message: expect.stringContaining("interrupted") });
    expect(pidsSeen.filter(isAlive)).toEqual([]);
    expect(readdirSync(dataDir).filter((name) => name.endsWith(".pid") || name.startsWith("lock"))).toEqual([]);
  });
});

describe("the bootstrap", () => {
  it("that fails leaves the lock of another process that installs alone", () => {
    const clone = tempDir();
    const lock = join(clone, ".bootstrap-lock");
    mkdirSync(join(clone, "services/local"), { recursive: true });
    copyFileSync(BOOTSTRAP, join(clone, "services/local/bootstrap.mjs"));
    writeFileSync(join(clone, "package-lock.json"), "{}");
    mkdirSync(lock);
    writeFileSync(join(lock, "pid"), String(process.pid));
    expect(spawnSync(process.execPath, [join(clone, "services/local/bootstrap.mjs")]).status).toBe(7);
    expect(readFileSync(join(lock, "pid"), "utf8")).toBe(String(process.pid));
  });
  it("notices a changed lock file, and another platform", () => {
    expect(fingerprint("a", "linux-x64")).not.toBe(fingerprint("b", "linux-x64"));
    expect(fingerprint("a", "linux-x64")).not.toBe(fingerprint("a", "linux-arm64"));
  });
  it("runs a script under the pinned Node, passes its output on and ends with its exit code", () => {
    const file = join(tempDir(), "s.mjs");
    writeFileSync(file, "console.log(process.version, process.argv.slice(2).join()); process.exit(7);");
    const ended = spawnSync(process.execPath, [BOOTSTRAP, file, "a", "--json"], { encoding: "utf8" });
    expect(ended.stdout).toMatch(/^v24\..* a,--json\n$/);
    expect(ended.status).toBe(7);
    expect(spawnSync(process.execPath, [BOOTSTRAP], { encoding: "utf8" })).toMatchObject({
      status: 7,
      stderr: expect.stringContaining("nothing to run"),
    });
  });
});

it("docker-compose.yml gives every service a health check and a pinned image, and the hub waits for all three", () => {
  const text = readFileSync(join(ROOT, "docker-compose.yml"), "utf8");
  const services = [
    ...text
      .split(/^services:$/m)[1]!
      .split(/^configs:$/m)[0]!
      .matchAll(/^ {2}([a-z]+):\n((?: {4}.*\n|\n)+)/gm),
  ].map(([, name, body]) => ({ name: name!, body: body! }));
  expect(services.map(({ name }) => name)).toEqual(["hub", "eventstore", "nats", "postgres"]);
  for (const { name, body } of services) {
    expect(body, name).toContain("healthcheck:");
    expect(body, name).toMatch(/image: \S+:\d\S*|build: \./);
    if (name !== "hub") expect(services[0]!.body).toContain(`${name}: { condition: service_healthy }`);
  }
});

describe("docker-compose.yml", () => {
  const text = readFileSync(join(ROOT, "docker-compose.yml"), "utf8");
  const bodyOf = (name: string): string => new RegExp(`^ {2}${name}:\\n((?: {4}.*\\n|\\n)+)`, "m").exec(text)?.[1] ?? "";

  it("publishes the HTTP door alone, keeps the hub's data on its volume, and takes own schemas and projections", () => {
    expect([...text.matchAll(/^ {4}ports: (.*)$/gm)].map(([, ports]) => ports)).toEqual(['["8080:8080"]']);
    expect(bodyOf("hub")).toContain('ports: ["8080:8080"]');
    expect(bodyOf("hub")).toContain("TRIBUTARY_DATA: /data");
    for (const volume of ["hub:/data", "./schemas:/app/schemas:ro", "./projections:/app/projections:ro"])
      expect(bodyOf("hub")).toContain(`- ${volume}`);
    expect(readFileSync(join(ROOT, "Dockerfile"), "utf8")).toContain("WORKDIR /app");
  });

  it("puts no password into an address, where a @ or / would break it, and refuses to start without one", () => {
    expect(text).not.toMatch(/:\/\/[^\s"]*\$\{/);
    for (const name of ["POSTGRES_PASSWORD", "NATS_PASSWORD"])
      for (const use of text.match(new RegExp(`\\$\\{${name}[^}]*\\}`, "g")) ?? ["none"])
        expect(use).toBe(`\${${name}:?set ${name}}`);
  });

  it("runs NATS with a login for the hub, whatever letters its password has, and for nobody else", async () => {
    const content = /content: \|\n((?: {6}.*\n)+)/.exec(text.slice(text.indexOf("\nconfigs:")))?.[1] ?? "";
    // This is what compose hands to the server; `sync_interval` needs a newer server than this machine may have.
    const config = content.replaceAll("$$", "$").replace(/^\s*sync_interval.*\n/m, "");
    expect(config).toContain("password: $HUB_PASSWORD");
    expect(bodyOf("nats")).toContain(`HUB_PASSWORD: '"\${NATS_PASSWORD:?set NATS_PASSWORD}"'`);
    const password = "1p@ss/w:rd, #{}$x";
    vi.stubEnv("HUB_PASSWORD", `"${password}"`);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const server = await serveNats(
      tempDir(),
      (port, store) => `${config.replace("http: 8222", `host: 127.0.0.1\nport: ${port}`).replace("/data", store)}`,
    );
    onTestFinished(() => server.end());
    const url = `nats://127.0.0.1:${server.port}`;
    await expect(connectAs(url)).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
    const nc = await connectAs(url, { user: "hub", password });
    expect((await (await nc.jetstreamManager()).getAccountInfo()).streams).toBe(0);
    await nc.close();
  });

  it("gives PostgreSQL's password beside the address, which the hub's driver takes", async () => {
    const postgres = await startPostgres({ dataDir: openDir() });
    onTestFinished(() => postgres.close());
    const address = new URL(postgres.url);
    vi.stubEnv("PGPASSWORD", decodeURIComponent(address.password));
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    address.password = "";
    expect(bodyOf("hub")).toContain("PGPASSWORD: ${POSTGRES_PASSWORD");
    const client = new pg.Client({ connectionString: address.href });
    await client.connect();
    expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await client.end();
  });
});
