import type { Appendable, Fact, LogEntry, Position } from "../../services/core/index.ts";
import type { Log } from "../../services/log/index.ts";
import { ORGANISATION_STREAM } from "../../services/log/index.ts";

/** A log in memory, for whoever reads it: events and facts at positions 10, 20, 30 … */
export function fakeLog() {
  const entries: LogEntry[] = [];
  const facts: Fact[] = [];
  let end = 0;
  const next = (): Position => {
    end += 10;
    return BigInt(end) as Position;
  };
  const log = {
    async append(run: readonly Appendable[]) {
      for (const item of run) entries.push({ ...item, position: next(), recordedAtMs: end });
      return { kind: "appended" };
    },
    async *readOrigin(origin: string, { from = 0, maxCount }: { readonly from?: number; readonly maxCount?: number } = {}) {
      yield* entries.filter(({ head }) => head.origin === origin && head.seq >= from).slice(0, maxCount);
    },
    journal: {
      read: async (stream: string) => facts.filter((fact) => fact.stream === stream),
      end: async () => (end === 0 ? null : (BigInt(end) as Position)),
    },
  };
  return {
    entries,
    log: log as unknown as Log, // only what is read of it is there
    /** Declares whose hub the log belongs to. */
    declare(org: string): void {
      const fact = { stream: ORGANISATION_STREAM, revision: facts.length, type: "organisation.declared", data: { org }, by: {} };
      facts.push({ ...fact, position: next(), recordedAtMs: end });
    },
  };
}
