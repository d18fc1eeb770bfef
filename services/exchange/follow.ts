/** What came after a cursor: lines with their events, or of a bucket of states only the states of the entities that the lines are about. */
import { type Cursor, GENESIS, type Hash, headAfter, type Position, segmentDigest } from "../core/index.ts";
import { sha256Hex } from "../core/node.ts";
import { type HeldBucket, MAX_PAGE_EVENTS, type PagedLine, type PagedMember, type SealMark } from "./protocol/index.ts";
import {
  ENTITY_BYTES,
  type EventSource,
  eventSource,
  historiesAtATime,
  type Leaving,
  LINE_BYTES,
  type Serving,
  sawHistories,
  statesHere,
} from "./serving.ts";
import type { AfterLine, EventRef, Member, StoredLine } from "./store.ts";

/** Lines that are read at a time. */
const LINES_AT_A_TIME = 500;
/** Lines whose entities' states are read at a time. */
const STATES_AT_A_TIME = 100;
/** Entities that have left and are read at a time. */
const LEFT_AT_A_TIME = 1_000;
/** What a line counts of which only the state is sent that its entity has now: a page ends somewhere, however many lines are about few entities. */
const TOLD_BYTES = 20;

/**
 * Serves a bucket from a cursor on. `false`: there is more to be said of it than the page has room for.
 *
 *   at the newest head ─▶ nothing        a head that the bucket had ─▶ lines        any other, and the very beginning of a bucket that has lines ─▶ unknown
 *
 * A head is known only to those to whom it was sent, so nobody follows a bucket from before it was allowed to. What entities that have left since wrote before is not told: whoever comes anew begins with the
 * members, and whoever comes with an old head is told nothing of those who came since and have left again. The line by which such a one came is not sent; from there on, the replica compares.
 */
export async function follow(serving: Serving, held: HeldBucket, at: Cursor): Promise<boolean> {
  const { store, known, room, sections } = serving;
  const { bucket } = held;
  const head = known.heads.get(bucket);
  if (at.line === 0 && at.head === (head?.head ?? GENESIS)) return true;
  if (!room.ask()) return false;
  const isKnown =
    head !== undefined && at.seal > 0 && at.seal <= known.seal.number && (await store.hasHead(bucket, at.seal, at.head));
  if (isKnown) {
    const line = at.line === 0 ? null : await store.placeOf(bucket, at);
    const after = { seal: at.seal, line };
    const stands = at.line === 0 || line !== null;
    const told = stands ? await (held.statesOnly ? statesAfter : linesAfter)(serving, held, at, after) : "unknown";
    if (told !== "unknown") return told;
    // What is not looked at in this page is in the next: nobody is told to compare whose debts are not noted.
    if (!(await oweLeft(serving, held, at, after))) return false;
  }
  sections.push({ kind: "unknown", bucket });
  return true;
}

/** A replica that compares deletes who has left since its cursor, as one that follows does. Returns whether all of them are noted; `false`: the page has no questions left. */
async function oweLeft({ store, room, owe }: Serving, { bucket }: HeldBucket, at: Cursor, had: AfterLine): Promise<boolean> {
  for (let after = had; room.ask(); ) {
    const found = await store.left(bucket, { had, after }, LEFT_AT_A_TIME);
    const last = found.at(-1);
    if (last === undefined) return true;
    await owe(`${nameOf(at)} ${last.seal} ${last.position} ${last.ordinal}`, bucket, found);
    if (found.length < LEFT_AT_A_TIME) return true;
    after = { seal: last.seal, line: last };
  }
  return false;
}

