import type { Appendable, Fact, Journal, LogEntry, OriginHead, OriginId, Position } from "../../services/core/index.ts";
import type { AppendOutcome, Log } from "../../services/log/index.ts";

/** So much do positions grow from event to event: they do not count events. */
const STEP = 137n;

/** A log over plain memory that answers as the event store does. What is said of an event beside its hash can be injected. */
export interface MemoryLog extends Omit<Log, "subscribe"> {
  readonly entries: readonly LogEntry[];
  /** What is changed of each event that is written from now on: its clock note, its clips. */
  inject: ((item: Appendable) => Partial<Pick<Appendable, "clock" | "clips">>) | null;
  /** Puts back what the log held up to a position, as a restored backup does. */
  setBack(to: Position): void;
}

export function memoryLog(nowMs: () => number): MemoryLog {
  let entries: LogEntry[] = [];
  let facts: Fact[] = [];
  let streams = new Map<OriginId, LogEntry[]>();
  let end = 0n;
  const next = (): Position => {
    end += STEP;
    return end as Position;
  };
  const headOf = (origin: OriginId): OriginHead | null => {
    const last = streams.get(origin)?.at(-1);
    if (last === undefined) return null;
    const { head, position, content } = last;
    const lastQuarantined = content.kind === "quarantined" ? head.seq : (last.lastQuarantined ?? null);
    return { through: head.seq, hash: head.hash, position, lastQuarantined };
  };
  const put = (item: Appendable): void => {
    const { origin } = item.head;
    const mark = headOf(origin)?.lastQuarantined ?? null;
    const entry: LogEntry = { ...item, ...log.inject?.(item), position: next(), recordedAtMs: nowMs(), lastQuarantined: mark };
    entries.push(entry);
    const stream = streams.get(origin) ?? [];
    streams.set(origin, stream);
    stream.push(entry);
  };
  const journal: Journal = {
    async append(stream, after, { type, data, by }) {
      const revision = facts.filter((fact) => fact.stream === stream).length;
      if (after !== "any" && after !== revision - 1) return null;
      const position = next();
      facts.push({ stream, revision, type, data, by, position, recordedAtMs: nowMs() });
      return position;
    },
    read: async (stream, from = 0) => facts.filter((fact) => fact.stream === stream && fact.revision >= from),
    end: async () => (end === 0n ? null : (end as Position)),
    follow() {},
  };
  const log: MemoryLog = {
    inject: null,
    get entries() {
      return entries;
    },
    async append(run): Promise<AppendOutcome> {
      const { origin } = run[0]!.head;
      let written = 0;
      for (const item of run) {
        const head = headOf(origin);
        const { seq, prev, hash } = item.head;
        if (seq > (head?.through ?? -1) + 1) return { kind: "gap", head };
        const there = streams.get(origin)?.[seq];
        if (there !== undefined ? there.head.hash !== hash : head !== null && head.hash !== prev)
          return { kind: "fork", seq, head: head! };
        if (there !== undefined) continue;
        put(item);
        written++;
      }
      return { kind: "appended", head: headOf(origin)!, written };
    },
    head: async (origin) => headOf(origin),
    at: async (origin, seq) => streams.get(origin)?.[seq] ?? null,
    end: journal.end,
    async *readOrigin(origin, { from = 0, maxCount = Number.POSITIVE_INFINITY } = {}) {
      yield* (streams.get(origin) ?? []).slice(from, from + maxCount);
    },
    async *readAll({ from, to, maxCount = Number.POSITIVE_INFINITY } = {}) {
      yield* entries
        .filter(({ position }) => (from == null || position > from) && (to === undefined || position <= to))
        .slice(0, maxCount);
    },
    journal,
    setBack(to) {
      entries = entries.filter(({ position }) => position <= to);
      facts = facts.filter(({ position }) => position <= to);
      streams = new Map();
      for (const entry of entries) streams.set(entry.head.origin, [...(streams.get(entry.head.origin) ?? []), entry]);
      end = to;
    },
    async close() {},
    async [Symbol.asyncDispose]() {},
  };
  return log;
}
