/** A page's sections as its reader finds them. */
import { type BucketId, bytesHex, type Fingerprint, type Hash, pick, type Reader, readTextOrUuid } from "../../core/index.ts";
import { hashesIn, positionOf, readOptional, whole } from "./decode-events.ts";
import type { PagedEvent, PagedLine, PagedMember, SealMark, Section } from "./page.ts";
import { HALF_BYTES, HASH_BYTES, historyDigest, LINE_KINDS, SECTION_KINDS } from "./parts.ts";
import { MAX_PAGE_ITEMS } from "./schema.ts";

/** What sections point into, and what their numbers are counted from. */
export interface Found {
  readonly buckets: readonly BucketId[];
  readonly views: readonly string[];
  readonly names: readonly string[];
  readonly events: readonly PagedEvent[];
  /** How many events have been mentioned. */
  mentioned: number;
  readonly seal: number;
  readonly through: number;
  readonly sha256: (text: string) => string;
}

const longs = (from: Reader): number[] => from.array(MAX_PAGE_ITEMS, from.long);
const half = (from: Reader): string => bytesHex(from.fixed(HALF_BYTES));
const hash = (from: Reader): Hash => bytesHex(from.fixed(HASH_BYTES)) as Hash;

/** Takes the items of a list, one after the other. */
function taker<T>(list: readonly T[]): { next(): T; end(): void } {
  let at = 0;
  return {
    next: () => pick(list, at++),
    end() {
      if (at !== list.length) throw new RangeError("a column has numbers left over");
    },
  };
}

/** Reads one branch of the union that `PAGE_SCHEMA` declares. */
export function readSection(from: Reader, found: Found): Section {
  const kind = pick(SECTION_KINDS, from.long());
  const bucket = pick(found.buckets, from.long());
  switch (kind) {
    case "lines":
      return { kind, bucket, ...readLines(from, found) };
    case "members":
      return { kind, bucket, ...readMembers(from, found) };
    case "ranges":
      return {
        kind,
        bucket,
        ranges: from.array(MAX_PAGE_ITEMS, () => ({
          prefix: from.string(),
          count: whole(from.long(), "a count"),
          fingerprint: half(from),
        })),
      };
    case "listed":
      return { kind, bucket, ...readListed(from) };
    case "same":
      return { kind, bucket, at: readSame(from, bucket) };
    case "unknown":
      return { kind, bucket };
  }
}

function readListed(from: Reader): Omit<Extract<Section, { kind: "listed" }>, "kind" | "bucket"> {
  const prefix = from.string();
  const ids = from.array(MAX_PAGE_ITEMS, () => readTextOrUuid(from));
  const digests = hashesIn(from.bytes());
  const entities = ids.map((entityId) => ({ entityId, digest: digests.next() }));
  digests.end();
  return { prefix, entities };
}

function readSame(from: Reader, bucket: BucketId): Extract<Section, { kind: "same" }>["at"] {
  const seal = whole(from.long(), "a seal");
  const through = positionOf(from.long());
  const head = hash(from);
  const count = whole(from.long(), "a count");
  const fingerprint: Fingerprint = half(from);
  return { bucket, seal, through, head, count, fingerprint };
}

/** The event that a number names, counted back from the first that is not mentioned yet. */
function mention(found: Found, back: number): PagedEvent {
  if (back === 0) return pick(found.events, found.mentioned++);
  if (back < 0) throw new RangeError("an index points nowhere");
  return pick(found.events, found.mentioned - back);
}

const take = <T>(count: number, next: () => T): T[] => Array.from({ length: count }, next);

function entityId(found: Found, index: number, [first]: readonly PagedEvent[]): string {
  if (index > 0) return pick(found.names, index - 1);
  if (index < 0 || first === undefined) throw new RangeError("an index points nowhere");
  return first.head.entity.id;
}

