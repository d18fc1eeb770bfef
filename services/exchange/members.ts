/** The entities of a bucket as of the newest seal: all in the order of their range keys, or some by name. */

import { lengthOf } from "./follow.ts";
import type { HeldBucket, PagedMember, Section } from "./protocol/index.ts";
import {
  ENTITY_BYTES,
  type EventSource,
  eventSource,
  historiesAtATime,
  type Serving,
  sawHistories,
  statesHere,
} from "./serving.ts";
import type { EventRef, Member } from "./store.ts";

/** Entities that are read at a time. */
const MEMBERS_AT_A_TIME = 100;

/** What is sent of entities: their states, or the parts of their histories that the asker lacks. */
interface Contents {
  readonly states: ReadonlyMap<string, Readonly<Record<string, string>>> | null;
  readonly histories: ReadonlyMap<string, readonly EventRef[]>;
  readonly source: EventSource;
}

interface Asked {
  readonly asStates: boolean;
  readonly have: Readonly<Record<string, number>>;
}

const NO_HISTORIES: Contents["histories"] = new Map();

/** What is sent of some entities, one after the other. Of histories only a few are read at a time, and of each only what a page may have. */
async function* withContents(
  serving: Serving,
  held: HeldBucket,
  found: readonly Member[],
  { asStates, have }: Asked,
): AsyncGenerator<readonly [Member, Contents]> {
  const { store, room, pace } = serving;
  if (asStates) {
    const ids = found.map(({ entityId }) => entityId);
    const states = await statesHere(serving, held, ids);
    const contents = { states, histories: NO_HISTORIES, source: eventSource(serving, []) };
    for (const member of found) yield [member, contents];
    return;
  }
  for (let from = 0; from < found.length; ) {
    const some = found.slice(from, from + historiesAtATime(pace));
    const asks = some.map(({ entityId }) => ({ entityId, skip: Object.hasOwn(have, entityId) ? (have[entityId] ?? 0) : 0 }));
    room.ask();
    // One more than there is room for shows that a history goes on.
    const names = await store.histories(held.bucket, asks, Math.max(0, room.events) + 1);
    sawHistories(pace, names);
    const histories = new Map(some.map(({ entityId }, i) => [entityId, names[i] ?? []] as const));
    const contents = { states: null, histories, source: eventSource(serving, names.flat()) };
    for (const member of some) yield [member, contents];
    from += some.length;
  }
}

interface Sent {
  readonly member: PagedMember;
  /** `false`: its history goes on, and nothing more fits into the page. */
  readonly isWhole: boolean;
}

/** An entity with what is sent of it; `null`: there is no room for it. A history that does not fit into a page of its own is sent as far as it does. */
async function sentOf(
  { room }: Serving,
  { entityId, digest }: Member,
  { states, histories, source }: Contents,
): Promise<Sent | null> {
  const own = ENTITY_BYTES + entityId.length;
  if (states !== null) {
    const shown = states.get(entityId) ?? {};
    return room.put(1, own + lengthOf(shown)) ? { member: { entityId, digest, events: [], states: shown }, isWhole: true } : null;
  }
  const count = histories.get(entityId)?.length ?? 0;
  if (!room.isEmpty && count > room.events) return null;
  const { events, bytes, isWhole } = await source.take(Math.min(count, room.events), room.bytes);
  if ((!room.isEmpty && !isWhole) || !room.put(events.length, own + bytes)) return null;
  return { member: { entityId, digest, events, states: {} }, isWhole: events.length === count };
}

/** Serves a bucket's entities after a range key. `false`: there are more than the page has room for. */
export async function members(
  serving: Serving,
  held: HeldBucket,
  { after, want }: { readonly after: string | null; readonly want: "states" | "events" },
): Promise<boolean> {
  const { store, room, sections } = serving;
  const asked = { asStates: held.statesOnly || want === "states", have: {} };
  const out: PagedMember[] = [];
  let at = after;
  const end = (isAll: boolean): boolean => {
    if (isAll || out.length > 0)
      sections.push({ kind: "members", bucket: held.bucket, members: out, gone: [], after: isAll ? null : at });
    return isAll;
  };
  for (;;) {
    if (room.isFull || !room.ask()) return end(false);
    const found = await store.members(held.bucket, { prefix: "", after: at }, MEMBERS_AT_A_TIME);
    for await (const [member, contents] of withContents(serving, held, found, asked)) {
      const sent = await sentOf(serving, member, contents);
      if (sent === null) return end(false);
      out.push(sent.member);
      at = member.key;
      // The asker fetches the rest of this one by name.
      if (!sent.isWhole) {
        end(member === found.at(-1) && found.length < MEMBERS_AT_A_TIME);
        return false;
      }
    }
    if (found.length < MEMBERS_AT_A_TIME) return end(true);
  }
}

/** Serves entities of a bucket by name. `have`: how many first events of some the asker has. `false`: there are more than the page has room for. */
export async function fetchNamed(
  serving: Serving,
  held: HeldBucket,
  { entityIds, have }: { readonly entityIds: readonly string[]; readonly have: Readonly<Record<string, number>> },
): Promise<boolean> {
  const { store, room, sections } = serving;
  const names = [...new Set(entityIds)];
  const out: PagedMember[] = [];
  const gone: string[] = [];
  const end = (isAll: boolean): boolean => {
    const section: Section = { kind: "members", bucket: held.bucket, members: out, gone, after: null };
    if (out.length + gone.length > 0) sections.push(section);
    return isAll;
  };
  for (let from = 0; from < names.length; from += MEMBERS_AT_A_TIME) {
    const some = names.slice(from, from + MEMBERS_AT_A_TIME);
    if (room.isFull || !room.ask()) return end(false);
    const found = await store.named(held.bucket, some);
    const there = new Set(found.map(({ entityId }) => entityId));
    for await (const [member, contents] of withContents(serving, held, found, { asStates: held.statesOnly, have })) {
      const sent = await sentOf(serving, member, contents);
      if (sent === null) return end(false);
      out.push(sent.member);
      if (!sent.isWhole) return end(false);
    }
    for (const id of some) {
      if (there.has(id)) continue;
      if (!room.put(0, ENTITY_BYTES + id.length)) return end(false);
      gone.push(id);
    }
  }
  return end(true);
}
