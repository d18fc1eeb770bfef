import type { Position } from "../../core/index.ts";
import { bucketOf } from "../../merge/engine.ts";
import type { HistoryRow, ParkedRow, PassedOver, ViewBuild, ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";
import { at } from "../names.ts";
import type { CaseChange } from "./change-notes.ts";
import { dropDecisions, keepSame, supersedeDecisions } from "./decisions.ts";
import { correctFeed } from "./feed.ts";
import { dropHistory, supersede, writeHistory } from "./history.ts";
import { writeParked } from "./parked.ts";
import { writeViews } from "./view.ts";

/** What folding an entity again changes, and where its fold stops. */
export interface Refolded {
  readonly changes: ViewChanges;
  readonly parked: ParkedRow | null;
}

/** How the result of folding an entity again is written. */
export interface Replacing {
  /** How far the entity was folded. */
  readonly upTo: Position;
  /** Whether people read the view: then they are told of what is new, and versions that are replaced are kept as superseded. */
  readonly isLive: boolean;
  /** The database refuses some version: the caller writes the returned versions one by one. */
  readonly leavesHistory?: boolean;
}

export interface Replaced {
  /** The versions of the row that are new. */
  readonly versions: readonly HistoryRow[];
  /** The position from which on they are known; `null`: from their own. */
  readonly knownFrom: Position | null;
  /** The cases that were opened, changed or closed. */
  readonly cases: readonly CaseChange[];
}

/** Replaces all that a view has of an entity by the result of folding it again. */
export async function replaceEntity(
  db: Db,
  entity: string,
  { changes, parked }: Refolded,
  { upTo, isLive, leavesHistory = false }: Replacing,
): Promise<Replaced> {
  const { target, history } = changes;
  const { projection, generation, namespace } = target;
  const id = withoutNul(entity);
  const which = [projection.name, generation, id];
  await db.query("DELETE FROM tributary.parked WHERE view = $1 AND generation = $2 AND entity_id = $3", which);
  if (isLive) await supersedeDecisions(db, target, { id, from: upTo });
  else await dropDecisions(db, target, id);
  const { rows: closed } = await db.query<{ id: string }>(
    `UPDATE tributary.case_row SET closed_position = $4
     WHERE view = $1 AND generation = $2 AND subject = $3 AND kind = 'register' AND closed_position IS NULL RETURNING id`,
    [...which, upTo],
  );
  const knownFrom = isLive ? upTo : null;
  let versions = history;
  if (projection.keepsHistory && isLive) versions = await supersede(db, target, { id, from: upTo }, history);
  else if (projection.keepsHistory) await dropHistory(db, target, id);
  for (const table of [projection.name, ...Object.keys(projection.tables).map((name) => `${projection.name}_${name}`)])
    await db.query(`DELETE FROM ${at(namespace, table)} WHERE id = $1`, [id]);
  // Notices are named after what they tell, so only what could not be told while the entity was parked is new.
  const written = await writeViews(db, [{ ...changes, history: [] }], { tells: isLive, alone: false });
  if (isLive) await keepSame(db, target, { id, from: upTo });
  if (!leavesHistory) await writeHistory(db, target, versions, knownFrom);
  if (parked !== null) await writeParked(db, target, [parked]);
  if (isLive && target.isHome)
    await correctFeed(
      db,
      changes.rows.map(({ row }) => {
        const bucket = bucketOf(projection, row.values);
        return { entityType: projection.entity, entityId: id, position: upTo, bucket, events: [] };
      }),
    );
  // A case that was open before is closed and opened again here, and people were told of it then.
  const were = new Set(closed.map(({ id }) => id));
  const cases = new Map(closed.map(({ id }): [string, CaseChange] => [id, { id, opened: false }]));
  for (const { id, opened } of written) cases.set(id, { id, opened: opened && !were.has(id) });
  return { versions, knownFrom, cases: [...cases.values()] };
}

/** Leaves a parked entity as it was, with the new error. One that was not parked is parked from now on, at its `entry`. */
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

/** Notes on the audit rows of the events in question that no version of the row is kept as of them. */
export async function notePassedOver(db: Db, view: string, passedOver: readonly PassedOver[]): Promise<void> {
  for (const { entry, error } of passedOver) {
    await db.query(
      `UPDATE tributary.audit SET projection_error = concat_ws('; ', projection_error, $3::text)
       WHERE origin = $1 AND seq = $2 AND position($3::text IN coalesce(projection_error, '')) = 0`,
      [entry.head.origin, entry.head.seq, withoutNul(`${view}: no version of the row is kept as of this event: ${error}`)],
    );
  }
}
