/**
 * A hub in memory and devices with their real databases, over a network that loses messages and answers; drawn from a seed. People write, households move between districts, policies come and go,
 * the hub's projector lags, its tables are lost, devices have wrong clocks and end in the middle of a transaction. At the end all is quiet, and what must hold is looked at.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import beneficiaries from "../../projections/beneficiaries.ts";
import policies from "../../projections/policies.ts";
import {
  type Bucket,
  bucketIdOf,
  coversBucket,
  type EntityRef,
  grantsOf,
  isTributaryError,
  type JsonObject,
  OPEN_ENTITIES,
  policySchema,
  QUARANTINE_ENTITY,
  TributaryError,
} from "../../services/core/index.ts";
import { sha256Hex, zstd } from "../../services/core/node.ts";
import { type Server, serve } from "../../services/exchange/index.ts";
import { encodePage, PURGED } from "../../services/exchange/protocol/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { openOutbox } from "../../services/field/outbox.ts";
import { emptyTally } from "../../services/field/push/pass.ts";
import { emptyPull, inTurns } from "../../services/field/replica/pull.ts";
import { syncOver } from "../../services/field/sync.ts";
import type { Transport } from "../../services/field/way.ts";
import { type Columns, entityViews, type Projection, scopesOf } from "../../services/merge/engine.ts";
import {
  boolean,
  date,
  defineProjection,
  firstWriteWins,
  integer,
  lastWriteWins,
  logOrder,
  manual,
  max,
  remove,
  set,
  text,
} from "../../services/merge/index.ts";
import { entityName } from "../../services/views/index.ts";
import { type MemoryHub, openMemoryHub } from "./memory-hub.ts";
import { type Mishap, memoryTransport } from "./memory-push.ts";
import { askerOf, requestOf } from "./memory-replica.ts";
import { type Chooser, chooser } from "./random.ts";

const DISTRICTS = ["Kamukunji", "Makindye", "Rubaga", "Rejaf"] as const;
const SITES = ["kampala", "nairobi", "juba"] as const;
const STEPS = 36;
const START_MS = Date.UTC(2026, 4, 3);
const YEAR_MS = 365 * 86_400_000;
/** Rounds in which all is quiet: a move is sealed after one, its purge sent after the next. */
const QUIET_ROUNDS = 4;

const COLUMNS = {
  given_name: text(),
  sex: text(),
  household_size: integer(),
  phone: text(),
  district: text(),
  village: text(),
  status: text(),
  preferred_language: text(),
  consent: boolean(),
  registered_on: date(),
} satisfies Columns;

/** A second view of the same entities, whose rules look at the log's order, at what authors had seen, and at people's decisions. */
const contested = defineProjection({
  name: "contested",
  entity: "beneficiary",
  columns: COLUMNS,
  resolve: {
    phone: logOrder(),
    village: logOrder("first"),
    household_size: max,
    status: manual,
    preferred_language: firstWriteWins,
    others: lastWriteWins,
  },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set(), "beneficiary.removed": remove() },
});
/** The home view after its scope was declared otherwise. */
const byDistrictAndSex = defineProjection({
  name: "beneficiaries",
  entity: "beneficiary",
  columns: COLUMNS,
  groups: { location: ["district", "village"] },
  resolve: { others: lastWriteWins },
  scopeBy: ["district", "sex"],
  events: { "beneficiary.registered": set(), "beneficiary.updated": set(), "beneficiary.removed": remove() },
});
const FIRST: readonly Projection[] = [beneficiaries, contested, policies];
const SECOND: readonly Projection[] = [byDistrictAndSex, contested, policies];

export interface Found {
  readonly seed: number;
  /** What does not hold, in words; empty: all does. */
  readonly problems: readonly string[];
  readonly counts: Counts;
}

/** How much happened, so that a test can see that its seeds reach everything. */
export interface Counts {
  written: number;
  moved: number;
  synced: number;
  lost: number;
  crashed: number;
  quarantined: number;
  released: number;
  policies: number;
  rescoped: number;
  tablesLost: number;
  purges: number;
  rows: number;
}
export const NOTHING: Counts = {
  ...{ written: 0, moved: 0, synced: 0, lost: 0, crashed: 0, quarantined: 0, released: 0 },
  ...{ policies: 0, rescoped: 0, tablesLost: 0, purges: 0, rows: 0 },
};

class Crash extends Error {}

interface Device {
  readonly site: string;
  readonly path: string;
  /** How far its clock is off. */
  readonly offMs: number;
  field: Field;
  views: readonly Projection[];
  /** Entities that it wrote about. */
  readonly wrote: Set<string>;
}

