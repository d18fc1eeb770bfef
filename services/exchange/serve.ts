/**
 * Answers pulls from a hub's feed. In goes what a replica asks, and who it is; out comes a page. No signing and no network: the doors do these.
 *
 *   nothing changed ─▶ an empty page, from memory        else ─▶ each bucket that is asked for, in the order of its priority, until the page is full
 */
import { type BucketId, type IncarnationId, TributaryError } from "../core/index.ts";
import type { SchemaStore } from "../gate/index.ts";
import { entityViews, scopedViews, scopesOf, shapeDigest, type View } from "../merge/engine.ts";
import { compare } from "./compare.ts";
import { follow } from "./follow.ts";
import { type Caller, type Held, holdings } from "./holdings.ts";
import { inLine } from "./in-line.ts";
import { type Known, memoryOf } from "./known.ts";
import { withoutLeft } from "./left-out.ts";
import { members } from "./members.ts";
import type { BucketAsk, HeldBucket, Page, PullRequest } from "./protocol/index.ts";
import { type Room, roomFor } from "./room.ts";
import { schemaNews } from "./schemas.ts";
import { freshPace, ownOf, type Serving } from "./serving.ts";
import type { FeedStore, ToldHolding } from "./store.ts";

export interface ServeDeps {
  /** The hub's views, as it folds them. */
  readonly views: readonly View[];
  /** The schemas that the hub has. Without them, pages bring none. */
  readonly schemas?: () => SchemaStore;
  /** The versions in which views read events, where these are older than the newest; by view and subject. Default: all read in the newest. */
  readonly readers?: () => Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly say?: (event: Record<string, unknown>) => void;
}

/** Who asks, as the door has found out, and what the page says of the hub. */
export interface Asker {
  readonly holder: Caller;
  /** `org.site.device`. */
  readonly device: string;
  /** The hub whose log gives the positions, by the id of its log's first incarnation; and the log's present incarnation. */
  readonly hub: IncarnationId;
  readonly incarnation: IncarnationId;
  /** The hub's clock, milliseconds. */
  readonly nowMs: number;
}

export interface Server {
  /** Answers a request that the protocol's schema has read. Fails as the store does. */
  answer(request: PullRequest, asker: Asker): Promise<Page>;
}

/** So many cursors are remembered at which it was noted what replicas have to delete. */
const MAX_NOTED = 50_000;
/** Of so many holders it is remembered what they were told last. */
const MAX_TOLD = 10_000;
/** About what a bucket that is withdrawn takes in a page. */
const WITHDRAWN_BYTES = 120;

type Parts = Pick<Page, "withdrawn" | "sections" | "more"> & { readonly known: Known; readonly held: Held };

export function serve(from: FeedStore, { views, schemas, readers = () => ({}), say }: ServeDeps): Server {
  const scopes = scopesOf(views);
  const store = inLine(from, scopes);
  const memory = memoryOf(store);
  const held = holdings(scopes, say);
  const homes = scopedViews(views);
  const once = noting();
  const tell = telling(store);

  const made = (request: PullRequest, { holder, device }: Asker): Promise<Parts> =>
    memory.atOnce(async (from, known) => {
      const of = held.of(known, holder);
      const room = roomFor(request);
      const asked = byPriority(request, of);
      const sections: Page["sections"][number][] = [];
      const serving: Serving = {
        store: from,
        known,
        room,
        sections,
        homes,
        pace: freshPace(),
        isOwn: ownOf(device, request.own),
        owe: owing(from, device, once),
      };
      const { withdrawn, isAll } = await withdraw(asked.withheld, { known, room, holder, device, once, store: from });
      let more = !isAll;
      for (const [bucket, ask] of asked.given) {
        if (room.isFull) more = true;
        else if (!(await serveBucket(serving, bucket, ask))) more = true;
        if (more && room.isFull) break;
      }
      return { known, held: of, withdrawn, sections: withoutLeft(sections), more };
    });

  return {
    async answer(request, asker) {
      const known = await memory.now(asker.incarnation, request.seal);
      if (known.seal.number === 0) return unready(asker);
      const parts: Parts =
        Object.keys(request.buckets).length === 0
          ? { known, held: held.of(known, asker.holder), withdrawn: [], sections: [], more: false }
          : await made(request, asker);
      if (parts.known.seal.number === 0) return unready(asker);
      const isSame = request.summary !== undefined && request.summary === parts.held.summary();
      const { digest } = parts.held;
      const { number: seal, through } = parts.known.seal;
      const isNews = digest !== request.holding;
      const buckets = isNews || parts.sections.length > 0 ? parts.held.list() : [];
      if (isNews) {
        await tell({ holder: parts.held.holder, digest, buckets: buckets.map(({ bucket }) => bucket) });
        await oweLost(store, once, request, { device: asker.device, ...parts });
      }
      return {
        ...{ hub: asker.hub, incarnation: asker.incarnation, nowMs: asker.nowMs, seal, through },
        holding: isNews ? { digest, buckets } : null,
        ends: request.summary === undefined || isSame ? null : parts.held.ends(),
        withdrawn: parts.withdrawn,
        ...(isNews || parts.sections.length > 0 ? declaredAs(views, buckets, readers()) : { shapes: {} }),
        schemas: schemas === undefined ? [] : schemaNews(schemas(), request.schemas, parts.sections),
        sections: parts.sections,
        more: parts.more,
      };
    },
  };
}

