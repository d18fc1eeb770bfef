import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { entityTrail, rowAsOf, verify } from "../audit/index.ts";
import { type Position, TributaryError, withoutLogin } from "../core/index.ts";
import { type Field, openField } from "../field/index.ts";
import { createGate } from "../gate/index.ts";
import { loadSchemas } from "../gate/node.ts";
import { isAlive, removeAbandoned, workFolder } from "../local/index.ts";
import { type Log, openLog } from "../log/index.ts";
import {
  commonPosition,
  connectViews,
  type Db,
  decisionsStanding,
  quarantine,
  type RecordedDecision,
  sites as siteStatuses,
} from "../views/index.ts";
import type { Command } from "./args.ts";
import { explain } from "./commands-audit.ts";
import { type AgencyFacts, agencies, writeProjections } from "./demo-agencies.ts";
import { type RestoreFacts, tellRestore } from "./demo-restore.ts";
import { type Output, shown, table } from "./output.ts";
import { IS_PACKAGE, MAIN, NODE_FLAGS, PROJECTIONS_DIR, SAMPLES_DIR, SCHEMAS_DIR } from "./program.ts";
import { loadProjections } from "./projections.ts";
import { addSite } from "./sites.ts";
import { type Hub, startHub } from "./supervise.ts";

const ORG = "relief";
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
const PROJECTED_TIMEOUT_MS = 30_000;

/** The person whose story is told: registered in Nairobi, later in Kampala with her card. */
const PERSON = { type: "beneficiary", id: "NBO-000023" } as const;
/** The family that Juba takes off its list while Nairobi changes its record. */
const MOVED = { type: "beneficiary", id: "JUB-000007" } as const;

interface ImportFacts {
  readonly imported: number;
  readonly rows: number;
  readonly repeated: number;
}

