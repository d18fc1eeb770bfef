import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { TributaryError } from "../core/index.ts";
import { makeFolder } from "../core/node.ts";
import { isAlive, removeAbandoned, workFolder } from "../local/index.ts";
import type { Log } from "../log/index.ts";
import type { Db } from "../views/index.ts";
import type { Command } from "./args.ts";
import { type AgencyFacts, agencies, writeProjections } from "./demo-agencies.ts";
import { type FormFacts, tellForm } from "./demo-form.ts";
import { type ReplicaFacts, tellReplicas } from "./demo-replicas.ts";
import { type RestoreFacts, tellRestore } from "./demo-restore.ts";
import { PERSON, type SiteFacts, sites } from "./demo-sites.ts";
import { cli, ORG, type Stage, type StageFolders, untilProjected, withViews } from "./demo-stage.ts";
import type { Output } from "./output.ts";
import { IS_PACKAGE, PROJECTIONS_DIR, SCHEMAS_DIR } from "./program.ts";
import { startHub } from "./supervise.ts";

/** The facts of a run, as `--json` prints them: the facts of the chapters that were told. */
interface Facts extends Partial<SiteFacts> {
  readonly chapters: readonly string[];
  readonly replicas?: ReplicaFacts;
  readonly agencies?: AgencyFacts;
  readonly form?: FormFacts;
  readonly restore?: RestoreFacts;
  /** Whether log, audit and views agree after the last chapter. */
  readonly booksBalance: boolean;
  readonly seconds: number;
}

interface Chapter {
  readonly name: string;
  /** What the chapter shows, in one sentence. */
  readonly shows: string;
  readonly tell: (stage: Stage) => Promise<Partial<Facts>>;
  readonly isGood: (facts: Facts) => boolean;
}

