import { join } from "node:path";
import { entityTrail, rowAsOf, verify } from "../audit/index.ts";
import { type EntityRef, type JsonObject, type Position, TributaryError, withoutLogin } from "../core/index.ts";
import type { ImportResult } from "../field/index.ts";
import { createGate } from "../gate/index.ts";
import { loadSchemas } from "../gate/node.ts";
import type { Log } from "../log/index.ts";
import { type Db, decisionsStanding, quarantine, sites as siteStatuses } from "../views/index.ts";
import { explain } from "./commands-audit.ts";
import { ORG, openTablet, type Stage, step, type Tablet, untilProjected, withViews } from "./demo-stage.ts";
import { day, fieldName, named, said, summedUp } from "./demo-words.ts";
import { type Cell, type Output, table } from "./output.ts";
import { SAMPLES_DIR, SCHEMAS_DIR } from "./program.ts";
import { loadProjections } from "./projections.ts";
import { addSite } from "./sites.ts";

const SITES = [
  { name: "nairobi", title: "Nairobi, Eastleigh office" },
  { name: "kampala", title: "Kampala, Kisenyi office" },
  { name: "juba", title: "Juba, Munuki office" },
] as const;

type SiteName = (typeof SITES)[number]["name"];
const ACTORS: Readonly<Record<SiteName, string>> = { nairobi: "wanjiku", kampala: "okello", juba: "deng" };
const FILES = ["beneficiaries.csv", "distributions.csv", "assessments.csv"];
/** When each office brings its lists in, by its tablet's clock. Kampala's clock was set to the wrong year. */
const LISTS: Readonly<Record<SiteName, string>> = {
  nairobi: "2026-05-03T08:00Z",
  kampala: "2028-05-03T08:00Z",
  juba: "2026-05-04T08:00Z",
};
const YEAR_MS = 365 * 86_400_000;
const TWO_YEARS_MS = 2 * YEAR_MS;
/** Kampala sends small batches, so that the door dies in the middle of them. */
const KAMPALA_BATCH_EVENTS = 100;

const KILL_AFTER_EVENTS = 400;
/** The person whose story is told: registered in Nairobi, later in Kampala with her card. */
export const PERSON = { type: "beneficiary", id: "NBO-000023" } as const;

/** The family that Juba takes off its list while Nairobi changes its record. */
const MOVED = { type: "beneficiary", id: "JUB-000007" } as const;

interface Imported {
  readonly name: SiteName;
  readonly results: readonly ImportResult[];
}

/** What the chapter of the sites found. */
export interface SiteFacts {
  readonly rows: number;
  readonly imported: number;
  readonly repeatedRows: number;
  readonly events: number;
  readonly acknowledged: number;
  readonly inLogExactlyOnce: number;
  readonly quarantined: number;
  readonly conflicts: number;
  readonly chainsIntact: boolean;
  readonly viewsMatchLog: boolean;
  readonly sites: unknown;
  readonly quarantine: unknown;
  readonly decisions: unknown;
  readonly before: unknown;
  readonly after: unknown;
  readonly bytesPerEvent: number;
}

export async function sites(stage: Stage): Promise<SiteFacts> {
  const { out, hubData } = stage;
  const { state } = stage.hub;
  step(out, "Three offices get a tablet each. With its code, a tablet enrols its own key");
  const tablets = new Map<SiteName, Tablet>();
  try {
    for (const { name, title } of SITES) {
      const { code } = await addSite(hubData, state, { site: name, title, days: 90, actor: "coordinator" });
      const tablet = await openTablet(stage, ORG, name);
      tablets.set(name, tablet);
      await tablet.field.enrol({ url: withoutLogin(state.natsUrl), code });
    }
    out.line(`   ${SITES.map(({ title }) => title).join("; ")}.`);
    const at = (name: SiteName): Tablet => {
      const found = tablets.get(name);
      if (found === undefined)
        throw new TributaryError("internal", `there is no tablet of ${name}`, "This is a bug; please report it.");
      return found;
    };

    step(out, "The network goes. On 3 and 4 May each office brings its lists onto its tablet");
    const imports = await importLists(out, at);
    step(out, "Still without a network, they write about the same people");
    await edits(out, at);
    step(out, "Three weeks later there is a network. One after the other they sync, and the hub's door is killed");
    return await withViews(stage, async (db, log) => {
      const timeline = await sendAll(stage, at, log, db);
      return show(out, { tablets, log, db, imports, timeline, projections: stage.projections });
    });
  } finally {
    for (const { field } of tablets.values()) field.close();
  }
}

