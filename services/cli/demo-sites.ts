import { join } from "node:path";
import { entityTrail, rowAsOf, verify } from "../audit/index.ts";
import { type Position, TributaryError, withoutLogin } from "../core/index.ts";
import { type Field, openField } from "../field/index.ts";
import { createGate } from "../gate/index.ts";
import { loadSchemas } from "../gate/node.ts";
import type { Log } from "../log/index.ts";
import { type Db, decisionsStanding, quarantine, type RecordedDecision, sites as siteStatuses } from "../views/index.ts";
import { explain } from "./commands-audit.ts";
import { cli, ORG, type Stage, step, untilProjected, withViews } from "./demo-stage.ts";
import { type Output, shown, table } from "./output.ts";
import { SAMPLES_DIR, SCHEMAS_DIR } from "./program.ts";
import { loadProjections } from "./projections.ts";
import { addSite } from "./sites.ts";
import type { Hub } from "./supervise.ts";

const SITES = [
  { name: "nairobi", title: "Nairobi, Eastleigh office", actor: "wanjiku" },
  { name: "kampala", title: "Kampala, Kisenyi office", actor: "okello" },
  { name: "juba", title: "Juba, Munuki office", actor: "deng" },
] as const;

type SiteName = (typeof SITES)[number]["name"];
const FILES = ["beneficiaries.csv", "distributions.csv", "assessments.csv"];
const TWO_YEARS_MS = 2 * 365 * 86_400_000;
/** Kampala sends small batches, so that the door dies in the middle of them. */
const KAMPALA_BATCH_EVENTS = 100;

const KILL_AFTER_EVENTS = 400;
/** The person whose story is told: registered in Nairobi, later in Kampala with her card. */
export const PERSON = { type: "beneficiary", id: "NBO-000023" } as const;

/** The family that Juba takes off its list while Nairobi changes its record. */
const MOVED = { type: "beneficiary", id: "JUB-000007" } as const;

interface ImportFacts {
  readonly imported: number;
  readonly rows: number;
  readonly repeated: number;
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
  const { out, hub, hubData, sitesDir, projections } = stage;
  const { state } = hub;
  step(out, "Three sites are registered, each with a database of its own");
  const tokens = new Map<SiteName, string>();
  for (const { name, title } of SITES) {
    const { token, expiresAt, code } = await addSite(hubData, state, { site: name, title, days: 90, actor: "coordinator" });
    tokens.set(name, token);
    const db = join(sitesDir, `${name}.db`);
    await cli(["field", "init", "--org", ORG, "--site", name, "--device", "tablet-1", "--db", db]);
    await cli(["field", "enrol", "--hub", state.natsUrl, "--code", code, "--db", db]);
    out.line(`   ${title}: its tablet has enrolled its key; token good until ${expiresAt.slice(0, 10)}`);
  }

  step(out, "Offline, each site imports its lists");
  const imports = await Promise.all(
    SITES.map(async ({ name, actor }) => {
      const files = FILES.map((file) => join(SAMPLES_DIR, name, file));
      const json = await cli(["field", "import", ...files, "--actor", actor, "--db", join(sitesDir, `${name}.db`), "--json"]);
      const results = JSON.parse(json) as (ImportFacts & {
        file: string;
        misfits: { line: number; entity: string; message: string }[];
      })[];
      return { name, results };
    }),
  );
  const total = (of: (result: ImportFacts) => number): number =>
    imports.reduce((sum, { results }) => sum + results.reduce((n, r) => n + of(r), 0), 0);
  out.line(
    table(
      ["site", "rows", "events", "repeated rows", "do not fit their schema"],
      imports.map(({ name, results }) => [
        name,
        results.reduce((n, r) => n + r.rows, 0),
        results.reduce((n, r) => n + r.imported, 0),
        results.reduce((n, r) => n + r.repeated, 0),
        results
          .flatMap((r) => r.misfits.map(({ entity, message }) => `${entity}: ${message.split(/ is not one|;/)[0]}`))
          .join("; ") || "–",
      ]),
      "   ",
    ),
  );

  step(out, "Still offline, sites edit the same people");
  const fields = new Map<SiteName, Field>();
  try {
    // Kampala's tablet was set to the wrong year.
    for (const { name } of SITES) {
      const now = name === "kampala" ? () => Date.now() + TWO_YEARS_MS : Date.now;
      fields.set(name, openField({ path: join(sitesDir, `${name}.db`), schemas: SCHEMAS_DIR, now }));
    }
    await edits(out, fields as ReadonlyMap<SiteName, Field>);
    const field = (name: SiteName): Field => fields.get(name)!;

    step(out, "One after the other the sites come online, and the hub's door is killed");
    return await withViews(stage, async (db, log) => {
      const timeline = await sendAll(out, hub, field, tokens as ReadonlyMap<SiteName, string>, log, db);
      return show(out, { fields, log, db, total, timeline, projections });
    });
  } finally {
    for (const field of fields.values()) field.close();
  }
}

