import { runCommand } from "../../services/cli/run.ts";

export type Environment = Readonly<Record<string, string>>;

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A command of the program in this process, which spares a second of processor time: for tests of what commands do and say. How commands end as processes is
 * tested elsewhere. Commands run one at a time, because their output is captured for the whole process.
 */
export const runHere = (...args: readonly string[]): Promise<Ended> => runHereWith({}, args);

/** The same, with these variables in the environment. */
export function runHereWith(env: Environment, args: readonly string[]): Promise<Ended> {
  const ended = last.then(() => withEnvironment(env, () => runAlone(args)));
  last = ended.catch(() => {});
  return ended;
}

/** Ends with the last command that was begun. */
let last: Promise<unknown> = Promise.resolve();

async function withEnvironment<T>(env: Environment, work: () => Promise<T>): Promise<T> {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  try {
    return await work();
  } finally {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
}

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
