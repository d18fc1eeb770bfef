import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

/** A command of the program, as a process of its own. */
export interface Worker {
  readonly child: ChildProcess;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** What it wrote to its output and to its errors. */
  output(): string;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export function startWorker(args: readonly string[], env: Readonly<Record<string, string>> = {}): Worker {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  const ended = new Promise<number | string>((resolve) => child.once("close", (code, signal) => resolve(code ?? signal ?? "")));
  return {
    child,
    ended,
    output: () => output,
    async kill(signal = "SIGKILL") {
      child.kill(signal);
      await ended;
    },
  };
}