/** The next `count` mentions; there cannot be more than the column has. */
function history(found: Found, mentions: ReturnType<typeof taker<number>>, count: number): PagedEvent[] {
  if (count < 0 || count > MAX_PAGE_ITEMS) throw new RangeError(`${count} is not a count of events`);
  const events: PagedEvent[] = [];
  for (let i = 0; i < count; i++) events.push(mention(found, mentions.next()));
  return events;
}

function readLines(from: Reader, found: Found): Omit<Extract<Section, { kind: "lines" }>, "kind" | "bucket"> {
  const kinds = longs(from).map((kind) => pick(LINE_KINDS, kind));
  const [entities, positions] = [longs(from), longs(from)];
  const [histories, mentions] = [taker(longs(from)), taker(longs(from))];
  const digests = hashesIn(from.bytes());
  if (entities.length !== kinds.length || positions.length !== kinds.length) throw new RangeError("its columns differ in length");
  let before = found.through;
  const lines = kinds.map((kind, i): PagedLine => {
    const events = history(found, mentions, kind === "enter" ? histories.next() : kind === "event" ? 1 : 0);
    const last = events.at(-1);
    before = (last === undefined ? before : Number(last.position)) + pick(positions, i);
    return {
      kind,
      position: positionOf(before),
      entityId: entityId(found, pick(entities, i), events),
      events,
      digest: kind === "exit" ? digests.next() : null,
    };
  });
  for (const column of [histories, mentions, digests]) column.end();
  return { lines, seals: readSeals(longs(from), found), to: readCursor(from) };
}

function readSeals(numbers: readonly number[], { seal, through }: Found): SealMark[] {
  if (numbers.length % 3 !== 0) throw new RangeError("a seal is cut short");
  let mark = { lines: 0, seal, through };
  return take(numbers.length / 3, () => 0).map((_, i): SealMark => {
    mark = {
      lines: whole(mark.lines + pick(numbers, i * 3), "a count"),
      seal: whole(mark.seal + pick(numbers, i * 3 + 1), "a seal"),
      through: mark.through + pick(numbers, i * 3 + 2),
    };
    return { ...mark, through: positionOf(mark.through) };
  });
}

function readCursor(from: Reader): Extract<Section, { kind: "lines" }>["to"] {
  const seal = whole(from.long(), "a seal");
  const head = hash(from);
  return { seal, head, line: whole(from.long(), "a count"), digest: hash(from) };
}

function readMembers(from: Reader, found: Found): Omit<Extract<Section, { kind: "members" }>, "kind" | "bucket"> {
  const [entities, histories] = [longs(from), longs(from)];
  const mentions = taker(longs(from));
  const told = longs(from);
  const digests = hashesIn(from.bytes());
  if (histories.length !== entities.length || told.length !== entities.length)
    throw new RangeError("its columns differ in length");
  const states = readStates(from, found, entities.length);
  const members = entities.map((index, i): PagedMember => {
    const events = history(found, mentions, pick(histories, i));
    const digest = pick(told, i) === 0 ? historyDigest(events, found.sha256) : digests.next();
    if (digest === null) throw new RangeError("a digest is missing");
    return { entityId: entityId(found, index, events), digest, events, states: states[i] ?? {} };
  });
  for (const column of [mentions, digests]) column.end();
  const gone = from.array(MAX_PAGE_ITEMS, () => readTextOrUuid(from));
  return { members, gone, after: readOptional(from, from.string) };
}

function readStates(from: Reader, { views }: Found, count: number): Readonly<Record<string, string>>[] {
  const counts = longs(from);
  if (counts.length !== 0 && counts.length !== count) throw new RangeError("its columns differ in length");
  const names = taker(longs(from).map((view) => pick(views, view)));
  const texts = taker(from.array(MAX_PAGE_ITEMS, from.string));
  const states = counts.map((each) => {
    if (each < 0 || each > views.length) throw new RangeError(`${each} is not a count of states`);
    return Object.fromEntries(take(each, () => [names.next(), texts.next()] as const));
  });
  for (const column of [names, texts]) column.end();
  return states;
}