const CHAPTERS: readonly Chapter[] = [
  {
    name: "sites",
    shows:
      "Three offices without a network write about the same people, and come online while the hub's door is killed: nothing is lost, and every decision is explained.",
    tell: sites,
    isGood: ({ chainsIntact, viewsMatchLog, inLogExactlyOnce, acknowledged, events }) =>
      chainsIntact === true && viewsMatchLog === true && inLogExactlyOnce === acknowledged && acknowledged === events,
  },
  {
    name: "replicas",
    shows:
      "What the hub knows comes down: Kampala's tablet shows, offline, what Nairobi wrote; a household moves away, and nothing of it stays on a tablet that may not hold it.",
    tell: async (stage) => ({
      replicas: await withViews(stage, (db, log) => tellReplicas(stage, { db, projected: () => untilProjected(log, db) })),
    }),
    isGood: ({ replicas }) => replicas!.rowsEqual && replicas!.purgesConfirmed > 0 && replicas!.bytesOutOfScope === 0,
  },
  {
    name: "agencies",
    shows:
      "Three agencies share one person: each has the say over its fields, a double ration is caught, and a rule is changed while somebody reads.",
    tell: async (stage) => ({ agencies: await withViews(stage, (db, log) => tellAgencies(stage, db, log)) }),
    isGood: ({ agencies }) => agencies!.doubleRation !== null && agencies!.reader.failures + agencies!.reader.empty === 0,
  },
  {
    name: "form",
    shows:
      "A form changes while sites are away: headquarters asks for one thing more, no tablet is broken by it, and the desk sees the new answer.",
    tell: async (stage) => ({
      form: await withViews(stage, (db, log) => tellForm(stage, { db, projected: () => untilProjected(log, db) })),
    }),
    isGood: ({ form }) => form!.refused && form!.registered.length === 2 && form!.row.shelter === "tent",
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
  summary: "offline sites, a crash, conflicts, a changed rule and form, a lost hub, and the proof that nothing was lost",
  usage: "tributary demo [--chapters NAME,…] [--keep] [--json] [--data DIR]",
  help: `Starts a hub on free ports of 127.0.0.1 and tells one story in chapters. Broker, event store and PostgreSQL are real, one process each. The demo ends by
itself; with --keep the hub runs until Ctrl-C, so that you can look around. --chapters selects some of the chapters:

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
    // Remove what a demo that was killed has left behind.
    for (const name of existsSync(dir) ? readdirSync(dir) : []) {
      if (!/^\d+$/.test(name) || isAlive(Number(name))) continue;
      await removeAbandoned(join(dir, name, "hub"));
      rmSync(join(dir, name), { recursive: true, force: true });
    }
    makeFolder(sitesDir);
    const startedMs = Date.now();
    out.line("\nA hub starts on this machine: broker, event log and database are real servers. The story is of May 2026.");
    let failed = true;
    // Copies, in which the story can change a rule and a form.
    const folders: StageFolders = {
      hubData,
      sitesDir,
      projections: join(runDir, "projections"),
      schemas: join(runDir, "schemas"),
    };
    process.env.TRIBUTARY_PROJECTIONS = folders.projections;
    process.env.TRIBUTARY_SCHEMAS = folders.schemas;
    writeProjections(PROJECTIONS_DIR, folders.projections);
    cpSync(SCHEMAS_DIR, folders.schemas, { recursive: true });
    const words = hubWords(out);
    const hub = await startHub({ dataDir: hubData, org: ORG, say: words.say });
    words.isUp();
    const stage: Stage = { out, hub, ...folders, say: words.say };
    try {
      const facts = await story(stage, chapters, startedMs);
      out.result(facts);
      if (flag("keep")) await untilStopped(out, hubData);
      failed = !(facts.booksBalance && chapters.every(({ isGood }) => isGood(facts)));
      if (!failed) {
        if (!flag("keep")) tellNext(out);
        return 0;
      }
      throw new TributaryError(
        "verify-failed",
        "the demo's checks did not all hold",
        `The data are kept in ${runDir}; please report this.`,
      );
    } finally {
      await stage.hub.close();
      if (failed) words.tellAll();
      else rmSync(runDir, { recursive: true, force: true });
    }
  },
};

/** Lines that every start prints, and that no coordinator needs. */
const ROUTINE = /^Registered \d+ schema|columns of views hold less/;

/**
 * What the hub says of itself. While it starts, the steps that take time are shown. Later the story itself says what happens: it kills the door, and has a view built again, for which
 * the projector ends and is started again. The hub's own lines about that are kept for a run that fails.
 */
function hubWords(out: Output): { readonly say: (line: string) => void; isUp(): void; tellAll(): void } {
  const kept: string[] = [];
  let starting = true;
  return {
    say: (line) => {
      if (starting && !ROUTINE.test(line)) out.progress(line);
      else kept.push(line);
    },
    isUp: () => {
      starting = false;
    },
    tellAll: () => {
      for (const line of kept) out.notice(line);
    },
  };
}

function tellNext(out: Output): void {
  out.line(`
What to do next:
  npm run demo -- --keep    plays it again and leaves the hub running, so that you can look around
  docs/first-hour.md        a form, a view and a spreadsheet of your own, in an hour
  README.md                 what it is for, and what to read for your work`);
}

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
    `\nAt the end the books are balanced: ${books.rowsCompared} rows that the desk sees are compared with the log. ${books.problemCount === 0 ? "All are equal." : `${books.problemCount} are NOT.`}`,
  );
  const seconds = Math.round((Date.now() - startedMs) / 100) / 10;
  out.line(`The demo took ${Math.round(seconds)} s.`);
  const booksBalance = books.problemCount === 0 && books.notCompared.length === 0;
  return { ...told, chapters: chapters.map(({ name }) => name), booksBalance, seconds };
}

const tellAgencies = (stage: Stage, db: Db, log: Log): Promise<AgencyFacts> =>
  agencies(stage, { db, cli: (args) => cli([...args, "--data", stage.hubData]), projected: () => untilProjected(log, db) });

const restore = (stage: Stage): Promise<RestoreFacts> =>
  tellRestore(stage, {
    startAgain: async () => {
      stage.hub = await startHub({ dataDir: stage.hubData, org: ORG, say: stage.say });
      return stage.hub;
    },
    projected: (now) => withViews({ ...stage, hub: now }, (db, log) => untilProjected(log, db)),
  });
