/** What had been folded beyond the position that a log was set back to. It is taken out of the hub's own tables and kept as evidence. */
import type { Position } from "../core/index.ts";
import { generationsOf } from "./catalog.ts";
import type { Db } from "./connect.ts";
import { dropOrLeave } from "./drop.ts";
import { clearFeed } from "./feed-due.ts";

/** Takes away what was folded after `common` (`null`: all of it) and keeps it as evidence, inside the caller's transaction. Returns how many events that were. */
export async function cutBeyond(db: Db, incarnation: string | null, common: Position | null): Promise<number> {
  const after = common ?? -1n;
  const { rows } = await db.query<{ origin: string }>("SELECT DISTINCT origin FROM tributary.audit WHERE position > $1", [after]);
  const kept = [after, incarnation] as const;
  await keep(db, "audit", "position > $1", kept);
  // Events that were released or rejected beyond `common` are kept as they were, and held again.
  await keep(db, "quarantine", "position > $1 OR settled_position > $1", kept);
  await keep(db, "case_note", "position > $1", kept);
  const { rowCount } = await db.query("DELETE FROM tributary.audit WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.quarantine WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.case_note WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.owner WHERE position > $1", [after]);
  await holdAgain(db, after);
  await countOriginsAnew(
    db,
    rows.map(({ origin }) => origin),
  );
  // Purges that were confirmed there are owed again.
  await db.query("UPDATE tributary.debt SET position = NULL WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.refold");
  // It is made again from what is left.
  await clearFeed(db);
  // Earlier builds hold events that the log does not have: there is no going back to them.
  for (const state of ["previous", "building", "reconciling"] as const)
    for (const old of (await generationsOf(db, state)).values()) await dropOrLeave(db, old);
  await db.query(
    `UPDATE tributary.shard SET position = CASE WHEN position > $1::bigint THEN $1 WHEN $1 IS NULL THEN NULL ELSE position END, fence = fence + 1, holder = NULL,
       lease_until = NULL`,
    [common],
  );
  return rowCount ?? 0;
}

/** Copies rows to the table that keeps a table's evidence. `kept`: the position that they lie beyond, and the life of the log that they were folded in. */
async function keep(db: Db, table: string, which: string, kept: readonly [bigint, string | null]): Promise<void> {
  const columns = await shared(db, table);
  await db.query(
    `INSERT INTO tributary.${table}_beyond (incarnation, ${columns}) SELECT $2, ${columns} FROM tributary.${table} WHERE ${which}`,
    [...kept],
  );
}

/** Columns that a table and the one that keeps its evidence share. */
async function shared(db: Db, table: string): Promise<string> {
  const { rows } = await db.query<{ columns: string }>(
    `SELECT string_agg(quote_ident(a.column_name), ', ' ORDER BY a.ordinal_position) AS columns FROM information_schema.columns a
       JOIN information_schema.columns b ON b.table_schema = 'tributary' AND b.table_name = $1 || '_beyond' AND b.column_name = a.column_name
     WHERE a.table_schema = 'tributary' AND a.table_name = $1`,
    [table],
  );
  return rows[0]!.columns;
}

/** Holds again the events that were released or rejected after a position. */
async function holdAgain(db: Db, after: bigint): Promise<void> {
  await db.query(
    `UPDATE tributary.quarantine SET state = 'held', settled_position = NULL, settled_at = NULL, settled_by = NULL, settled_note = NULL,
       released_subject = NULL, released_version = NULL, released_data = NULL WHERE settled_position > $1`,
    [after],
  );
}

async function countOriginsAnew(db: Db, origins: readonly string[]): Promise<void> {
  await db.query("DELETE FROM tributary.origin WHERE origin = ANY($1)", [origins]);
  await db.query(
    `INSERT INTO tributary.origin (origin, org, site, device, through, position, events, quarantined, clock_wrong, first_recorded_at, last_recorded_at)
     SELECT origin, min(org), min(site), min(device), max(seq), max(position), count(*), count(quarantine_code), count(clock_offset_ms),
       min(recorded_at), max(recorded_at)
     FROM tributary.audit WHERE origin = ANY($1) GROUP BY origin`,
    [origins],
  );
}

/** How many events of earlier lives of the log were folded and have not been sent again since, and since when that is known. */
export async function beyondNow(db: Db): Promise<{ readonly events: number; readonly since: string | null }> {
  const { rows } = await db.query<{ events: string; since: string | null }>(
    `SELECT count(*) AS events, to_char(min(noticed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since FROM tributary.audit_beyond b
     WHERE NOT EXISTS (SELECT 1 FROM tributary.audit a WHERE a.origin = b.origin AND a.seq = b.seq AND a.hash = b.hash)`,
  );
  return { events: Number(rows[0]!.events), since: rows[0]!.since };
}