/**
 * While nothing is sealed, nothing is said of what may be held: the feed may be in the making, after PostgreSQL was lost, and replicas must not take it for an empty one.
 */
const unready = ({ hub, incarnation, nowMs }: Asker): Page => ({
  ...{ hub, incarnation, nowMs, seal: 0, through: null, holding: null, ends: null },
  ...{ withdrawn: [], shapes: {}, schemas: [], sections: [], more: false },
});

type Once = (name: string, note: () => Promise<void>) => Promise<void>;

/** Notes what a device has to delete, unless that was noted when it asked at the same place before. */
function noting(): Once {
  const noted = new Set<string>();
  return async (name, note) => {
    if (noted.has(name)) return;
    await note();
    if (noted.size >= MAX_NOTED) noted.delete(noted.values().next().value!);
    noted.add(name);
  };
}

const owing =
  (store: Pick<FeedStore, "owes">, device: string, once: Once): Serving["owe"] =>
  async (at, bucket, left) => {
    if (left.length === 0) return;
    const bySeal = new Map<number, string[]>();
    for (const { entityId, seal } of left) {
      const ids = bySeal.get(seal);
      if (ids === undefined) bySeal.set(seal, [entityId]);
      else ids.push(entityId);
    }
    const debts = [...bySeal].map(([seal, entityIds]) => ({ device, bucket, seal, entityIds }));
    await once(`${device} ${bucket} ${at} ${Math.max(...bySeal.keys())} ${left.length}`, () => store.owes(debts));
  };

/** How often a list is noted that other processes replace by theirs. */
const MAX_NOTING = 5;

type Tell = (told: ToldHolding) => Promise<void>;

/** Notes what holders are told that they may hold, before they are told, and once: whoever comes with that list later, perhaps to another process, deletes what it may not hold then. */
function telling(store: Pick<FeedStore, "noteHolding">): Tell {
  const last = new Map<string, string>();
  return async (told) => {
    const { holder, digest } = told;
    if (last.get(holder) === digest) return;
    last.delete(holder);
    // Another process noted another list just now. What is told must be noted, or nobody knows later what the device had to delete.
    for (let n = 1; !(await store.noteHolding(told)); n++)
      if (n >= MAX_NOTING)
        throw new TributaryError(
          "backend-failed",
          "what this site may hold changes too fast to be noted",
          "Pull again in a few seconds.",
        );
    if (last.size >= MAX_TOLD) last.delete(last.keys().next().value!);
    last.set(holder, digest);
  };
}

/** What is asked for: of buckets that the asker may hold in the order in which they are served, and of others. */
function byPriority({ buckets }: PullRequest, held: Held) {
  const given: (readonly [HeldBucket, BucketAsk])[] = [];
  const withheld: (readonly [BucketId, BucketAsk])[] = [];
  for (const [id, ask] of Object.entries(buckets) as [BucketId, BucketAsk][]) {
    const bucket = held.find(id);
    if (bucket === undefined) withheld.push([id, ask]);
    else given.push([bucket, ask]);
  }
  given.sort(([a], [b]) => a.priority - b.priority);
  return { given, withheld };
}

