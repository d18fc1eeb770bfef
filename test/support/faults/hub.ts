/** The hub of a run: it is started, stopped and looked at as an operator does it. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HubState } from "../../../services/cli/state.ts";
import { messageOf } from "../../../services/core/index.ts";
import { connectAs } from "../broker.ts";
import { WAIT_MS } from "../patience.ts";
import { sleep } from "../temp.ts";
import { MAIN, PROCESSES, type Process, type World } from "./world.ts";

export async function startHub(world: World): Promise<void> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", MAIN, "hub", "--data", world.data, "--org", "relief"],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  world.hub = child;
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream!.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
      writeFileSync(join(world.dir, "hub.said"), chunk, { flag: "a" });
    });
  for (const until = Date.now() + WAIT_MS; Date.now() < until; await sleep(100)) {
    if (said.includes("is running")) return;
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the hub did not start:\n${said}`);
  }
  throw new Error(`the hub was not running after ${WAIT_MS} ms:\n${said}`);
}

export async function stopHub(world: World): Promise<void> {
  const hub = world.hub;
  if (hub === null || hub.exitCode !== null || hub.signalCode !== null) return;
  hub.kill("SIGTERM");
  if (!(await gone(hub))) {
    hub.kill("SIGKILL");
    await gone(hub);
    throw new Error(`the hub did not stop in ${WAIT_MS} ms`);
  }
}

export async function gone(child: ChildProcess): Promise<boolean> {
  for (const until = Date.now() + WAIT_MS; Date.now() < until; await sleep(20))
    if (child.exitCode !== null || child.signalCode !== null) return true;
  return false;
}

export const stateOf = ({ data }: World): HubState => JSON.parse(readFileSync(join(data, "hub.json"), "utf8")) as HubState;

/** The pid of a process of the hub: of a server by its file, of a worker among the hub's children. */
export function pidOf({ data, hub }: World, name: Process): number | null {
  if (name === "ingress" || name === "projector") {
    for (const entry of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
      try {
        const args = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
        if (args.includes(MAIN) && args.includes(name) && args.includes(data) && Number(entry) !== hub?.pid) return Number(entry);
      } catch {
        // It has ended meanwhile.
      }
    }
    return null;
  }
  const file = join(data, `${name}.pid`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { pid: number }).pid : null;
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

export async function endAll(world: World): Promise<void> {
  await stopHub(world).catch(() => {});
  for (const name of PROCESSES) {
    const pid = existsSync(world.data) ? pidOf(world, name) : null;
    if (pid !== null) signal(pid, "SIGKILL");
  }
}

export function command(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), WAIT_MS);
    let [stdout, stderr] = ["", ""];
    child.stdout!.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}

export async function addSite({ data }: World, site: string): Promise<string> {
  const { code, stdout, stderr } = await command(["site", "add", site, "--days", "400", "--data", data, "--json"]);
  if (code !== 0) throw new Error(`site add ${site} ended with ${code}: ${stderr}`);
  return (JSON.parse(stdout) as { token: string }).token;
}

export async function onBroker(world: World, fault: "delete-streams" | "delete-consumer"): Promise<string> {
  try {
    const nc = await connectAs(stateOf(world).natsUrl, {}, { timeout: 2_000 });
    try {
      const manager = await nc.jetstreamManager();
      if (fault === "delete-consumer") await manager.consumers.delete("INGRESS", "ingress");
      else for (const stream of ["INGRESS", "DEAD"]) await manager.streams.delete(stream);
      return "";
    } finally {
      await nc.close();
    }
  } catch (error) {
    return ` (it was not there: ${messageOf(error)})`;
  }
}
