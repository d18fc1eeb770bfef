import type { JsonObject, Position } from "../core/index.ts";
import type { Projection } from "../merge/engine.ts";
import type { Db } from "./connect.ts";
import { withoutNul } from "./copy.ts";
import { at } from "./names.ts";
import { readColumns } from "./read/columns.ts";
import { asPosition } from "./shards.ts";

/** What a view keeps of an entity to go on folding it. */
export interface KeptState {
  readonly id: string;
  /** As `packState` wrote it. */
  readonly state: string;
  readonly firstPosition: Position;
}

/** The states of these entities; those that the view has no row of are left out. */
export async function statesOf(db: Db, namespace: string, view: string, ids: readonly string[]): Promise<KeptState[]> {
  const { rows } = await db.query<{ id: string; state: string; first_position: string }>(
    `SELECT id, state, first_position FROM ${at(namespace, view)} WHERE id = ANY($1)`,
    [ids],
  );
  return rows.map(({ id, state, first_position }) => ({ id, state, firstPosition: asPosition(first_position)! }));
}

/** Whether a view has no rows. */
export async function isEmpty(db: Db, namespace: string, view: string): Promise<boolean> {
  const { rows } = await db.query(`SELECT 1 FROM ${at(namespace, view)} LIMIT 1`);
  return rows.length === 0;
}

/** What a view shows of an entity, and the state that the row was made from. */
export interface ShownRow {
  readonly values: JsonObject;
  readonly state: string;
  readonly deleted: boolean;
  readonly conflicts: number;
}

/** What a view shows of an entity; `null`: nothing. */
export async function shownRow(db: Db, projection: Projection, namespace: string, id: string): Promise<ShownRow | null> {
  const { rows } = await db.query<JsonObject & { state: string; deleted: boolean; conflicts: number }>(
    `SELECT ${[...readColumns(projection), "state", "deleted", "conflicts"].join(", ")} FROM ${at(namespace, projection.name)} WHERE id = $1`,
    [withoutNul(id)],
  );
  const [row] = rows;
  if (row === undefined) return null;
  const { state, deleted, conflicts, ...values } = row;
  return { values: values as JsonObject, state, deleted, conflicts };
}
