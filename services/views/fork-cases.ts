import type { JsonObject, Position } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { withoutNul } from "./copy.ts";
import { CASES_TOLD, CHANGED_CHANNEL } from "./write/tell.ts";

/** A fork of an origin, as people are shown it. */
export interface ForkCase {
  readonly id: string;
  /** The revision of the fact in the log's stream about forks. */
  readonly revision: number;
  readonly device: string;
  readonly origin: string;
  readonly says: string;
  readonly about: JsonObject;
  readonly mark: string;
  readonly position: Position;
  readonly recordedAtMs: number;
}

/** The revision of the log's first fact about forks that has no case yet. */
export async function nextForkRevision(db: Db): Promise<number> {
  const { rows } = await db.query<{ next: string }>("SELECT coalesce(max(revision) + 1, 0) AS next FROM tributary.fork_case");
  return Number(rows[0]!.next);
}

/** Deletes all cases of forks but these. */
export async function dropForkCasesBut(db: Db, ids: readonly string[]): Promise<void> {
  await db.query("DELETE FROM tributary.fork_case WHERE id <> ALL($1)", [ids]);
}

/** Evidence as the table can hold it: without U+0000, which PostgreSQL cannot give to a reader of a JSON member. */
const kept = (about: JsonObject): string => JSON.stringify(about).replaceAll("\\u0000", "\\ufffd");

/** Opens a case for a fork. Where it has one, its revision and position are updated. Whoever follows cases is told of a new one by the same statement, since the caller may be in no transaction. */
export async function writeForkCase(db: Db, fork: ForkCase): Promise<void> {
  await db.query(
    `WITH made AS (
       INSERT INTO tributary.fork_case (id, revision, device, origin, says, about, mark, opened_position, opened_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, opened_position = excluded.opened_position
       RETURNING id, xmax = 0 AS is_new
     ), head AS (
       INSERT INTO tributary.change_head AS h (number) SELECT 1 FROM made WHERE is_new
       ON CONFLICT (is_only) DO UPDATE SET number = h.number + 1 RETURNING number
     ), noted AS (
       INSERT INTO tributary.change (number, kind, id) SELECT head.number, 'opened', made.id FROM head, made
     )
     SELECT pg_notify($10, $11) FROM head`,
    [
      fork.id,
      fork.revision,
      withoutNul(fork.device),
      withoutNul(fork.origin),
      fork.says,
      kept(fork.about),
      fork.mark,
      fork.position,
      new Date(fork.recordedAtMs).toISOString(),
      CHANGED_CHANNEL,
      CASES_TOLD,
    ],
  );
}
