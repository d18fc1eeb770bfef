import { Worker } from "node:worker_threads";
import { WAIT_MS } from "./patience.ts";

/** What is thrown at which door. Each item ends with an answer or a TributaryError, in bounded time. */
export const DOORS = ["schemas", "events", "frames", "tokens"] as const;
export type Door = (typeof DOORS)[number];
export const FULL: Readonly<Record<Door, number>> = { schemas: 20_000, events: 30_000, frames: 30_000, tokens: 5_000 };

const LOOK_EVERY_MS = 500;

/** One item in so many is as it should be, so that the door takes it; and one is nothing that it could take. */
export const EVERY = 25;

export interface FuzzRun {
  readonly taken: number;
  readonly refused: number;
}

/** Throws `count` items at a door, in a thread that is ended when an item does not end. Rejects with the seed and the item. */
export function fuzz(door: Door, seed: number, count: number): Promise<FuzzRun> {
  const at = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./fuzz-thread.ts", import.meta.url), {
    execArgv: [],
    workerData: { door, seed, count, at },
    resourceLimits: { maxOldGenerationSizeMb: 1_024 },
  });
  return new Promise((resolve, reject) => {
    let last = -1;
    let sinceMs = Date.now();
    const fail = (why: string): void => {
      clearInterval(timer);
      void worker.terminate();
      reject(new Error(`${door}, seed ${seed}, item ${at[0]}: ${why}`));
    };
    const timer = setInterval(() => {
      const now = Atomics.load(at, 0);
      if (now !== last) [last, sinceMs] = [now, Date.now()];
      else if (Date.now() - sinceMs > WAIT_MS) fail(`it does not end within ${WAIT_MS / 1000} s`);
    }, LOOK_EVERY_MS);
    worker.on("error", (error) => fail(String(error instanceof Error ? (error.stack ?? error) : error)));
    worker.on("message", (run: FuzzRun) => {
      clearInterval(timer);
      resolve(run);
    });
    worker.on("exit", (code) => (code === 0 ? undefined : fail(`the thread ended with ${code}`)));
  });
}
