/** The lives of the log that were folded. */
import type { IncarnationId, Position } from "../core/index.ts";
import type { Db } from "./connect.ts";

/** The life of the log that the views were folded from, for whoever names a position; `null`: none was noted yet. */
export async function incarnationOf(db: Db): Promise<IncarnationId | null> {
  const { rows } = await db.query<{ id: IncarnationId }>("SELECT id FROM tributary.incarnation ORDER BY number DESC LIMIT 1");
  return rows[0]?.id ?? null;
}

/** All lives of the log that were folded. */
export async function foldedIncarnations(db: Db): Promise<ReadonlySet<IncarnationId>> {
  const { rows } = await db.query<{ id: IncarnationId }>("SELECT id FROM tributary.incarnation");
  return new Set(rows.map(({ id }) => id));
}

/** A life of the log as it is noted. */
export interface FoldedIncarnation {
  readonly id: IncarnationId;
  readonly how: string;
  /** Where the log had been set back to when this life was first seen; `null`: to its beginning, or not at all. */
  readonly common: Position | null;
  /** How many events had been folded that the log no longer held. */
  readonly beyond: number;
}

/** Notes a life; one that is known stays as it is. */
export async function noteIncarnation(db: Db, { id, how, common, beyond }: FoldedIncarnation): Promise<void> {
  await db.query(
    "INSERT INTO tributary.incarnation (id, how, common_position, beyond) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
    [id, how, common, beyond],
  );
}
