import {
  type Appendable,
  eventIdOf,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type LogEntry,
  type OriginId,
  type Seq,
  wallMsOf,
} from "../../services/core/index.ts";
import { chainHash, randomEpoch } from "../../services/core/node.ts";
import type { Log } from "../../services/log/index.ts";
import { sleep } from "./temp.ts";

export const WALL_MS = Date.parse("2026-10-01T00:00:00.000Z");

/** A chained run of an origin's events. */
export function runOf(
  origin: OriginId,
  from: number,
  count: number,
  options: { prev?: Hash; value?: string; bytes?: number } = {},
): Appendable[] {
  let prev = options.prev ?? GENESIS;
  return Array.from({ length: count }, (_, i): Appendable => {
    const data = { v: `${options.value ?? "x"}${"y".repeat(options.bytes ?? 0)}`, i: from + i };
    const body = {
      type: "thing.noted",
      origin,
      seq: (from + i) as Seq,
      entity: { type: "thing", id: "t" },
      schema: { subject: "thing", version: 1 },
      actor: "a",
      org: "relief",
      occurredAt: "2026-10-01T00:00:00.000Z",
      hlc: formatHlc({ wallMs: WALL_MS + from + i, counter: 0 }),
      basis: {},
    };
    const hash = chainHash(prev, eventText(body, `{"i":${data.i},"v":${JSON.stringify(data.v)}}`));
    const item: Appendable = {
      head: { ...body, id: eventIdOf(wallMsOf(body.hlc), hash), prev, hash },
      content: { kind: "accepted", data },
      clock: null,
    };
    prev = hash;
    return item;
  });
}
export const newOrigin = (): OriginId => `relief.test.t1.${randomEpoch()}` as OriginId;
export const headOf = (run: readonly Appendable[]): Hash => run.at(-1)!.head.hash;

export async function follow(
  log: Log,
  count: number,
  options: Parameters<Log["subscribe"]>[0],
  perPageMs = 0,
): Promise<LogEntry[]> {
  const out: LogEntry[] = [];
  const stop = new AbortController();
  for await (const { entries } of log.subscribe({ ...options, signal: stop.signal })) {
    out.push(...entries);
    if (perPageMs > 0) await sleep(perPageMs);
    if (out.length >= count) stop.abort();
  }
  return out;
}