interface World {
  readonly choose: Chooser;
  readonly hub: MemoryHub;
  readonly devices: Device[];
  readonly dir: string;
  readonly counts: Counts;
  server: Server;
  views: readonly Projection[];
  nowMs: number;
  /** Texts that stand in the data of one household only, by its id. */
  readonly marks: Map<string, Set<string>>;
  /** Names of the events that people were told are durable: `origin/seq`. */
  readonly durable: string[];
  households: number;
}

/** Plays a seed to its end. */
export async function simulate(seed: number, dir: string): Promise<Found> {
  const choose = chooser(seed);
  const counts: Counts = { ...NOTHING };
  const clock = { nowMs: START_MS };
  const hub = await openMemoryHub({ views: FIRST, now: () => clock.nowMs });
  const world: World = {
    ...{ choose, hub, dir, counts, devices: [], views: FIRST, marks: new Map(), durable: [], households: 0 },
    server: serve(hub.store, { views: hub.views }),
    get nowMs() {
      return clock.nowMs;
    },
    set nowMs(ms) {
      clock.nowMs = ms;
    },
  };
  try {
    for (let i = choose.pick([3, 3, 3, 4, 5, 7]); i > 0; i--) world.devices.push(newDevice(world, seed));
    await changePolicy(world);
    for (let step = 0; step < STEPS; step++) {
      world.nowMs += choose.int(1, 3_600_000);
      await play(world);
    }
    await beQuiet(world);
    return { seed, problems: await problemsIn(world), counts };
  } catch (error) {
    return { seed, problems: [`the run itself failed: ${error instanceof Error ? error.stack : String(error)}`], counts };
  } finally {
    for (const { field } of world.devices) field.close();
  }
}

function newDevice(world: World, seed: number): Device {
  const { choose, dir, devices } = world;
  const site = choose.pick(SITES);
  const n = devices.length;
  const offMs = choose.chance(0.3) ? choose.pick([-3 * YEAR_MS, YEAR_MS, 600_000, -60_000]) : 0;
  const path = join(dir, `${seed}-${n}.db`);
  const device = { site, path, offMs, views: FIRST, wrote: new Set<string>() };
  return { ...device, field: open(world, { ...device, name: { org: "relief", site, device: `t${n}` } }) };
}

function open(
  world: World,
  { path, offMs, views, name }: Pick<Device, "path" | "offMs" | "views"> & { readonly name?: Field["store"]["name"] },
): Field {
  const field = openField({
    path,
    ...(name === undefined ? {} : { name }),
    schemas: world.hub.gate,
    views,
    now: () => world.nowMs + offMs,
    randomEpoch: () => `e${world.choose.int(0, 2 ** 40).toString(36)}`,
  });
  // The machine does not end here, so nothing is gained by waiting for the disk.
  field.store.db.exec("PRAGMA synchronous = OFF");
  return field;
}

async function play(world: World): Promise<void> {
  const { choose, devices, hub } = world;
  const what = choose.int(0, 99);
  if (what < 45) await write(world, choose.pick(devices));
  else if (what < 75) await sync(world, choose.pick(devices), true);
  else if (what < 83) await hub.seal();
  else if (what < 87) hub.isBehind = !hub.isBehind;
  else if (what < 90) await changePolicy(world);
  else if (what < 93) await settle(world);
  else if (what < 95) restartHub(world);
  else if (what < 96) await loseTables(world);
  else if (what < 97) await rescope(world);
  else reopen(world, choose.pick(devices));
}

const idOf = (n: number): string => `HSE-${String(n).padStart(6, "0")}`;
/** A phone number that only this household has. */
const phoneOf = (world: World, household: number): string =>
  `+25677${String(household).padStart(4, "0")}${world.choose.int(10, 99)}`;

