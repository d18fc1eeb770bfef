import { runCommand } from "../../services/cli/run.ts";

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A command of the program in this process, which spares a second of processor time: for tests of what commands do and say. How commands end as processes is
 * tested elsewhere. Commands run one at a time, because their output is captured for the whole process, and with the environment that this process had when it began.
 */
export function runHere(...args: readonly string[]): Promise<Ended> {
  const ended = last.then(() => runAlone(args));
  last = ended.catch(() => {});
  return ended;
}

/** Ends with the last command that was begun. */
let last: Promise<unknown> = Promise.resolve();

async function runAlone(args: readonly string[]): Promise<Ended> {
  const heard = { stdout: "", stderr: "" };
  const before = { stdout: process.stdout.write, stderr: process.stderr.write };
  for (const name of ["stdout", "stderr"] as const)
    process[name].write = ((chunk: string | Uint8Array, ...rest: readonly unknown[]): boolean => {
      heard[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      const done = rest.find((each) => typeof each === "function") as (() => void) | undefined;
      done?.();
      return true;
    }) as typeof process.stdout.write;
  try {
    return { code: await runCommand(args), ...heard };
  } finally {
    process.stdout.write = before.stdout;
    process.stderr.write = before.stderr;
  }
}
