/** Takes a page, inside the caller's transaction. */
import { type BucketId, type OriginId, parseHlc } from "../../core/index.ts";
import type { BucketAsk, Page, PagedEvent, Purge, Section } from "../../exchange/protocol/index.ts";
import { hear } from "../clock.ts";
import { eventReader } from "../reading.ts";
import type { OriginRow } from "../rows.ts";
import type { Store } from "../store.ts";
import { begun, compareAll } from "./asks.ts";
import { Mismatch, type OwnEvents } from "./check.ts";
import type { CheckedEvent } from "./entities.ts";
import { type HoldingDeps, takeEnds, takeHolding, withdraw } from "./holding.ts";
import { type Leaving, purgeMembers } from "./purge.ts";
import type { BucketRow, ReplicaRows } from "./rows.ts";
import { partIn, takeSection } from "./sections.ts";
import type { Refused, Taken } from "./types.ts";

export interface PageDeps extends HoldingDeps {
  readonly now: () => number;
  readonly isSame: (view: string) => boolean;
  readonly own: OwnEvents;
}

type Asked = Readonly<Record<BucketId, BucketAsk>>;

/** What a page has changed, but for what is written about it. */
export type PageTaken = Omit<Taken, "hasWritten">;

export function takePage(deps: PageDeps, page: Page, asked: Asked): PageTaken {
  const { rows } = deps;
  const purged: Purge[] = [];
  const withdrawn: { readonly bucket: BucketId; readonly why: string }[] = [];
  let added: readonly BucketId[] = [];
  if (page.holding !== null) {
    const change = takeHolding(deps, page.holding);
    added = change.added;
    purged.push(...change.purges);
    withdrawn.push(...change.removed.map(withdrawnOf));
  }
  for (const each of page.withdrawn) {
    const bucket = rows.bucketBy(each.bucket);
    if (bucket === undefined) continue;
    purged.push(withdraw(deps, bucket, "withdrawn"));
    withdrawn.push(each);
  }
  if (page.ends !== null) takeEnds(deps, page.ends);
  const { refused, leaving, taken, events, entities } = takeSections(deps, page, asked);
  for (const { bucket, members, seal } of leaving) purged.push(purgeMembers(deps, bucket, members, { seal, reason: "left" }));
  for (const bucket of rows.buckets()) begun(rows, bucket);
  const stamps = taken.filter(({ held, clock }) => held === null && clock === null).map(({ head }) => parseHlc(head.hlc));
  hear(deps.store, stamps, { ownMs: deps.now(), hubMs: page.nowMs });
  return { events, entities, purged, refused, added, withdrawn, hasMore: page.more };
}

interface SectionsTaken {
  readonly refused: readonly Refused[];
  readonly leaving: readonly { readonly bucket: BucketRow; readonly members: readonly Leaving[]; readonly seal: number }[];
  readonly taken: readonly CheckedEvent[];
  readonly events: number;
  readonly entities: number;
}

function takeSections(deps: PageDeps, page: Page, asked: Asked): SectionsTaken {
  const { rows } = deps;
  const refused: Refused[] = [];
  const leaving = new Map<BucketId, { readonly bucket: BucketRow; readonly members: Leaving[]; seal: number }>();
  const taken: CheckedEvent[] = [];
  const broken = new Set<BucketId>();
  let [events, entities] = [0, 0];
  for (const section of page.sections) {
    const ask = asked[section.bucket];
    const bucket = rows.bucketBy(section.bucket);
    if (ask === undefined || bucket === undefined || broken.has(section.bucket)) continue;
    const note: Parameters<typeof takeSection>[0]["note"] = (done) => {
      events += done.events;
      entities += done.entities;
      for (const event of done.taken) taken.push(event);
      if (done.leaving === null) return;
      const known = leaving.get(bucket.id) ?? { bucket, members: [], seal: 0 };
      known.seal = Math.max(known.seal, done.seal ?? deps.seal);
      known.members.push(...done.leaving);
      leaving.set(bucket.id, known);
    };
    try {
      takeSection({ ...deps, hasMore: page.more, note }, bucket, section, ask);
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      refused.push({ bucket: section.bucket, why: error.message });
      broken.add(section.bucket);
      if (error.lacks !== null) rows.noteLacking(error.lacks.origin.id, error.lacks.seq);
      compareAll(rows, bucket.n);
    }
  }
  for (const [id, ask] of Object.entries(asked)) answered(deps, page, id as BucketId, ask);
  return {
    refused,
    leaving: [...leaving.values()],
    taken,
    events,
    entities,
  };
}

/** Ranges that were asked for and that no section speaks of are equal, unless the page had no room for the bucket. */
function answered({ rows }: PageDeps, page: Page, id: BucketId, ask: BucketAsk): void {
  if (ask.kind !== "compare") return;
  const bucket = rows.bucketBy(id);
  const speaks = page.sections.some((section: Section) => section.bucket === id);
  if (bucket === undefined || (!speaks && page.more)) return;
  for (const { prefix } of ask.ranges) rows.removeTodo(bucket.n, "range", prefix);
}

/**
 * What this device wrote itself of the events that a page brings, for its checks. Read before the page's transaction: once SQLite has met a damaged page inside one, it writes nothing more in it.
 */
export function ownEvents({ store, rows }: { readonly store: Store; readonly rows: ReplicaRows }, page: Page): OwnEvents {
  const origins = new Map(store.origins().map((origin) => [origin.name, origin]));
  const reader = eventReader(store);
  const texts = new Map<string, ReturnType<OwnEvents["text"]>>();
  const nameOf = ({ id }: OriginRow, seq: number): string => `${id}/${seq}`;
  for (const { head } of [...eventsIn(page), ...partsFor(rows, page)]) {
    const origin = origins.get(head.origin);
    if (origin === undefined) continue;
    const found = reader.at(origin, head.seq);
    if (found.kind === "event") texts.set(nameOf(origin, head.seq), { data: found.row.data, hash: found.row.hash });
  }
  return { origin: (name: OriginId) => origins.get(name), text: (origin, seq) => texts.get(nameOf(origin, seq)) };
}

function* eventsIn({ sections }: Page): Generator<PagedEvent> {
  for (const section of sections)
    for (const { events } of section.kind === "lines" ? section.lines : section.kind === "members" ? section.members : [])
      yield* events;
}

/** The parts of histories that a page goes on with. */
function* partsFor(rows: ReplicaRows, { sections }: Page): Generator<PagedEvent> {
  if (!rows.hasParts()) return;
  for (const section of sections) {
    const bucket = section.kind === "members" ? rows.bucketBy(section.bucket) : undefined;
    if (section.kind !== "members" || bucket === undefined) continue;
    for (const { entityId } of section.members) yield* rows.partsOf(bucket.n, entityId).map(partIn);
  }
}

/** A bucket that is gone from what this device may hold, as people know it. */
const withdrawnOf = ({ id, entityType, values }: Pick<BucketRow, "id" | "entityType" | "values">) => {
  const which = values.length === 0 ? "" : ` of ${values.map((value) => value ?? "none").join(", ")}`;
  return { bucket: id, why: `the policies do not give ${entityType}${which} any more` };
};