async function write(world: World, device: Device): Promise<void> {
  const { choose, counts, durable, marks } = world;
  const isNew = world.households === 0 || choose.chance(0.4);
  const n = isNew ? world.households++ : choose.int(0, world.households - 1);
  const entity: EntityRef = { type: "beneficiary", id: idOf(n) };
  const phone = phoneOf(world, n);
  const where = { district: choose.pick(DISTRICTS), village: `Village ${choose.int(1, 5)}` };
  if (!marks.has(entity.id)) marks.set(entity.id, new Set([entity.id]));
  marks.get(entity.id)?.add(phone);
  const moves = !isNew && choose.chance(0.35);
  if (moves) counts.moved++;
  const data: JsonObject = isNew
    ? {
        ...{ registration_no: entity.id, given_name: "Amina", sex: choose.pick(["female", "male"]), registered_on: "2026-05-03" },
        ...{ phone, ...where, household_size: choose.int(1, 9) },
      }
    : {
        ...(moves ? where : {}),
        ...(choose.chance(0.5) ? { phone } : {}),
        ...(choose.chance(0.4) ? { household_size: choose.int(1, 9) } : {}),
        ...(choose.chance(0.3) ? { status: choose.pick(["idp", "refugee", "returnee"]) } : {}),
        ...(choose.chance(0.3) ? { preferred_language: choose.pick(["sw", "lg", "ar"]) } : {}),
      };
  const isWrong = choose.chance(0.06);
  const isRemoval = !isNew && !isWrong && choose.chance(0.05);
  const type = isNew ? "beneficiary.registered" : isRemoval ? "beneficiary.removed" : "beneficiary.updated";
  const said = isRemoval
    ? { reason: "moved" }
    : isWrong
      ? { ...data, household_size: 900 }
      : Object.keys(data).length === 0
        ? { phone }
        : data;
  const [appended] = await device.field.appendMany([{ type, entity, data: said, actor: device.site }], { onInvalid: "keep" });
  if (appended === undefined) throw new Error("nothing was appended");
  device.wrote.add(entity.id);
  durable.push(`${appended.origin}/${appended.seq}`);
  counts.written++;
  if (appended.problem !== null) counts.quarantined++;
}

/** Sends and pulls, by the device's own code. With `isRough`, messages are lost, and the device may end before or after any of its commits. */
async function sync(world: World, device: Device, isRough: boolean): Promise<void> {
  const { choose, counts } = world;
  const { field } = device;
  const befalls = (): Mishap => {
    if (!isRough || !choose.chance(0.08)) return null;
    counts.lost++;
    return choose.pick(["lost", "unanswered"]);
  };
  const crash = isRough && choose.chance(0.2) ? crashing(field, choose) : null;
  const { store, gate, replica } = field;
  if (replica === null) throw new Error("the device has no replica");
  const pulling = { store, gate, schemas: null, replica, turns: inTurns(), onTaken: () => {} };
  const deps = {
    store,
    gate,
    outbox: openOutbox(store, gate, world.hub.now),
    schemas: null,
    now: world.hub.now,
    replica: pulling,
  };
  const tally = { total: emptyTally(), pulled: emptyPull() };
  try {
    await syncOver(
      deps,
      wayTo(world, device, befalls),
      { url: "nats://memory", maxEvents: choose.pick([3, 20, 1_000]) } as never,
      tally,
    );
    counts.synced++;
    if (tally.pulled.refused.length > 0) throw new Error(`refused: ${JSON.stringify(tally.pulled.refused)}`);
  } catch (error) {
    if (!isRough || !(crash?.hasCrashed() || isLost(error))) throw error;
  } finally {
    crash?.end();
  }
  if (crash?.hasCrashed()) {
    counts.crashed++;
    reopen(world, device);
  }
}

/** Whether the link is to blame. */
const isLost = (error: unknown): boolean => {
  for (let at = error; at instanceof Error; at = at.cause)
    if (isTributaryError(at) && at.code === "backend-unreachable") return true;
  return false;
};

/** Ends the device at one of its commits: before it or after it. */
function crashing({ store }: Field, choose: Chooser) {
  const { rows } = store;
  const { commit } = rows;
  let left = choose.int(1, 12);
  let hasCrashed = false;
  const isAfter = choose.chance(0.5);
  Object.assign(rows, {
    commit: () => {
      left--;
      if (left > 0 && !hasCrashed) return commit();
      if (isAfter && !hasCrashed) commit();
      hasCrashed = true;
      throw new Crash("the device has ended");
    },
  });
  return { hasCrashed: () => hasCrashed, end: () => void Object.assign(rows, { commit }) };
}

/** The way to the hub, with pulls. */
function wayTo(world: World, { field }: Device, befalls: () => Mishap): Transport {
  const { hub, server } = world;
  const gone = (): Error => new TributaryError("backend-unreachable", "the link is gone", "Try again.");
  const way = memoryTransport(hub, field, befalls);
  const { org, site, device } = field.store.name;
  const name = `${org}.${site}.${device}`;
  return {
    ...way,
    async pull(question) {
      const mishap = befalls();
      if (mishap === "lost") throw gone();
      const page = await server.answer(requestOf(name, question as never), askerOf(hub, name));
      if (mishap === "unanswered") throw gone();
      return encodePage(page, {
        compression: zstd,
        pack: (schema, content) => hub.gate.payload(schema, content, true),
        sha256: (of) => sha256Hex(of as string),
      });
    },
  };
}

