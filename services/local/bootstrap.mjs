// Prepares a fresh clone and runs a script under the pinned Node. Plain JavaScript without dependencies, for any Node ≥ 18:
//   node bootstrap.mjs SCRIPT.ts [args]      node bootstrap.mjs --bin TOOL [args]
// What it has to say goes to stderr, so that a script's --json output stays clean.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const MODULES = join(ROOT, "node_modules");
const STAMP = join(MODULES, ".tributary-lock");
const LOCK = join(ROOT, ".bootstrap-lock");
const NODE_MAJOR = 24;
const LOCK_WAIT_MS = 10 * 60_000;

const say = (line) => process.stderr.write(`${line}\n`);

/** What node_modules must match: the lock file, on this platform. */
export const fingerprint = (lockText, platform = `${process.platform}-${process.arch}`) =>
  createHash("sha256").update(lockText).update(platform).digest("hex");

const wanted = () => fingerprint(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
const isReady = () => existsSync(STAMP) && readFileSync(STAMP, "utf8").trim() === wanted() && nodeMajor() >= NODE_MAJOR;

function nodeMajor() {
  const found = spawnSync(join(MODULES, ".bin/node"), ["--version"], { encoding: "utf8" });
  return found.status === 0 ? Number(/^v(\d+)/.exec(found.stdout)?.[1] ?? 0) : 0;
}

const npm = (args) =>
  spawnSync("npm", args, { cwd: ROOT, stdio: ["ignore", 2, 2], env: { ...process.env, npm_config_loglevel: "error" } });

function install() {
  say("Tributary: installing the npm packages of package-lock.json (Node 24 and PostgreSQL among them; half a minute) …");
  // Trying again helps if the registry failed for a moment.
  if (
    npm(["ci", "--include=dev", "--no-audit", "--no-fund"]).status !== 0 &&
    npm(["ci", "--include=dev", "--no-audit", "--no-fund"]).status !== 0
  ) {
    fail(
      "npm could not install the packages.",
      "See npm's messages above; check the network and the registry, then run the command again.",
    );
  }
  if (nodeMajor() < NODE_MAJOR) {
    // Install scripts may have been switched off; one of them brings the pinned Node.
    npm(["rebuild", "node", "--ignore-scripts=false", "--foreground-scripts"]);
  }
  if (nodeMajor() < NODE_MAJOR) {
    fail(
      `The npm package 'node' did not bring Node ${NODE_MAJOR}.`,
      "Allow its install script (npm config set ignore-scripts false) and run the command again.",
    );
  }
  writeFileSync(STAMP, `${wanted()}\n`);
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
};

/** Whether this process has the lock: only then may it remove the lock. */
let isMine = false;
const unlock = () => {
  if (isMine) rmSync(LOCK, { recursive: true, force: true });
  isMine = false;
};

/** Runs `work` while no other bootstrap of this clone installs; a lock whose owner is gone is taken over. */
async function alone(work) {
  const owner = join(LOCK, "pid");
  for (const until = Date.now() + LOCK_WAIT_MS; ; ) {
    try {
      mkdirSync(LOCK);
      isMine = true;
      writeFileSync(owner, String(process.pid));
      break;
    } catch (error) {
      if (error.code !== "EEXIST")
        fail(`The folder ${ROOT} cannot be written: ${error.message}`, "Clone into a folder of your own.");
    }
    const pid = existsSync(owner) ? Number(readFileSync(owner, "utf8")) : 0;
    const isStale =
      pid > 0 ? !isAlive(pid) : Date.now() - (statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > 5_000;
    if (isStale) takeAway(pid);
    else if (Date.now() > until) fail("Another set-up of this clone does not finish.", `If none is running, remove ${LOCK}.`);
    else await new Promise((r) => setTimeout(r, 500));
  }
  try {
    work();
  } finally {
    unlock();
  }
}

/** Removes the lock of an owner that is gone; a lock that somebody else has made meanwhile is put back. */
function takeAway(stale) {
  const aside = `${LOCK}.stale.${process.pid}`;
  try {
    renameSync(LOCK, aside);
    const owner = join(aside, "pid");
    const pid = existsSync(owner) ? Number(readFileSync(owner, "utf8")) : 0;
    if (pid !== stale && !existsSync(LOCK)) renameSync(aside, LOCK);
  } catch {
    // Another process was first.
  }
  rmSync(aside, { recursive: true, force: true });
}

function fail(problem, hint) {
  say(`Tributary: ${problem}\n${hint}`);
  unlock();
  process.exit(7);
}

/** Runs a command under the pinned Node and ends as it ends. */
function run(args) {
  const [first, ...rest] = args;
  const script = first === "--bin" ? join(MODULES, ".bin", rest[0]) : resolve(ROOT, first);
  const scriptArgs = first === "--bin" ? rest.slice(1) : rest;
  const child = spawn(join(MODULES, ".bin/node"), ["--disable-warning=ExperimentalWarning", script, ...scriptArgs], {
    stdio: "inherit",
    env: {
      ...process.env,
      PATH: `${join(MODULES, ".bin")}${delimiter}${process.env.PATH}`,
      // Compiled code is kept between runs: a command then starts in 0.8 s of processor time instead of 1.3 s.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(MODULES, ".cache/compiled"),
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --disable-warning=ExperimentalWarning`.trim(),
    },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) =>
    fail(`the command could not be started: ${error.message}`, "Run it again; if that fails, remove node_modules first."),
  );
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  const args = process.argv.slice(2);
  if (args.length === 0 || (args[0] === "--bin" && args.length === 1))
    fail("nothing to run.", "Use: node services/local/bootstrap.mjs SCRIPT.ts [args]");
  if (!isReady()) await alone(() => isReady() || install());
  run(args);
}
