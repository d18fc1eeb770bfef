/**
 * What counts: which event an entry of the log stands for, which settlement of a quarantined event holds, and which notes on cases hold. It is decided here once,
 * for the projector as for whoever checks its work.
 */
import {
  CASE_ENTITY,
  type EntityRef,
  type LogEntry,
  type Position,
  QUARANTINE_ENTITY,
  RELEASED,
  type Release,
  releaseOf,
  type Settled,
  type Settlement,
  settledBy,
  speaksForHub,
} from "../core/index.ts";
import { hubOrgsOf, type Log } from "../log/index.ts";

/** How many settlements are remembered: those of pages that are still being written, and many before. */
const MAX_REMEMBERED = 100_000;

/** What an entry of the log says. */
export interface Judged {
  /**
   * The entry as views count it. A release from quarantine stands for the event that it releases: that event's author, stamp and basis, with the data
   * released, so it keeps its own causal order, however late it comes. `null`: it counts for no view. It is quarantined itself, or a settlement of
   * nothing, of another event than it says, or of an event that was settled before, or its author may not settle events.
   */
  readonly counted: LogEntry | null;
  readonly settlement: Settlement | null;
  /** Whether the entry notes what is done about a case, and its author may do so. */
  readonly isCaseNote: boolean;
}

export interface Counting {
  /** Judges an entry. Call it in log order: of two settlements of one event, the one that is judged first holds. */
  judge(entry: LogEntry): Promise<Judged>;
  /** The entity that an entry would be about if it counted. This only looks ahead: nothing of it is remembered. */
  about(entry: LogEntry): Promise<EntityRef | null>;
}

/** The parts of the log that are read to decide what counts. */
export type CountedLog = Pick<Log, "readOrigin" | "journal">;

/**
 * Decides what counts, for a reader that sees settlements in log order. `earlier` looks up where an event was settled before this reader began; a reader that
 * begins at the log's start needs none.
 */
export function counting(log: CountedLog, earlier: (settled: Settled) => Promise<Position | null> = async () => null): Counting {
  const hubOrg = hubOrgsOf(log.journal);
  const first = new Map<string, Position>();
  const isFirst = async (settled: Settled, position: Position): Promise<boolean> => {
    const key = `${settled.origin}/${settled.seq}`;
    let known = first.get(key);
    if (known === undefined) {
      known = (await earlier(settled)) ?? position;
      if (first.size >= MAX_REMEMBERED) first.delete(first.keys().next().value!);
      first.set(key, known);
    }
    return known === position;
  };
  const speaks = async ({ head, position }: LogEntry): Promise<boolean> => speaksForHub(head.origin, await hubOrg(position));
  const settles = async (entry: LogEntry, settled: Settled, judge: Look): Promise<Judged> => {
    if (!(await speaks(entry))) return NOTHING;
    const found = await settlementIn(log, entry, settled);
    if (found === null || !(await judge(settled, entry.position))) return NOTHING;
    const { original, settlement } = found;
    const { release } = settlement;
    return { counted: release === null ? null : asReleased(entry, original, release), settlement, isCaseNote: false };
  };
  const judgeBy = async (entry: LogEntry, look: Look): Promise<Judged> => {
    if (entry.content.kind !== "accepted") return NOTHING;
    const { type, entity } = entry.head;
    if (entity.type === CASE_ENTITY) return { counted: entry, settlement: null, isCaseNote: await speaks(entry) };
    const settled = entity.type === QUARANTINE_ENTITY ? settledBy(type, entry.content.data) : null;
    return settled === null ? { counted: entry, settlement: null, isCaseNote: false } : settles(entry, settled, look);
  };
  return {
    judge: (entry) => judgeBy(entry, isFirst),
    about: async (entry) => (await judgeBy(entry, async () => true)).counted?.head.entity ?? null,
  };
}

/** Whether a settlement at a position is the first of its event. */
type Look = (settled: Settled, position: Position) => Promise<boolean>;

const NOTHING: Judged = { counted: null, settlement: null, isCaseNote: false };

/** The settlement that an entry is, and the event that it settles; `null`: there is no such event, or it is another than the entry says. */
async function settlementIn(
  log: Pick<Log, "readOrigin">,
  entry: LogEntry,
  settled: Settled,
): Promise<{ readonly original: LogEntry; readonly settlement: Settlement } | null> {
  const original = await quarantinedEvent(log, settled);
  if (original === null || entry.content.kind !== "accepted") return null;
  const release = releaseOf(entry.head.type, entry.content.data);
  if (entry.head.type === RELEASED && (release === null || !isOf(release, original))) return null;
  return { original, settlement: { of: settled, release, by: entry } };
}

const asReleased = ({ position, recordedAtMs }: LogEntry, { head, clock, clips }: LogEntry, release: Release): LogEntry => ({
  head: { ...head, schema: release.schema },
  content: { kind: "accepted", data: release.data },
  clock,
  ...(clips === undefined ? {} : { clips }),
  position,
  recordedAtMs,
});

const isOf = ({ type, entity }: Pick<LogEntry["head"], "type" | "entity">, { head }: LogEntry): boolean =>
  type === head.type && entity.type === head.entity.type && entity.id === head.entity.id;

/** The quarantined event that somebody settles, read from the log; `null`: the log has no such quarantined event. */
export async function quarantinedEvent(log: Pick<Log, "readOrigin">, { origin, seq, hash }: Settled): Promise<LogEntry | null> {
  let found: LogEntry | null = null;
  // Read to its end: the client never releases a call that is left early.
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 })) found = entry;
  return found?.head.seq === seq && found.head.hash === hash && found.content.kind === "quarantined" ? found : null;
}
