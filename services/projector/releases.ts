import {
  HUB_SITE,
  type LogEntry,
  type Position,
  partsOf,
  QUARANTINE_ENTITY,
  RELEASED,
  releaseOf,
  type Settled,
  settledBy,
} from "../core/index.ts";
import type { Log } from "../log/index.ts";

/** Settlements that are remembered: those of pages that are still being written, and many before. */
const MAX_REMEMBERED = 100_000;

/** Who was first to settle each quarantined event: only that settlement holds. */
export interface Settlements {
  isFirst(settled: Settled, position: Position): Promise<boolean>;
}

/**
 * For readers that see settlements in log order. `earlier` looks up the position of one that was seen before this reader began; a reader that begins
 * with the log needs none.
 */
export function settlements(earlier: (settled: Settled) => Promise<Position | null> = async () => null): Settlements {
  const first = new Map<string, Position>();
  return {
    async isFirst(settled, position) {
      const key = `${settled.origin}/${settled.seq}`;
      let known = first.get(key);
      if (known === undefined) {
        known = (await earlier(settled)) ?? position;
        if (first.size >= MAX_REMEMBERED) first.delete(first.keys().next().value!);
        first.set(key, known);
      }
      return known === position;
    },
  };
}

/**
 * The entry as views count it. A release from quarantine stands for the event that it releases: that event's author, stamp and basis, with the data
 * released, so that it takes its own causal place however late it comes. `null`: it counts for no view, being quarantined itself, or a settlement of
 * nothing, of another event than it says, or of one that was settled before.
 */
export async function countedAs(log: Pick<Log, "readOrigin">, entry: LogEntry, known: Settlements): Promise<LogEntry | null> {
  if (entry.content.kind !== "accepted") return null;
  const { type, origin } = entry.head;
  if (entry.head.entity.type !== QUARANTINE_ENTITY) return entry;
  const settled = settledBy(type, entry.content.data);
  if (settled === null) return entry;
  if (partsOf(origin).site !== HUB_SITE) return null;
  const original = await quarantinedEvent(log, settled);
  if (original === null) return null;
  const release = releaseOf(type, entry.content.data);
  if (type === RELEASED && (release === null || !isOf(release, original))) return null;
  if (!(await known.isFirst(settled, entry.position)) || release === null) return null;
  return {
    head: { ...original.head, schema: release.schema },
    content: { kind: "accepted", data: release.data },
    clock: original.clock,
    ...(original.clips === undefined ? {} : { clips: original.clips }),
    position: entry.position,
    recordedAtMs: entry.recordedAtMs,
  };
}

const isOf = ({ type, entity }: Pick<LogEntry["head"], "type" | "entity">, { head }: LogEntry): boolean =>
  type === head.type && entity.type === head.entity.type && entity.id === head.entity.id;

export async function quarantinedEvent(log: Pick<Log, "readOrigin">, { origin, seq, hash }: Settled): Promise<LogEntry | null> {
  let found: LogEntry | null = null;
  // Read to its end: a call that is left early is never let go by the client.
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 })) found = entry;
  return found?.head.seq === seq && found.head.hash === hash && found.content.kind === "quarantined" ? found : null;
}
