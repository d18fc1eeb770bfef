import type { Client } from "pg";
import type { Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log, LogEntry } from "../log/index.ts";
import type { Projection } from "../merge/index.ts";
import { prepare } from "./prepare.ts";
import { openStates } from "./states.ts";
import { createView, shapeOf } from "./views.ts";
import { writeDecisions, writeViews } from "./write.ts";

const PAGE_EVENTS = 500;

/**
 * Brings the view tables in line with the declarations: a view that is new, or declared otherwise than when it was built, is
 * folded from the log up to `checkpoint` in one transaction; readers see the old one until it commits.
 */
export async function buildViews(
  db: Client,
  deps: {
    readonly log: Log;
    readonly gate: Gate;
    readonly projections: readonly Projection[];
    readonly say: (event: Record<string, unknown>) => void;
  },
  checkpoint: Position | null,
): Promise<void> {
  const { rows } = await db.query<{ name: string; shape: string }>("SELECT name, shape FROM tributary.view");
  const built = new Map(rows.map(({ name, shape }) => [name, shape]));
  for (const projection of deps.projections) {
    const shape = shapeOf(projection);
    if (built.get(projection.name) === shape) continue;
    await db.query("BEGIN");
    try {
      await db.query(`DROP TABLE IF EXISTS views."${projection.name}"`);
      await db.query("DELETE FROM tributary.decision WHERE view = $1", [projection.name]);
      await createView(db, projection);
      const events = checkpoint === null ? 0 : await fill(db, deps, projection, checkpoint);
      await db.query("INSERT INTO tributary.view VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET shape = excluded.shape", [
        projection.name,
        shape,
      ]);
      await db.query("COMMIT");
      deps.say({ event: "view-built", view: projection.name, events });
    } catch (error) {
      await db.query("ROLLBACK").catch(() => {});
      throw error;
    }
  }
}

async function fill(
  db: Client,
  { log, gate, say }: Parameters<typeof buildViews>[1],
  projection: Projection,
  checkpoint: Position,
): Promise<number> {
  const states = openStates(db, projection);
  let page: LogEntry[] = [];
  let events = 0;
  const flush = async (): Promise<void> => {
    if (page.length === 0) return;
    const prepared = await prepare(gate, [{ projection, states }], page, page.at(-1)!.position);
    await writeViews(db, prepared);
    await writeDecisions(db, prepared);
    events += page.length;
    page = [];
  };
  for await (const entry of log.readAll({ to: checkpoint })) {
    if (entry.head.entity.type !== projection.entity) continue;
    page.push(entry);
    if (page.length < PAGE_EVENTS) continue;
    await flush();
    if (events % 50_000 === 0) say({ event: "view-building", view: projection.name, events });
  }
  await flush();
  return events;
}