/** The app is closed and opened again, with the declarations that the hub has now. */
function reopen(world: World, device: Device): void {
  device.field.close();
  if (device.views !== world.views && world.choose.chance(0.5)) device.views = world.views;
  device.field = open(world, device);
}

async function changePolicy(world: World): Promise<void> {
  const { choose, hub, counts } = world;
  counts.policies++;
  const site = choose.pick(SITES);
  if (choose.chance(0.15) && world.hub.feed.rows.length > 0) {
    const known = await hub.store.policies();
    if (known.some(({ name }) => name === site)) return hub.removePolicy(site);
  }
  const where = choose.chance(0.2) ? {} : { district: DISTRICTS.filter(() => choose.chance(0.5)) };
  const isNothing = "district" in where && where.district?.length === 0;
  const statesOnly = choose.chance(0.15);
  return hub.setPolicy({
    name: site,
    for: choose.chance(0.1) ? "everyone" : { sites: [`relief.${site}`] },
    entities: isNothing ? {} : { beneficiary: { where, priority: choose.int(0, 9), statesOnly } },
  });
}

/** Somebody at the hub releases a quarantined event with data that fit, or turns it down. */
async function settle({ hub, choose, counts }: World): Promise<void> {
  await hub.project();
  const held = hub.log.entries.filter(({ content }) => content.kind === "quarantined");
  if (held.length === 0) return;
  const { head } = choose.pick(held);
  const ref = { origin: head.origin, seq: head.seq };
  if (choose.chance(0.3)) return hub.reject(ref);
  counts.released++;
  await hub.release(ref, { household_size: 4, ...(head.type === "beneficiary.registered" ? REGISTERED(head.entity.id) : {}) });
}
const REGISTERED = (id: string): JsonObject => ({
  ...{ registration_no: id, given_name: "Amina", sex: "female", registered_on: "2026-05-03", district: "Rubaga" },
});

function restartHub(world: World): void {
  world.hub.restart();
  world.server = serve(world.hub.store, { views: world.hub.views });
}

async function loseTables(world: World): Promise<void> {
  world.counts.tablesLost++;
  await world.hub.losePostgres();
  world.server = serve(world.hub.store, { views: world.hub.views });
}

async function rescope(world: World): Promise<void> {
  world.counts.rescoped++;
  world.views = world.views === FIRST ? SECOND : FIRST;
  await world.hub.setViews(world.views);
  world.server = serve(world.hub.store, { views: world.hub.views });
}

/** No faults any more: all devices have the hub's declarations, and sync until nothing moves. */
async function beQuiet(world: World): Promise<void> {
  world.hub.isBehind = false;
  for (const device of world.devices) {
    device.views = world.views;
    device.field.close();
    device.field = open(world, device);
  }
  for (let round = 0; round < QUIET_ROUNDS; round++) {
    await world.hub.seal();
    for (const device of world.devices) await sync(world, device, false);
  }
  await world.hub.seal();
  for (const device of world.devices) await sync(world, device, false);
}

/** What must hold, and does not. */
async function problemsIn(world: World): Promise<string[]> {
  const problems: string[] = [];
  problems.push(...lostOrTwice(world));
  const known = (await world.hub.store.policies()).map((policy) => policySchema.parse(policy));
  const scopes = scopesOf(world.hub.views);
  for (const device of world.devices) {
    const grants = grantsOf(known, { kind: "site", org: "relief", site: device.site, roles: [] });
    const may = (bucket: Bucket): boolean =>
      OPEN_ENTITIES.includes(bucket.entityType) ||
      (bucket.entityType === QUARANTINE_ENTITY && bucket.values[0] === `relief.${device.site}`) ||
      grants.some((grant) => grant.direction !== "up" && coversBucket(grant, bucket, scopes.get(bucket.entityType) ?? []));
    problems.push(...differing(world, device, may), ...beyondScope(world, device, may));
  }
  problems.push(...unconfirmed(world));
  return problems;
}

/** Every event that people were told is durable is in the log, once. */
function lostOrTwice({ hub, durable }: World): string[] {
  const times = new Map<string, number>();
  for (const { head } of hub.log.entries)
    times.set(`${head.origin}/${head.seq}`, (times.get(`${head.origin}/${head.seq}`) ?? 0) + 1);
  return durable.filter((name) => times.get(name) !== 1).map((name) => `${name} is in the log ${times.get(name) ?? 0} times`);
}

