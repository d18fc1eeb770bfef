import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { messageOf, type NatsSettings, natsConnect, natsRefusal, TributaryError, withLogin } from "../core/index.ts";
import { makeFolder, ownFolder, unlessOtherKind } from "../core/node.ts";
import { type Backend, fromEnvironment, type StartOptions, TITLES } from "./backend.ts";
import { adoptStreams, brokerConfig, hubLogin, notePort, writeAccounts } from "./broker-logins.ts";
import { containerEngine, startContainer } from "./engine.ts";
import { otherKindBehind } from "./ping.ts";
import { choosePort, endLeftover, findProgram, startProcess, whenReady } from "./process.ts";

const run = promisify(execFile);
const INSTALL_TIMEOUT_MS = 5 * 60_000;
const PROBE_TIMEOUT_MS = 2_000;

async function probe(url: string, settings: NatsSettings = {}): Promise<void> {
  const { connect, credsAuthenticator, nkeyAuthenticator } = await import("nats");
  const options = natsConnect(url, settings, { creds: credsAuthenticator, nkey: nkeyAuthenticator });
  const nc = await connect({ ...options, timeout: PROBE_TIMEOUT_MS, reconnect: false });
  try {
    await (await nc.jetstreamManager()).getAccountInfo();
  } finally {
    await nc.close();
  }
}

/** Settings whose variable holds the value, and settings whose variable names a file. */
const VARIABLES = {
  user: "TRIBUTARY_NATS_USER",
  password: "TRIBUTARY_NATS_PASSWORD",
  token: "TRIBUTARY_NATS_TOKEN",
} as const;
const FILES = {
  nkeySeed: "TRIBUTARY_NATS_NKEY",
  creds: "TRIBUTARY_NATS_CREDS",
  ca: "TRIBUTARY_NATS_CA",
  cert: "TRIBUTARY_NATS_CERT",
  key: "TRIBUTARY_NATS_KEY",
} as const;

/** The files that hold a login or certificates, by setting. */
export type NatsFiles = { readonly [setting in keyof typeof FILES]?: string };

/** Login and certificates for NATS: from files that a command names, or else from the environment. Throws `not-found` for a file that is not there. */
export function natsSettings(files: NatsFiles = {}): NatsSettings {
  const settings: { -readonly [setting in keyof NatsSettings]: NatsSettings[setting] } = {};
  for (const [setting, variable] of Object.entries(VARIABLES) as [keyof typeof VARIABLES, string][]) {
    // If a command names a creds file or an nkey, that is the login to use.
    if (files.creds !== undefined || files.nkeySeed !== undefined) continue;
    const value = process.env[variable];
    if (value !== undefined && value !== "") settings[setting] = value;
  }
  for (const [setting, variable] of Object.entries(FILES) as [keyof typeof FILES, string][]) {
    const isLogin = setting === "creds" || setting === "nkeySeed";
    const given = files[setting];
    const named =
      isLogin && (files.creds !== undefined || files.nkeySeed !== undefined) ? given : (given ?? process.env[variable]);
    if (named === undefined || named === "") continue;
    settings[setting] = readSetting(
      named,
      given === undefined ? variable : `--nats-${setting === "nkeySeed" ? "nkey" : setting}`,
    );
  }
  return settings;
}

function readSetting(file: string, by: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new TributaryError(
      "not-found",
      `the file that ${by} names cannot be read: ${messageOf(error)}`,
      "Check the name and who may read it.",
      { cause: error },
    );
  }
}

