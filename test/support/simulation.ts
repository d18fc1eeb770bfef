import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import beneficiaries from "../../projections/beneficiaries.ts";
import policies from "../../projections/policies.ts";
import { type EntityRef, isTributaryError, type JsonObject, TributaryError } from "../../services/core/index.ts";
import { sha256Hex, zstd } from "../../services/core/node.ts";
import { serve } from "../../services/exchange/index.ts";
import { encodePage } from "../../services/exchange/protocol/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { openOutbox } from "../../services/field/outbox.ts";
import { emptyTally } from "../../services/field/push/pass.ts";
import { type EventHead, headOf } from "../../services/field/reading.ts";
import { emptyPull, inTurns, pullAll } from "../../services/field/replica/pull.ts";
import { syncOver } from "../../services/field/sync.ts";
import type { Transport } from "../../services/field/way.ts";
import type { Columns, Projection } from "../../services/merge/engine.ts";
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
import { openMemoryHub } from "./memory-hub.ts";
import { type Mishap, memoryTransport } from "./memory-push.ts";
import { askerOf, requestOf } from "./memory-replica.ts";
import { withholding } from "./opener.ts";
import { type Chooser, chooser } from "./random.ts";
import { problemsIn } from "./simulation-checks.ts";
import { type Counts, type Device, type Found, markOf, NOTHING, type World } from "./simulation-world.ts";

const DISTRICTS = ["Kamukunji", "Makindye", "Rubaga", "Rejaf"] as const;
const ROLES = ["nurse", "clerk"] as const;
const SITES = ["kampala", "nairobi", "juba"] as const;
const STEPS = 36;
const START_MS = Date.UTC(2026, 4, 3);
const YEAR_MS = 365 * 86_400_000;
/** Rounds in which all is quiet: a move is sealed after one, its purge sent after the next. */
const QUIET_ROUNDS = 6;

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

class Crash extends Error {}

