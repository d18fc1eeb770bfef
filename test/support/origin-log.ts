import {
  type Appendable,
  type Fact,
  GENESIS,
  type LogEntry,
  type OriginId,
  type Position,
  type Seq,
} from "../../services/core/index.ts";
import type { AppendOutcome, HubOriginDeps, SignNotes } from "../../services/log/index.ts";
import { memoryJournal } from "./journal.ts";

/** A log in memory that takes events as the real one does: at the revision that is expected, each once. Facts and events have positions of one order. */
export interface OriginLog {
  readonly log: HubOriginDeps["log"];
  readonly entries: LogEntry[];
  /** All facts of a stream. */
  facts(stream: string): Promise<Fact[]>;
  /** Awaited before each append, with the run that is about to be appended: for a test that is in between. */
  before: (run: readonly Appendable[]) => Promise<void>;
}

export function originLog(): OriginLog {
  const journal = memoryJournal();
  const entries: LogEntry[] = [];
  const of = (origin: OriginId): LogEntry[] => entries.filter(({ head }) => head.origin === origin);
  const headOf = (origin: OriginId) => {
    const last = of(origin).at(-1);
    return last === undefined ? null : { through: last.head.seq, hash: last.head.hash, position: last.position };
  };
  const made: OriginLog = {
    entries,
    facts: (stream) => journal.read(stream),
    before: async () => {},
    log: {
      journal,
      async append(run: readonly Appendable[], _known: unknown, note?: SignNotes): Promise<AppendOutcome> {
        await made.before(run);
        const first = run[0]!.head;
        const head = headOf(first.origin);
        const next = head === null ? 0 : head.through + 1;
        if (first.seq > next) return { kind: "gap", head };
        if (first.seq < next || first.prev !== (head?.hash ?? GENESIS)) return { kind: "fork", seq: first.seq, head: head! };
        const noted = note?.(run) ?? null;
        for (const [i, item] of run.entries()) {
          const position = BigInt(1_000_000 + entries.length) as Position;
          const isLast = i === run.length - 1 && noted !== null;
          entries.push({ ...item, ...(isLast ? { noted } : {}), position, recordedAtMs: 0 });
        }
        return { kind: "appended", head: headOf(first.origin)!, written: run.length };
      },
      async *readOrigin(origin: OriginId, { from = 0 as Seq }: { readonly from?: Seq } = {}) {
        yield* of(origin).filter(({ head }) => head.seq >= from);
      },
    },
  };
  return made;
}