/** NATS with JetStream: by `TRIBUTARY_NATS_URL`, in a container, on PATH, or installed with the system's package manager. */
export async function startNats(options: StartOptions): Promise<Backend> {
  const { dataDir, say = () => {}, signal, ownGroups = false } = options;
  const url = process.env.TRIBUTARY_NATS_URL;
  if (url !== undefined && url !== "") {
    await unlessOtherKind(probe(url, natsSettings()), {
      ask: () => otherKindBehind("TRIBUTARY_NATS_URL", url),
      isAnswer: (error) => natsRefusal("", error) !== null,
    }).catch((error: unknown) => {
      if (error instanceof TributaryError) throw error;
      const refused = natsRefusal("the NATS that TRIBUTARY_NATS_URL names", error);
      if (refused !== null) throw refused;
      throw new TributaryError(
        "backend-unreachable",
        `no NATS with JetStream answers at TRIBUTARY_NATS_URL: ${messageOf(error)}`,
        "Start it, or unset the variable.",
        { cause: error },
      );
    });
    return fromEnvironment("nats", "TRIBUTARY_NATS_URL", url, (named) => probe(named, natsSettings()));
  }
  await endLeftover(dataDir, "nats");
  const chosen = await choosePort({ ...options, option: "--nats-port" }, TITLES.nats);
  const store = join(dataDir, "nats");
  makeFolder(store);
  adoptStreams(store);
  writeAccounts(dataDir);
  notePort(dataDir, chosen);
  const { user, password } = hubLogin(dataDir);
  // The hub's own address, with its login; whoever shows it or hands it out leaves the login out.
  const local = withLogin(`nats://127.0.0.1:${chosen}`, user, password);
  const engine = await containerEngine();
  if (engine !== null) {
    const inside = brokerConfig({
      host: "0.0.0.0",
      port: 4222,
      store: "/data",
      accounts: "accounts.conf",
      more: "  sync_interval: always\n",
    });
    writeFileSync(join(store, "nats.conf"), inside, { mode: 0o600 });
    return startContainer(engine, {
      ...{ name: "nats", dataDir, port: 4222, hostPort: chosen, volume: [store, "/data"], args: ["-c", "/data/nats.conf"] },
      ...{ url: local, probe, ...(signal === undefined ? {} : { signal }) },
    });
  }
  ownFolder(store);
  const onPath = findProgram("nats-server", ["/usr/sbin", "/usr/local/sbin"]);
  const program = onPath ?? (await installed(say, signal));
  const version = /v?(\d+)\.(\d+)\.(\d+)/.exec((await run(program, ["--version"])).stdout);
  // Older servers acknowledge from the page cache and refuse the setting.
  const syncs = version !== null && (Number(version[1]) > 2 || Number(version[2]) >= 10);
  const config = join(dataDir, "nats.conf");
  const more = syncs ? "  sync_interval: always\n" : "";
  writeFileSync(config, brokerConfig({ host: "127.0.0.1", port: chosen, store, accounts: "nats/accounts.conf", more }), {
    mode: 0o600,
  });
  const server = await startProcess(dataDir, "nats", [program, "-c", config], { detached: ownGroups });
  await whenReady("nats-server", server, () => probe(local), signal === undefined ? {} : { signal });
  return {
    name: "nats",
    url: local,
    how: onPath === null ? "installed" : "path",
    pid: server.pid,
    container: null,
    detail: `nats-server ${version?.[0] ?? ""} (${program})`,
    exited: server.exited,
    probe: () => probe(local),
    close: () => server.stop(),
  };
}

/** Where programs fetched for this user live. */
function cacheDir(): string {
  const wanted = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "tributary");
  try {
    makeFolder(wanted);
    return wanted;
  } catch {
    const other = join(tmpdir(), `tributary-cache-${process.getuid?.() ?? 0}`);
    makeFolder(other);
    return other;
  }
}

/** Fetches nats-server with the system's package manager and unpacks it beside us: no root, no system service started. */
async function installed(say: (line: string) => void, signal?: AbortSignal): Promise<string> {
  const root = join(cacheDir(), "nats-server");
  const program = join(root, "usr/sbin/nats-server");
  if (existsSync(program)) return program;
  const missing = (cause?: unknown): TributaryError =>
    new TributaryError(
      "backend-missing",
      `nats-server is not installed, and could not be fetched${cause === undefined ? "" : `: ${messageOf(cause)}`}`,
      "Install it (Debian: apt-get install nats-server; macOS: brew install nats-server), or set TRIBUTARY_NATS_URL.",
      { cause },
    );
  const apt = findProgram("apt-get");
  if (apt === null || findProgram("dpkg-deb") === null) throw missing();
  say(
    `nats-server is not on this machine: fetching Debian's package with apt-get and unpacking it into ${root} (nothing is installed system-wide) …`,
  );
  // Unpacked in a folder of this process and then moved into place as one, because several processes may do this at the same time.
  const mine = `${root}.${process.pid}`;
  const work = join(mine, "apt");
  const lists = join(work, "lists");
  for (const dir of [mine, join(lists, "partial"), join(work, "archives/partial")]) makeFolder(dir);
  const own = ["-o", `Dir::State::Lists=${lists}`, "-o", `Dir::Cache=${work}`, "-o", "APT::Sandbox::User=root"];
  const options = { cwd: work, timeout: INSTALL_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) };
  try {
    await run(apt, ["download", "nats-server"], options).catch(async () => {
      await run(apt, [...own, "update"], options);
      await run(apt, [...own, "download", "nats-server"], options);
    });
    const deb = readdirSync(work).find((name) => /^nats-server_.*\.deb$/.test(name));
    if (deb === undefined) throw new Error("apt-get brought no package");
    await run("dpkg-deb", ["-x", join(work, deb), mine], options);
    rmSync(work, { recursive: true, force: true });
    if (!existsSync(program)) renameSync(mine, root);
  } catch (error) {
    // Another process may have been first.
    if (!existsSync(program)) throw missing(error);
  } finally {
    rmSync(mine, { recursive: true, force: true });
  }
  if (!existsSync(program)) throw missing();
  return program;
}
