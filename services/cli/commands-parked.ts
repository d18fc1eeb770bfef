import { TributaryError } from "../core/index.ts";
import { askRefold } from "../projector/index.ts";
import type { Command } from "./args.ts";
import { withViews } from "./commands-hub.ts";
import { table } from "./output.ts";

interface ParkedRow extends Record<string, unknown> {
  readonly view: string;
  readonly entity: string;
  readonly entityType: string;
  readonly event: string;
  readonly type: string;
  readonly position: string;
  readonly error: string;
  readonly stack: string;
  readonly state: string | null;
  readonly parkedAt: string;
  /** Events of the entity since, which wait with it. */
  readonly waiting: number;
}

const SELECT = `SELECT p.view, p.entity_id AS entity, a.entity_type AS "entityType", p.origin || '/' || p.seq AS event, p.type, p.position::text, p.error, p.stack,
    p.state, to_char(p.parked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "parkedAt",
    (SELECT count(*)::int FROM tributary.audit w WHERE w.entity_type = a.entity_type AND w.entity_id = p.entity_id AND w.position > p.position) AS waiting
  FROM tributary.parked p JOIN tributary.generation g USING (view, generation) JOIN tributary.audit a ON a.origin = p.origin AND a.seq = p.seq
  WHERE g.state = 'live'`;

export const parkedList: Command = {
  name: "parked list",
  summary: "show entities whose fold stopped at an event",
  usage: "tributary parked list [--view NAME] [--data DIR]",
  help: `When a declaration throws on an event, that entity's row stays as it was before the event, and the entity's later events wait; all other
entities go on. Correct the declaration (then \`tributary rebuild VIEW\`) or what it depends on (then \`tributary parked retry\`).`,
  maxPositionals: 0,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ text, out }) {
    const rows = await withViews(
      text("data"),
      async (db) =>
        (await db.query<ParkedRow>(`${SELECT} AND ($1::text IS NULL OR p.view = $1) ORDER BY p.position`, [text("view") ?? null]))
          .rows,
    );
    out.result(rows);
    out.line(
      rows.length === 0
        ? "Nothing is parked."
        : table(
            ["view", "entity", "event", "type", "events waiting", "error"],
            rows.map((r) => [r.view, r.entity, r.event, r.type, r.waiting, r.error]),
          ),
    );
    return 0;
  },
};

export const parkedShow: Command = {
  name: "parked show",
  summary: "show a parked entity: the event, the stack and the state before it",
  usage: "tributary parked show VIEW ENTITY_ID [--data DIR]",
  help: "The event that the declaration threw on, where it threw, and all that the view knew of the entity before.",
  maxPositionals: 2,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [view, entity] = positionals;
    if (view === undefined || entity === undefined)
      throw new TributaryError("usage", "the view or the entity is missing", `Use: ${parkedShow.usage}`);
    const row = await withViews(
      text("data"),
      async (db) => (await db.query<ParkedRow>(`${SELECT} AND p.view = $1 AND p.entity_id = $2`, [view, entity])).rows[0],
    );
    if (row === undefined)
      throw new TributaryError("not-found", `${entity} is not parked in ${view}`, "`tributary parked list` shows what is.");
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
  usage: "tributary parked retry [--view NAME] [ENTITY_ID…] [--data DIR]",
  help: `Whoever holds the entities' shards folds each anew from all of its events. What still cannot be folded stays parked, with the new error. After a
changed declaration use \`tributary rebuild VIEW\` instead: this folds with the code that runs.`,
  options: { data: { type: "string" }, view: { type: "string" } },
  async run({ positionals, text, out }) {
    const asked = await withViews(text("data"), async (db) => {
      const { rows } = await db.query<ParkedRow>(
        `${SELECT} AND ($1::text IS NULL OR p.view = $1) AND (cardinality($2::text[]) = 0 OR p.entity_id = ANY($2))`,
        [text("view") ?? null, positionals],
      );
      const missing = positionals.filter((id) => !rows.some(({ entity }) => entity === id));
      if (missing.length > 0)
        throw new TributaryError("not-found", `${missing.join(", ")} is not parked`, "`tributary parked list` shows what is.");
      const byView = new Map<string, { type: string; id: string }[]>();
      for (const { view, entity, entityType } of rows)
        byView.set(view, [...(byView.get(view) ?? []), { type: entityType, id: entity }]);
      for (const [view, entities] of byView) await askRefold(db, view, entities);
      return rows.length;
    });
    out.result({ asked });
    out.line(
      asked === 0
        ? "Nothing is parked."
        : `${asked} entities are folded anew; \`tributary parked list\` shows in a moment what is left.`,
    );
    return 0;
  },
};
