/** What a replica has to do with pages, without folding and without a database: it keeps hashes, checks each page against what it computes, and asks on. It trusts no page. */
import {
  type BucketId,
  type Cursor,
  entityDigest,
  FEED_START,
  fingerprintOf,
  GENESIS,
  type Hash,
  headAfter,
  NO_ENTITIES,
  partOf,
  rangeKey,
  segmentDigest,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import { type Asker, type Server, serve } from "../../services/exchange/index.ts";
import {
  type BucketAsk,
  type HeldBucket,
  type Page,
  type PagedEvent,
  type PullRequest,
  pullRequestSchema,
  type Section,
  summaryText,
} from "../../services/exchange/protocol/index.ts";
import type { MemoryHub } from "./memory-hub.ts";

/** A request as it comes through a door: what is left out has its default. */
export const requestOf = (
  device: string,
  asked: Partial<Omit<PullRequest, "buckets">> & { buckets?: Record<string, unknown> } = {},
): PullRequest =>
  pullRequestSchema.parse({
    kind: "pull",
    device,
    protocol: { oldest: 1, newest: 3 },
    nonce: "0123456789abcdef",
    sentAtMs: 1,
    holding: null,
    buckets: {},
    ...asked,
  });

export const askerOf = (hub: MemoryHub, device: string): Asker => {
  const [org, site] = device.split(".") as [string, string, string];
  return { holder: { kind: "site", org, site }, device, hub: hub.id, incarnation: hub.incarnation, nowMs: hub.now() };
};

export interface HeldEntity {
  digest: Hash;
  events: PagedEvent[];
  states: Readonly<Record<string, string>>;
}

interface HeldHere {
  readonly of: HeldBucket;
  readonly entities: Map<string, HeldEntity>;
  /** `null`: it has not followed yet. */
  at: Cursor | null;
  /** Range keys up to which the members came; `null`: all have. */
  after: string | null;
  isListed: boolean;
  /** What is asked next instead of following. */
  ask: BucketAsk | null;
}

export interface MemoryReplica {
  readonly buckets: ReadonlyMap<BucketId, HeldHere>;
  /** All pages that came. */
  readonly pages: readonly Page[];
  /** Pulls until nothing is left to ask for, and returns how many pages it took. */
  pull(): Promise<number>;
  /** One poll with a summary. */
  poll(): Promise<Page>;
  /** Deletes an entity, or all, as damage does. */
  damage(bucket: BucketId, entityId: string): void;
}

export interface ReplicaOptions {
  readonly server?: Server;
  readonly maxEvents?: number;
  readonly maxBytes?: number;
}

/** So many pages do for anything that a test has. */
const MAX_PAGES = 2_000;

export function memoryReplica(hub: MemoryHub, device: string, options: ReplicaOptions = {}): MemoryReplica {
  const server = options.server ?? serve(hub.store, { views: hub.views });
  const buckets = new Map<BucketId, HeldHere>();
  const pages: Page[] = [];
  let holding: string | null = null;
  const bounds = {
    ...(options.maxEvents === undefined ? {} : { maxEvents: options.maxEvents }),
    ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
  };
  const ask = async (asked: Parameters<typeof requestOf>[1]): Promise<Page> => {
    const page = await server.answer(requestOf(device, { ...bounds, holding, ...asked }), askerOf(hub, device));
    pages.push(page);
    if (page.holding !== null) {
      holding = page.holding.digest;
      const allowed = new Set(page.holding.buckets.map(({ bucket }) => bucket));
      for (const id of buckets.keys()) if (!allowed.has(id)) buckets.delete(id);
      for (const of of page.holding.buckets)
        if (!buckets.has(of.bucket))
          buckets.set(of.bucket, { of, entities: new Map(), at: null, after: null, isListed: false, ask: null });
    }
    for (const { bucket } of page.withdrawn) buckets.delete(bucket);
    const answered = new Set(page.sections.map(({ bucket }) => bucket));
    for (const [id, held] of buckets)
      if (held.ask?.kind === "compare" && (answered.has(id) || !page.more)) held.ask = { ...held.ask, ranges: [] };
    for (const section of page.sections) take(section, buckets.get(section.bucket)!);
    for (const held of buckets.values())
      if (held.ask?.kind === "compare" && held.ask.ranges.length + held.ask.fetch.length === 0) held.ask = compareAll(held);
    return page;
  };
  const pull = async (): Promise<number> => {
    const before = pages.length;
    await ask({});
    for (let round = 0; round < MAX_PAGES; round++) {
      const asks = Object.fromEntries([...buckets].map(([id, held]) => [id, nextAsk(held)]));
      const page = await ask({ buckets: asks });
      const isOpen = [...buckets.values()].some((held) => held.ask !== null || held.at === null);
      if (page.seal === 0 || (!page.more && !isOpen)) return pages.length - before;
    }
    throw new Error("a pull that does not end");
  };
  return {
    buckets,
    pages,
    pull,
    poll: () => {
      const ends = [...buckets.values()].map(({ at }) => (at === null || at.seal === 0 ? "" : at.head.slice(0, 16)));
      return ask({ summary: sha256Hex(summaryText(holding ?? "", ends)) });
    },
    damage: (bucket, entityId) => {
      const held = buckets.get(bucket)!;
      held.entities.delete(entityId);
      held.at = null;
      held.ask = compareAll(held);
    },
  };
}

function nextAsk(held: HeldHere): BucketAsk {
  if (held.ask !== null) return held.ask;
  if (held.at !== null) return { kind: "follow", at: held.at };
  if (!held.isListed) return { kind: "members", after: held.after, want: "events" };
  held.ask = compareAll(held);
  return held.ask;
}

const rangeOf = ({ entities }: HeldHere, prefix: string) => {
  const found = [...entities].filter(([id]) => rangeKey(id, sha256Hex).startsWith(prefix));
  const sum = found.reduce((all, [id, { digest }]) => all + partOf(id, digest, sha256Hex), 0n);
  return { prefix, count: found.length, fingerprint: found.length === 0 ? NO_ENTITIES : fingerprintOf(sum) };
};
const compareAll = (held: HeldHere): BucketAsk => ({ kind: "compare", ranges: [rangeOf(held, "")], fetch: [] });

const folded = (before: Hash, events: readonly PagedEvent[]): Hash =>
  events.reduce((sum, { hash }) => entityDigest(sum, hash, sha256Hex), before);

function take(section: Section, held: HeldHere): void {
  switch (section.kind) {
    case "lines":
      if (!takeLines(section, held))
        throw new Error(`the lines of ${held.of.entityType} do not give the head that the page says`);
      return;
    case "members":
      takeMembers(section, held);
      return;
    case "same":
      held.at = { ...FEED_START, seal: section.at.seal, head: section.at.head };
      held.ask = null;
      return;
    case "unknown":
      held.at = null;
      held.isListed = true;
      held.ask = compareAll(held);
      return;
    case "ranges":
      addAsk(held, {
        ranges: section.ranges
          .filter((range) => !isSame(range, rangeOf(held, range.prefix)))
          .map(({ prefix }) => rangeOf(held, prefix)),
      });
      return;
    case "listed": {
      const theirs = new Map(section.entities.map(({ entityId, digest }) => [entityId, digest]));
      for (const id of held.entities.keys())
        if (rangeKey(id, sha256Hex).startsWith(section.prefix) && !theirs.has(id)) held.entities.delete(id);
      addAsk(held, { fetch: [...theirs].filter(([id, digest]) => held.entities.get(id)?.digest !== digest).map(([id]) => id) });
    }
  }
}

const isSame = (a: { count: number; fingerprint: string }, b: { count: number; fingerprint: string }): boolean =>
  a.count === b.count && a.fingerprint === b.fingerprint;

/** Asks about parts instead of the whole, and for entities by name. */
function addAsk(
  held: HeldHere,
  more: { ranges?: Extract<BucketAsk, { kind: "compare" }>["ranges"]; fetch?: readonly string[] },
): void {
  const before = held.ask?.kind === "compare" ? held.ask : null;
  const ranges = [...(before?.ranges ?? []), ...(more.ranges ?? [])];
  const fetch = [...(before?.fetch ?? []), ...(more.fetch ?? [])];
  held.ask = { kind: "compare", ranges: ranges.slice(0, 256), fetch: fetch.slice(0, 1_000), have: before?.have };
}

function takeMembers({ members, gone, after }: Extract<Section, { kind: "members" }>, held: HeldHere): void {
  for (const id of gone) held.entities.delete(id);
  const parts: Record<string, number> = {};
  const fetched = held.ask?.kind === "compare" ? held.ask : null;
  for (const { entityId, digest, events, states } of members) {
    const before = fetched?.have?.[entityId] === undefined ? [] : (held.entities.get(entityId)?.events ?? []);
    const all = held.of.statesOnly ? [] : [...before, ...events];
    const ours = held.of.statesOnly ? digest : folded(GENESIS, all);
    held.entities.set(entityId, { digest: ours, events: all, states });
    if (ours !== digest) parts[entityId] = all.length;
  }
  const wanted = (fetched?.fetch ?? []).filter((id) => !members.some(({ entityId }) => entityId === id) && !gone.includes(id));
  if (fetched === null && held.at === null) {
    held.after = after;
    held.isListed = after === null;
  }
  const fetch = [...new Set([...wanted, ...Object.keys(parts)])];
  if (fetched !== null || fetch.length > 0) {
    const have = Object.fromEntries(Object.entries({ ...fetched?.have, ...parts }).filter(([id]) => fetch.includes(id)));
    held.ask = { kind: "compare", ranges: fetched?.ranges ?? [], fetch, have };
  }
}

/** `false`: what the lines say is not what their events give. */
function takeLines({ lines, seals, to }: Extract<Section, { kind: "lines" }>, held: HeldHere): boolean {
  if (held.of.statesOnly) {
    held.at = to;
    return true;
  }
  let { head, digest, line, seal } = held.at!;
  const marks = [...seals];
  const close = (count: number): void => {
    for (; marks[0]?.lines === count; marks.shift()) {
      head = headAfter(head, { ...marks[0], digest }, sha256Hex);
      [seal, line, digest] = [marks[0].seal, 0, GENESIS];
    }
  };
  for (const [i, { kind, position, entityId, events, digest: said }] of lines.entries()) {
    const before = held.entities.get(entityId);
    if ((kind === "enter") !== (before === undefined)) return false;
    const now = kind === "exit" ? before!.digest : folded(before?.digest ?? GENESIS, events);
    if (kind === "exit" && said !== now) return false;
    if (kind === "exit") held.entities.delete(entityId);
    else held.entities.set(entityId, { digest: now, events: [...(before?.events ?? []), ...events], states: {} });
    digest = segmentDigest(digest, { kind, position, entityId, digest: now }, sha256Hex);
    line++;
    close(i + 1);
  }
  held.at = to;
  return head === to.head && digest === to.digest && line === to.line && seal === to.seal;
}
