import type { Position } from "../../core/index.ts";
import type { ParkedRow, PassedOver, ViewBuild, ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";
import { at } from "../names.ts";
import { writeParked } from "./parked.ts";
import { writeViews } from "./view.ts";

/** What an entity that was folded anew changes, and where it stops. */
export interface Refolded {
  readonly changes: ViewChanges;
  readonly parked: ParkedRow | null;
}

/** Puts what folding an entity anew gives into the place of all that stands of it. `tells`: people are told of what is new. */
export async function replaceEntity(
  db: Db,
  entity: string,
  { changes, parked }: Refolded,
  { upTo, tells }: { readonly upTo: Position; readonly tells: boolean },
): Promise<void> {
  const { projection, generation, place } = changes.target;
  const id = withoutNul(entity);
  const which = [projection.name, generation, id];
  await db.query("DELETE FROM tributary.parked WHERE view = $1 AND generation = $2 AND entity_id = $3", which);
  await db.query("DELETE FROM tributary.decision_row WHERE view = $1 AND generation = $2 AND entity_id = $3", which);
  await db.query(
    `UPDATE tributary.case_row SET closed_position = $4
     WHERE view = $1 AND generation = $2 AND subject = $3 AND kind = 'register' AND closed_position IS NULL`,
    [...which, upTo],
  );
  if (projection.keepsHistory) await db.query(`DELETE FROM ${at(place, `${projection.name}_history`)} WHERE id = $1`, [id]);
  for (const table of [projection.name, ...Object.keys(projection.tables).map((name) => `${projection.name}_${name}`)])
    await db.query(`DELETE FROM ${at(place, table)} WHERE id = $1`, [id]);
  // Notices are named after what they tell of: only what could not be told while the entity was parked is new.
  await writeViews(db, [changes], { tells, alone: false });
  if (parked !== null) await writeParked(db, changes.target, [parked]);
}

/** Leaves an entity parked as it was, with what is said of it now; one that was not parked is from now on, at its `entry`. */
export async function stayParked(
  db: Db,
  { projection, generation }: ViewBuild,
  row: ParkedRow | Pick<ParkedRow, "entityId" | "error" | "stack">,
): Promise<void> {
  const { rowCount } = await db.query(
    `UPDATE tributary.parked SET error = $4, stack = $5, parked_at = now() WHERE view = $1 AND generation = $2 AND entity_id = $3`,
    [projection.name, generation, withoutNul(row.entityId), withoutNul(row.error), withoutNul(row.stack)],
  );
  if (rowCount === 0 && "entry" in row) await writeParked(db, { projection, generation }, [row]);
}

/** Notes at the events in question that versions of a row are not kept. */
export async function notePassedOver(db: Db, view: string, passedOver: readonly PassedOver[]): Promise<void> {
  for (const { entry, error } of passedOver) {
    await db.query(
      `UPDATE tributary.audit SET projection_error = concat_ws('; ', projection_error, $3::text)
       WHERE origin = $1 AND seq = $2 AND position($3::text IN coalesce(projection_error, '')) = 0`,
      [entry.head.origin, entry.head.seq, withoutNul(`${view}: no version of the row is kept as of this event: ${error}`)],
    );
  }
}
