import type { Fact, FollowOptions, Journal, Position } from "../../services/core/index.ts";

/** A log's facts in memory, for tests that need no server: they are appended at the revision that is expected, read, and followed. */
export function memoryJournal(): Journal {
  const facts: Fact[] = [];
  const followers = new Set<FollowOptions>();
  const of = (stream: string): Fact[] => facts.filter((fact) => fact.stream === stream);
  return {
    async append(stream, after, { type, data, by }) {
      const revision = of(stream).length;
      if (after !== "any" && after !== revision - 1) return null;
      const position = BigInt(facts.length + 1) as Position;
      const fact: Fact = { stream, revision, type, data, by, position, recordedAtMs: facts.length };
      facts.push(fact);
      for (const { prefixes, signal, onFact } of followers)
        if (!signal.aborted && prefixes.some((prefix) => stream.startsWith(prefix))) onFact(fact);
      return position;
    },
    read: async (stream, from = 0) => of(stream).slice(from),
    end: async () => facts.at(-1)?.position ?? null,
    follow: (options) => void followers.add(options),
  };
}