/** Each office's lists, on its tablet. Juba's come a day later: where two offices have one person, its row is the later one. */
async function importLists(out: Output, at: (name: SiteName) => Tablet): Promise<readonly Imported[]> {
  const imports: Imported[] = [];
  for (const { name } of SITES) {
    const { field, clock } = at(name);
    clock.set(LISTS[name]);
    const results: ImportResult[] = [];
    for (const file of FILES) results.push(await field.importCsv({ file: join(SAMPLES_DIR, name, file), actor: ACTORS[name] }));
    imports.push({ name, results });
  }
  out.line(
    table(
      ["office", "rows", "taken", "said twice", "do not fit, and wait to be mended"],
      imports.map(({ name, results }) => [
        named(name),
        results.reduce((n, r) => n + r.rows, 0),
        results.reduce((n, r) => n + r.imported, 0),
        results.reduce((n, r) => n + r.repeated, 0),
        results
          .flatMap((r) => r.misfits.map(({ entity, message }) => `${entity.split("/")[1]}: ${message.split(/ is not one|;/)[0]}`))
          .join("; ") || "–",
      ]),
      "   ",
    ),
  );
  return imports;
}

/** What the people at the sites do while they have no network. */
async function edits(out: Output, at: (name: SiteName) => Tablet): Promise<void> {
  const [nairobi, kampala, juba] = [at("nairobi"), at("kampala"), at("juba")];
  const update = (name: SiteName, moment: string, entity: EntityRef, data: JsonObject): Promise<unknown> => {
    const { field, clock } = at(name);
    clock.set(moment);
    return field.append({ type: "beneficiary.updated", entity, data, actor: ACTORS[name] });
  };

  // The card in her hand carries what Nairobi had recorded, with its signature: Kampala's edits build on that, and reach the hub before Nairobi's record.
  kampala.field.noteSeen(PERSON, nairobi.field.seen(PERSON), nairobi.field.signedHeads(PERSON));
  await update("nairobi", "2026-05-06T09:10Z", PERSON, { phone: "+254712000023" });
  await update("kampala", "2028-05-06T10:20Z", PERSON, { preferred_language: "sw" });
  out.line(`   6 May: ${PERSON.id} moves from Nairobi to Kampala with her card. Nairobi notes her new phone number,`);
  out.line("   Kampala her language. These are different fields, so both will stand.");

  await update("kampala", "2028-05-07T08:30Z", PERSON, { household_size: 7 });
  await update("nairobi", "2026-05-07T11:00Z", PERSON, { household_size: 5 });
  out.line("   7 May: both change her household: Nairobi to 5, Kampala to 7. Kampala's tablet thinks that it is 2028.");

  nairobi.field.noteSeen(MOVED, juba.field.seen(MOVED), juba.field.signedHeads(MOVED));
  juba.clock.set("2026-05-08T09:00Z");
  await juba.field.append({ type: "beneficiary.removed", entity: MOVED, data: { reason: "moved" }, actor: ACTORS.juba });
  await update("nairobi", "2026-05-09T15:40Z", MOVED, { phone: "+254733000007" });
  out.line(
    `   8 May: Juba takes the family ${MOVED.id} off its list as moved. 9 May: it has arrived in Nairobi, which notes its phone.`,
  );
}

interface Timeline {
  /** Where the log ended before Nairobi, the second to know her, had synced. */
  readonly before: Position | null;
  readonly sentBytes: number;
  readonly sentEvents: number;
}

