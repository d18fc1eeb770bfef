/** Takes the sections of a page, each as a whole: what it brings is checked first, and then written. */
import { GENESIS, type Hash, positionFromNumber, positionFromText, positionToText, rangeKey } from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import type { BucketAsk, PagedEvent, Section } from "../../exchange/protocol/index.ts";
import { compareAll, dropParts, endOf, filled, fillOrCompare, partsOf, rangeOf } from "./asks.ts";
import { type CheckedLine, type CheckedMember, checkedLines, checkedMember, Mismatch, type OwnEvents } from "./check.ts";
import { type CheckedEvent, MAX_TAKEN, type Taking } from "./entities.ts";
import type { Leaving, PurgeDeps } from "./purge.ts";
import type { BucketRow, EntityRow, FoundMember, MemberRow } from "./rows.ts";

export interface TakeDeps extends PurgeDeps {
  readonly own: OwnEvents;
  /** Whether there is more to ask for at once. */
  readonly hasMore: boolean;
  /** Whether the hub folds a view as this device does. */
  readonly isSame: (view: string) => boolean;
  readonly note: (section: SectionDone) => void;
}

/** What a section has changed. */
export interface SectionDone {
  readonly events: number;
  readonly entities: number;
  /** Members that left the bucket. They are deleted when the whole page is taken, unless another bucket of the page has them. `null`: no line told of any. */
  readonly leaving: readonly Leaving[] | null;
  /** The seal up to which the replica has the bucket; `null`: that of the page. */
  readonly seal: number | null;
  readonly taken: readonly CheckedEvent[];
}

type Of<K extends Section["kind"]> = Extract<Section, { kind: K }>;

const keyOf = (entityId: string): string => rangeKey(entityId, sha256Hex);

/** Takes a section that answers what was asked of its bucket. Throws `Mismatch` before anything is written, if it does not come out. */
export function takeSection(deps: TakeDeps, bucket: BucketRow, section: Section, asked: BucketAsk): void {
  switch (section.kind) {
    case "lines":
      if (asked.kind !== "follow") return;
      if (bucket.statesOnly) stand(deps, bucket, section);
      else takeLines(deps, bucket, section);
      return;
    case "members":
      if (asked.kind !== "follow" || bucket.statesOnly) takeMembers(deps, bucket, section, asked);
      return;
    case "ranges":
      if (asked.kind === "compare") takeRanges(deps, bucket, section);
      return;
    case "listed":
      if (asked.kind === "compare") takeListed(deps, bucket, section);
      return;
    case "same":
      if (asked.kind === "compare") takeSame(deps, bucket, section);
      return;
    case "unknown":
      if (asked.kind === "follow") fillOrCompare(deps.rows, bucket.n);
      return;
  }
}

/** An entity as a bucket of this replica has it; `undefined`: it is not there. */
const memberOf = ({ rows }: TakeDeps, { n, entityType }: BucketRow, entityId: string): MemberRow | undefined =>
  rows.memberNamed(n, entityType, entityId);

/** Entities by their ids, as far as this replica has any of these, with what a bucket has of them. */
const foundIn = ({ rows }: TakeDeps, { n, entityType }: BucketRow, ids: Iterable<string>): ReadonlyMap<string, FoundMember> =>
  rows.membersNamed(n, entityType, [...ids]);

/** What the lines of a section make of one entity. */
interface Story {
  readonly events: CheckedEvent[];
  /** How many events came without their texts. */
  bare: number;
  /** Whether `events` begin with the entity's first event. */
  isWhole: boolean;
  /** The digest after the last line; `null`: it has left, with the digest `left`. */
  digest: Hash | null;
  left: Hash;
}