/** What the people at the sites do while they have no network. */
async function edits(out: Output, fields: ReadonlyMap<SiteName, Field>): Promise<void> {
  const at = (name: SiteName): { field: Field; actor: string } => ({
    field: fields.get(name)!,
    actor: SITES.find((site) => site.name === name)!.actor,
  });
  const nairobi = at("nairobi");
  const kampala = at("kampala");
  const juba = at("juba");
  const update = (
    site: { field: Field; actor: string },
    entity: { type: string; id: string },
    data: Record<string, string | number>,
  ) => site.field.append({ type: "beneficiary.updated", entity, data, actor: site.actor });

  // The card in her hand carries what Nairobi had recorded, with its signature: Kampala's edits build on that, and reach the hub before it.
  kampala.field.noteSeen(PERSON, nairobi.field.seen(PERSON), nairobi.field.signedHeads(PERSON));
  await update(nairobi, PERSON, { phone: "+254712000023" });
  await update(kampala, PERSON, { preferred_language: "sw" });
  out.line(`   ${PERSON.id} moves to Kampala with her card. Nairobi notes a new phone number, Kampala her language:`);
  out.line("   different fields, so both stand.");

  await update(kampala, PERSON, { household_size: 7 });
  await update(nairobi, PERSON, { household_size: 5 });
  out.line(`   Then both change her household's size: Nairobi to 5, Kampala to 7. Kampala's clock is two years ahead.`);

  nairobi.field.noteSeen(MOVED, juba.field.seen(MOVED), juba.field.signedHeads(MOVED));
  await juba.field.append({ type: "beneficiary.removed", entity: MOVED, data: { reason: "moved" }, actor: juba.actor });
  await update(nairobi, MOVED, { phone: "+254733000007" });
  out.line(`   Juba takes ${MOVED.id} off its list as moved; Nairobi, where the family has arrived, notes its number.`);
}

interface Timeline {
  /** Where the log ended before Nairobi, the second to know her, had synced. */
  readonly before: Position | null;
  readonly sentBytes: number;
  readonly sentEvents: number;
}

// Many parameters because it is one scene of the demo, on the stage that the scenes before have set.
async function sendAll(
  out: Output,
  hub: Hub,
  field: (name: SiteName) => Field,
  tokens: ReadonlyMap<SiteName, string>,
  log: Log,
  db: Db,
): Promise<Timeline> {
  const { httpUrl } = hub.state;
  const natsUrl = withoutLogin(hub.state.natsUrl);
  const token = (name: SiteName): string => tokens.get(name)!;

  const juba = await field("juba").sync({ url: httpUrl, token: token("juba") });
  out.line(`   Juba, over HTTP: ${juba.confirmed} events confirmed in ${juba.batches} batches.`);

  let killed: number | null = null;
  const kampala = await field("kampala").sync({
    url: natsUrl,
    token: token("kampala"),
    batchEvents: KAMPALA_BATCH_EVENTS,
    onProgress: (progress) => {
      if (progress.kind === "waiting") out.progress(`   Kampala waits: ${progress.because}`);
      if (progress.kind !== "synced" || progress.done < KILL_AFTER_EVENTS || killed !== null) return;
      killed = hub.ingress.pid();
      if (killed !== null) process.kill(killed, "SIGKILL");
      out.line(
        `   Kampala, over NATS: after ${progress.done} events the hub's door (process ${killed}) is killed with SIGKILL …`,
      );
    },
  });
  if (killed === null)
    throw new TributaryError("verify-failed", "Kampala's sync ended before the door could be killed", "Please report this.");
  await hub.ingress.ready();
  out.line(
    `   … and started again (process ${hub.ingress.pid()}). Kampala's sync went on by itself: ${kampala.confirmed} events confirmed.`,
  );
  out.line(`   The hub noticed that Kampala's clock is off by ${Math.round((kampala.clockOffsetMs ?? 0) / 86_400_000)} days.`);

  const before = await log.end();
  await untilProjected(log, db);
  const nairobi = await field("nairobi").sync({ url: natsUrl, token: token("nairobi") });
  out.line(`   Nairobi, last: ${nairobi.confirmed} events confirmed, ${nairobi.sentBytes} bytes on the wire.`);
  const again = await field("nairobi").sync({ url: natsUrl, token: token("nairobi"), again: true });
  out.line(
    `   Nairobi sends all of it a second time: ${again.batches} batches, ${again.confirmed} events newly confirmed, none written twice.`,
  );
  await untilProjected(log, db);
  return { before, sentBytes: nairobi.sentBytes, sentEvents: nairobi.confirmed };
}

