/** A device that takes what its hub has: 100,000 events, in pages as a pull brings them. One process, no network; the replica's file is on the disk. */
import { join } from "node:path";
import { PROJECTIONS_DIR } from "../services/cli/program.ts";
import {
  type Appendable,
  type BucketId,
  bucketIdOf,
  type Cursor,
  canonicalize,
  entityDigest,
  FEED_START,
  GENESIS,
  type Hash,
  headAfter,
  type IncarnationId,
  positionFromNumber,
  rangeKey,
  segmentDigest,
} from "../services/core/index.ts";
import { sha256Hex } from "../services/core/node.ts";
import {
  decodePage,
  encodePage,
  type Page,
  type PagedEvent,
  type PagedLine,
  type PagedMember,
  type Section,
} from "../services/exchange/protocol/index.ts";
import { openField, type Replica } from "../services/field/index.ts";
import { type Projection, shapeDigest } from "../services/merge/engine.ts";
import { reading, writing } from "../test/support/page-of.ts";
import { openDevice } from "./device.ts";
import { peopleOf } from "./workload.ts";

const COUNT = 100_000;
const PAGE_EVENTS = 1_000;
/** The share of events that come as members of a bucket, with whole histories; the others follow as lines. */
const FIRST = 0.5;
const HUB = "benchbenchbe" as IncarnationId;
/** Another end than any head has: there is always more to ask for. */
const END = "1".repeat(16);

/** Calls `note` with the rate at which a replica takes events. `dir`: where its file is made. */
export async function benchReplica(dir: string, note: (name: string, value: number) => void): Promise<void> {
  const { default: view } = (await import(join(PROJECTIONS_DIR, "beneficiaries.ts"))) as { default: Projection };
  const bucket = bucketIdOf({ entityType: view.entity, values: [] });
  using field = openField({
    path: join(dir, "replica.db"),
    name: { org: "bench", site: "kampala", device: "t1" },
    schemas: join(PROJECTIONS_DIR, "../schemas"),
    views: [view],
  });
  const { replica } = field;
  if (replica === null) throw new Error("it was opened with views");
  const page = (sections: readonly Section[], more: Partial<Page> = {}): Page => ({
    ...{ hub: HUB, incarnation: HUB, nowMs: Date.now(), seal: 1, through: positionFromNumber(COUNT) },
    ...{ holding: null, ends: [END], withdrawn: [], shapes: { [view.name]: shapeDigest(view) }, schemas: [] },
    sections,
    more: true,
    ...more,
  });
  const held = { bucket, entityType: view.entity, values: [], priority: 0, statesOnly: false };
  replica.take(page([], { holding: { digest: "1", buckets: [held] } }));
  asked(replica, page([{ kind: "members", bucket, members: [], gone: [], after: null }]));
  const [members, lines] = sectionsOf(bucket, (section) => encodePage(page([section]), writing));
  /** Gives the replica one page after the other, each read from its frame as a pull does it; returns how long it took to take them. */
  const spent = (frames: readonly Uint8Array[]): number => {
    let takenMs = 0;
    for (const frame of frames) {
      const read = decodePage(frame, reading).page;
      const began = spentMs();
      asked(replica, read);
      takenMs += spentMs() - began;
    }
    return takenMs;
  };
  const firstMs = spent(members);
  follow(replica, bucket, page);
  const restMs = spent(lines);
  note("replica-fill", (COUNT * FIRST * 1000) / firstMs);
  note("replica-follow", (COUNT * (1 - FIRST) * 1000) / restMs);
  note("replica-apply", (COUNT * 1000) / (firstMs + restMs));
}

