import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { isAlive } from "../services/local/index.ts";
import { HOME, ownerOf, RUN } from "./support/home.ts";
import { eventually, tempDir } from "./support/temp.ts";

const WARDEN = join(import.meta.dirname, "support/warden.ts");
const HOME_MODULE = join(import.meta.dirname, "support/home.ts");

interface Said {
  readonly run: string;
  readonly main: number;
  readonly warden: number;
  readonly worker: number;
  readonly server: number;
  readonly home: string;
}

/** A process that runs tests, as vitest does: with a warden, a worker, and a server of the worker that ends only when it is killed. */
async function startRun(): Promise<{ readonly main: ChildProcess; readonly said: Said; errors(): string }> {
  const server = `process.on("SIGTERM", () => {}); setInterval(() => {}, 1_000);`;
  const worker = `
    import { spawn } from "node:child_process";
    import { HOME, moveIn, moveOut, newDir } from ${JSON.stringify(HOME_MODULE)};
    moveIn();
    newDir("left");
    const server = spawn(process.execPath, ["-e", ${JSON.stringify(server)}], { stdio: "ignore", detached: true });
    console.log(JSON.stringify({ worker: process.pid, server: server.pid, home: process.env[HOME] }));
    process.once("SIGUSR2", () => moveOut(process.env[HOME]));
    setInterval(() => {}, 1_000);`;
  const main = `
    import { spawn } from "node:child_process";
    import { moveIn, RUN } from ${JSON.stringify(HOME_MODULE)};
    import { startWarden } from ${JSON.stringify(WARDEN)};
    const warden = startWarden();
    process.env[RUN] = warden.run;
    moveIn();
    const worker = spawn(process.execPath, ["--input-type=module", "-e", ${JSON.stringify(worker)}], { stdio: ["ignore", "pipe", "inherit"] });
    worker.stdout.once("data", (data) =>
      console.log(JSON.stringify({ run: warden.run, main: process.pid, warden: warden.pid, ...JSON.parse(String(data)) })));
    process.once("SIGUSR2", () => warden.end().then(() => process.exit()));
    setInterval(() => {}, 1_000);`;
  const { [RUN]: _, [HOME]: mine, ...env } = process.env;
  // In this test's own folder, and under its own warden if this one fails.
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", main], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...env, TMPDIR: tempDir(), ...(mine === undefined ? {} : { [HOME]: mine }) },
  });
  let [out, errors] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const said = await eventually("the run", async () => JSON.parse(out) as Said);
  onTestFinished(() => {
    for (const pid of [said.server, said.worker, said.main]) if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  return { main: child, said, errors: () => errors };
}

it.each([
  ["the worker is killed", "SIGKILL"],
  ["their file has ended", "SIGUSR2"],
] as const)(
  "what tests have started ends when %s, though it ignores SIGTERM, and its folder goes; the run goes on",
  async (_, how) => {
    const { said, errors } = await startRun();
    expect(existsSync(said.home)).toBe(true);
    process.kill(said.worker, how);
    await eventually("the server's end", async () => !isAlive(said.server));
    await eventually("the folder's end", async () => !existsSync(said.home));
    expect(errors()).toContain(`A test left a process, which is ended: ${said.server} `);
    expect([isAlive(said.main), isAlive(said.warden), existsSync(said.run)]).toEqual([true, true, true]);
    expect(isAlive(said.worker)).toBe(how === "SIGUSR2");
  },
);

it.each(["SIGKILL", "SIGUSR2"] as const)("all of a run goes when it ends by %s", async (how) => {
  const { said } = await startRun();
  process.kill(said.main, how);
  await eventually("everybody's end", async () =>
    [said.main, said.worker, said.server, said.warden].every((pid) => !isAlive(pid)),
  );
  expect(existsSync(said.run)).toBe(false);
});

it("this very process is under a warden, and so are the folders that its tests make", () => {
  const home = process.env[HOME] ?? "";
  expect(ownerOf(home)).toBe(process.pid);
  expect(dirname(home)).toBe(process.env[RUN]);
  const dir = tempDir();
  mkdirSync(join(dir, "a"));
  expect(dir.startsWith(`${home}/`)).toBe(true);
});
