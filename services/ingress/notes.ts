import type { Appendable, OriginHead, OriginId, QuarantineNote, Seq } from "../core/index.ts";
import type { Log } from "../log/index.ts";

/** One answer lists at most so many quarantined events. The rest is in the hub's quarantine list. */
export const MAX_NOTES = 500;
/** And at most so many bytes of them, because an answer must fit a broker's message of 1 MiB, with schemas beside them. */
const MAX_NOTES_BYTES = 256_000;
/** What is read at a time when an old log must be searched, in bytes and in events. */
const SCAN_BYTES = 8 * 1_048_576;
const MIN_SCAN_EVENTS = 16;
const MAX_SCAN_EVENTS = 2_000;
/** So many old origins have their quarantined events remembered. */
const MAX_REMEMBERED_SCANS = 1_000;

export const noteOf = ({ head, content }: Appendable): QuarantineNote[] =>
  content.kind === "quarantined" ? [{ seq: head.seq, code: content.reason.code, reason: content.reason.message }] : [];

/** The first of the notes, as many as an answer has room for. */
export function fitting(notes: readonly QuarantineNote[]): QuarantineNote[] {
  let bytes = 0;
  const out: QuarantineNote[] = [];
  for (const note of notes.slice(0, MAX_NOTES)) {
    bytes += Buffer.byteLength(JSON.stringify(note)) + 1;
    if (bytes > MAX_NOTES_BYTES) break;
    out.push(note);
  }
  return out;
}

/** The part of an origin that was searched, in a log that does not say where its quarantined events are. */
interface Scan {
  readonly from: Seq;
  readonly through: Seq;
  /** The last `MAX_NOTES` of them in that range, ascending. */
  readonly seqs: readonly Seq[];
}

export interface Quarantined {
  /**
   * The quarantined events of an origin after `since` (`null`: all), newest last, at most `MAX_NOTES`: walked from its end, a point read each. Also the head, with its
   * mark where that came to be known.
   */
  after(
    origin: OriginId,
    head: OriginHead,
    since: Seq | null,
  ): Promise<{ readonly notes: QuarantineNote[]; readonly head: OriginHead }>;
  forget(): void;
}

// Long because its functions share the scans that have been made; each is short.
export function quarantinedOf(log: Log): Quarantined {
  const scans = new Map<OriginId, Promise<Scan>>();

  /** Searches an origin's events from `from` to `through`, a page at a time. A large origin costs time once, and never memory. */
  const scan = async (origin: OriginId, from: Seq, through: Seq): Promise<Seq[]> => {
    const seqs: Seq[] = [];
    let count = MIN_SCAN_EVENTS;
    for (let at: number = from; at <= through; ) {
      const maxCount = Math.min(count, through - at + 1);
      let first: bigint | null = null;
      let last = 0n;
      for await (const { head, content, position } of log.readOrigin(origin, { from: at as Seq, maxCount })) {
        first ??= position;
        last = position;
        if (content.kind === "quarantined") seqs.push(head.seq);
      }
      // Positions grow by the bytes that are written, of this origin and of others in between.
      const bytesEach = Math.max(1, Number(last - (first ?? 0n)) / maxCount);
      count = Math.min(MAX_SCAN_EVENTS, Math.max(MIN_SCAN_EVENTS, Math.floor(SCAN_BYTES / bytesEach)));
      at += maxCount;
      if (seqs.length > MAX_NOTES) seqs.splice(0, seqs.length - MAX_NOTES);
    }
    return seqs;
  };
  const widen = async (origin: OriginId, known: Promise<Scan> | undefined, from: Seq, through: Seq): Promise<Scan> => {
    const old = await known?.catch(() => undefined);
    if (old === undefined) return { from, through, seqs: await scan(origin, from, through) };
    const before = from < old.from ? await scan(origin, from, (old.from - 1) as Seq) : [];
    const after = through > old.through ? await scan(origin, (old.through + 1) as Seq, through) : [];
    const seqs = [...before, ...old.seqs, ...after].slice(-MAX_NOTES);
    return { from: Math.min(from, old.from) as Seq, through: Math.max(through, old.through) as Seq, seqs };
  };
  /** One search of an origin at a time. Whoever asks meanwhile waits for it. */
  const scanned = (origin: OriginId, from: Seq, through: Seq): Promise<Scan> => {
    const known = scans.get(origin);
    const wider = widen(origin, known, from, through);
    scans.delete(origin);
    if (scans.size >= MAX_REMEMBERED_SCANS) scans.delete(scans.keys().next().value!);
    scans.set(origin, wider);
    wider.catch(() => {
      if (scans.get(origin) === wider) scans.delete(origin);
    });
    return wider;
  };

  const noteAt = async (origin: OriginId, seq: Seq) => {
    const entry = await log.at(origin, seq);
    return { notes: entry === null ? [] : noteOf(entry), before: entry?.lastQuarantined };
  };

  return {
    async after(origin, head, since) {
      const first = (since === null ? 0 : since + 1) as Seq;
      if (first > head.through) return { notes: [], head };
      const found: QuarantineNote[] = [];
      let known = head;
      let mark = head.lastQuarantined;
      let upTo: number = head.through;
      while (found.length < MAX_NOTES) {
        if (mark === undefined) {
          if (upTo < first) break;
          const { from, seqs } = await scanned(origin, first, upTo as Seq);
          const last = seqs.findLast((seq) => seq <= upTo);
          if (upTo === head.through && (last !== undefined || from === 0)) known = { ...head, lastQuarantined: last ?? null };
          for (const seq of seqs
            .filter((seq) => seq >= first && seq <= upTo)
            .slice(found.length - MAX_NOTES)
            .reverse())
            found.push(...(await noteAt(origin, seq)).notes);
          break;
        }
        if (mark === null || mark < first) break;
        const { notes, before } = await noteAt(origin, mark);
        // A mark that leads to no quarantined event, or to one that is not earlier, is not ours. The walk must end.
        if (notes.length === 0 || (before != null && before >= mark)) break;
        found.push(...notes);
        upTo = mark - 1;
        mark = before;
      }
      return { notes: found.reverse(), head: known };
    },
    forget: () => scans.clear(),
  };
}