/** Brings the tablets online, one after the other. With a network their clocks are right, except Kampala's, which nobody has set. */
async function sendAll({ out, hub }: Stage, at: (name: SiteName) => Tablet, log: Log, db: Db): Promise<Timeline> {
  const { httpUrl } = hub.state;
  const natsUrl = withoutLogin(hub.state.natsUrl);
  at("juba").clock.putRight();
  at("kampala").clock.putRight(TWO_YEARS_MS);
  at("nairobi").clock.putRight();

  const juba = await at("juba").field.sync({ url: httpUrl });
  out.line(`   Juba, over HTTP: the hub confirms ${juba.confirmed} events.`);

  let killed: number | null = null;
  const kampala = await at("kampala").field.sync({
    url: natsUrl,
    batchEvents: KAMPALA_BATCH_EVENTS,
    onProgress: (progress) => {
      if (progress.kind !== "synced" || progress.done < KILL_AFTER_EVENTS || killed !== null) return;
      killed = hub.ingress.pid();
      if (killed !== null) process.kill(killed, "SIGKILL");
      out.line("   Kampala, over NATS: in the middle of its events the hub's door is killed …");
      if (out.json) out.progress("The hub's door is killed (SIGKILL).");
    },
  });
  if (killed === null)
    throw new TributaryError("verify-failed", "Kampala's sync ended before the door could be killed", "Please report this.");
  await hub.ingress.ready();
  out.line(
    `   … and started again. Nobody does anything in Kampala: its sync goes on by itself, and ${kampala.confirmed} events are confirmed.`,
  );
  const years = Math.round((kampala.clockOffsetMs ?? 0) / YEAR_MS);
  out.line(
    `   The hub notices that Kampala's clock is ${years} years ahead. It takes the events, and believes no time that they name.`,
  );

  const before = await log.end();
  await untilProjected(log, db);
  const nairobi = await at("nairobi").field.sync({ url: natsUrl });
  out.line(
    `   Nairobi, last: ${nairobi.confirmed} events confirmed, for ${Math.round(nairobi.sentBytes / 1000)} kB on its expensive link.`,
  );
  const again = await at("nairobi").field.sync({ url: natsUrl, again: true });
  out.line(
    `   By mistake Nairobi sends all of it a second time. ${again.confirmed === 0 ? "Nothing" : again.confirmed} is written twice.`,
  );
  await untilProjected(log, db);
  return { before, sentBytes: nairobi.sentBytes, sentEvents: nairobi.confirmed };
}

/** How many of the tablets' events the hub has confirmed, and how many it holds once each as they were written. */
function counted(
  tablets: ReadonlyMap<SiteName, Tablet>,
  inLog: ReadonlyMap<string, { readonly hash: string; readonly times: number }>,
) {
  const count = { events: 0, acknowledged: 0, inLogExactlyOnce: 0 };
  for (const { field } of tablets.values()) {
    for (const event of field.events()) {
      count.events++;
      if (event.level !== "SYNCED") continue;
      count.acknowledged++;
      const found = inLog.get(`${event.origin}/${event.seq}`);
      if (found?.times === 1 && found.hash === event.hash) count.inLogExactlyOnce++;
    }
  }
  return count;
}

/** Her story in the order in which the hub heard of it, and her row before and after. */
async function tellPerson(
  out: Output,
  rowAt: (position: Position | null) => ReturnType<typeof rowAsOf>,
  { db, before }: PersonDeps,
) {
  const trail = await entityTrail(db, `${PERSON.type}/${PERSON.id}`);
  out.line(`\n   The whole story of ${PERSON.id}, in the order in which the hub heard of it:`);
  out.line(
    table(
      ["who", "when, by their clock", "wrote"],
      trail.events.map(({ actor, site, occurredAt, clockOffsetMs, type, data }) => [
        `${named(actor)}, ${named(site)}`,
        day(occurredAt) + (clockOffsetMs === null ? "" : " (not believed)"),
        type === "beneficiary.registered"
          ? `registered her as ${said(data?.given_name)}, household of ${said(data?.household_size)}`
          : Object.entries(data ?? {})
              .map(([name, value]) => `${fieldName(name)}: ${said(value)}`)
              .join(", "),
      ]),
      "   ",
    ),
  );
  const rows = { before: await rowAt(before), after: await rowAt(null) };
  out.line("\n   Any moment can be looked up. As the hub knew her before Nairobi had synced, and now:");
  const columns = ["given_name", "phone", "household_size", "preferred_language", "village"];
  const line = (name: string, { values, waitingFor }: typeof rows.before): Cell[] => [
    name,
    ...columns.map((column) => (values[column] === null ? null : said(values[column]))),
    Object.keys(waitingFor).length === 0 ? "nothing" : "Nairobi’s registration",
  ];
  out.line(table(["", ...columns.map(fieldName), "waits for"], [line("before", rows.before), line("now", rows.after)], "   "));
  return rows;
}

interface PersonDeps {
  readonly db: Db;
  /** Where the log ended before Nairobi had synced. */
  readonly before: Position | null;
}

