import { existsSync } from "node:fs";
import { join } from "node:path";
import { entityTrail, eventRecord, PARTS, rowAsOf, type VerifyProgress, type VerifyReport, verify } from "../audit/index.ts";
import { positionToText, TributaryError } from "../core/index.ts";
import { openLog } from "../log/index.ts";
import { connectViews, positionAsked, type RecordedDecision, type SupersededDecision } from "../views/index.ts";
import { anchorGiven } from "./anchor-location.ts";
import type { Command } from "./args.ts";
import { caseLine } from "./commands-case.ts";
import { entityIn } from "./entities.ts";
import { foldersOf, viewsOf } from "./folders.ts";
import { publicPartOf } from "./hub-keys.ts";
import { readHubKeys } from "./keys.ts";
import { type Output, shown, table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { openHubGate, withHubGate } from "./registry.ts";
import { REASONS } from "./story.ts";
import { withViews } from "./with-views.ts";

const PROGRESS_MS = 300;

/** Says that a story is told by a file that the live view does not follow. */
export const byTheFile = (view: string): string =>
  `(told by the file in projections/; the live view was built by another declaration: \`tributary rebuild ${view}\` brings it in line)`;

const siteOf = (origin: string): string => origin.split(".")[1] ?? origin;

/** A decision as a sentence. */
export const explain = ({
  register,
  rule,
  reason,
  winner,
  losers,
}: Pick<RecordedDecision, "register" | "rule" | "reason" | "winner" | "losers">): string => {
  const by = ({ by }: RecordedDecision["winner"]): string => `${by.actor} (${siteOf(by.origin)})`;
  return `${register}: ${shown(winner.value)} by ${by(winner)} won over ${losers.map((loser) => `${shown(loser.value)} by ${by(loser)}`).join(" and ")} by ${rule}: ${REASONS[reason]}.`;
};

/** Decisions that are no longer known, each with the positions between which it was. */
export const supersededLines = (decisions: readonly SupersededDecision[]): string[] =>
  decisions.length === 0
    ? []
    : [
        "\nSuperseded, by folding the same events again under other rules or code:",
        ...decisions.map(
          (each) => `  ${each.view}, known from position ${each.knownFrom}, superseded at ${each.supersededAt}: ${explain(each)}`,
        ),
      ];

export const auditEntity: Command = {
  name: "audit entity",
  summary: "show an entity's whole history, or its row as it was",
  usage: "tributary audit entity TYPE/ID | TYPE ID [--as-of [INCARNATION:]POSITION [--view NAME]] [--data DIR]",
  help: `Shows every event about the entity in log order, who wrote it, at what time by their clock and by the hub's, and every conflict with its decision.
Decisions that a changed rule has replaced since are shown last, as superseded.
With --as-of it shows the row as the hub knew it when the log ended at that position (recorded time), in the view that --view names or the first one of such entities.
After a restore the log gives positions out again, so a position that names another incarnation than the present one is refused.

  tributary audit entity beneficiary/NBO-000017
  tributary audit entity beneficiary NBO-000017 --as-of 120000`,
  maxPositionals: 2,
  options: { data: { type: "string" }, "as-of": { type: "string" }, view: { type: "string" } },
  async run({ positionals, text, out }) {
    const { entity } = entityIn(positionals, auditEntity.usage);
    const asOf = text("as-of");
    const view = text("view") ?? null;
    if (asOf === undefined && view !== null)
      throw new TributaryError("usage", "--view goes with --as-of", `Use: ${auditEntity.usage}`);
    return withViews(text("data"), async (db) => {
      if (asOf !== undefined) {
        const projections = await viewsOf(text("data"));
        const position = await positionAsked(db, asOf);
        const row = await withHubGate(text("data"), ({ gate }) => rowAsOf({ db, gate, projections }, entity, position, view));
        out.result(row);
        out.line(`${entity} as the hub knew it at position ${asOf} (${row.events} ${row.events === 1 ? "event" : "events"}):`);
        if (row.parked !== null) out.line(`  as it was before ${row.parked.event}, where the view stops: ${row.parked.error}`);
        if (row.builtOtherwise) out.line(`  ${byTheFile(row.view)}`);
        out.line(
          table(
            ["column", "value"],
            [
              ...Object.entries(row.values).map(([name, value]) => [
                name,
                row.withheld.includes(name) ? "withheld" : (value as string),
              ]),
              ["deleted", row.withheld.includes("deleted") ? "withheld" : row.deleted],
            ],
            "  ",
          ),
        );
        for (const decision of row.decisions) out.line(`  ${explain(decision)}`);
        return 0;
      }
      const trail = await entityTrail(db, entity);
      out.result({ ...trail, through: trail.through === null ? null : positionToText(trail.through) });
      out.line(`${entity}: ${trail.events.length} ${trail.events.length === 1 ? "event" : "events"}\n`);
      for (const event of trail.events) {
        const clock =
          event.clockOffsetMs === null ? "" : `  [clock off by ${(event.clockOffsetMs / 86_400_000).toFixed(1)} days]`;
        out.line(`${event.position}  ${event.type}  by ${event.actor} at ${event.site}/${event.device}${clock}`);
        out.line(`    happened ${event.occurredAt}, recorded ${event.recordedAt}, ${event.origin}/${event.seq}`);
        out.line(event.quarantine === null ? `    ${JSON.stringify(event.data)}` : `    quarantined: ${event.quarantine}`);
        if (event.withheld !== undefined) out.line(`    withheld: ${event.withheld.join(", ")}`);
        for (const note of event.notes) out.line(`    ${note}`);
        if (event.settled !== null && event.settled.state !== "held") {
          const { state, by, at, position, note, data } = event.settled;
          out.line(`    ${state} by ${by} on ${at}, at ${position}${note === null ? "" : `: ${note}`}`);
          if (data !== null) out.line(`    ${JSON.stringify(data)}`);
        }
        if (event.placeholders.length > 0)
          out.line(
            `    the audit cannot hold its ${event.placeholders.join(", ")} and has a placeholder; the log has the original`,
          );
        if (event.projectionError !== null) out.line(`    a projection failed on it: ${event.projectionError}`);
      }
      for (const { view, event, error } of trail.parked) out.line(`\nParked in ${view} at ${event}: ${error}`);
      if (trail.beyond.length > 0) out.line("\nFolded before the log was set back, and no longer in it:");
      for (const { event, type, position, incarnation } of trail.beyond)
        out.line(`  ${event} (${type}), at ${incarnation === null ? "" : `${incarnation}:`}${position}`);
      if (trail.cases.length > 0) out.line("\nCases:");
      for (const each of trail.cases) out.line(`  ${caseLine(each)}`);
      if (trail.decisions.length > 0) out.line("\nConflicts:");
      for (const decision of trail.decisions) {
        out.line(
          `  ${explain(decision)}${decision.settledPosition === null ? "" : ` Changed again at ${decision.settledPosition}.`}`,
        );
      }
      for (const line of supersededLines(trail.superseded)) out.line(line);
      return 0;
    });
  },
};

export const auditEvent: Command = {
  name: "audit event",
  summary: "show everything that is known of one event",
  usage: "tributary audit event ID|ORIGIN/SEQ [--data DIR]",
  help: "Name the event by its id, or by its origin and seq.",
  maxPositionals: 1,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the event is missing", `Use: ${auditEvent.usage}`);
    const event = await withViews(text("data"), (db) => eventRecord(db, name));
    out.result(event);
    out.line(
      table(
        ["", ""],
        Object.entries(event).map(([key, value]) => [
          key,
          typeof value === "object" && value !== null ? JSON.stringify(value) : (value as string),
        ]),
      ),
    );
    return 0;
  },
};

