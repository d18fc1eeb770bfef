/** How builds begin. */
import { type Projection, type Totals, tablesOf } from "../merge/engine.ts";
import type { Generation } from "./catalog.ts";
import { type Db, inTransaction } from "./connect.ts";
import { dropGeneration } from "./drop.ts";
import { namespaceOf, q } from "./names.ts";
import { NOWHERE } from "./shards.ts";
import { createTables, shapeOf } from "./tables.ts";

/** A build to begin. */
export interface NewBuild {
  readonly view: Projection | Totals;
  readonly readers: Generation["readers"];
}

/** Begins builds and makes their tables, all in one schema. Builds that were `begun` before for the same views are dropped. */
export async function addBuilds(
  db: Db,
  wanted: readonly NewBuild[],
  state: "building" | "reconciling",
  begun: readonly Generation[],
): Promise<void> {
  await inTransaction(db, async () => {
    for (const old of begun) await dropGeneration(db, old);
    const { rows } = await db.query<{ n: number }>("SELECT nextval('tributary.generation_number')::int AS n");
    const generation = rows[0]!.n;
    const namespace = namespaceOf(generation);
    // A schema may be left over from a database that lost its own tables: no build stands in it.
    await db.query(`DROP SCHEMA IF EXISTS ${q(namespace)} CASCADE`);
    for (const { view, readers } of wanted) {
      await createTables(db, view, namespace);
      await db.query(
        `INSERT INTO tributary.generation (view, generation, state, place, kind, shape, readers, tables, positions)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [
          view.name,
          generation,
          state,
          namespace,
          view.kind,
          shapeOf(view),
          readers === null ? null : JSON.stringify(readers),
          JSON.stringify(tablesOf(view)),
          JSON.stringify(NOWHERE),
        ],
      );
    }
  });
}

/** Takes up builds again that were live before. */
export async function takeUp(db: Db, builds: readonly Generation[]): Promise<void> {
  await db.query(
    `UPDATE tributary.generation g SET state = 'building' FROM unnest($1::text[], $2::int[]) AS x (view, generation)
     WHERE g.view = x.view AND g.generation = x.generation`,
    [builds.map(({ view }) => view), builds.map(({ generation }) => generation)],
  );
}
