import type { ParkedRow, ViewBuild } from "../changes.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";

/** Parks entities: each row stays as it was before the event that the fold stopped at. */
export async function writeParked(
  db: Db,
  { projection, generation }: Pick<ViewBuild, "projection" | "generation">,
  parked: readonly ParkedRow[],
): Promise<void> {
  for (const { entityId, entry, error, stack, state } of parked) {
    await db.query(
      `INSERT INTO tributary.parked (view, generation, entity_type, entity_id, position, origin, seq, type, error, stack, state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
       ON CONFLICT (view, generation, entity_id) DO UPDATE SET position = excluded.position, origin = excluded.origin, seq = excluded.seq,
         type = excluded.type, error = excluded.error, stack = excluded.stack, state = excluded.state, parked_at = excluded.parked_at`,
      [
        projection.name,
        generation,
        projection.entity,
        withoutNul(entityId),
        entry.position,
        entry.head.origin,
        entry.head.seq,
        entry.head.type,
        withoutNul(error),
        withoutNul(stack),
        state === null ? null : withoutNul(state),
      ],
    );
  }
}