function serveBucket(serving: Serving, bucket: HeldBucket, ask: BucketAsk): Promise<boolean> {
  switch (ask.kind) {
    case "follow":
      return follow(serving, bucket, ask.at);
    case "members":
      return members(serving, bucket, ask);
    case "compare":
      return compare(serving, bucket, ask);
  }
}

interface Withdrawing {
  readonly known: Known;
  readonly room: Room;
  readonly holder: Caller;
  readonly device: string;
  readonly store: Pick<FeedStore, "owes" | "hasHead">;
  readonly once: Once;
}

/** A replica that comes with an earlier list of buckets deletes those that are not on the present one, and confirms it. */
async function oweLost(
  store: Pick<FeedStore, "owes" | "holdingOf">,
  once: Once,
  { holding }: PullRequest,
  { device, known, held }: Pick<Parts, "known" | "held"> & { readonly device: string },
): Promise<void> {
  if (holding === null) return;
  await once(`${device} ${holding} ${held.digest} ${known.seal.number}`, async () => {
    const before = (await store.holdingOf(held.holder, holding)) ?? [];
    const debts = before.flatMap((bucket) => {
      const seal = held.find(bucket) === undefined ? known.heads.get(bucket)?.seal : undefined;
      return seal === undefined ? [] : [{ device, bucket, seal, entityIds: null }];
    });
    if (debts.length > 0) await store.owes(debts);
  });
}

/** Whether an ask shows that the replica may hold something of the bucket. */
const mayHold = (ask: BucketAsk): boolean =>
  ask.kind === "follow"
    ? ask.at.seal > 0
    : ask.kind === "members"
      ? ask.after !== null
      : ask.ranges.some(({ count }) => count > 0);

/**
 * Buckets that the asker may not hold, in the same words whether or not there are such. It owes their deletion where it may hold something of them: whoever comes with a head must show one that the
 * bucket had, so nobody fills the list of debts with buckets that it never had.
 */
async function withdraw(
  withheld: readonly (readonly [BucketId, BucketAsk])[],
  { known, room, holder, device, store, once }: Withdrawing,
): Promise<{ readonly withdrawn: Page["withdrawn"][number][]; readonly isAll: boolean }> {
  const withdrawn: Page["withdrawn"][number][] = [];
  const why = `no policy gives it to ${holder.kind === "hub" ? `the hub of ${holder.org}` : `${holder.org}.${holder.site}`}`;
  for (const [bucket, ask] of withheld) {
    if (!room.put(0, WITHDRAWN_BYTES)) return { withdrawn, isAll: false };
    if (known.heads.has(bucket) && mayHold(ask)) {
      if (!room.ask()) return { withdrawn, isAll: false };
      const seal = ask.kind === "follow" ? ask.at.seal : 0;
      if (ask.kind !== "follow" || (await store.hasHead(bucket, seal, ask.at.head)))
        await once(`${device} ${bucket} ${seal}`, () => store.owes([{ device, bucket, seal, entityIds: null }]));
    }
    withdrawn.push({ bucket, why });
  }
  return { withdrawn, isAll: true };
}

/** How the views are declared and read that a replica folds of what it may hold. */
function declaredAs(
  views: readonly View[],
  buckets: readonly HeldBucket[],
  readers: NonNullable<Page["readers"]>,
): Pick<Page, "shapes" | "readers"> {
  const shapes = shapesFor(views, buckets);
  const older = Object.entries(readers).filter(([view]) => Object.hasOwn(shapes, view));
  return { shapes, ...(older.length === 0 ? {} : { readers: Object.fromEntries(older) }) };
}

/** The digests of the views that a replica folds of what it may hold. */
function shapesFor(views: readonly View[], buckets: readonly HeldBucket[]): Record<string, string> {
  const types = new Set(buckets.map(({ entityType }) => entityType));
  return Object.fromEntries(
    entityViews(views)
      .filter(({ entity, hubOnly }) => !hubOnly && types.has(entity))
      .map((view) => [view.name, shapeDigest(view)]),
  );
}