/** Goes along lines and says where a reader of them stands. */
function walkFrom(at: Cursor) {
  let { seal, head, line, digest }: { seal: number; head: Hash; line: number; digest: Hash } = at;
  let open: { readonly seal: number; readonly through: Position } | null = null;
  let count = 0;
  const marks: SealMark[] = [];
  /** Of each entity: whether the reader had it before, and the seal under which it left; `null`: it has not. */
  const entities = new Map<string, { readonly isOld: boolean; readonly left: number | null }>();
  const close = (): void => {
    if (open === null) return;
    head = headAfter(head, { ...open, digest }, sha256Hex);
    marks.push({ lines: count, ...open });
    [seal, line, digest, open] = [open.seal, 0, GENESIS, null];
  };
  return {
    marks,
    see(stored: StoredLine): void {
      if (open !== null && open.seal !== stored.seal) close();
      open = { seal: stored.seal, through: stored.through };
      digest = segmentDigest(digest, stored, sha256Hex);
      line++;
      count++;
      const isOld = entities.get(stored.entityId)?.isOld ?? stored.kind !== "enter";
      entities.set(stored.entityId, { isOld, left: stored.kind === "exit" ? stored.seal : null });
    },
    /** The entities that the reader had and that have left. */
    left: (): readonly Leaving[] =>
      [...entities].flatMap(([entityId, { isOld, left: seal_ }]) => (isOld && seal_ !== null ? [{ entityId, seal: seal_ }] : [])),
    /** `next`: the line after the last one that was seen; `null`: there is none. */
    end(next: StoredLine | null): Cursor {
      if (open !== null && next?.seal !== open.seal) close();
      return { seal, head, line, digest };
    },
  };
}

/** Some lines that follow one another, with what `take` needs of them. */
interface Run<T> {
  readonly lines: readonly StoredLine[];
  readonly prepared: T;
}

interface Reading<T> {
  /** Makes ready some lines at a time, and reads no further than these are taken. */
  runs(lines: readonly StoredLine[]): AsyncIterable<Run<T>>;
  take(line: StoredLine, prepared: T): Promise<boolean>;
}

/** Reads lines after a place as far as they are taken, and returns the first that was not; `null`: all were. */
async function readLines<T>(
  { store, known, room }: Serving,
  { bucket }: HeldBucket,
  from: AfterLine,
  { runs, take }: Reading<T>,
): Promise<StoredLine | null> {
  for (let after = from; ; ) {
    // Where the page ends, the line after it is still looked at: it says whether a segment ends there, too.
    const isFull = room.isFull || !room.ask();
    const limit = isFull ? 1 : LINES_AT_A_TIME;
    const found = await store.lines(bucket, after, limit);
    const lines = found.filter(({ seal }) => seal <= known.seal.number);
    const last = lines.at(-1);
    if (isFull || last === undefined) return last ?? null;
    for await (const { lines: some, prepared } of runs(lines))
      for (const line of some) if (!(await take(line, prepared))) return line;
    if (lines.length < limit) return null;
    after = { seal: last.seal, line: last };
  }
}

/** What is sent with lines: with an `enter` its entity's history, with others their event. */
interface Sending {
  readonly names: ReadonlyMap<StoredLine, readonly EventRef[]>;
  readonly source: EventSource;
}

/** The line by which somebody came who is not there any more. */
const isShut = ({ kind, isHere }: StoredLine): boolean => kind === "enter" && !isHere;

/** Lines with the names of their events. Histories are read a few at a time, and not beyond a line that is not sent. */
async function* runsOf(serving: Serving, held: HeldBucket, lines: readonly StoredLine[]): AsyncGenerator<Run<Sending>> {
  const { store, room, pace } = serving;
  const shut = lines.findIndex(isShut);
  const sent = shut < 0 ? lines : lines.slice(0, shut + 1);
  for (let from = 0; from < sent.length; ) {
    let [end, left] = [from, historiesAtATime(pace)];
    while (end < sent.length && (left > 0 || sent[end]?.kind !== "enter")) if (sent[end++]?.kind === "enter") left--;
    const some = sent.slice(from, end);
    const entered = some.filter((line) => line.kind === "enter" && line.isHere);
    if (entered.length > 0) room.ask();
    // One more than a page may have shows that a history does not fit into any.
    const found = entered.length === 0 ? [] : await store.historiesUpTo(held.bucket, entered, MAX_PAGE_EVENTS + 1);
    sawHistories(pace, found);
    const histories = new Map(entered.map((line, i) => [line, found[i] ?? []] as const));
    const names = new Map(some.map((line) => [line, histories.get(line) ?? ownOf(line)] as const));
    yield { lines: some, prepared: { names, source: eventSource(serving, [...names.values()].flat()) } };
    from = end;
  }
}

