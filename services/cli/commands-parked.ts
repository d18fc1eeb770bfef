import { TributaryError } from "../core/index.ts";
import { parkedNamed, retryParked } from "../desk/index.ts";
import { mustBeView, parkedCounts, parkedRows } from "../views/index.ts";
import type { Command } from "./args.ts";
import { table } from "./output.ts";
import { withViews } from "./with-views.ts";

export const parkedList: Command = {
  name: "parked list",
  summary: "list entities that a view could not fold",
  usage: "tributary parked list [--view NAME] [--data DIR]",
  help: `A view parks an entity when it cannot take one of its events, because its declaration throws or the database refuses the row. The row stays as it was before that
event; all other entities go on. With each later event the entity is folded again from all of its events, so an event that corrects the value repairs it.
There are three ways to repair it yourself. Correct the value with \`tributary quarantine release NAME --set FIELD=VALUE\`. Correct the declaration, then run
\`tributary rebuild VIEW\`. Or remove what prevented the write, then run \`tributary parked retry NAME\`. NAME is what this command lists: VIEW/ENTITY,
VIEW ENTITY, ENTITY, TYPE/ENTITY, or the event.`,
  maxPositionals: 0,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ text, out }) {
    const view = text("view") ?? null;
    const { rows, counts } = await withViews(text("data"), async (db) => {
      if (view !== null) await mustBeView(db, view);
      return { rows: await parkedRows(db, view), counts: await parkedCounts(db) };
    });
    out.result(rows);
    out.line(
      rows.length === 0
        ? "Nothing is parked."
        : table(
            ["name", "event", "type", "events waiting", "error"],
            rows.map((r) => [`${r.view}/${r.entity}`, r.event, r.type, r.waiting, r.error]),
          ),
    );
    if (rows.length > 0)
      out.line(
        `\n${rows.length} parked: ${Object.entries(counts)
          .filter(([name]) => view === null || name === view)
          .map(([name, count]) => `${name} ${count}`)
          .join(", ")}.`,
      );
    return 0;
  },
};

export const parkedShow: Command = {
  name: "parked show",
  summary: "show a parked entity: the event, the stack and the state before it",
  usage: "tributary parked show VIEW ENTITY_ID | NAME [--data DIR]",
  help: "Shows the event at which the view stopped, the reason, and what the view knew of the entity before it. `tributary parked list` prints each NAME: VIEW/ENTITY, ENTITY, or the event.",
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    if (positionals.length === 0)
      throw new TributaryError("usage", "the view or the entity is missing", `Use: ${parkedShow.usage}`);
    const row = await withViews(text("data"), (db) => parkedNamed({ db }, positionals));
    out.result(row);
    out.line(`${row.entity} in ${row.view}, parked ${row.parkedAt} at position ${row.position}: ${row.event} (${row.type})`);
    out.line(`${row.waiting} later ${row.waiting === 1 ? "event waits" : "events wait"} with it.\n\n${row.stack || row.error}\n`);
    out.line(row.state === null ? "Nothing was known of it before." : `State before the event:\n${row.state}`);
    return 0;
  },
};

export const parkedRetry: Command = {
  name: "parked retry",
  summary: "fold parked entities again, after a fix",
  usage: "tributary parked retry [--view NAME] [VIEW/ENTITY | VIEW ENTITY | ENTITY | ORIGIN/SEQ]… [--data DIR]",
  help: `Retries everything that is parked, or the names that \`tributary parked list\` prints. The process that holds an entity's shard folds it again from all of its events.
What still cannot be folded stays parked, with the new error. The running code does this; after you change a declaration, use \`tributary rebuild VIEW\` instead.`,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ positionals: names, text, out }) {
    const view = text("view");
    const asked = await withViews(text("data"), async (db) => {
      if (view !== undefined) await mustBeView(db, view);
      return retryParked({ db }, { names, ...(view === undefined ? {} : { view }) });
    });
    out.result({ asked });
    out.line(
      asked === 0
        ? "Nothing is parked."
        : `${asked} ${asked === 1 ? "entity is" : "entities are"} being folded again; in a moment \`tributary parked list\` shows what is left.`,
    );
    return 0;
  },
};