// Long because it tells the facts of the chapter one after another.
async function show(
  out: Output,
  deps: {
    readonly tablets: ReadonlyMap<SiteName, Tablet>;
    readonly log: Log;
    readonly db: Db;
    readonly imports: readonly Imported[];
    readonly timeline: Timeline;
    readonly projections: string;
  },
): Promise<SiteFacts> {
  const { tablets, log, db, imports, timeline } = deps;
  const gate = createGate(loadSchemas(SCHEMAS_DIR));
  const projections = await loadProjections(deps.projections);

  step(out, "What the coordinator sees");
  const sites = await siteStatuses(db);
  const statuses = [...tablets.values()].map(({ field }) => field.status());
  out.line(
    table(
      ["office", "on the tablet", "confirmed", "in the hub", "waits to be mended", "time not believed"],
      statuses.map((status) => {
        const at = sites.find(({ site }) => site === status.site);
        return [
          named(status.site),
          status.events,
          status.levels.SYNCED,
          at?.events ?? 0,
          at?.quarantined ?? 0,
          at?.clockWrong ?? 0,
        ];
      }),
      "   ",
    ),
  );

  const held = (await quarantine(db, {})).map(({ site, entity, reason }) => ({ site, entity, reason }));
  out.line(`\n   ${held.length} events do not fit their form. They are kept, and hold up nobody:`);
  for (const { site, entity, reason } of held)
    out.line(`     ${named(site)}, ${entity.split("/")[1]}: ${reason.split(/ is not one|;/)[0]}`);

  const isTold = ({ entity }: { readonly entity: string }): boolean => entity === PERSON.id || entity === MOVED.id;
  const decisions = [...(await decisionsStanding(db))].sort(
    (a, b) => Number(isTold(b)) - Number(isTold(a)) || (a.entity < b.entity ? -1 : 1),
  );
  out.line(
    `\n   ${decisions.length} times two offices wrote the same field and did not know of each other. A rule decided, and nothing was lost:`,
  );
  for (const sentence of summedUp(decisions, isTold)) out.line(`     ${sentence}`);

  const { before, after } = await tellPerson(
    out,
    (position) => rowAsOf({ db, gate, projections }, `${PERSON.type}/${PERSON.id}`, position),
    { db, before: timeline.before },
  );

  const inLog = new Map<string, { hash: string; times: number }>();
  const report = await verify({
    log,
    views: { db, gate, projections },
    onEntry: ({ head }) => {
      const key = `${head.origin}/${head.seq}`;
      inLog.set(key, { hash: head.hash, times: (inLog.get(key)?.times ?? 0) + 1 });
    },
  });
  const count = counted(tablets, inLog);
  out.line("\n   The proof:");
  out.line(
    `     ${count.acknowledged} events were confirmed to the tablets. ${count.inLogExactlyOnce} of them are in the hub's log once each, as the tablet wrote them.`,
  );
  out.line(
    `     The seals that chain each tablet's events together ${report.chainsIntact ? "are whole: nobody has changed one" : "are BROKEN"}.`,
  );
  out.line(
    `     ${report.rowsCompared} rows that the desk sees are compared with the log. ${report.problemCount === 0 ? "All are equal." : `${report.problemCount} are NOT.`}`,
  );
  for (const { where, what } of report.problems) out.line(`     PROBLEM ${where}: ${what}`);
  const total = (of: (result: ImportResult) => number): number =>
    imports.reduce((sum, { results }) => sum + results.reduce((n, r) => n + of(r), 0), 0);
  return {
    rows: total((r) => r.rows),
    imported: total((r) => r.imported),
    repeatedRows: total((r) => r.repeated),
    ...count,
    quarantined: held.length,
    conflicts: decisions.length,
    chainsIntact: report.chainsIntact,
    viewsMatchLog: report.problemCount === 0 && report.notCompared.length === 0,
    sites: statuses.map(({ site, events, levels }) => ({ site, events, ...levels })),
    quarantine: held,
    decisions: decisions.map((decision) => ({
      entity: decision.entity,
      register: decision.register,
      rule: decision.rule,
      reason: decision.reason,
      explained: explain(decision),
    })),
    before: before.values,
    after: after.values,
    bytesPerEvent: Math.round((timeline.sentBytes / Math.max(1, timeline.sentEvents)) * 10) / 10,
  };
}
