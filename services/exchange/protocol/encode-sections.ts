/** A page's sections, as the writer of a page writes them. */
import { assert, type Dictionary, type Writer, writeTextOrUuid } from "../../core/index.ts";
import { tooMany } from "./frame.ts";
import type { PagedEvent, PagedLine, PagedMember, Section } from "./page.ts";
import { HALF_BYTES, HASH_BYTES, historyDigest, LINE_KINDS, SECTION_KINDS } from "./parts.ts";
import { MAX_PAGE_ITEMS } from "./schema.ts";
import { numberOf, type Table, writeHashes, writeHex } from "./table.ts";

/** What sections point into, and what their numbers are counted from. */
export interface Around {
  readonly buckets: Dictionary;
  readonly views: Dictionary;
  readonly names: Dictionary;
  readonly table: Table;
  /** The page's seal, and the position up to which it goes. */
  readonly seal: number;
  readonly through: number;
  /** SHA-256 of a text, hexadecimal. */
  readonly sha256: (text: string) => string;
}

type Of<Kind extends Section["kind"]> = Extract<Section, { readonly kind: Kind }>;

/** Writes an array that a reader would take. */
function list<T>(out: Writer, items: readonly T[], write: (item: T) => void): void {
  if (items.length > MAX_PAGE_ITEMS) throw tooMany("items in one list", items.length, MAX_PAGE_ITEMS);
  out.array(items, write);
}
const longs = (out: Writer, column: readonly number[]): void => list(out, column, out.long);

/** Writes a section as a branch of the union that `PAGE_SCHEMA` declares. */
export function writeSection(out: Writer, section: Section, around: Around): void {
  out.long(SECTION_KINDS.indexOf(section.kind));
  out.long(around.buckets.of(section.bucket));
  switch (section.kind) {
    case "lines":
      writeLines(out, section, around);
      break;
    case "members":
      writeMembers(out, section, around);
      break;
    case "ranges":
      list(out, section.ranges, ({ prefix, count, fingerprint }) => {
        out.string(prefix);
        out.long(count);
        writeHex(out, fingerprint, HALF_BYTES);
      });
      break;
    case "listed":
      writeListed(out, section);
      break;
    case "same":
      writeSame(out, section);
      break;
    case "unknown":
  }
}

function writeListed(out: Writer, { prefix, entities }: Of<"listed">): void {
  out.string(prefix);
  list(out, entities, ({ entityId }) => writeTextOrUuid(out, entityId));
  const digests = entities.map(({ digest }) => digest);
  writeHashes(out, digests);
}

function writeSame(out: Writer, { bucket, at }: Of<"same">): void {
  assert(at.bucket === bucket, "a section's head is that of its bucket");
  out.long(at.seal);
  out.long(numberOf(at.through));
  writeHex(out, at.head, HASH_BYTES);
  out.long(at.count);
  writeHex(out, at.fingerprint, HALF_BYTES);
}

/** 0 for the entity of the first event, else where its name stands, from 1 on. */
const nameOf = (entityId: string, [first]: readonly PagedEvent[], names: Dictionary): number =>
  first !== undefined && first.head.entity.id === entityId ? 0 : names.of(entityId) + 1;

function writeLines(out: Writer, { lines, seals, to }: Of<"lines">, around: Around): void {
  const { names, table } = around;
  longs(
    out,
    lines.map(({ kind }) => LINE_KINDS.indexOf(kind)),
  );
  longs(
    out,
    lines.map(({ entityId, events }) => nameOf(entityId, events, names)),
  );
  let before = around.through;
  longs(
    out,
    lines.map((line) => {
      checkLine(line);
      const last = line.events.at(-1);
      const difference = numberOf(line.position) - (last === undefined ? before : numberOf(last.position));
      before = numberOf(line.position);
      return difference;
    }),
  );
  longs(
    out,
    lines.flatMap(({ kind, events }) => (kind === "enter" ? [events.length] : [])),
  );
  longs(
    out,
    lines.flatMap(({ events }) => events.map(table.mention)),
  );
  writeHashes(
    out,
    lines.flatMap(({ digest }) => (digest === null ? [] : [digest])),
  );
  let mark = { lines: 0, seal: around.seal, through: around.through };
  longs(
    out,
    seals.flatMap((each) => {
      const next = { ...each, through: numberOf(each.through) };
      const numbers = [next.lines - mark.lines, next.seal - mark.seal, next.through - mark.through];
      mark = next;
      return numbers;
    }),
  );
  out.long(to.seal);
  writeHex(out, to.head, HASH_BYTES);
  out.long(to.line);
  writeHex(out, to.digest, HASH_BYTES);
}

function checkLine({ kind, events, digest }: PagedLine): void {
  assert((digest !== null) === (kind === "exit"), "a line says a digest exactly if it is an exit");
  assert(kind === "enter" || events.length === (kind === "event" ? 1 : 0), "an event line has one event, an exit none");
}

function writeMembers(out: Writer, { members, gone, after }: Of<"members">, { names, table, views, sha256 }: Around): void {
  const told = members.map((member) => historyDigest(member.events, sha256) !== member.digest);
  longs(
    out,
    members.map(({ entityId, events }) => nameOf(entityId, events, names)),
  );
  longs(
    out,
    members.map(({ events }) => events.length),
  );
  longs(
    out,
    members.flatMap(({ events }) => events.map(table.mention)),
  );
  longs(out, told.map(Number));
  writeHashes(
    out,
    members.flatMap(({ digest }, i) => (told[i] === true ? [digest] : [])),
  );
  writeStates(out, members, views);
  list(out, gone, (entityId) => writeTextOrUuid(out, entityId));
  out.long(after === null ? 0 : 1);
  if (after !== null) out.string(after);
}

function writeStates(out: Writer, members: readonly PagedMember[], views: Dictionary): void {
  const states = members.map((member) => Object.entries(member.states));
  const all = states.flat();
  longs(out, all.length === 0 ? [] : states.map(({ length }) => length));
  longs(
    out,
    all.map(([view]) => views.of(view)),
  );
  list(out, all, ([, state]) => out.string(state));
}