function takeLines(deps: TakeDeps, bucket: BucketRow, section: Of<"lines">): void {
  const known = foundIn(deps, bucket, new Set(section.lines.map(({ entityId }) => entityId)));
  const digestOf = (entityId: string): Hash | null => {
    const member = known.get(entityId)?.member;
    if (member !== undefined && !member.hasEvents) throw new Mismatch(`of ${entityId} only the state is here`);
    return member?.digest ?? null;
  };
  const lines = checkedLines(section, bucket.cursor, digestOf, deps.own);
  const stories = storiesOf(lines);
  const leaving: Leaving[] = [];
  const staying: Coming[] = [];
  for (const [entityId, { events, bare, isWhole, digest, left }] of stories) {
    const found = known.get(entityId);
    if (digest !== null) staying.push({ entityId, digest, events, isWhole, isNow: false, found });
    else if (found?.member !== undefined) leaving.push({ ...found.member, digest: left, passedOver: events.length + bare });
  }
  const entities = staying.length;
  let events = 0;
  for (const some of inParts(staying)) events += takeEvents(deps, bucket, some);
  remove(deps, bucket, leaving);
  stand(deps, bucket, section);
  const hasExits = lines.some(({ line }) => line.kind === "exit");
  const seal = section.to.line === 0 ? section.to.seal : null;
  deps.note({ events, entities, leaving: hasExits ? leaving : null, seal, taken: lines.flatMap((line) => line.events) });
}

/** Notes where the replica stands in a bucket's feed. */
function stand({ rows, hasMore }: TakeDeps, { n }: BucketRow, { to }: Of<"lines">): void {
  rows.setCursor(n, to);
  if (!hasMore) rows.setHubEnd(n, endOf(to));
}

function storiesOf(lines: readonly CheckedLine[]): ReadonlyMap<string, Story> {
  const stories = new Map<string, Story>();
  for (const { line, events, bare, digest } of lines) {
    let story = stories.get(line.entityId);
    if (story === undefined || line.kind === "enter") {
      story = { events: [], bare: 0, isWhole: line.kind === "enter", digest: null, left: digest };
      stories.set(line.entityId, story);
    }
    story.events.push(...events);
    story.bare += bare;
    story.digest = line.kind === "exit" ? null : digest;
    story.left = digest;
  }
  return stories;
}

/** What came of an entity that is in the bucket from now on. */
interface Coming {
  readonly entityId: string;
  readonly digest: Hash;
  readonly events: readonly CheckedEvent[];
  /** Whether the events begin with the entity's first one; and whether they are all that it has now, at the newest seal. */
  readonly isWhole: boolean;
  readonly isNow: boolean;
  /** What this replica has of it so far. */
  readonly found: FoundMember | undefined;
}

/** So many entities as are folded at a time. */
function* inParts<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += MAX_TAKEN) yield all.slice(at, at + MAX_TAKEN);
}

/** Takes events of entities, each of which is named once. Returns how many are new here. */
const takeEvents = (deps: TakeDeps, bucket: BucketRow, coming: readonly Coming[]): number =>
  deps.entities.take(
    bucket.entityType,
    coming.map((each) => taking(deps, bucket, each)),
  );

/** Notes that a bucket has an entity, and what is to be folded of it. */
function taking(
  { rows, entities }: TakeDeps,
  bucket: BucketRow,
  { entityId, digest, events, isWhole, isNow, found }: Coming,
): Taking {
  const entity = { type: bucket.entityType, id: entityId };
  const member = found?.member;
  if (!isWhole && member !== undefined) {
    rows.setMember(bucket.n, { ...member, digest, hasEvents: true });
    return { n: member.entity, id: entityId, events, how: "more" };
  }
  const known = found === undefined ? entities.newEntity(entity) : entities.entityOf(entity);
  stay(rows, known);
  const { n } = known;
  // An entity that enters from another bucket of this device may have more here already than it has up to its line.
  const isElsewhere =
    !known.isNew && rows.membershipsOf(n).some(({ bucket: other, hasEvents }) => hasEvents && other !== bucket.n);
  rows.setMember(bucket.n, { key: member?.key ?? keyOf(entityId), entity: n, digest, hasEvents: true });
  return { n, id: entityId, events, how: known.isNew ? "first" : isWhole && (isNow || !isElsewhere) ? "whole" : "more" };
}

const remove = ({ rows }: TakeDeps, bucket: BucketRow, leaving: readonly Leaving[]): void => {
  for (const { key, entity } of leaving) rows.removeMember(bucket.n, key, entity);
};

