import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type JsonObject, TributaryError, withoutLogin } from "../core/index.ts";
import type { SyncResult } from "../field/index.ts";
import { type Db, replicaRows, rows } from "../views/index.ts";
import { cli, ORG, openReplicaTablet, type Stage, step, type Tablet } from "./demo-stage.ts";
import { said } from "./demo-words.ts";
import { SAMPLES_DIR } from "./program.ts";
import { addSite } from "./sites.ts";

/** The offices of the chapter, each with the districts that it serves. */
const OFFICES = [
  {
    name: "kampala",
    title: "Kampala, Kisenyi office",
    actor: "okello",
    districts: ["Makindye", "Rubaga", "Kampala Central"],
    lists: "2026-05-25T08:00Z",
  },
  {
    name: "nairobi",
    title: "Nairobi, Eastleigh office",
    actor: "wanjiku",
    districts: ["Kamukunji", "Embakasi", "Kasarani"],
    lists: "2026-05-25T09:00Z",
  },
] as const;
type Office = (typeof OFFICES)[number];
/** The device of the chapter; the offices' first tablets belong to the chapter before. */
const DEVICE = "tablet-2";

/** The household that Nairobi registers on its way to Kampala, and that later goes back. Its phone number stands nowhere else. */
const HOUSEHOLD = { type: "beneficiary", id: "NBO-200001" } as const;
const GIVEN_NAME = "Nyakim";
const PHONE = "+256770200001";
/** Its size after the newborn that Kampala writes down. */
const NEWBORN_SIZE = 5;
/** How long what one tablet sends may take to come to another: it is folded and sealed first. */
const COMES_TIMEOUT_MS = 30_000;
const SYNC_PAUSE_MS = 200;

/** What the chapter of the replicas found. */
export interface ReplicaFacts {
  /** Tablets that hold what others wrote. */
  readonly devices: number;
  /** Whether each tablet shows, offline, the rows that the hub shows of what it may hold. */
  readonly rowsEqual: boolean;
  /** Confirmations of purges that came to the hub, while no tablet owes one any more. */
  readonly purgesConfirmed: number;
  /** How many bytes of the household stand in the files of the tablet that it has left: its number, its name and its phone are looked for. */
  readonly bytesOutOfScope: number;
  /** Bytes of pages that came down to the tablets. */
  readonly bytesDown: number;
  /** Events and entities that these brought. */
  readonly eventsDown: number;
  readonly entities: number;
  /** What Kampala's tablet showed of the household while it was offline, and what Nairobi's shows at the end. */
  readonly shown: JsonObject;
  readonly after: JsonObject;
}

/** What the chapter needs beside the stage. */
export interface ReplicaDeps {
  readonly db: Db;
  /** Waits until the views hold all that the log holds. */
  readonly projected: () => Promise<void>;
}

interface Player extends Tablet {
  readonly office: Office;
  readonly down: Down;
  /** Sends, pulls, and sends what confirms purges. */
  sync(): Promise<SyncResult>;
}

/** What came down to a tablet so far. */
interface Down {
  bytes: number;
  events: number;
  entities: number;
}

/** Two offices hold each other's people, as far as policies let them; a household moves, and is gone from the tablet that may not hold it any more. */
export async function tellReplicas(stage: Stage, deps: ReplicaDeps): Promise<ReplicaFacts> {
  const { out } = stage;
  step(out, "Headquarters says what each office may hold: the people of its own districts");
  await setPolicies(stage);
  const players: Player[] = [];
  try {
    for (const office of OFFICES) players.push(await enter(stage, deps, office));
    const [kampala, nairobi] = players as [Player, Player];
    await bringLists(stage, deps, players);
    step(out, "Each office gets another tablet, which pulls what the hub has for it");
    for (const { office, field, sync, down } of players) {
      await sync();
      const people = field.query("beneficiaries").length;
      out.line(
        `   ${office.title}: ${people} people, the policies and the hub's forms, in ${kilobytes(down.bytes)}: ${down.events} events, with all that is needed to check and fold them.`,
      );
    }
    step(out, "A household moves, and the tablets follow it");
    const shown = await arrives(stage, deps, kampala, nairobi);
    const after = await leaves(stage, deps, kampala, nairobi);
    return { ...(await compared(stage, deps, players)), shown, after };
  } finally {
    for (const { field } of players) field.close();
  }
}