const verdictWords = { good: "good", bad: "NOT GOOD", "left-out": "left out" } as const;

export const auditVerify: Command = {
  name: "audit verify",
  summary: "prove that log, audit, views and totals agree",
  usage: "tributary audit verify [--log-only] [--anchor FILE|URL] [--data DIR]",
  help: `Checks each part by itself, and says which events or rows are wrong and what to do. It ends with exit code 6 if anything is wrong.

  log      each origin's events are there once, in order, chained by hash; ids and hashes follow from the content; devices signed with keys that were
           enrolled at that time; what the log says of the hub's keys agrees with the hub's own key file
  audit    each event's row, column by column, with its recorded time; what is held in quarantine, and what was released or rejected
  views    each row, its rows of many, its claims to invariants, and each kept version of it
  totals   added up again from the rows that count
  parked   entities that stopped at an event: what they show is compared with what they showed before it, and each is folded again as a trial. They are
           listed; it is not a problem if they stop there again
  anchor   with --anchor (or TRIBUTARY_ANCHOR): the log holds everything that the anchor has seen of it

The hub may run meanwhile: everything is compared as of one moment. The command holds a page of the log in memory, whatever the log's size, and writes about as much
as the log holds to the folder for temporary files. A rebuilt view is swapped in only after the command has ended. If the log was set back, nothing is folded until then.
--log-only checks the log (and the anchor) only. A view whose declaration differs from the one it was built by is left out, and named. Decisions and cases are not
compared (\`tributary reconcile\` and \`rebuild\` make them again from the log), nor is what people were told.`,
  maxPositionals: 0,
  options: { data: { type: "string" }, "log-only": { type: "boolean" }, anchor: { type: "string" } },
  async run({ text, flag, out }) {
    const dir = hubDir(text("data"));
    const needs = flag("log-only") ? (["eventstore"] as const) : (["eventstore", "postgres"] as const);
    const { eventstoreUrl, postgresUrl } = await runningHub(text("data"), needs);
    const hubKeys = existsSync(join(dir, "signing-key.json")) ? readHubKeys(dir).map(publicPartOf) : undefined;
    const anchor = await anchorGiven(text("anchor"), hubKeys ?? []);
    await using log = openLog(eventstoreUrl);
    const db = flag("log-only") ? null : await connectViews(postgresUrl, "tributary-audit");
    try {
      const hub = db === null ? null : await openHubGate(log, foldersOf(text("data")));
      hub?.registry.close();
      const views = db === null ? undefined : { db, gate: hub!.gate, projections: await viewsOf(text("data")) };
      const report = await verify({
        log,
        ...(hubKeys === undefined ? {} : { hubKeys }),
        ...(anchor === null ? {} : { anchor }),
        onProgress: progressTo(out),
        ...(views === undefined ? {} : { views }),
      });
      if (process.stderr.isTTY) out.progress("");
      out.result(report);
      tellReport(report, out);
      if (report.problemCount === 0) return 0;
      const bad = Object.values(report.verdicts).flatMap(({ todo }) => todo);
      throw new TributaryError(
        "verify-failed",
        report.summary.replace(/\.$/, ""),
        bad.map((todo) => `${todo[0]!.toUpperCase()}${todo.slice(1)}.`).join(" "),
      );
    } finally {
      await db?.end();
    }
  },
};