/** Whatever left may come back. */
function stay(rows: TakeDeps["rows"], { n, leaving }: EntityRow): void {
  if (leaving !== null) rows.setLeaving(n, null);
}

function takeMembers(deps: TakeDeps, bucket: BucketRow, section: Of<"members">, asked: BucketAsk): void {
  const { rows } = deps;
  const isByName = asked.kind !== "members";
  if (!isByName && section.after !== null && bucket.after !== null && section.after <= bucket.after)
    throw new Mismatch("its members do not go on from where they were asked for");
  const last = section.members.length - 1;
  const members = section.members.map((member, i) => {
    const before = isByName ? rows.partsOf(bucket.n, member.entityId).map(partIn) : [];
    return checkedMember(member, deps.own, { before, mayGoOn: i === last && deps.hasMore });
  });
  let events = 0;
  for (const some of distinctly(members)) events += takeSome(deps, bucket, some);
  const leaving = section.gone.flatMap((entityId) => memberOf(deps, bucket, entityId) ?? []);
  remove(deps, bucket, leaving);
  if (isByName) {
    for (const { member, isWhole } of members) if (isWhole) rows.removeTodo(bucket.n, "fetch", member.entityId);
    for (const entityId of section.gone) rows.removeTodo(bucket.n, "fetch", entityId);
    for (const entityId of section.gone) dropParts(rows, bucket.n, entityId);
  } else if (section.after === null) filled(rows, bucket);
  else rows.setPhase(bucket.n, bucket.phase, section.after);
  const left = section.gone.length > 0 ? leaving : null;
  deps.note({ events, entities: members.length, leaving: left, seal: null, taken: members.flatMap((member) => member.events) });
}

/** Members in parts, in none of which an entity is named twice: what is read of it for all of a part would be out of date the second time. */
function* distinctly(members: readonly CheckedMember[]): Generator<readonly CheckedMember[]> {
  let part = new Map<string, CheckedMember>();
  for (const each of members) {
    if (part.size === MAX_TAKEN || part.has(each.member.entityId)) {
      yield [...part.values()];
      part = new Map();
    }
    part.set(each.member.entityId, each);
  }
  yield [...part.values()];
}

/** Takes entities as the bucket has them now. Returns how many events are new here. */
function takeSome(deps: TakeDeps, bucket: BucketRow, members: readonly CheckedMember[]): number {
  const known = foundIn(
    deps,
    bucket,
    members.map(({ member }) => member.entityId),
  );
  const hasParts = deps.rows.hasParts();
  const coming: Coming[] = [];
  for (const each of members) {
    const { member, events, isWhole } = each;
    const { entityId, digest } = member;
    const found = known.get(entityId);
    if (isWhole && hasParts) deps.rows.removePartsOf(bucket.n, entityId);
    if (!isWhole || events.length === 0) takeMember(deps, bucket, each, found?.member);
    else if (found?.member?.hasEvents !== true || found.member.digest !== digest)
      coming.push({ entityId, digest, events, isWhole, isNow: true, found });
  }
  return takeEvents(deps, bucket, coming);
}

/** Takes an entity of which the events, or the last of them, have not come. */
function takeMember(
  deps: TakeDeps,
  bucket: BucketRow,
  { member, events, isWhole }: CheckedMember,
  known: MemberRow | undefined,
): void {
  const { rows, entities } = deps;
  const { entityId, digest, states } = member;
  if (!isWhole) {
    const first = events.length - member.events.length;
    for (const [i, event] of member.events.entries()) rows.addPart(bucket.n, entityId, first + i, partText(event));
    rows.addTodo(bucket.n, "fetch", entityId);
    return;
  }
  if ((known !== undefined && known.digest === digest) || adopted(deps, bucket, entityId, digest)) return;
  const entity = { type: bucket.entityType, id: entityId };
  const here = entities.entityOf(entity);
  stay(rows, here);
  const { n } = here;
  const hasEvents = rows.membershipsOf(n).some((other) => other.hasEvents && other.bucket !== bucket.n);
  rows.setMember(bucket.n, { key: keyOf(entityId), entity: n, digest, hasEvents: false });
  // The state that its events give is worth more than one that came packed.
  if (hasEvents) return;
  if (rows.removePlaced(n)) rows.noteDeleted();
  entities.takeStates(n, entity, states, deps.isSame);
}