const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`;
/** Writes a policy for each office, and sets it as a coordinator would. */
async function setPolicies({ out, hubData, sitesDir }: Stage): Promise<void> {
  for (const { name, districts } of OFFICES) {
    const file = join(sitesDir, `policy-${name}.json`);
    const policy = {
      name,
      for: { sites: [name] },
      entities: { beneficiary: { where: { district: districts }, priority: 1 } },
    };
    writeFileSync(file, JSON.stringify(policy));
    await cli(["policy", "set", file, "--actor", "headquarters", "--data", hubData]);
    out.line(`   ${name}: beneficiaries in ${districts.join(", ")}.`);
  }
}

async function enter(stage: Stage, deps: ReplicaDeps, office: Office): Promise<Player> {
  const { hubData, hub } = stage;
  const { name: site, title } = office;
  const { code } = await addSite(hubData, hub.state, { site, title, device: DEVICE, days: 90, actor: "coordinator" });
  const tablet = await openReplicaTablet(stage, { org: hub.state.org, site, device: DEVICE });
  const url = withoutLogin(hub.state.natsUrl);
  await tablet.field.enrol({ url, code });
  const down: Down = { bytes: 0, events: 0, entities: 0 };
  const sync = async (): Promise<SyncResult> => {
    tablet.clock.putRight();
    const result = await tablet.field.sync({ url });
    await deps.projected();
    const { pulled } = result;
    if (pulled !== null) {
      down.bytes += pulled.receivedBytes;
      down.events += pulled.events;
      down.entities += pulled.entities;
    }
    return result;
  };
  return { ...tablet, office, down, sync };
}

/** The offices' lists, where no chapter before has brought them. */
async function bringLists({ out }: Stage, deps: ReplicaDeps, players: readonly Player[]): Promise<void> {
  await deps.projected();
  const known = await rows(deps.db, { view: "beneficiaries", page: { limit: 1 } });
  if (known.rows.length > 0) return;
  for (const { field, clock, office, sync } of players) {
    clock.set(office.lists);
    await field.importCsv({ file: join(SAMPLES_DIR, office.name, "beneficiaries.csv"), actor: office.actor });
    await sync();
  }
  out.line("   Both offices bring their lists in first.");
}

/** Nairobi registers a household on its way to Kampala, whose tablet shows it without a network, and writes about it. */
async function arrives({ out }: Stage, { db }: ReplicaDeps, kampala: Player, nairobi: Player): Promise<JsonObject> {
  nairobi.clock.set("2026-05-26T08:00Z");
  await nairobi.field.append({
    type: "beneficiary.registered",
    entity: HOUSEHOLD,
    data: {
      registration_no: HOUSEHOLD.id,
      given_name: GIVEN_NAME,
      sex: "female",
      household_size: 4,
      phone: PHONE,
      district: "Makindye",
      village: "Nsambya",
      registered_on: "2026-05-26",
    },
    actor: nairobi.office.actor,
  });
  await nairobi.sync();
  await syncUntil(kampala, () => rowIn(kampala) !== null);
  const shown = rowOf(kampala);
  out.line(
    `   26 May: Nairobi registers the household ${HOUSEHOLD.id}, which goes to Makindye. Kampala's tablet pulls, and the network goes. It shows the household all the same: ${told(shown)}.`,
  );
  kampala.clock.set("2026-05-27T09:30Z");
  await kampala.field.append({
    type: "beneficiary.updated",
    entity: HOUSEHOLD,
    data: { household_size: NEWBORN_SIZE },
    actor: kampala.office.actor,
  });
  const pending = rowOf(kampala);
  out.line(
    `   27 May: Kampala writes down a newborn, still without a network. Its tablet shows ${said(pending.household_size)} at once, marked as ${said(pending.own)}, and what it writes builds on what Nairobi wrote.`,
  );
  await syncUntil(kampala, () => rowIn(kampala)?.own === "confirmed");
  const confirmed = rowOf(kampala);
  const conflicts = Number((await rows(db, { view: "beneficiaries", id: HOUSEHOLD.id, page: { limit: 1 } })).rows[0]?.conflicts);
  out.line(
    `   With a network it is ${said(confirmed.own)}${conflicts === 0 ? ", and nothing is contested" : ", and IT IS CONTESTED"}.`,
  );
  return { ...shown, household_size_after: pending.household_size ?? null, own_after: pending.own ?? null };
}

