import { TributaryError } from "../core/index.ts";
import { parkedNamed, retryParked } from "../desk/index.ts";
import { parkedCounts, parkedRows } from "../views/index.ts";
import type { Command } from "./args.ts";
import { table } from "./output.ts";
import { withViews } from "./with-views.ts";

export const parkedList: Command = {
  name: "parked list",
  summary: "show entities whose fold stopped at an event",
  usage: "tributary parked list [--view NAME] [--data DIR]",
  help: `When a view cannot take an event (its declaration throws, or the database refuses what it makes of the entity), that entity's row stays as it was
before the event; all other entities go on. With each later event the entity is folded anew from all of its events: one that corrects the value mends it by
itself. Correct it from the desk with \`tributary quarantine release NAME --set FIELD=VALUE\`; or correct the declaration (then
\`tributary rebuild VIEW\`), or what kept it from being written (then \`tributary parked retry NAME\`). NAME is what stands here: VIEW/ENTITY,
ENTITY, or the event.`,
  maxPositionals: 0,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ text, out }) {
    const view = text("view") ?? null;
    const { rows, counts } = await withViews(text("data"), async (db) => ({
      rows: await parkedRows(db, view),
      counts: await parkedCounts(db),
    }));
    out.result(rows);
    out.line(
      rows.length === 0
        ? "Nothing is parked."
        : table(
            ["view", "entity", "event", "type", "events waiting", "error"],
            rows.map((r) => [r.view, r.entity, r.event, r.type, r.waiting, r.error]),
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
  help: "The event that the view stopped at, why, and all that the view knew of the entity before. NAME is as `tributary parked list` prints it: VIEW/ENTITY, ENTITY, or the event.",
  maxPositionals: 2,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [first, second] = positionals;
    if (first === undefined) throw new TributaryError("usage", "the view or the entity is missing", `Use: ${parkedShow.usage}`);
    const name = second === undefined ? first : `${first}/${second}`;
    const row = await withViews(text("data"), (db) => parkedNamed({ db }, name));
    out.result(row);
    out.line(`${row.entity} in ${row.view}, parked ${row.parkedAt} at position ${row.position}: ${row.event} (${row.type})`);
    out.line(`${row.waiting} later events wait with it.\n\n${row.stack || row.error}\n`);
    out.line(row.state === null ? "Nothing was known of it before." : `State before the event:\n${row.state}`);
    return 0;
  },
};

export const parkedRetry: Command = {
  name: "parked retry",
  summary: "fold parked entities anew, after a fix",
  usage: "tributary parked retry [--view NAME] [VIEW/ENTITY | ENTITY | ORIGIN/SEQ]… [--data DIR]",
  help: `All that is parked, or what is named as \`tributary parked list\` prints it. Whoever holds the entities' shards folds each anew from all of its events. What still cannot be folded stays parked, with the new error. After a
changed declaration use \`tributary rebuild VIEW\` instead: this folds with the code that runs.`,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ positionals: names, text, out }) {
    const view = text("view");
    const asked = await withViews(text("data"), (db) => retryParked({ db }, { names, ...(view === undefined ? {} : { view }) }));
    out.result({ asked });
    out.line(
      asked === 0
        ? "Nothing is parked."
        : `${asked} entities are folded anew; \`tributary parked list\` shows in a moment what is left.`,
    );
    return 0;
  },
};
