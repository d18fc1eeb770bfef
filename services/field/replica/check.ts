/** Checks what a page brings against its hashes, before anything of it is kept. */
import {
  type Cursor,
  entityDigest,
  eventText,
  GENESIS,
  type Hash,
  headAfter,
  type OriginId,
  segmentDigest,
} from "../../core/index.ts";
import { chainHash, sha256Hex } from "../../core/node.ts";
import {
  hasComputedHash,
  type PagedEvent,
  type PagedLine,
  type PagedMember,
  type Section,
} from "../../exchange/protocol/index.ts";
import type { OriginRow } from "../rows.ts";
import type { CheckedEvent } from "./entities.ts";

/** A section does not come out: nothing of it is kept, and its bucket is compared. `lacks`: an own event whose content is damaged here, so that the hub has to send it. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
  readonly lacks: { readonly origin: OriginRow; readonly seq: number } | null;
  constructor(message: string, lacks: Mismatch["lacks"] = null) {
    super(message);
    this.lacks = lacks;
  }
}

/** What this device wrote itself. */
export interface OwnEvents {
  origin(name: OriginId): OriginRow | undefined;
  /** The text of an own event's data, and its hash; `undefined`: it is not there, was purged, or is damaged. */
  text(origin: OriginRow, seq: number): { readonly data: string; readonly hash: Hash } | undefined;
}

const named = ({ head: { origin, seq } }: PagedEvent): string => `event ${seq} of ${origin}`;

/** An event whose hash follows from its text, or from what this device wrote. Throws `Mismatch`. */
export function checked(event: PagedEvent, own: OwnEvents): CheckedEvent {
  const { head, prev, hash, text, position, recordedAtMs, held, clock, clips } = event;
  const origin = own.origin(head.origin) ?? null;
  const mine = origin === null ? undefined : own.text(origin, head.seq);
  const lacks = text !== null || origin === null ? null : { origin, seq: head.seq };
  const data = text ?? mine?.data;
  if (data === undefined) throw new Mismatch(`${named(event)} came without its text`, lacks);
  if (!hasComputedHash(event) && chainHash(prev, eventText(head, data)) !== hash)
    throw new Mismatch(`the hash of ${named(event)} does not follow from it`, lacks);
  const isMine = mine === undefined || mine.hash === hash;
  if (text === null && !isMine) throw new Mismatch(`${named(event)} is not the one that this device wrote`, lacks);
  const isHere = isMine && mine?.data === data;
  const checkedEvent = { head, prev, hash, position, recordedAtMs, held, clock, text: data, own: isMine ? origin : null, isHere };
  return clips === undefined ? checkedEvent : { ...checkedEvent, clips };
}

/** The digest of an entity's history after more events. */
export const digestAfter = (before: Hash, events: readonly { readonly hash: Hash }[]): Hash =>
  events.reduce((digest, { hash }) => entityDigest(digest, hash, sha256Hex), before);

/** An entity as a section brings it, checked. */
export interface CheckedMember {
  readonly member: PagedMember;
  /** Its whole history, or as much of it as has come. */
  readonly events: readonly CheckedEvent[];
  /** `false`: more of its history is to come. */
  readonly isWhole: boolean;
}

/**
 * A member whose digest follows from its events, if these came. `before`: parts of its history that came earlier. `mayGoOn`: the page had no room for the rest of it. Throws `Mismatch`.
 */
export function checkedMember(
  member: PagedMember,
  own: OwnEvents,
  { before, mayGoOn }: { readonly before: readonly PagedEvent[]; readonly mayGoOn: boolean },
): CheckedMember {
  const events = [...before, ...member.events].map((event) => checked(event, own));
  const isWhole = events.length === 0 || digestAfter(GENESIS, events) === member.digest;
  if (!isWhole && !(mayGoOn && member.events.length > 0))
    throw new Mismatch(`the digest of ${member.entityId} does not follow from its events`);
  return { member, events, isWhole };
}

/** A line with what it makes of its entity. */
export interface CheckedLine {
  readonly line: PagedLine;
  readonly events: readonly CheckedEvent[];
  /** How many events came without their texts: the entity leaves with a later line, and nothing of them is kept. */
  readonly bare: number;
  /** The digest of the entity after it. */
  readonly digest: Hash;
}

export type Lines = Extract<Section, { kind: "lines" }>;

/**
 * The lines of a section, each with its entity's digest. `from`: where the reader stands. `digestOf`: the digest that an entity has in the bucket; `null`: it is not there. Throws
 * `Mismatch` unless the lines follow from there and end where the section says.
 */
export function checkedLines(
  section: Lines,
  from: Cursor,
  digestOf: (entityId: string) => Hash | null,
  own: OwnEvents,
): readonly CheckedLine[] {
  const now = new Map<string, Hash | null>();
  let { seal, head, line, digest } = from;
  let nextMark = 0;
  const sealUpTo = (lines: number): void => {
    for (let mark = section.seals[nextMark]; mark !== undefined && mark.lines <= lines; mark = section.seals[++nextMark]) {
      if (mark.lines < lines || mark.seal <= seal) throw new Mismatch("its seals are out of order");
      head = headAfter(head, { seal: mark.seal, through: mark.through, digest }, sha256Hex);
      [seal, line, digest] = [mark.seal, 0, GENESIS];
    }
  };
  const out: CheckedLine[] = [];
  const last = new Map(section.lines.map(({ entityId, kind }) => [entityId, kind]));
  for (const [at, each] of section.lines.entries()) {
    sealUpTo(at);
    const { entityId } = each;
    const before = now.get(entityId) ?? (now.has(entityId) ? null : digestOf(entityId));
    const step = lineAfter(each, before, { own, leaves: last.get(entityId) === "exit" });
    now.set(entityId, each.kind === "exit" ? null : step.digest);
    digest = segmentDigest(digest, { kind: each.kind, position: each.position, entityId, digest: step.digest }, sha256Hex);
    line++;
    out.push(step);
  }
  sealUpTo(section.lines.length);
  const { to } = section;
  if (to.seal !== seal || to.head !== head || to.line !== line || to.digest !== digest || nextMark < section.seals.length)
    throw new Mismatch("its lines do not give the head that it ends with");
  return out;
}

/** `leaves`: the entity's last line in the section says that it leaves. */
function lineAfter(
  line: PagedLine,
  before: Hash | null,
  { own, leaves }: { readonly own: OwnEvents; readonly leaves: boolean },
): CheckedLine {
  const { kind, entityId } = line;
  if (kind === "exit") {
    if (before === null || line.digest !== before) throw new Mismatch(`${entityId} leaves with another history than it has here`);
    return { line, events: [], bare: 0, digest: before };
  }
  if (kind === "event" && before === null) throw new Mismatch(`an event came for ${entityId}, which is not here`);
  if (kind === "enter" && before !== null) throw new Mismatch(`${entityId} enters, and is here already`);
  if (kind === "event" && line.events.length !== 1)
    throw new Mismatch(`a line brings ${line.events.length} events for ${entityId}`);
  // Of what leaves at once nothing is kept, so the hash that the hub's head covers is enough.
  const isBare = ({ text, head }: PagedEvent): boolean =>
    kind === "event" && leaves && text === null && own.origin(head.origin) === undefined;
  const events = line.events.filter((event) => !isBare(event)).map((event) => checked(event, own));
  const digest = digestAfter(kind === "enter" ? GENESIS : (before ?? GENESIS), line.events);
  return { line, events, bare: line.events.length - events.length, digest };
}
