/** The catalog of builds: where each build's tables stand, by which declaration they were made, and how far they have been folded. */
import { TributaryError } from "../core/index.ts";
import type { View } from "../merge/engine.ts";
import type { Db } from "./connect.ts";
import { asPosition, type Positions, SHARDS } from "./shards.ts";
import { shapeOf } from "./tables.ts";

/** One build of a view's tables, as `tributary.generation` has it. */
export interface Generation {
  readonly view: string;
  readonly generation: number;
  /** `left`: out of use, and kept only because something that is not ours clings to its tables (`clinging.ts`). */
  readonly state: "building" | "reconciling" | "live" | "previous" | "left";
  readonly namespace: string;
  readonly kind: View["kind"];
  readonly shape: string;
  /** The version of each subject that the view reads with; `null`: it has no events of its own, or was built before this was kept. */
  readonly readers: Readonly<Record<string, number>> | null;
  readonly tables: readonly string[];
  /** How far the build has been folded, by shard, while it is not live. */
  readonly positions: Positions | null;
  readonly events: number;
}

/** The builds in a state, by view. */
export async function generationsOf(db: Db, state: Generation["state"]): Promise<Map<string, Generation>> {
  const { rows } = await db.query<
    Omit<Generation, "positions" | "events"> & { positions: (string | null)[] | null; events: string }
  >(
    `SELECT view, generation, state, place AS namespace, kind, shape, readers, tables, positions, events FROM tributary.generation
     WHERE state = $1 ORDER BY generation`,
    [state],
  );
  return new Map(
    rows.map((row) => [row.view, { ...row, positions: row.positions?.map(asPosition) ?? null, events: Number(row.events) }]),
  );
}

/** Where each shard of the live views stands. */
export async function livePositions(db: Db): Promise<Positions> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.shard ORDER BY shard");
  if (rows.length !== SHARDS)
    throw new TributaryError(
      "data-corrupt",
      `tributary.shard has ${rows.length} of ${SHARDS} rows: nobody knows how far the views have come`,
      "A running projector finds the positions again from the audit. Start one, or wait a moment, and try again.",
    );
  return rows.map(({ position }) => asPosition(position));
}

/** Whether a view has a live build that was made by this declaration. */
export const isBuiltAs = (view: View, live: ReadonlyMap<string, Generation>): boolean =>
  live.get(view.name)?.shape === shapeOf(view);

/** Whether builds have come equally far, so that they can go on together. */
export const areAbreast = (builds: readonly Generation[]): boolean =>
  new Set(builds.map(({ positions }) => (positions ?? []).join())).size <= 1;

/** Notes how far builds have come, in the transaction that wrote what was folded. */
export async function notePositions(db: Db, builds: readonly Generation[], positions: Positions, events: number): Promise<void> {
  await db.query(
    `UPDATE tributary.generation g SET positions = $3, events = events + $4 FROM unnest($1::text[], $2::int[]) AS x (view, generation)
     WHERE g.view = x.view AND g.generation = x.generation`,
    [builds.map(({ view }) => view), builds.map(({ generation }) => generation), positionsText(positions), events],
  );
}

/** Positions by shard, as a JSON column keeps them. */
export const positionsText = (positions: Positions): string =>
  JSON.stringify(positions.map((position) => position?.toString() ?? null));

/** Entities whose fold has stopped, by view. */
export async function parkedIn(db: Db, generations: Iterable<Generation>): Promise<Map<string, Set<string>>> {
  const wanted = [...generations];
  const { rows } = await db.query<{ view: string; entity_id: string }>(
    `SELECT p.view, p.entity_id FROM tributary.parked p JOIN unnest($1::text[], $2::int[]) AS x (view, generation) USING (view, generation)`,
    [wanted.map(({ view }) => view), wanted.map(({ generation }) => generation)],
  );
  const out = new Map<string, Set<string>>(wanted.map(({ view }) => [view, new Set()]));
  for (const { view, entity_id } of rows) out.get(view)!.add(entity_id);
  return out;
}
