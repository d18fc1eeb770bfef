import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moveIn, RUN } from "./home.ts";

/** Starts a warden over a new folder for a run. It ends when its input ends: when it is told to, and when this process is killed. */
export function startWarden(): { readonly run: string; readonly pid: number; end(): Promise<void> } {
  const run = mkdtempSync(join(tmpdir(), "tributary-tests-"));
  chmodSync(run, 0o755);
  const program = join(import.meta.dirname, "warden-process.ts");
  // In a process group of its own: Ctrl-C in a terminal ends the tests, and not who cleans up after them.
  const warden = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, run], {
    stdio: ["pipe", "ignore", "inherit"],
    detached: true,
  });
  const ended = new Promise<void>((resolve) => warden.once("exit", () => resolve()));
  warden.unref();
  return {
    run,
    pid: warden.pid ?? 0,
    async end() {
      warden.ref();
      warden.stdin.end();
      await ended;
    },
  };
}

/** Vitest's global set-up. Both projects of a run share a warden. */
export default function setup(): (() => Promise<void>) | undefined {
  if (process.env[RUN] !== undefined) return undefined;
  const warden = startWarden();
  process.env[RUN] = warden.run;
  moveIn();
  return () => {
    delete process.env[RUN];
    return warden.end();
  };
}