/** The sections of all pages, packed: a device never has all of them in its heap, where each collection of garbage would go through them. */
function sectionsOf(
  bucket: BucketId,
  pack: (section: Section) => Uint8Array,
): readonly [members: readonly Uint8Array[], lines: readonly Uint8Array[]] {
  const device = openDevice("nairobi");
  const events = [...peopleOf(["nairobi", "kampala"], COUNT, 1, 0)].map((event, i) => pagedOf(device.write(event), i));
  const first = events.slice(0, COUNT * FIRST);
  const histories = Map.groupBy(first, ({ head }) => head.entity.id);
  const members = [...memberPages(bucket, histories)].map(pack);
  const digests = new Map([...histories].map(([id, of]) => [id, digestOf(GENESIS, of)]));
  return [members, linePages(bucket, events.slice(first.length), digests).map(pack)];
}

/** The time that this process has worked, whatever else the machine does. */
function spentMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Lets the replica ask, and gives it the answer, of which it must keep everything. */
function asked(replica: Replica, page: Page): void {
  replica.asks();
  const { refused } = replica.take(page);
  if (refused.length > 0) throw new Error(refused[0]!.why);
}

const digestOf = (before: Hash, events: readonly PagedEvent[]): Hash =>
  events.reduce((digest, { hash }) => entityDigest(digest, hash, sha256Hex), before);

function pagedOf({ head, content, clock }: Appendable, i: number): PagedEvent {
  const { id: _, prev, hash, ...rest } = head;
  const text = content.kind === "accepted" ? canonicalize(content.data) : content.text;
  return { head: rest, prev, position: positionFromNumber(i + 1), recordedAtMs: i, held: null, clock, text, hash };
}

function* memberPages(bucket: BucketId, histories: ReadonlyMap<string, readonly PagedEvent[]>): Generator<Section> {
  let members: PagedMember[] = [];
  let count = 0;
  const keyed = [...histories].map(([id, events]) => ({ id, events, key: rangeKey(id, sha256Hex) }));
  const sorted = keyed.sort((a, b) => (a.key < b.key ? -1 : 1));
  for (const [i, { id, events, key }] of sorted.entries()) {
    members.push({ entityId: id, digest: digestOf(GENESIS, events), events, states: {} });
    count += events.length;
    const isLast = i === sorted.length - 1;
    if (count < PAGE_EVENTS && !isLast) continue;
    yield { kind: "members", bucket, members, gone: [], after: isLast ? null : key };
    members = [];
    count = 0;
  }
}

/** Has the replica follow the bucket from its beginning on, as if it had compared it. */
function follow(replica: Replica, bucket: BucketId, page: (sections: readonly Section[]) => Page): void {
  const ask = replica.asks()[bucket];
  const root = ask?.kind === "compare" ? ask.ranges[0] : undefined;
  if (root === undefined) throw new Error("it does not compare");
  const at = { bucket, seal: 0, through: positionFromNumber(0), head: GENESIS, ...root };
  replica.take(page([{ kind: "same", bucket, at }]));
  // The hub has more than that.
  replica.take(page([]));
}

function linePages(bucket: BucketId, events: readonly PagedEvent[], digests: Map<string, Hash>): readonly Section[] {
  const out: Section[] = [];
  let at: Cursor = FEED_START;
  for (let from = 0; from < events.length; from += PAGE_EVENTS) {
    let digest = GENESIS;
    const lines = events.slice(from, from + PAGE_EVENTS).map((event): PagedLine => {
      const { id } = event.head.entity;
      const before = digests.get(id);
      const now = digestOf(before ?? GENESIS, [event]);
      digests.set(id, now);
      const kind = before === undefined ? "enter" : "event";
      const { position } = event;
      digest = segmentDigest(digest, { kind, position, entityId: id, digest: now }, sha256Hex);
      return { kind, position, entityId: id, events: [event], digest: null };
    });
    const seal = at.seal + 1;
    const through = lines.at(-1)!.position;
    at = { ...FEED_START, seal, head: headAfter(at.head, { seal, through, digest }, sha256Hex) };
    out.push({ kind: "lines", bucket, lines, seals: [{ lines: lines.length, seal, through }], to: at });
  }
  return out;
}
