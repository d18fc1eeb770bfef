import { rmSync } from "node:fs";
import { onTestFinished } from "vitest";
import { newDir } from "./home.ts";
import { WAIT_MS } from "./patience.ts";

/** A folder that is removed when the test ends. */
export function tempDir(): string {
  const dir = newDir("test");
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const LOOK_EVERY_MS = 40;

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `check` returns something. Fails with `what` when tests have no more patience. */
export async function eventually<T>(what: string, check: () => Promise<T | null | undefined | false>): Promise<T> {
  let last: unknown;
  const late = Promise.withResolvers<never>();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    late.reject(new Error(`${what} did not come about in ${WAIT_MS} ms`, { cause: last }));
  }, WAIT_MS);
  const looks = async (): Promise<T> => {
    for (; !isLate; await sleep(LOOK_EVERY_MS)) {
      try {
        const found = await check();
        if (found !== null && found !== undefined && found !== false) return found;
      } catch (error) {
        last = error;
      }
    }
    return late.promise;
  };
  try {
    return await Promise.race([looks(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Does something again and again until it has once taken less than `limitMs`. Something that waits is late each time; something that a busy machine delays is in
 * time when the machine lets it be.
 */
export const promptly = <T>(what: string, limitMs: () => number | Promise<number>, work: () => Promise<T>): Promise<T> =>
  eventually(`${what} in time`, async () => {
    const mostMs = await limitMs();
    const begunMs = performance.now();
    const done = await work();
    return performance.now() - begunMs < mostMs ? { done } : null;
  }).then(({ done }) => done);

/** All that an async iterable yields. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}
