import type { Client } from "pg";
import type { Position } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import type { Log, LogEntry } from "../log/index.ts";
import type { Projection } from "../merge/index.ts";
import { isReadable, prepare } from "./prepare.ts";
import { countedAs, settlements } from "./releases.ts";
import { openStates } from "./states.ts";
import { createView, shapeOf } from "./views.ts";
import { writeDecisions, writeViews } from "./write.ts";

const PAGE_EVENTS = 500;

/**
 * Brings the view tables in line with the declarations: a view that is new, declared otherwise than when it was built, or reading with versions that
 * cannot read what has been registered since, is folded from the log up to `checkpoint` in one transaction; readers see the old one until it
 * commits. Returns the versions that each view reads with.
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
): Promise<ReadonlyMap<Projection, Pins>> {
  const { rows } = await db.query<{ name: string; shape: string; readers: Pins | null }>(
    "SELECT name, shape, readers FROM tributary.view",
  );
  const built = new Map(rows.map((row) => [row.name, row]));
  const readers = new Map<Projection, Pins>();
  for (const projection of deps.projections) {
    const shape = shapeOf(projection);
    const known = built.get(projection.name);
    if (known?.shape === shape && known.readers !== null && readsAll(deps.gate, projection, known.readers)) {
      readers.set(projection, known.readers);
      continue;
    }
    const pins = pinsFor(deps.gate, projection);
    readers.set(projection, pins);
    await db.query("BEGIN");
    try {
      await db.query(`DROP TABLE IF EXISTS views."${projection.name}"`);
      await db.query("DELETE FROM tributary.decision WHERE view = $1", [projection.name]);
      await createView(db, projection);
      const events = checkpoint === null ? 0 : await fill(db, deps, projection, pins, checkpoint);
      await db.query(
        `INSERT INTO tributary.view (name, shape, readers) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET shape = excluded.shape, readers = excluded.readers`,
        [projection.name, shape, JSON.stringify(pins)],
      );
      await db.query("COMMIT");
      deps.say({ event: "view-built", view: projection.name, events });
    } catch (error) {
      await db.query("ROLLBACK").catch(() => {});
      throw error;
    }
  }
  return readers;
}

/** The subjects that write about a projection's entities, each with its newest version. */
function pinsFor({ store }: Gate, { entity }: Projection): Pins {
  const about = store
    .subjects()
    .filter((subject) => store.versions(subject).some(({ annotations }) => annotations.entity === entity));
  return Object.fromEntries(about.map((subject) => [subject, store.versions(subject).length]));
}

const readsAll = (gate: Gate, projection: Projection, pins: Pins): boolean =>
  Object.entries(pinsFor(gate, projection)).every(([subject, newest]) => {
    for (let version = (pins[subject] ?? 0) + 1; version <= newest; version++)
      if (!isReadable(gate, pins, { subject, version })) return false;
    return true;
  });

async function fill(
  db: Client,
  { log, gate, say }: Parameters<typeof buildViews>[1],
  projection: Projection,
  pins: Pins,
  checkpoint: Position,
): Promise<number> {
  const states = openStates(db, projection);
  const settled = settlements();
  let page: LogEntry[] = [];
  let events = 0;
  const flush = async (): Promise<void> => {
    if (page.length === 0) return;
    const prepared = await prepare({ log, gate, settled }, [{ projection, states, pins }], page, page.at(-1)!.position);
    await writeViews(db, prepared);
    await writeDecisions(db, prepared);
    events += page.length;
    page = [];
  };
  for await (const entry of log.readAll({ to: checkpoint })) {
    if ((await countedAs(log, entry, settled))?.head.entity.type !== projection.entity) continue;
    page.push(entry);
    if (page.length < PAGE_EVENTS) continue;
    await flush();
    if (events % 50_000 === 0) say({ event: "view-building", view: projection.name, events });
  }
  await flush();
  return events;
}