/** Whether the device holds exactly the buckets that it may hold, and shows each as the hub does. */
function differing(world: World, { site, field }: Device, may: (bucket: Bucket) => boolean): string[] {
  const { hub, counts } = world;
  const { name } = field.store;
  const who = `${site}.${name.device}`;
  const replica = field.replica;
  if (replica === null) return [`${who} has no replica`];
  const problems: string[] = [];
  const held = new Map(replica.buckets().map((bucket) => [bucket.bucket, bucket]));
  for (const { bucket, entityType, values, isCurrent } of held.values()) {
    if (!may({ entityType, values })) problems.push(`${who} holds ${entityType} ${values.join(", ")}, which it may not`);
    if (!isCurrent) problems.push(`${who} is behind with ${entityType} ${values.join(", ")}`);
    if (bucketIdOf({ entityType, values }) !== bucket) problems.push(`${who}: a bucket of another name`);
  }
  for (const view of entityViews(hub.views)) {
    for (const [id, bucket] of hub.bucketsOf(view.entity)) {
      if (!may(bucket) || view.hubOnly) continue;
      const rows = hub.rows(view.name, id);
      if (rows.length === 0) continue;
      counts.rows += rows.length;
      if (!held.has(id)) problems.push(`${who} lacks ${view.entity} ${bucket.values.join(", ")}`);
      else if (replica.rowsHash(view.name, id) !== hub.rowsHash(view.name, id))
        problems.push(
          `${who} shows other rows of ${view.name} in ${bucket.values.join(", ")} than the hub: ${difference(hub, field, view, id)}`,
        );
    }
  }
  return problems;
}

/** Which rows differ, for whoever plays the seed again. */
function difference(hub: MemoryHub, { replica }: Field, { name }: Projection, bucket: Parameters<MemoryHub["rows"]>[1]): string {
  const mine = replica?.rowHashes(name, bucket) ?? new Map<string, string>();
  const theirs = hub.rows(name, bucket);
  const lacks = theirs.filter(({ id }) => !mine.has(id)).map(({ id }) => id);
  const more = [...mine.keys()].filter((id) => !theirs.some((row) => row.id === id));
  const other = theirs.filter(({ id, row }) => {
    const shown = replica?.row(name, id);
    return shown !== null && shown !== undefined && !isDeepStrictEqual(shown, row);
  });
  return `lacks ${lacks.join(", ") || "none"}, has ${more.join(", ") || "none"} more, ${other.length} of ${theirs.length} to compare`;
}

/** Whether texts of households that the device may not hold stand in its files. What it wrote itself and never held may. */
function beyondScope(world: World, { field, path, wrote, site }: Device, may: (bucket: Bucket) => boolean): string[] {
  const { hub, marks } = world;
  const allowed = new Set<string>();
  for (const [id, bucket] of hub.bucketsOf("beneficiary"))
    if (may(bucket)) for (const row of hub.rows("beneficiaries", id)) allowed.add(row.id);
  for (const id of heldBack(world, site)) allowed.add(id);
  const content = [path, `${path}-wal`].flatMap((file) => (existsSync(file) ? [readFileSync(file)] : []));
  return [...marks].flatMap(([id, texts]) =>
    allowed.has(id) || wrote.has(id)
      ? []
      : [...texts]
          .filter((text) => content.some((bytes) => bytes.includes(text)))
          .map((text) => `${text} stands in the files of ${site}.${field.store.name.device}, which may not hold ${id}`),
  );
}

/** The households of quarantined events of a site, which its devices may hold until these are settled. */
function heldBack({ hub }: World, site: string): string[] {
  const mine = bucketIdOf({ entityType: QUARANTINE_ENTITY, values: [`relief.${site}`] });
  return hub.log.entries.flatMap(({ head }) =>
    hub.feed.placed.get(entityName(QUARANTINE_ENTITY, `${head.origin}/${head.seq}`)) === mine ? [head.entity.id] : [],
  );
}

/** What a device was told to delete is confirmed by an event of it. */
function unconfirmed({ hub, counts }: World): string[] {
  const purges = hub.log.entries.flatMap(({ head, content }) =>
    head.type === PURGED && content.kind === "accepted" ? [{ device: head.entity.id, ...content.data }] : [],
  ) as { device: string; bucket?: string; seal?: number }[];
  counts.purges += purges.length;
  return hub.feed.debts
    .filter(
      ({ device, bucket, seal }) =>
        !purges.some((each) => each.device === device && each.bucket === bucket && Number(each.seal) >= seal),
    )
    .map(
      ({ device, bucket, seal, entityIds }) =>
        `${device} has not confirmed a purge of ${bucket} at ${seal}: ${entityIds?.join(", ") ?? "all"}`,
    );
}
