import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Explanation, explainEntity } from "../audit/index.ts";
import { messageOf, TributaryError } from "../core/index.ts";
import { type Tried, tryRules } from "../desk/index.ts";
import type { Projection } from "../merge/engine.ts";
import { casesOf, commonPosition, decisionsSuperseded, type SupersededDecision } from "../views/index.ts";
import { type Command, ROW_COUNT } from "./args.ts";
import { byTheFile, supersededLines } from "./commands-audit.ts";
import { caseLine } from "./commands-case.ts";
import { withDesk } from "./desk.ts";
import { entityIn, entityNamed } from "./entities.ts";
import { counted, type Output, shown, table } from "./output.ts";
import { withHubGate } from "./registry.ts";
import { storyLines } from "./story.ts";
import { withViews } from "./with-views.ts";

/** Tells an explanation as a story. */
export const storyOf = ({ entity, view, builtOtherwise, deleted, registers, parked, unfolded }: Explanation): string =>
  [
    `${entity} in ${view}${deleted ? ", deleted" : ""}${builtOtherwise ? `\n${byTheFile(view)}` : ""}`,
    ...(parked === undefined
      ? []
      : [
          `It is parked at ${parked.event}: ${parked.error}\nThe view shows it as it was before that event. What follows is what its events say; \`tributary parked show ${view}/${entity.slice(entity.indexOf("/") + 1)}\` tells more.`,
        ]),
    ...unfolded.map(({ event, type, error }) => `${event} (${type}) could not be folded: ${error}`),
    ...registers.map((register) => storyLines(register).join("\n")),
  ].join("\n\n");

/** The superseded decisions on the registers that are told. */
export const supersededIn = (
  views: readonly Explanation[],
  superseded: readonly SupersededDecision[],
): readonly SupersededDecision[] =>
  superseded.filter((each) =>
    views.some(({ view, registers }) => view === each.view && registers.some(({ register }) => register === each.register)),
  );

export const explainCommand: Command = {
  name: "explain",
  summary: "explain how an entity's row, or one field of it, got its value",
  usage: "tributary explain TYPE ID [FIELD] | TYPE/ID [FIELD] [--view NAME] [--data DIR]",
  help: `Shows for each field who wrote which value, at what time by their clock and by the hub's, what they had seen, which values stood beside it, which rule decided
and why, and which losing values were kept. Decisions that a changed rule has replaced since are shown last, as superseded. Each view that shows the entity is explained by itself; --view NAME selects one.

  tributary explain beneficiary NBO-000023 household_size`,
  maxPositionals: 3,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ positionals, text, out }) {
    const { entity, rest } = entityIn(positionals, explainCommand.usage, 1);
    const field = rest[0] ?? null;
    const { views, cases, superseded } = await withDesk(text("data"), async (desk) => ({
      views: await explainEntity(desk, entity, field, text("view") ?? null),
      cases: await casesOf(desk.db, entityNamed(entity)),
      superseded: await decisionsSuperseded(desk.db, entityNamed(entity), await commonPosition(desk.db)),
    }));
    const told = cases.filter(({ kind, rule }) => field === null || kind !== "register" || rule === field);
    const gone = supersededIn(views, superseded);
    out.result({ entity, views, cases: told, superseded: gone });
    out.line(views.map(storyOf).join("\n\n"));
    if (told.length > 0) out.line(`\nCases:\n${told.map((each) => `  ${caseLine(each)}`).join("\n")}`);
    for (const line of supersededLines(gone)) out.line(line);
    return 0;
  },
};

const DEFAULT_ROWS = 20;