/** The household goes back to Nairobi's district: Kampala's tablet deletes it and says so, Nairobi's shows it with all that was written. */
async function leaves({ out }: Stage, deps: ReplicaDeps, kampala: Player, nairobi: Player): Promise<JsonObject> {
  kampala.clock.set("2026-05-29T16:00Z");
  await kampala.field.append({
    type: "beneficiary.updated",
    entity: HOUSEHOLD,
    data: { district: "Kamukunji", village: "Eastleigh North" },
    actor: kampala.office.actor,
  });
  let purged = 0;
  await syncUntil(kampala, ({ pulled }) => {
    purged += pulled?.purged.entities ?? 0;
    return rowIn(kampala) === null;
  });
  await syncUntil(nairobi, () => rowIn(nairobi)?.household_size === NEWBORN_SIZE);
  const gone = rowIn(kampala) === null && purged === 1;
  const after = rowOf(nairobi);
  out.line(
    `   29 May: Kampala notes that the household has gone back to Kamukunji, and syncs. ${gone ? "Its tablet may not hold it any more: it deletes the household, overwrites its bytes, and confirms the purge to the hub." : "Its tablet did NOT delete it."}`,
  );
  out.line(`   Nairobi's tablet pulls, and shows it with what Kampala wrote: ${told(after)}.`);
  await deps.projected();
  return after;
}

/** Syncs again until something has come, or long enough. */
async function syncUntil({ sync }: Player, hasCome: (result: SyncResult) => boolean): Promise<void> {
  for (const until = Date.now() + COMES_TIMEOUT_MS; !hasCome(await sync()) && Date.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, SYNC_PAUSE_MS));
}

const told = (row: JsonObject): string =>
  `${said(row.given_name)}, household of ${said(row.household_size)}, ${said(row.village)} in ${said(row.district)}, phone ${said(row.phone)}`;

/** The household as a tablet shows it; `null`: it does not. */
function rowIn({ field }: Player): JsonObject | null {
  const [row] = field.query("beneficiaries", { where: { id: HOUSEHOLD.id } });
  if (row === undefined) return null;
  const { given_name, household_size, district, village, phone, _own } = row;
  return { given_name, household_size, district, village, phone, own: _own } as JsonObject;
}

function rowOf(player: Player): JsonObject {
  const row = rowIn(player);
  if (row !== null) return row;
  throw new TributaryError(
    "verify-failed",
    `the tablet of ${player.office.title} does not show the household ${HOUSEHOLD.id}`,
    "Please report this.",
  );
}

/** What the chapter proves: equal rows, confirmed purges, and nothing left of the household in Kampala's files. */
async function compared({ out, hubData, sitesDir }: Stage, { db, projected }: ReplicaDeps, players: readonly Player[]) {
  step(out, "The tablets are compared with the hub");
  let rowsEqual = true;
  for (const { office, field } of players) {
    const said = JSON.parse(await cli(["reconcile", "--field", field.store.path, "--json", "--data", hubData])) as {
      readonly replica: readonly { readonly view: string; readonly rows: number; readonly rowsEqual: boolean | null }[];
    };
    const people = said.replica.filter(({ view }) => view === "beneficiaries");
    const isEqual = people.length > 0 && said.replica.every((each) => each.rowsEqual === true);
    rowsEqual &&= isEqual;
    out.line(
      `   ${office.title}: ${people.reduce((sum, each) => sum + each.rows, 0)} people, ${isEqual ? "each the same as at the hub" : "and they are NOT all the same as at the hub"}.`,
    );
  }
  await projected();
  const replicas = await replicaRows(db, null);
  const mine = replicas.filter(({ device }) => device.endsWith(`.${DEVICE}`));
  const owed = mine.reduce((sum, { owes }) => sum + owes.length, 0);
  const purgesConfirmed = owed > 0 ? 0 : mine.reduce((sum, { purges }) => sum + purges, 0);
  const bytesOutOfScope = bytesOf(join(sitesDir, `${ORG}.${OFFICES[0].name}.${DEVICE}.db`), [HOUSEHOLD.id, GIVEN_NAME, PHONE]);
  out.line(
    `   The hub has ${purgesConfirmed} confirmed ${purgesConfirmed === 1 ? "purge" : "purges"} and waits for ${owed}. In the files of Kampala's tablet are ${bytesOutOfScope} bytes of the household.`,
  );
  return {
    devices: players.length,
    rowsEqual,
    purgesConfirmed,
    bytesOutOfScope,
    bytesDown: total(players, ({ bytes }) => bytes),
    eventsDown: total(players, ({ events }) => events),
    entities: total(players, ({ entities }) => entities),
  };
}

/** How many bytes of these texts stand in a database's files. */
function bytesOf(database: string, texts: readonly string[]): number {
  let bytes = 0;
  for (const file of [database, `${database}-wal`, `${database}-shm`]) {
    const content = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
    for (const text of texts)
      for (let at = content.indexOf(text); at >= 0; at = content.indexOf(text, at + 1)) bytes += text.length;
  }
  return bytes;
}

const total = (players: readonly Player[], of: (down: Down) => number): number =>
  players.reduce((sum, { down }) => sum + of(down), 0);