/** Progress, a few times a second at most. */
function progressTo(out: Output): (progress: VerifyProgress) => void {
  let lastMs = 0;
  return ({ stage, done, share }) => {
    if (Date.now() - lastMs < PROGRESS_MS) return;
    lastMs = Date.now();
    const far = share === null ? "" : ` (${Math.floor(share * 100)} %)`;
    out.progress(stage === "log" ? `${done} events of the log read${far}` : `${done} rows of views compared`);
  };
}

function tellReport(report: VerifyReport, out: Output): void {
  out.line(
    table(
      ["origin", "events", "quarantined", "chain", "head"],
      report.origins.map((o) => [o.origin, o.events, o.quarantined, o.chainIntact ? "intact" : "BROKEN", o.head.slice(0, 12)]),
    ),
  );
  out.line("");
  const parts = PARTS.map((part) => ({ part, ...report.verdicts[part] }));
  for (const { part, state, says } of parts) out.line(`${part.padEnd(7)} ${verdictWords[state]}: ${says}.`);
  const { facts } = report.signatures;
  if (facts !== null) out.line(`\n${facts === 1 ? "1 fact about keys is" : `${facts} facts about keys are`} signed by the hub.`);
  for (const name of report.notCompared)
    out.line(
      `${name} was not compared: its declaration differs from the one that it was built by. Run \`tributary rebuild ${name}\`, then verify again.`,
    );
  if (report.parked.length > 0) {
    out.line(`\nParked (\`tributary parked list\`):`);
    for (const { view, entity, event, error } of report.parked) out.line(`  ${view}/${entity} at ${event}: ${error}`);
  }
  for (const { part, state, problems, todo } of parts) {
    if (state !== "bad") continue;
    const listed = report.problems.filter((problem) => problem.part === part);
    out.line(`\nPROBLEMS of the ${part}:`);
    for (const { where, what } of listed) out.line(`  ${where}: ${what}`);
    if (problems > listed.length) out.line(`  … and ${problems - listed.length} more`);
    for (const each of todo) out.line(`  What to do: ${each}.`);
  }
  out.line(`\n${report.summary}`);
}
