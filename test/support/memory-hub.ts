/**
 * A hub in memory: the real acceptor, gate, fold, lines and sealing, over a log and tables that are plain memory. Quick enough for hundreds of histories in one test.
 */
import { join } from "node:path";
import policiesView from "../../projections/policies.ts";
import sitesView from "../../projections/sites.ts";
import {
  type Batch,
  type Bucket,
  type BucketId,
  bucketIdOf,
  CASE_ENTITY,
  canonicalize,
  type Hash,
  type IncarnationId,
  type JsonObject,
  join as joinVectors,
  type LogEntry,
  originId,
  POLICY_ENTITY,
  POLICY_REMOVED,
  POLICY_SET,
  type Position,
  policySchema,
  QUARANTINE_ENTITY,
  type QuarantineReason,
  REJECTED,
  RELEASED,
  type Receipt,
  SITE_ENTITY,
  SITE_ROLES_SET,
  type Vector,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import type { EventRef, FeedStore } from "../../services/exchange/index.ts";
import type { PagedEvent } from "../../services/exchange/protocol/index.ts";
import type { NewEvent } from "../../services/field/index.ts";
import { createGate, type Gate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { type Acceptor, acceptor } from "../../services/ingress/accept.ts";
import { beginIncarnation, currentIncarnation, declareHubOrg, type Log } from "../../services/log/index.ts";
import {
  entityViews,
  fitsViews,
  packState,
  rowWith,
  scopesOf,
  type View,
  type Withheld,
  waitingFor,
} from "../../services/merge/engine.ts";
import { counting } from "../../services/projector/counts.ts";
import { entityName } from "../../services/views/feed/lines.ts";
import { type MemoryDevice, memoryDevice } from "./memory-device.ts";
import { type MemoryFeed, memoryFeed, type SealFact } from "./memory-feed.ts";
import { hashOfRows, memoryFold, policiesIn, refOf, rolesOfSites, type ShownRow } from "./memory-fold.ts";
import { type MemoryLog, memoryLog } from "./memory-log.ts";

const SCHEMAS = join(import.meta.dirname, "../../schemas");
let loaded: Gate | null = null;
/** The repository's schemas, read once. */
const repositoryGate = (): Gate => (loaded ??= createGate(loadSchemas(SCHEMAS)));

export interface MemoryHubOptions {
  /** The hub's views. The views of policies and sites are added where none shows them. */
  readonly views: readonly View[];
  /** Default: the repository's schemas. */
  readonly gate?: Gate;
  /** Default: `relief`. */
  readonly org?: string;
  readonly now?: () => number;
}

export interface MemoryHub {
  /** What pulls are served from. After `losePostgres` and `restore` it is another one, behind the same object. */
  readonly store: FeedStore;
  readonly gate: Gate;
  readonly log: MemoryLog;
  readonly feed: MemoryFeed;
  readonly views: readonly View[];
  readonly now: () => number;
  /** The id of the log's first incarnation, and the present one. */
  readonly id: IncarnationId;
  readonly incarnation: IncarnationId;
  /** What devices' batches and hellos go to. `take` and `projected` fold what it took. */
  readonly accepts: Acceptor;
  /** While it is true, what comes in stays unfolded: a projector that is behind. */
  isBehind: boolean;
  device(site: string, device?: string, org?: string): MemoryDevice;
  take(batch: Batch): Promise<Receipt>;
  /** Folds what the log holds and was not folded yet. */
  project(): Promise<void>;
  /** Folds all and seals it. Returns the number of the newest seal. */
  seal(): Promise<number>;
  /** What the log holds of an entity, as a basis. */
  seen(entity: { readonly type: string; readonly id: string }): Vector;
  release(event: EventRef, data: JsonObject): Promise<void>;
  reject(event: EventRef, reason?: string): Promise<void>;
  setPolicy(policy: unknown): Promise<void>;
  removePolicy(name: string): Promise<void>;
  /** Gives a site (`org.site`) these roles, in place of those that it had. */
  setRoles(site: string, roles: readonly string[]): Promise<void>;
  /** Views with other rules or another scope: all is folded again, and entities whose bucket is another one move. */
  setViews(views: readonly View[]): Promise<void>;
  /** Folds an entity again whose fold has stopped. */
  retry(entityType: string, entityId: string): Promise<void>;
  /** Tables are gone: all is folded again, and the feed is made from the log. Seals and heads go on. */
  losePostgres(): Promise<void>;
  /** The log is set back to a position and begins a new incarnation. */
  restore(to: Position): Promise<void>;
  /** What is only in memory is forgotten. */
  restart(): void;
  /** Entities of a type by their buckets, as they are folded now. */
  bucketsOf(entityType: string): ReadonlyMap<BucketId, Bucket>;
  /** The rows that a view shows of a bucket's entities. Seal first to compare them with a replica's. */
  rows(view: string, bucket: BucketId): readonly ShownRow[];
  /** `there`: what is withheld from a replica, by id; it is left out. */
  rowsHash(view: string, bucket: BucketId, there?: ReadonlyMap<string, Withheld>): string;
  hashOf(ref: EventRef): Hash;
}

export async function openMemoryHub({
  views: given,
  gate = repositoryGate(),
  org = "relief",
  now = () => Date.now(),
}: MemoryHubOptions): Promise<MemoryHub> {
  const withOwn = (views: readonly View[]): readonly View[] => {
    const shown = new Set(entityViews(views).map(({ entity }) => entity));
    return [...views, ...[policiesView, sitesView].filter(({ entity }) => !shown.has(entity))];
  };
  const log = memoryLog(now);
  await declareHubOrg(log.journal, org);
  const first = (await currentIncarnation(log.journal)).id;
  let incarnation = first;
  let views = withOwn(given);
  let fits = fitsViews(views, gate.read);
  let folded = memoryFold(views, gate);
  let counts = counting(log);
  let feed = memoryFeed();
  let seals: SealFact[] = [];
  let done = 0;
  let working: Promise<void> = Promise.resolve();
  const byName = new Map<string, LogEntry>();
  const byEntity = new Map<string, Vector>();
  let indexed = 0;
  const index = (): void => {
    for (; indexed < log.entries.length; indexed++) {
      const entry = log.entries[indexed]!;
      const { origin, seq, entity } = entry.head;
      byName.set(`${origin}/${seq}`, entry);
      const name = entityName(entity.type, entity.id);
      byEntity.set(name, joinVectors(byEntity.get(name) ?? {}, { [origin]: seq } as Vector));
    }
  };
  const entryAt = ({ origin, seq }: EventRef): LogEntry => {
    index();
    const found = byName.get(`${origin}/${seq}`);
    if (found === undefined) throw new Error(`the log has no event ${origin}/${seq}`);
    return found;
  };
  const hashOf = (ref: EventRef): Hash => entryAt(ref).head.hash;

  /** Counts and folds an entry of the log, and says what its lines are about. */
  const judge = async (entry: LogEntry, place: typeof feed.place): Promise<void> => {
    const { position, head } = entry;
    if (entry.content.kind === "quarantined") {
      const { origin, seq } = head;
      const [of, site] = origin.split(".");
      const bucket = { entityType: QUARANTINE_ENTITY, values: [`${of}.${site}`] };
      place([{ entityType: QUARANTINE_ENTITY, entityId: `${origin}/${seq}`, position, bucket, events: [{ origin, seq }] }]);
      return;
    }
    const { counted, settlement, isCaseNote } = await counts.judge(entry);
    if (settlement !== null) {
      const { origin, seq } = settlement.of;
      place([{ entityType: QUARANTINE_ENTITY, entityId: `${origin}/${seq}`, position, bucket: null, events: [] }]);
    }
    if (isCaseNote) {
      const about = folded.cases.get(head.entity.id.replace(/^case\//, ""));
      if (about === undefined) return;
      place([{ ...about, position, bucket: folded.bucketOf(about.entityType, about.entityId), events: [refOf(entry)] }]);
      return;
    }
    if (counted === null || head.entity.type === CASE_ENTITY) return;
    const refs = settlement === null ? [refOf(entry)] : [settlement.of, refOf(entry)];
    folded.count({ entry: counted, refs });
    const { type: entityType, id: entityId } = counted.head.entity;
    const bucket = folded.bucketOf(entityType, entityId);
    if (bucket !== null)
      place([{ entityType, entityId, position, bucket, events: refs.map(({ origin, seq }) => ({ origin, seq })) }]);
  };
  const project = (): Promise<void> => {
    working = working.then(async () => {
      while (done < log.entries.length) await judge(log.entries[done++]!, feed.place);
    });
    return working;
  };
  /** Entities whose bucket is another one after folding again move at the end of what was folded. */
  const move = (entityType: string, entityId: string): void => {
    const bucket = folded.bucketOf(entityType, entityId);
    const at = log.entries[done - 1]?.position;
    const was = feed.placed.get(entityName(entityType, entityId));
    if (at === undefined || was === undefined || (bucket !== null && bucketIdOf(bucket) === was)) return;
    feed.place([{ entityType, entityId, position: at, bucket, events: [] }]);
  };
  /** All is folded from the log. Each entity enters the bucket that it is in now, with its first event. */
  const fromLog = async (): Promise<void> => {
    folded = memoryFold(views, gate);
    counts = counting(log);
    const placements: Parameters<typeof feed.place>[0][number][] = [];
    for (const entry of log.entries.slice(0, done)) await judge(entry, (made) => void placements.push(...made));
    const ended = new Set(
      placements.flatMap((each) => (each.bucket === null ? [entityName(each.entityType, each.entityId)] : [])),
    );
    feed = memoryFeed(seals.at(-1) ?? null);
    feed.place(
      placements
        .filter(({ entityType, entityId }) => !ended.has(entityName(entityType, entityId)))
        .map((each) =>
          each.entityType === QUARANTINE_ENTITY ? each : { ...each, bucket: folded.bucketOf(each.entityType, each.entityId) },
        ),
    );
  };
  const opened = (): Acceptor =>
    acceptor({
      log: log as unknown as Log, // nothing of the door subscribes
      gate,
      fits: (head, data) => fits(head, data),
      incarnation: () => incarnation,
      hub: () => org,
    });
  let accepts = opened();
  const take = async (batch: Batch): Promise<Receipt> => {
    const { receipt } = await accepts.accept(batch, sha256Hex(batch.head), now());
    if (!hub.isBehind) await project();
    return receipt;
  };
  const seen = ({ type, id }: { readonly type: string; readonly id: string }): Vector => {
    index();
    return byEntity.get(entityName(type, id)) ?? {};
  };
  const device = (site: string, name = "t1", of = org): MemoryDevice =>
    memoryDevice({
      origin: originId({ org: of, site, device: name, epoch: "memory" }),
      gate,
      now,
      take,
      seen,
      at: (ref) => entryAt(ref),
    });
  let console_: MemoryDevice | null = null;
  const write = async (event: NewEvent): Promise<void> => {
    console_ ??= device("hub", "console");
    const { content } = await console_.write(event);
    if (content.kind !== "accepted") throw new Error(`the hub refused it: ${content.reason.message}`);
  };
  const named = ({ origin, seq }: EventRef) => ({ type: QUARANTINE_ENTITY, id: `${origin}/${seq}` });
  const packed = async (entityType: string, ids: readonly string[]): Promise<Map<string, Record<string, string>>> =>
    new Map(
      ids.map((id) => [
        id,
        Object.fromEntries(
          folded.entities.flatMap(({ name, entity, hubOnly }) => {
            const state = entity === entityType && !hubOnly ? folded.states.get(name)!.get(id) : undefined;
            return state === undefined ? [] : [[name, packState(state)] as const];
          }),
        ),
      ]),
    );
  const hub: MemoryHub = {
    store: {
      newest: async () => ({ ...(await feed.newest()), scopes: Object.fromEntries(scopesOf(views)) }),
      headsAfter: (after) => feed.headsAfter(after),
      hasHead: (bucket, at, head) => feed.hasHead(bucket, at, head),
      lines: (bucket, after, limit) => feed.lines(bucket, after, limit),
      members: (bucket, of, limit) => feed.members(bucket, of, limit),
      named: (bucket, ids) => feed.named(bucket, ids),
      parts: (bucket, prefix) => feed.parts(bucket, prefix),
      range: (bucket, prefix) => feed.range(bucket, prefix),
      histories: (bucket, ids) => feed.histories(bucket, ids),
      states: packed,
      events: async (refs) => refs.map((ref) => pagedOf(entryAt(ref))),
      policies: async () => policiesIn(folded),
      roles: async () => rolesOfSites(folded),
      owes: (debt) => feed.owes(debt),
    },
    gate,
    log,
    get feed() {
      return feed;
    },
    get views() {
      return views;
    },
    now,
    id: first,
    get incarnation() {
      return incarnation;
    },
    get accepts() {
      return accepts;
    },
    isBehind: false,
    device,
    take,
    project,
    async seal() {
      await project();
      const end = await log.end();
      const made = end === null ? null : feed.seal(end, hashOf);
      if (made !== null) seals.push(made);
      return (await feed.newest()).number;
    },
    seen,
    async release(event, data) {
      const { head } = entryAt(event);
      const { type, entity, schema, hash } = head;
      const said = { ...event, hash, type, entity: { ...entity }, schema: { ...schema }, data };
      await write({ type: RELEASED, entity: named(event), actor: "desk", data: said });
    },
    reject: async (event, reason = "it is wrong") =>
      write({ type: REJECTED, entity: named(event), actor: "desk", data: { ...event, hash: hashOf(event), reason } }),
    async setPolicy(policy) {
      const { name, for: holders, entities } = policySchema.parse(policy);
      await write({
        type: POLICY_SET,
        entity: { type: POLICY_ENTITY, id: name },
        actor: "desk",
        data: { for: holders, entities } as JsonObject,
      });
    },
    removePolicy: (name) => write({ type: POLICY_REMOVED, entity: { type: POLICY_ENTITY, id: name }, actor: "desk", data: {} }),
    setRoles: (site, roles) =>
      write({ type: SITE_ROLES_SET, entity: { type: SITE_ENTITY, id: site }, actor: "desk", data: { roles: [...roles] } }),
    async setViews(changed) {
      await project();
      views = withOwn(changed);
      fits = fitsViews(views, gate.read);
      const before = folded;
      folded = memoryFold(views, gate);
      counts = counting(log);
      for (const entry of log.entries.slice(0, done)) await judge(entry, () => {});
      for (const name of [...feed.placed.keys()]) {
        const [type, id] = name.split("\n") as [string, string];
        if (before.homes.has(type)) {
          folded.anew(type, id);
          move(type, id);
        }
      }
      const scopes = new Map([...before.homes].map(([type, { scopeBy }]) => [type, JSON.stringify(scopeBy ?? [])]));
      if (
        [...scopesOf(views)].some(([type, columns]) => (scopes.get(type) ?? JSON.stringify(columns)) !== JSON.stringify(columns))
      )
        feed.shut();
    },
    async retry(entityType, entityId) {
      await project();
      folded.anew(entityType, entityId);
      move(entityType, entityId);
    },
    async losePostgres() {
      await project();
      await fromLog();
    },
    async restore(to) {
      await project();
      log.setBack(to);
      byName.clear();
      byEntity.clear();
      indexed = 0;
      seals = seals.filter(({ through }) => through <= to);
      done = log.entries.length;
      console_ = null;
      incarnation = (await beginIncarnation(log.journal, incarnation, { how: "restored", by: "test" })).id;
      accepts = opened();
      await fromLog();
    },
    restart() {
      accepts = opened();
    },
    bucketsOf: (entityType) => new Map([...feed.buckets].filter(([, bucket]) => bucket.entityType === entityType)),
    rows(name, bucket) {
      const view = folded.entities.find((each) => each.name === name);
      if (view === undefined) throw new Error(`no view of entities is called ${name}`);
      return [...folded.states.get(name)!]
        .filter(([id]) => feed.placed.get(entityName(view.entity, id)) === bucket)
        .map(([id, state]) => ({ id, row: rowWith(view, id, state), waitingFor: waitingFor(state) }));
    },
    rowsHash: (view, bucket, there) => hashOfRows(hub.rows(view, bucket), there),
    hashOf,
  };
  return hub;
}

/** An event as it travels down. */
function pagedOf({ head, content, clock, clips, position, recordedAtMs }: LogEntry): PagedEvent {
  const { id: _, prev, hash, ...rest } = head;
  const held: QuarantineReason | null = content.kind === "accepted" ? null : content.reason;
  return {
    head: rest,
    prev,
    position,
    recordedAtMs,
    held,
    clock,
    ...(clips === undefined ? {} : { clips }),
    text: content.kind === "accepted" ? canonicalize(content.data) : content.text,
    hash,
  };
}