// Long because it tells the facts of the demo one after another.
async function show(
  out: Output,
  deps: {
    readonly fields: ReadonlyMap<SiteName, Field>;
    readonly log: Log;
    readonly db: Db;
    readonly total: (of: (result: ImportFacts) => number) => number;
    readonly timeline: Timeline;
    readonly projections: string;
  },
): Promise<SiteFacts> {
  const { fields, log, db, total, timeline } = deps;
  const gate = createGate(loadSchemas(SCHEMAS_DIR));
  const projections = await loadProjections(deps.projections);

  step(out, "What the coordinator sees");
  const sites = await siteStatuses(db);
  const statuses = SITES.map(({ name }) => fields.get(name)!.status());
  out.line("   Sites:");
  out.line(
    table(
      ["site", "on the device", "confirmed", "in the hub", "quarantined", "stamped by a wrong clock"],
      statuses.map((status) => {
        const at = sites.find(({ site }) => site === status.site);
        return [status.site, status.events, status.levels.SYNCED, at?.events ?? 0, at?.quarantined ?? 0, at?.clockWrong ?? 0];
      }),
      "   ",
    ),
  );

  const held = (await quarantine(db, {})).map(({ site, entity, reason }) => ({ site, entity, reason }));
  out.line(`\n   Quarantined: ${held.length} events, kept in the log at their place:`);
  for (const { site, entity, reason } of held) out.line(`     ${site}, ${entity}: ${reason}`);

  const isTold = ({ entity }: RecordedDecision): boolean => entity === PERSON.id || entity === MOVED.id;
  const standing = await decisionsStanding(db);
  // What the story is about comes first.
  const decisions = [...standing.filter(isTold), ...standing.filter((decision) => !isTold(decision))];
  out.line(
    `\n   Conflicts: ${decisions.length} fields were written by two sites that did not know of each other. Each was decided by rule, none was lost:`,
  );
  for (const decision of decisions) out.line(`     ${decision.entity}, ${explain(decision)}`);

  const trail = await entityTrail(db, `${PERSON.type}/${PERSON.id}`);
  out.line(`\n   The whole story of ${PERSON.id}:`);
  out.line(
    table(
      ["position", "event", "by", "their clock", "recorded", "what was written"],
      trail.events.map((event) => [
        event.position,
        event.type,
        `${event.actor}, ${event.site}`,
        event.occurredAt.slice(0, 10) + (event.clockOffsetMs === null ? "" : " (wrong)"),
        event.recordedAt.slice(11, 19),
        event.type === "beneficiary.registered"
          ? `${shown(event.data?.given_name)} ${shown(event.data?.family_name)}, household ${shown(event.data?.household_size)}, phone ${shown(event.data?.phone)}`
          : Object.entries(event.data ?? {})
              .map(([name, value]) => `${name} ${shown(value)}`)
              .join(", "),
      ]),
      "   ",
    ),
  );

  const before = await rowAsOf({ db, gate, projections }, `${PERSON.type}/${PERSON.id}`, timeline.before);
  const after = await rowAsOf({ db, gate, projections }, `${PERSON.type}/${PERSON.id}`, null);
  out.line(`\n   ${PERSON.id} as the hub knew her before Nairobi had synced (position ${timeline.before}), and now:`);
  const columns = ["given_name", "family_name", "phone", "household_size", "preferred_language", "village"];
  out.line(
    table(
      ["", ...columns, "waits for"],
      [
        [
          "before",
          ...columns.map((c) => before.values[c] as string),
          Object.keys(before.waitingFor).length === 0 ? "nothing" : "Nairobi’s registration",
        ],
        [
          "now",
          ...columns.map((c) => after.values[c] as string),
          Object.keys(after.waitingFor).length === 0 ? "nothing" : "something",
        ],
      ],
      "   ",
    ),
  );

  const inLog = new Map<string, { hash: string; times: number }>();
  const report = await verify({
    log,
    views: { db, gate, projections },
    onProgress: ({ stage, done }) => out.progress(`   checking: ${done} ${stage === "log" ? "events read" : "rows compared"}`),
    onEntry: ({ head }) => {
      const key = `${head.origin}/${head.seq}`;
      inLog.set(key, { hash: head.hash, times: (inLog.get(key)?.times ?? 0) + 1 });
    },
  });
  let events = 0;
  let acknowledged = 0;
  let inLogExactlyOnce = 0;
  for (const field of fields.values()) {
    for (const event of field.events()) {
      events++;
      if (event.level !== "SYNCED") continue;
      acknowledged++;
      const found = inLog.get(`${event.origin}/${event.seq}`);
      if (found?.times === 1 && found.hash === event.hash) inLogExactlyOnce++;
    }
  }
  out.line("\n   The proof:");
  out.line(
    `     ${acknowledged} events were confirmed to the sites; ${inLogExactlyOnce} of them are in the log exactly once, with the hash the device computed.`,
  );
  out.line(`     ${report.origins.length} origins' hash chains ${report.chainsIntact ? "are intact" : "are BROKEN"}.`);
  out.line(
    `     ${report.rowsCompared} view rows compared with the fold of the log: ${report.problemCount === 0 ? "all equal" : `${report.problemCount} problems`}.`,
  );
  for (const { where, what } of report.problems) out.line(`     PROBLEM ${where}: ${what}`);
  return {
    rows: total((r) => r.rows),
    imported: total((r) => r.imported),
    repeatedRows: total((r) => r.repeated),
    events,
    acknowledged,
    inLogExactlyOnce,
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
