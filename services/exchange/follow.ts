/** What came after a cursor: lines with their events, or of a bucket of states only the states of the entities that the lines are about. */
import { type Cursor, GENESIS, type Hash, headAfter, type Position, segmentDigest } from "../core/index.ts";
import { sha256Hex } from "../core/node.ts";
import type { HeldBucket, PagedLine, PagedMember, SealMark } from "./protocol/index.ts";
import { ENTITY_BYTES, eventSource, LINE_BYTES, type Serving, statesHere } from "./serving.ts";
import type { StoredLine } from "./store.ts";

/** Lines that are read at a time. */
const LINES_AT_A_TIME = 200;

/**
 * Serves a bucket from a cursor on. `false`: there is more to be said of it than the page has room for.
 *
 *   at the newest head ─▶ nothing        a head that the bucket had ─▶ lines        any other, and the very beginning of a bucket that has lines ─▶ unknown
 *
 * A head is known only to those to whom it was sent, so nobody follows a bucket from before it was allowed to. What entities that have left since wrote before is not told: whoever comes anew begins with the
 * members.
 */
export async function follow(serving: Serving, held: HeldBucket, at: Cursor): Promise<boolean> {
  const { store, known, room, sections } = serving;
  const head = known.heads.get(held.bucket);
  if (at.line === 0 && at.head === (head?.head ?? GENESIS)) return true;
  if (!room.ask()) return false;
  const isKnown =
    head !== undefined && at.seal > 0 && at.seal <= known.seal.number && (await store.hasHead(held.bucket, at.seal, at.head));
  const told = isKnown ? await (held.statesOnly ? statesAfter : linesAfter)(serving, held, at) : "unknown";
  if (told !== "unknown") return told;
  sections.push({ kind: "unknown", bucket: held.bucket });
  return true;
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
    /** The entities that the reader had and that have left, by the seal under which they did. */
    left(): ReadonlyMap<number, readonly string[]> {
      const out = new Map<number, string[]>();
      for (const [id, { isOld, left }] of entities) if (isOld && left !== null) out.set(left, [...(out.get(left) ?? []), id]);
      return out;
    },
    /** `next`: the line after the last one that was seen; `null`: there is none. */
    end(next: StoredLine | null): Cursor {
      if (open !== null && next?.seal !== open.seal) close();
      return { seal, head, line, digest };
    },
  };
}

/**
 * Reads lines after a cursor as far as `take` takes them, and returns the first that it did not; `null`: it took all. `prepare` is called with some of them before.
 */
async function readLines<T>(
  { store, known, room }: Serving,
  { bucket }: HeldBucket,
  at: Cursor,
  { prepare, take }: { prepare(lines: readonly StoredLine[]): Promise<T>; take(line: StoredLine, prepared: T): Promise<boolean> },
): Promise<StoredLine | null> {
  for (let skip = at.line; ; skip += LINES_AT_A_TIME) {
    // Where the page ends, the line after it is still looked at: it says whether a segment ends there, too.
    const isFull = room.isFull || !room.ask();
    const found = await store.lines(bucket, { seal: at.seal, skip }, isFull ? 1 : LINES_AT_A_TIME);
    const lines = found.filter(({ seal }) => seal <= known.seal.number);
    if (isFull || lines.length === 0) return lines[0] ?? null;
    const prepared = await prepare(lines);
    for (const line of lines) if (!(await take(line, prepared))) return line;
    if (lines.length < LINES_AT_A_TIME) return null;
  }
}

async function linesAfter(serving: Serving, held: HeldBucket, at: Cursor): Promise<boolean | "unknown"> {
  const { room, sections } = serving;
  const walk = walkFrom(at);
  const lines: PagedLine[] = [];
  const next = await readLines(serving, held, at, {
    prepare: async (found) =>
      eventSource(
        serving,
        found.flatMap(({ events }) => events),
      ),
    async take(line, source) {
      const { kind, position, entityId, digest, events: refs } = line;
      const { events, bytes, isWhole } = await source.take(refs.length, room.most);
      if (!isWhole || !room.put(refs.length, LINE_BYTES + entityId.length + bytes)) return false;
      walk.see(line);
      lines.push({ kind, position, entityId, events, digest: kind === "exit" ? digest : null });
      return true;
    },
  });
  // It does not fit into a page of its own: whoever compares gets the entity's history in parts.
  if (next !== null && room.isEmpty) return "unknown";
  if (lines.length === 0) return next === null ? "unknown" : false;
  const to = walk.end(next);
  if (next === null && !isEnd(serving, held, to)) return "unknown";
  await serving.owe(nameOf(at), held.bucket, walk.left());
  sections.push({ kind: "lines", bucket: held.bucket, lines, seals: walk.marks, to });
  return next === null;
}

async function statesAfter(serving: Serving, held: HeldBucket, at: Cursor): Promise<boolean | "unknown"> {
  const { store, room, sections } = serving;
  const walk = walkFrom(at);
  const told = new Set<string>();
  const members: PagedMember[] = [];
  const gone: string[] = [];
  const next = await readLines(serving, held, at, {
    async prepare(found) {
      const ids = [...new Set(found.map(({ entityId }) => entityId))].filter((id) => !told.has(id));
      const there = new Map((await store.named(held.bucket, ids)).map((member) => [member.entityId, member]));
      return { there, states: await statesHere(serving, held, [...there.keys()]) };
    },
    async take(line, { there, states }) {
      const { entityId } = line;
      const member = there.get(entityId);
      const shown = states.get(entityId) ?? {};
      if (!told.has(entityId) && !room.put(1, ENTITY_BYTES + entityId.length + lengthOf(shown))) return false;
      walk.see(line);
      if (told.has(entityId)) return true;
      told.add(entityId);
      if (member === undefined) gone.push(entityId);
      else members.push({ entityId, digest: member.digest, events: [], states: shown });
      return true;
    },
  });
  if (told.size === 0) return next === null ? "unknown" : false;
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