function takeRanges({ rows }: TakeDeps, bucket: BucketRow, { ranges }: Of<"ranges">): void {
  const byParent = Map.groupBy(ranges, ({ prefix }) => prefix.slice(0, -1));
  for (const [parent, parts] of byParent) {
    const ours = partsOf(rows, bucket.n, parent);
    rows.removeTodo(bucket.n, "range", parent);
    // Where the bucket has nothing, and this replica has something.
    const named = new Set(parts.map(({ prefix }) => prefix));
    for (const prefix of ours.keys()) if (!named.has(prefix)) rows.addTodo(bucket.n, "range", prefix);
    for (const { prefix, count, fingerprint } of parts) {
      const mine = ours.get(prefix);
      if ((mine?.count ?? 0) === count && (count === 0 || mine?.fingerprint === fingerprint)) continue;
      rows.addTodo(bucket.n, "range", prefix);
    }
  }
  if (bucket.phase !== "compare") rows.setPhase(bucket.n, "compare", null);
}

function takeListed(deps: TakeDeps, bucket: BucketRow, { prefix, entities }: Of<"listed">): void {
  const { rows } = deps;
  const theirs = new Map(entities.map(({ entityId, digest }) => [entityId, digest]));
  const mine = new Map(rows.membersIn(bucket.n, prefix).map((member) => [member.id, member]));
  rows.removeTodo(bucket.n, "range", prefix);
  for (const [entityId, digest] of theirs)
    if (mine.get(entityId)?.digest !== digest && !adopted(deps, bucket, entityId, digest))
      rows.addTodo(bucket.n, "fetch", entityId);
  const leaving = [...mine.values()].filter(({ id }) => !theirs.has(id));
  remove(deps, bucket, leaving);
  if (bucket.phase !== "compare") rows.setPhase(bucket.n, "compare", null);
  deps.note({ events: 0, entities: 0, leaving: leaving.length > 0 ? leaving : null, seal: null, taken: [] });
}

/** An entity whose whole history another bucket of this device has need not be fetched. */
function adopted({ rows }: TakeDeps, bucket: BucketRow, entityId: string, digest: Hash): boolean {
  const n = rows.entityBy(bucket.entityType, entityId)?.n;
  if (n === undefined) return false;
  if (!rows.membershipsOf(n).some((other) => other.bucket !== bucket.n && other.hasEvents && other.digest === digest))
    return false;
  rows.setMember(bucket.n, { key: keyOf(entityId), entity: n, digest, hasEvents: !bucket.statesOnly });
  return true;
}

/** A part of a history as it is kept until the rest has come. */
const partText = (event: PagedEvent): string => JSON.stringify({ ...event, position: positionToText(event.position) });
export function partIn(text: string): PagedEvent {
  // Written by `partText`.
  const { position, ...event } = JSON.parse(text) as Omit<PagedEvent, "position"> & { readonly position: string };
  return { ...event, position: positionFromText(position) ?? positionFromNumber(0) };
}

function takeSame({ rows }: TakeDeps, bucket: BucketRow, { at }: Of<"same">): void {
  const { count, fingerprint } = rangeOf(rows, bucket.n, "");
  if (count !== at.count || fingerprint !== at.fingerprint) {
    compareAll(rows, bucket.n);
    return;
  }
  const bare = bucket.statesOnly ? [] : rows.membersWithoutEvents(bucket.n, Number.MAX_SAFE_INTEGER);
  rows.clearTodo(bucket.n);
  dropParts(rows, bucket.n);
  if (bare.length > 0) {
    for (const entityId of bare) rows.addTodo(bucket.n, "fetch", entityId);
    return;
  }
  rows.setCursor(bucket.n, { seal: at.seal, head: at.head, line: 0, digest: GENESIS });
  rows.setHubEnd(bucket.n, endOf(at));
}