/** What the chapter of the sites found. */
interface SiteFacts {
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

/** The facts of a run, as `--json` prints them: those of the chapters that were told. */
interface Facts extends Partial<SiteFacts> {
  readonly chapters: readonly string[];
  readonly agencies?: AgencyFacts;
  readonly restore?: RestoreFacts;
  /** Log, audit and views agree after the last chapter. */
  readonly booksBalance: boolean;
  readonly seconds: number;
}

interface Places {
  readonly hubData: string;
  readonly sitesDir: string;
  readonly projections: string;
}

/** Where the story is played; a chapter may put another hub in the place of the first. */
interface Stage extends Places {
  readonly out: Output;
  hub: Hub;
}

interface Chapter {
  readonly name: string;
  /** One sentence: what it shows. */
  readonly shows: string;
  readonly tell: (stage: Stage) => Promise<Partial<Facts>>;
  readonly isGood: (facts: Facts) => boolean;
}

const CHAPTERS: readonly Chapter[] = [
  {
    name: "sites",
    shows:
      "Three offline sites edit the same people and come online while the hub's door is killed: nothing is lost, and every decision is explained.",
    tell: sites,
    isGood: ({ chainsIntact, viewsMatchLog, inLogExactlyOnce, acknowledged, events }) =>
      chainsIntact === true && viewsMatchLog === true && inLogExactlyOnce === acknowledged && acknowledged === events,
  },
  {
    name: "agencies",
    shows:
      "Three agencies share one person: each has the say over its fields, a double ration is caught, and a rule is changed while somebody reads.",
    tell: async (stage) => ({ agencies: await withViews(stage, (db, log) => tellAgencies(stage, db, log)) }),
    isGood: ({ agencies }) => agencies!.doubleRation !== null && agencies!.reader.failures + agencies!.reader.empty === 0,
  },
  {
    name: "restore",
    shows:
      "The hub's machine is lost and restored from a backup: the devices notice, and give back by themselves what the backup lacks.",
    tell: async (stage) => ({ restore: await restore(stage) }),
    isGood: ({ restore }) => restore!.lost > 0 && restore!.inLogExactlyOnce === restore!.events,
  },
];

function chosen(names: string | undefined): readonly Chapter[] {
  if (names === undefined) return CHAPTERS;
  const asked = names.split(",").map((name) => name.trim());
  const unknown = asked.filter((name) => !CHAPTERS.some((chapter) => chapter.name === name));
  if (unknown.length > 0)
    throw new TributaryError(
      "usage",
      `there is no chapter ${unknown.join(", ")}`,
      `Chapters: ${CHAPTERS.map(({ name }) => name).join(", ")}. Several: --chapters ${CHAPTERS[0]!.name},${CHAPTERS[1]!.name}.`,
    );
  return CHAPTERS.filter(({ name }) => asked.includes(name));
}

export const demo: Command = {
  name: "demo",
  summary: "offline sites, a crash, conflicts, a changed rule, a lost hub, and the proof that nothing was lost",
  usage: "tributary demo [--chapters NAME,…] [--keep] [--json] [--data DIR]",
  help: `Starts a hub on free ports of 127.0.0.1 and tells one story in chapters. Everything is real: broker, event store, PostgreSQL, one process each.
It ends by itself; with --keep the hub stays up until Ctrl-C, for looking around. The chapters, of which --chapters picks some:

${CHAPTERS.map(({ name, shows }) => `  ${name.padEnd(10)}${shows}`).join("\n")}`,
  options: { keep: { type: "boolean" }, data: { type: "string" }, chapters: { type: "string" } },
  async run({ flag, text, out }) {
    if (IS_PACKAGE)
      throw new TributaryError(
        "not-found",
        "the demo's sample forms, views and data are not in the package",
        "Clone the repository and run `npm run demo` there; `tributary init DIR` begins a project of your own.",
      );
    const chapters = chosen(text("chapters"));
    const given = text("data");
    const dir = given === undefined ? workFolder("demo") : resolve(given);
    const runDir = join(dir, String(process.pid));
    const hubData = join(runDir, "hub");
    const sitesDir = join(runDir, "sites");
    // What a demo that was killed has left behind.
    for (const name of existsSync(dir) ? readdirSync(dir) : []) {
      if (!/^\d+$/.test(name) || isAlive(Number(name))) continue;
      await removeAbandoned(join(dir, name, "hub"));
      rmSync(join(dir, name), { recursive: true, force: true });
    }
    mkdirSync(sitesDir, { recursive: true });
    const startedMs = Date.now();
    out.line("\nA hub starts on this machine.\n");
    let failed = true;
    // A copy, in which the story can change a rule.
    const projections = join(runDir, "projections");
    process.env.TRIBUTARY_PROJECTIONS = projections;
    writeProjections(PROJECTIONS_DIR, projections);
    const hub = await startHub({ dataDir: hubData, org: ORG, say: out.progress });
    const stage: Stage = { out, hub, hubData, sitesDir, projections };
    try {
      const facts = await story(stage, chapters, startedMs);
      out.result(facts);
      if (flag("keep")) await untilStopped(out, hubData);
      failed = !(facts.booksBalance && chapters.every(({ isGood }) => isGood(facts)));
      if (!failed) return 0;
      throw new TributaryError(
        "verify-failed",
        "the demo's checks did not all hold",
        `The data are kept in ${runDir}; please report this.`,
      );
    } finally {
      await stage.hub.close();
      if (!failed) rmSync(runDir, { recursive: true, force: true });
    }
  },
};

async function untilStopped(out: Output, hubData: string): Promise<void> {
  out.line(`\nThe hub stays up until Ctrl-C. In another terminal:\n  npm run tributary -- view beneficiaries --data ${hubData}`);
  out.line(`  npm run tributary -- audit entity ${PERSON.type}/${PERSON.id} --data ${hubData}`);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
}

async function story(stage: Stage, chapters: readonly Chapter[], startedMs: number): Promise<Facts> {
  const { out, hubData } = stage;
  const { nats, eventstore, postgres } = stage.hub.backends;
  out.line(
    table(
      ["part", "how"],
      [nats, eventstore, postgres].map(({ name, how, detail }) => [name, `${how}: ${detail}`]),
      "   ",
    ),
  );
  let told: Partial<Facts> = {};
  for (const [at, chapter] of chapters.entries()) {
    const title = `Chapter ${at + 1} of ${chapters.length}, ${chapter.name}. ${chapter.shows}`;
    out.line(`\n${title}`);
    if (out.json) out.progress(title);
    told = { ...told, ...(await chapter.tell(stage)) };
  }
  const books = JSON.parse(await cli(["audit", "verify", "--json", "--data", hubData])) as {
    problemCount: number;
    rowsCompared: number;
    notCompared: string[];
  };
  out.line(
    `\nLog, audit and views at the end: ${books.rowsCompared} rows compared, ${books.problemCount === 0 ? "all equal" : `${books.problemCount} problems`}.`,
  );
  const seconds = Math.round((Date.now() - startedMs) / 100) / 10;
  out.line(`${seconds} s in all.`);
  const booksBalance = books.problemCount === 0 && books.notCompared.length === 0;
  return { ...told, chapters: chapters.map(({ name }) => name), booksBalance, seconds };
}

function step(out: Output, title: string): void {
  out.line(`\n · ${title}\n`);
  if (out.json) out.progress(title);
}

async function withViews<T>({ hub }: Stage, work: (db: Db, log: Log) => Promise<T>): Promise<T> {
  const log = openLog(hub.state.eventstoreUrl);
  const db = await connectViews(hub.state.postgresUrl, "tributary-demo");
  try {
    return await work(db, log);
  } finally {
    await db.end();
    await log.close();
  }
}

const tellAgencies = ({ out, hub, hubData, sitesDir, projections }: Stage, db: Db, log: Log): Promise<AgencyFacts> =>
  agencies(out, {
    hub,
    hubData,
    sitesDir,
    projections,
    db,
    cli: (args) => cli([...args, "--data", hubData]),
    projected: () => untilProjected(log, db),
  });

async function restore(stage: Stage): Promise<RestoreFacts> {
  const { out, hub, hubData, sitesDir } = stage;
  return tellRestore(out, {
    hub,
    hubData,
    sitesDir,
    cli,
    startAgain: async () => {
      stage.hub = await startHub({ dataDir: hubData, org: ORG, say: out.progress });
      return stage.hub;
    },
    settled: (now) => withViews({ ...stage, hub: now }, (db, log) => untilProjected(log, db)),
  });
}

async function sites(stage: Stage): Promise<SiteFacts> {
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

/** Waits until the projector has folded all that the log holds. */
async function untilProjected(log: Log, db: Db): Promise<void> {
  let last: Position | null = null;
  for await (const { position } of log.readAll()) last = position;
  for (const until = Date.now() + PROJECTED_TIMEOUT_MS; Date.now() < until; ) {
    if (last === null || ((await commonPosition(db)) ?? -1n) >= last) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new TributaryError(
    "backend-failed",
    "the projector does not keep up",
    "See its log in the data directory's logs/ folder.",
  );
}

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

/** Runs a command of this program as a user would; returns what it printed. */
function cli(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(stdout);
      else
        reject(
          new TributaryError(
            "internal",
            `tributary ${args.slice(0, 2).join(" ")} ended with ${code}: ${stderr.trim()}`,
            "See the message.",
          ),
        );
    });
  });
}