const ownOf = ({ kind, event }: StoredLine): readonly EventRef[] => (kind === "enter" || event === null ? [] : [event]);

async function linesAfter(serving: Serving, held: HeldBucket, at: Cursor, after: AfterLine): Promise<boolean | "unknown"> {
  const { room, sections } = serving;
  const walk = walkFrom(at);
  const lines: PagedLine[] = [];
  const next = await readLines<Sending>(serving, held, after, {
    runs: (found) => runsOf(serving, held, found),
    async take(line, { names, source }) {
      if (isShut(line)) return false;
      const { kind, position, entityId, digest } = line;
      const refs = names.get(line) ?? [];
      const { events, bytes, isWhole } = await source.take(refs.length, room.most);
      if (!isWhole || !room.put(refs.length, LINE_BYTES + entityId.length + bytes)) return false;
      walk.see(line);
      lines.push({ kind, position, entityId, events, digest: kind === "exit" ? digest : null });
      return true;
    },
  });
  // It does not fit into a page of its own: whoever compares gets the entity's history in parts.
  if (next !== null && room.isEmpty) return "unknown";
  if (lines.length === 0) return next === null || isShut(next) ? "unknown" : false;
  const to = walk.end(next);
  if (next === null && !isEnd(serving, held, to)) return "unknown";
  await serving.owe(nameOf(at), held.bucket, walk.left());
  sections.push({ kind: "lines", bucket: held.bucket, lines, seals: walk.marks, to });
  return next === null;
}

/** Of entities that lines are about: those that are in the bucket, and their states. */
interface Showing {
  readonly there: ReadonlyMap<string, Member>;
  readonly states: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

async function statesAfter(serving: Serving, held: HeldBucket, at: Cursor, after: AfterLine): Promise<boolean | "unknown"> {
  const { store, room, sections } = serving;
  const walk = walkFrom(at);
  const told = new Set<string>();
  const members: PagedMember[] = [];
  const gone: string[] = [];
  const next = await readLines<Showing>(serving, held, after, {
    async *runs(lines) {
      for (let from = 0; from < lines.length; from += STATES_AT_A_TIME) {
        const some = lines.slice(from, from + STATES_AT_A_TIME);
        const ids = [...new Set(some.map(({ entityId }) => entityId))].filter((id) => !told.has(id));
        const there = new Map((await store.named(held.bucket, ids)).map((member) => [member.entityId, member]));
        yield { lines: some, prepared: { there, states: await statesHere(serving, held, [...there.keys()]) } };
      }
    },
    async take(line, { there, states }) {
      if (isShut(line)) return false;
      const { entityId } = line;
      const isNew = !told.has(entityId);
      const member = there.get(entityId);
      const shown = states.get(entityId) ?? {};
      if (!(isNew ? room.put(1, ENTITY_BYTES + entityId.length + lengthOf(shown)) : room.put(0, TOLD_BYTES))) return false;
      walk.see(line);
      if (!isNew) return true;
      told.add(entityId);
      if (member === undefined) gone.push(entityId);
      else members.push({ entityId, digest: member.digest, events: [], states: shown });
      return true;
    },
  });
  if (told.size === 0) return next === null || isShut(next) ? "unknown" : false;
  const to = walk.end(next);
  if (next === null && !isEnd(serving, held, to)) return "unknown";
  await serving.owe(nameOf(at), held.bucket, walk.left());
  sections.push({ kind: "members", bucket: held.bucket, members, gone, after: null });
  sections.push({ kind: "lines", bucket: held.bucket, lines: [], seals: [], to });
  return next === null;
}

/** Whether a cursor stands where the bucket ends. If not, it was none of ours, or lines are missing: the replica must not go on from it. */
const isEnd = ({ known }: Serving, { bucket }: HeldBucket, to: Cursor): boolean => to.head === known.heads.get(bucket)?.head;

const nameOf = ({ seal, line }: Cursor): string => `${seal} ${line}`;

export const lengthOf = (states: Readonly<Record<string, string>>): number =>
  Object.values(states).reduce((sum, state) => sum + state.length, 0);