/** Plays a seed to its end. */
export async function simulate(seed: number, dir: string): Promise<Found> {
  const choose = chooser(seed);
  const counts: Counts = { ...NOTHING };
  const clock = { nowMs: START_MS };
  const hub = await openMemoryHub({ views: FIRST, now: () => clock.nowMs });
  const world: World = {
    // Chosen by itself, so that a seed is the same history whether fields are withheld or not.
    hides: seed % 3 === 0 ? chooser(seed + 0x5ea1) : null,
    ...{ choose, hub, dir, counts, devices: [], views: FIRST, marks: new Map(), households: 0 },
    ...{ durable: new Set<string>() },
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
  const device = { site, path, offMs, views: FIRST, copy: null, hidden: hiddenOf(world) };
  return { ...device, field: open(world, { ...device, name: { org: "relief", site, device: `t${n}` } }) };
}

/** What a device may not see from now on. */
const hiddenOf = ({ hides }: World): readonly string[] =>
  hides === null ? [] : ["phone", "household_size", "given_name"].filter(() => hides.chance(0.4));

function open(
  world: World,
  {
    path,
    offMs,
    views,
    hidden,
    name,
  }: Pick<Device, "path" | "offMs" | "views" | "hidden"> & { readonly name?: Field["store"]["name"] },
): Field {
  const field = openField({
    path,
    ...(name === undefined ? {} : { name }),
    schemas: world.hub.gate,
    views,
    ...(hidden.length === 0 ? {} : { opener: withholding(hidden) }),
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
  if (what < 43) await write(world, choose.pick(devices));
  else if (what < 71) await sync(world, choose.pick(devices), true);
  else if (what < 78) await hub.seal();
  else if (what < 81) hub.isBehind = !hub.isBehind;
  else if (what < 85) await (choose.chance(0.7) ? changePolicy(world) : changeRoles(world));
  else if (what < 88) await settle(world);
  else if (what < 89) restartHub(world);
  else if (what < 90) await loseTables(world);
  else if (what < 91) await rescope(world);
  else if (what < 94) await setBackLog(world);
  else if (what < 98) await copyOrPutBack(world, choose.pick(devices));
  else reopen(world, choose.pick(devices));
}

const idOf = (n: number): string => `HSE-${String(n).padStart(6, "0")}`;
/** A phone number that only this household has. */
const phoneOf = (world: World, household: number): string =>
  `+25677${String(household).padStart(4, "0")}${world.choose.int(10, 99)}`;

async function write(world: World, device: Device): Promise<void> {
  const { choose, counts, durable, marks } = world;
  const isNew = world.households === 0 || choose.chance(0.4);
  // Some are written about again and again, so that their histories are longer than a page.
  const n = isNew ? world.households++ : choose.int(0, choose.chance(0.4) ? 0 : world.households - 1);
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
  const head = headAt(device, appended);
  if (head === null) throw new Error("what was appended is not there");
  durable.add(markOf(head));
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
      { url: "nats://memory", maxEvents: choose.pick([2, 4, 20, 1_000]) } as never,
      tally,
    );
    counts.synced++;
    counts.writtenAgain += tally.total.moved;
    if (tally.pulled.refused.length > 0) throw new Error(`refused: ${JSON.stringify(tally.pulled.refused)}`);
  } catch (error) {
    if (!isRough || !(crash?.hasCrashed() || isLost(error))) throw error;
  } finally {
    crash?.end();
  }
  if (crash?.hasCrashed()) {
    counts.crashed++;
    // Nobody is there to tidy up.
    field.store.close();
    reopen(world, device);
  }
}

/** Pulls, and sends nothing. */
async function pullOnly(world: World, device: Device): Promise<void> {
  const { store, gate, replica } = device.field;
  if (replica === null) throw new Error("the device has no replica");
  const pulling = { store, gate, schemas: null, replica, turns: inTurns(), onTaken: () => {} };
  await pullAll(
    pulling,
    wayTo(world, device, () => null),
    {},
    emptyPull(),
  );
  world.counts.pulledFirst++;
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
      if (Object.values(question.buckets).some((ask) => ask.kind === "compare" && ask.have !== undefined)) world.counts.inParts++;
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
  if (world.hides?.chance(0.3)) device.hidden = hiddenOf(world);
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
  // A second policy gives the site only states of some districts.
  const second = choose.chance(0.35);
  return hub.setPolicy({
    name: second ? `${site}-states` : site,
    for: choose.chance(0.1) ? "everyone" : choose.chance(0.3) ? { roles: [choose.pick(ROLES)] } : { sites: [`relief.${site}`] },
    entities: isNothing ? {} : { beneficiary: { where, priority: choose.int(0, 9), statesOnly: statesOnly || second } },
  });
}

/** A site has other roles from now on. */
async function changeRoles({ choose, hub, counts }: World): Promise<void> {
  counts.roles++;
  await hub.setRoles(
    `relief.${choose.pick(SITES)}`,
    ROLES.filter(() => choose.chance(0.5)),
  );
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

/** The hub's log is set back to a backup. What devices still have of the rest, they send again. */
async function setBackLog(world: World): Promise<void> {
  const { choose, hub, devices, durable } = world;
  const { entries } = hub.log;
  const kept = Math.max(0, entries.length - choose.int(1, 8));
  const [last, gone] = [entries[kept - 1], entries.slice(kept)];
  if (last === undefined) return;
  world.counts.setBack++;
  await hub.restore(last.position);
  world.server = serve(hub.store, { views: hub.views });
  for (const { head } of gone) {
    const author = devices.find(({ field }) => field.store.origins().some(({ name }) => name === head.origin));
    // It was put back to before it wrote this, or may not hold it any more.
    const own = author === undefined ? null : headAt(author, head);
    if (own === null || markOf(own) !== markOf(head)) durable.delete(markOf(head));
  }
  // Chosen by itself: some pull before they send, so that the hub's pages tell them first that their events are gone.
  const first = chooser(entries.length * 31 + world.counts.setBack);
  if (first.chance(0.5)) await hub.seal();
  for (const device of devices) if (first.chance(0.5)) await pullOnly(world, device);
}

/** Somebody puts a device's database by, or puts the copy back in its place: the device goes on as if nothing had been since. */
async function copyOrPutBack(world: World, device: Device): Promise<void> {
  const { choose, durable, hub, counts } = world;
  const { path, field } = device;
  const own = `relief.${device.site}.${field.store.name.device} `;
  field.close();
  const isKept = device.copy === null || choose.chance(0.2);
  if (device.copy === null || isKept) device.copy = readFileSync(path);
  else {
    counts.putBack++;
    writeFileSync(path, device.copy);
    for (const end of ["-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
    const there = new Set(hub.log.entries.map(({ head }) => markOf(head)));
    for (const mark of durable) if (mark.startsWith(own) && !there.has(mark)) durable.delete(mark);
  }
  device.field = open(world, device);
  // What it writes now stands where the log may have others of it already.
  if (!isKept) await write(world, device);
}

/** The envelope of an event that a device has written; `null`: it is not there, or its content was deleted. */
function headAt(
  { field: { store } }: Device,
  { origin, seq }: { readonly origin: string; readonly seq: number },
): EventHead | null {
  const epoch = store.origins().find(({ name }) => name === origin);
  const row = epoch === undefined ? undefined : store.rows.eventAt(epoch.id, seq);
  return epoch === undefined || row === undefined ? null : headOf(String(row.head), epoch.name, seq);
}

async function rescope(world: World): Promise<void> {
  world.counts.rescoped++;
  world.views = world.views === FIRST ? SECOND : FIRST;
  await world.hub.setViews(world.views);
  // The door may notice it only later.
  if (world.choose.chance(0.5)) world.server = serve(world.hub.store, { views: world.hub.views });
}

/** No faults any more: all devices have the hub's declarations, and sync until nothing moves. */
async function beQuiet(world: World): Promise<void> {
  world.hub.isBehind = false;
  restartHub(world);
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