/** A projection file that is not in use. */
async function candidate(file: string): Promise<Projection> {
  const path = resolve(file);
  if (!existsSync(path)) throw new TributaryError("input-malformed", `there is no file ${file}`, "Check the name.");
  if (!statSync(path).isFile()) throw new TributaryError("input-malformed", `${file} is a folder`, "Name one of its files.");
  let module: { readonly default?: { readonly kind?: string; readonly name?: string } };
  try {
    module = (await import(pathToFileURL(path).href)) as typeof module;
  } catch (error) {
    if (error instanceof TributaryError) throw error;
    throw new TributaryError("projection-malformed", `${file}: ${messageOf(error)}`, "Correct it and try again.", {
      cause: error,
    });
  }
  if (module.default?.kind === "entity") return module.default as Projection;
  throw new TributaryError(
    "projection-malformed",
    `${file} does not declare a view of entities`,
    module.default?.kind === undefined
      ? "Make its default export with defineProjection."
      : "Totals and joins have no rules of their own. Try the views that they read, or run `tributary rebuild --no-swap`.",
  );
}

export const rulesTry: Command = {
  name: "rules try",
  summary: "try changed rules on the whole history, and show what would differ",
  usage: "tributary rules try FILE [--limit N] [--data DIR]",
  help: `FILE is a projection, in projections/ or not yet there. The command tries its rules, groups, columns and functions on every entity of the hub and writes nothing.
It shows how many rows would change, by column and row by row, and which rule would decide them; how many cases the invariants would open; and which
entities could not be folded.

  tributary rules try projections/beneficiaries.ts`,
  maxPositionals: 1,
  options: { data: { type: "string" }, limit: { type: "string" } },
  async run({ positionals, text, number, out }) {
    const [file] = positionals;
    if (file === undefined) throw new TributaryError("usage", "the file is missing", `Use: ${rulesTry.usage}`);
    const projection = await candidate(file);
    const tried = await withViews(text("data"), (db) =>
      withHubGate(text("data"), ({ gate }) =>
        tryRules({ db, gate }, projection, {
          maxRows: number("limit", DEFAULT_ROWS, ROW_COUNT),
          onProgress: (entities) => out.progress(`${counted(entities, "entity", "entities")} folded`),
        }),
      ),
    );
    tellTried(projection, tried, out);
    return 0;
  },
};

function tellTried(projection: Projection, tried: Tried, out: Output): void {
  out.result(tried);
  if (tried.entities === 0) {
    out.line(`The log has no event about ${projection.entity} yet, so there is nothing to try ${tried.view} on.`);
    return;
  }
  if (tried.isNew) {
    out.line(`There is no view ${tried.view} yet. It would have ${counted(tried.appearing, "row")}.`);
  } else {
    const differing = tried.changed + tried.appearing + tried.disappearing;
    out.line(
      differing === 0
        ? `${tried.view}: ${tried.equal === 1 ? "the one row" : `all ${tried.equal} rows`} would show ${tried.equal === 1 ? "what it shows" : "what they show"} now.`
        : `${tried.view}: ${differing} of ${counted(tried.entities, "row")} would show something else (${tried.changed} changed, ${tried.appearing} new, ${tried.disappearing} gone).`,
    );
    if (tried.changed > 0) out.line(table(["column", "rows"], Object.entries(tried.byColumn), "  "));
  }
  out.line(
    `Conflicts: ${tried.conflicts.now} now, ${tried.conflicts.would} then, ${tried.conflicts.forPeople} of them for people to decide.`,
  );
  if (Object.keys(projection.invariants).length > 0 || tried.violations.now > 0)
    out.line(`Violated invariants: ${counted(tried.violations.now, "open case")} now, ${tried.violations.would} then.`);
  if (tried.failing > 0) {
    out.line(`\n${counted(tried.failing, "entity", "entities")} could not be folded, and would be parked:`);
    for (const problem of tried.problems) out.line(`  ${problem}`);
  }
  for (const { id, kind, columns } of tried.rows) {
    out.line(`\n${projection.entity}/${id}${kind === "changed" ? "" : kind === "new" ? " (new)" : " (gone)"}`);
    for (const [column, { now, would, because }] of Object.entries(columns))
      out.line(`  ${column}: ${shown(now)} → ${shown(would)}${because === null ? "" : `   (${because})`}`);
  }
  const left = tried.changed + tried.appearing + tried.disappearing - tried.rows.length;
  if (left > 0) out.line(`\n${left} more; --limit shows them.`);
}
