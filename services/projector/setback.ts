/**
 * Whether the log still holds what was folded of it. A log that was restored from a backup ends before what the audit has, or goes on with other events at
 * the same positions. In come audit and log; out go views that are what folding the log gives, and what was beyond, kept as evidence. Never a guess: the last event
 * that both have is found by its hash.
 *
 *   following ── link lost, session opened ──▶ comparing ── all stands ──▶ following
 *                                                  └ set back ─▶ shards taken from all ─▶ views built anew beside the live ones, up to the last common event
 *                                                       ─▶ in one transaction: evidence kept, audit and the rest cut, places set back, views swapped ─▶ following
 */
import type { Client } from "pg";
import type { Hash, Incarnation, IncarnationId, OriginId, Position, Seq } from "../core/index.ts";
import { beginIncarnation, currentIncarnation, incarnations, type Log } from "../log/index.ts";
import { takeForks } from "./forks.ts";
import { dropOrLeave, generationsOf } from "./generations.ts";
import { alone, type RebuildDeps, rebuild, stopping } from "./rebuild.ts";
import { asPosition } from "./shards.ts";

/** Origins whose last events are looked up in the log: those that wrote last. */
const HEADS = 64;
/** Audit rows that are compared with the log one by one at a time. So many before the last common event are: events that were sent again may stand where they stood by chance. */
const WINDOW = 1_000;

/** An event as it was folded. */
interface Audited {
  readonly origin: OriginId;
  readonly seq: number;
  readonly position: Position;
  readonly hash: Hash;
}

type AuditedRow = { readonly origin: OriginId; readonly seq: string; readonly position: string; readonly hash: Hash };
const asAudited = ({ origin, seq, position, hash }: AuditedRow): Audited => ({
  origin,
  seq: Number(seq),
  position: BigInt(position) as Position,
  hash,
});

/** What was found. `common`: the last event that audit and log both have (`null`: none). */
interface SetBack {
  readonly common: Position | null;
  /** The last position that had been folded. */
  readonly folded: Position;
}

/** Whether an event stands in the log where it was folded. An audit row that holds no hash but a placeholder tells by its place alone. */
async function stands(log: Pick<Log, "readOrigin">, { origin, seq, position, hash }: Audited): Promise<boolean> {
  let found = false;
  for await (const entry of log.readOrigin(origin, { from: seq as Seq, maxCount: 1 }))
    found = entry.head.seq === seq && entry.position === position && (entry.head.hash === hash || hash.length !== 64);
  return found;
}

/** The last folded event of the origins that wrote last. `all`: of all origins. */
async function lastFolded(db: Client, all: boolean): Promise<Audited[]> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT a.origin, a.seq, a.position, a.hash FROM (SELECT origin, through FROM tributary.origin ORDER BY position DESC LIMIT $1) o
       JOIN tributary.audit a ON a.origin = o.origin AND a.seq = o.through`,
    [all ? null : HEADS],
  );
  return rows.map(asAudited);
}

/** The life of the log that was folded last; `null`: none was kept. */
async function foldedIncarnation(db: Client): Promise<IncarnationId | null> {
  const { rows } = await db.query<{ id: IncarnationId }>("SELECT id FROM tributary.incarnation ORDER BY number DESC LIMIT 1");
  return rows[0]?.id ?? null;
}

/** Lives of the log that were never folded. One that is its first says nothing of what it holds. */
async function unseenLives(db: Client, log: Pick<Log, "journal">): Promise<Incarnation[]> {
  const { rows } = await db.query<{ id: IncarnationId }>("SELECT id FROM tributary.incarnation");
  const seen = new Set(rows.map(({ id }) => id));
  return (await incarnations(log.journal)).filter(({ id, how }) => !seen.has(id) && how !== "first");
}

/** Whether the log may have been set back since it was folded: quick, for each time that it was away. */
export async function mayBeSetBack(db: Client, log: Log, all = false): Promise<boolean> {
  const [present, folded] = [await currentIncarnation(log.journal), await foldedIncarnation(db)];
  if (folded !== null && present.id !== folded) return true;
  const { rows } = await db.query<{ position: string | null }>("SELECT max(position) AS position FROM tributary.shard");
  const reached = asPosition(rows[0]?.position);
  if (reached !== null && reached > ((await log.end()) ?? -1n)) return true;
  const standing = await Promise.all((await lastFolded(db, all)).map((audited) => stands(log, audited)));
  return standing.includes(false);
}

/** Where audit and log part; `null`: the log holds all that was folded. */
async function whereSetBack(db: Client, log: Log, all: boolean): Promise<SetBack | null> {
  const last = await lastAudited(db, null, null);
  if (last === null) return null;
  // What the log holds before a life began is what was restored; beyond stands what was written since.
  const began = (await unseenLives(db, log))[0]?.position ?? null;
  const heads = await Promise.all((await lastFolded(db, all)).map((audited) => stands(log, audited)));
  if (!heads.includes(false) && (await stands(log, last))) {
    if (began === null || last.position < began) return null;
    if ((await firstDifferenceFrom(db, log, began)) === null) return null;
  }
  const common = await lastCommon(db, log, began);
  return common === last.position ? null : { common, folded: last.position };
}

/** The last audited event after `after` and up to `upTo`. */
async function lastAudited(db: Client, after: bigint | null, upTo: bigint | null): Promise<Audited | null> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT origin, seq, position, hash FROM tributary.audit
     WHERE ($1::bigint IS NULL OR position > $1) AND ($2::bigint IS NULL OR position <= $2) ORDER BY position DESC LIMIT 1`,
    [after?.toString() ?? null, upTo?.toString() ?? null],
  );
  return rows[0] === undefined ? null : asAudited(rows[0]);
}

/** The last event that audit and log both have, by binary search over the audit. */
async function lastCommon(db: Client, log: Log, before: Position | null): Promise<Position | null> {
  let above = before === null ? null : before - 1n;
  for (;;) {
    const found = await lastStanding(db, log, above);
    if (found === null) return null;
    const differs = await firstDifference(log, await auditedUpTo(db, found), found);
    if (differs === null) return found;
    above = differs - 1n;
  }
}

async function lastStanding(db: Client, log: Log, upTo: bigint | null): Promise<Position | null> {
  const last = await lastAudited(db, null, upTo);
  if (last === null) return null;
  if (await stands(log, last)) return last.position;
  // Invariant: no audited event lies in (common, low]; none above `high` stands.
  let [common, low, high]: [Position | null, bigint, bigint] = [null, -1n, last.position - 1n];
  while (low < high) {
    const middle = low + (high - low + 1n) / 2n;
    const at = await lastAudited(db, low, middle);
    if (at === null) low = middle;
    else if (await stands(log, at)) [common, low] = [at.position, middle];
    else high = at.position - 1n;
  }
  return common;
}

/** Audited events shortly before a position, in log order. */
async function auditedUpTo(db: Client, upTo: Position): Promise<Audited[]> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT * FROM (SELECT origin, seq, position, hash FROM tributary.audit WHERE position <= $1 ORDER BY position DESC LIMIT ${WINDOW}) a ORDER BY position`,
    [upTo.toString()],
  );
  return rows.map(asAudited);
}

/** The first audited event from a position on that the log does not have at its place, found page by page; `null`: it has them all. */
export async function firstDifferenceFrom(
  db: Client,
  log: Pick<Log, "readAll">,
  from: Position,
  pageRows = WINDOW,
): Promise<Position | null> {
  for (let after = from - 1n; ; ) {
    const { rows } = await db.query<AuditedRow>(
      "SELECT origin, seq, position, hash FROM tributary.audit WHERE position > $1 ORDER BY position LIMIT $2",
      [after.toString(), pageRows],
    );
    const last = rows.at(-1);
    if (last === undefined) return null;
    after = BigInt(last.position);
    const differs = await firstDifference(log, rows.map(asAudited), after as Position);
    if (differs !== null || rows.length < pageRows) return differs;
  }
}

/** The first of these events that the log does not have at its place; `null`: it has them all. What shards have not folded yet the log has besides. */
async function firstDifference(log: Pick<Log, "readAll">, folded: readonly Audited[], upTo: Position): Promise<Position | null> {
  if (folded[0] === undefined) return null;
  let at = 0;
  for await (const { head, position } of log.readAll({ from: folded[0].position, to: upTo })) {
    const next = folded[at];
    if (next === undefined || position > next.position) break;
    if (position === next.position && (next.origin !== head.origin || next.seq !== head.seq)) break;
    if (position === next.position) at++;
  }
  return folded[at]?.position ?? null;
}

/** Keeps in mind which lives of the log there were; the last is the one that is folded. */
async function noteLives(db: Client, log: Log, common: Position | null, beyond: number): Promise<void> {
  const lives = await incarnations(log.journal);
  for (const [at, { id, how }] of lives.entries()) {
    const isPresent = at === lives.length - 1;
    await db.query(
      "INSERT INTO tributary.incarnation (id, how, common_position, beyond) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
      [id, how, isPresent ? (common?.toString() ?? null) : null, isPresent ? beyond : 0],
    );
  }
}

export interface KeepUpDeps extends RebuildDeps {
  readonly say: (event: Record<string, unknown>) => void;
  /** Throws where views that are declared otherwise than they stand may not be built by this process. */
  readonly mayChange: () => Promise<readonly string[]>;
  /** An event was found to be in the audit already: look at every origin. */
  readonly isDoubted: boolean;
}

/**
 * Sees to it that what was folded is what the log holds: compares, and where the log was set back, keeps what was beyond as evidence and folds anew from the last
 * common event. One process does it, under the lock that swaps use; others wait, and find it done.
 */
export async function keepUpWithLog(deps: KeepUpDeps): Promise<void> {
  const { db, log, isDoubted } = deps;
  if (await mayBeSetBack(db, log, isDoubted)) await alone(db, true, () => comeBack(deps));
  await noteLives(db, log, null, 0);
}

async function comeBack(deps: KeepUpDeps): Promise<void> {
  const { db, log, say, isDoubted } = deps;
  const found = await whereSetBack(db, log, isDoubted);
  const before = await foldedIncarnation(db);
  if (found === null) {
    await setPlacesBack(deps);
    const lives = await incarnations(log.journal);
    // The log has lost its lives alone, and what was declared of it.
    if (before !== null && !lives.some(({ id }) => id === before)) await newLife(deps, null);
    return;
  }
  const { common, folded } = found;
  // Nobody goes on meanwhile: whoever holds shards finds them taken, and comes to wait here.
  await db.query("UPDATE tributary.shard SET fence = fence + 1, holder = NULL, lease_until = NULL");
  const life = await newLife(deps, folded);
  const said = { folded: folded.toString(), common: common?.toString() ?? null, incarnation: life.id, how: life.how };
  say({ event: "log-behind-audit", ...said });
  let beyond = 0;
  await rebuild(
    {
      ...deps,
      setBack: {
        atMost: (position) => (position === null || common === null ? null : position > common ? common : position),
        async cut(swapping) {
          beyond = await cut(swapping, log, before, common);
          await noteLives(swapping, log, common, beyond);
        },
      },
    },
    { names: deps.views.map(({ name }) => name), retired: await deps.mayChange(), fresh: true, ...stopping(deps) },
  );
  say({ event: "log-folded-anew", ...said, beyond });
}

/** The life of a log that was set back: the one that was declared for it, or one that begins because that was noticed. */
async function newLife({ db, log }: KeepUpDeps, folded: Position | null): Promise<Incarnation> {
  const present = await currentIncarnation(log.journal);
  if ((await unseenLives(db, log)).some(({ id }) => id === present.id)) return present;
  return beginIncarnation(log.journal, present.id, {
    how: "detected",
    by: "projector",
    note: "the log holds less than what had been folded of it",
    ...(folded === null ? {} : { seenEnd: folded.toString() }),
  });
}

/** Where nothing that was folded is lost, but the log ends before where it had been read to: events to come may stand before that. */
async function setPlacesBack({ db, say }: KeepUpDeps): Promise<void> {
  const last = await lastAudited(db, null, null);
  const { rowCount } = await db.query(
    "UPDATE tributary.shard SET position = $1::bigint, fence = fence + 1, holder = NULL, lease_until = NULL WHERE position > coalesce($1::bigint, -1)",
    [last?.position.toString() ?? null],
  );
  if ((rowCount ?? 0) > 0) say({ event: "places-set-back", to: last?.position.toString() ?? null });
}

/** Columns that a table and the one that keeps its evidence share. */
async function shared(db: Client, table: string): Promise<string> {
  const { rows } = await db.query<{ columns: string }>(
    `SELECT string_agg(quote_ident(a.column_name), ', ' ORDER BY a.ordinal_position) AS columns FROM information_schema.columns a
       JOIN information_schema.columns b ON b.table_schema = 'tributary' AND b.table_name = $1 || '_beyond' AND b.column_name = a.column_name
     WHERE a.table_schema = 'tributary' AND a.table_name = $1`,
    [table],
  );
  return rows[0]!.columns;
}

/** Takes out of the hub's own tables what lies beyond, keeping it as evidence; returns how many events that were. */
async function cut(db: Client, log: Log, incarnation: string | null, common: Position | null): Promise<number> {
  const after = common?.toString() ?? "-1";
  const origins = await db.query<{ origin: string }>("SELECT DISTINCT origin FROM tributary.audit WHERE position > $1", [after]);
  const keep = async (table: string, which: string): Promise<void> => {
    const columns = await shared(db, table);
    await db.query(
      `INSERT INTO tributary.${table}_beyond (incarnation, ${columns}) SELECT $2, ${columns} FROM tributary.${table} WHERE ${which}`,
      [after, incarnation],
    );
  };
  await keep("audit", "position > $1");
  // Those that were settled beyond are kept as they were, and held again.
  await keep("quarantine", "position > $1 OR settled_position > $1");
  await keep("case_note", "position > $1");
  const { rowCount } = await db.query("DELETE FROM tributary.audit WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.quarantine WHERE position > $1", [after]);
  await db.query("DELETE FROM tributary.case_note WHERE position > $1", [after]);
  await takeForks(db, log, true);
  await db.query(
    `UPDATE tributary.quarantine SET state = 'held', settled_position = NULL, settled_at = NULL, settled_by = NULL, settled_note = NULL,
       released_subject = NULL, released_version = NULL, released_data = NULL WHERE settled_position > $1`,
    [after],
  );
  const names = origins.rows.map(({ origin }) => origin);
  await db.query("DELETE FROM tributary.origin WHERE origin = ANY($1)", [names]);
  await db.query(
    `INSERT INTO tributary.origin (origin, org, site, device, through, position, events, quarantined, clock_wrong, first_recorded_at, last_recorded_at)
     SELECT origin, min(org), min(site), min(device), max(seq), max(position), count(*), count(quarantine_code), count(clock_offset_ms),
       min(recorded_at), max(recorded_at)
     FROM tributary.audit WHERE origin = ANY($1) GROUP BY origin`,
    [names],
  );
  await db.query("DELETE FROM tributary.refold");
  // Builds from before hold what the log does not: there is no going back to them.
  for (const state of ["previous", "building", "reconciling"] as const)
    for (const old of (await generationsOf(db, state)).values()) await dropOrLeave(db, old);
  await db.query(
    `UPDATE tributary.shard SET position = CASE WHEN position > $1::bigint THEN $1 WHEN $1 IS NULL THEN NULL ELSE position END, fence = fence + 1, holder = NULL,
       lease_until = NULL`,
    [common?.toString() ?? null],
  );
  return rowCount ?? 0;
}

/** Which life of the log the views are of, for whoever names a position; `null`: none was kept yet. */
export const incarnationOf = (db: Client): Promise<IncarnationId | null> => foldedIncarnation(db);

/** Events that had been folded of earlier lives and that have not come again, and the present life. */
export async function beyondNow(db: Client): Promise<{ readonly events: number; readonly since: string | null }> {
  const { rows } = await db.query<{ events: string; since: string | null }>(
    `SELECT count(*) AS events, to_char(min(noticed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since FROM tributary.audit_beyond b
     WHERE NOT EXISTS (SELECT 1 FROM tributary.audit a WHERE a.origin = b.origin AND a.seq = b.seq AND a.hash = b.hash)`,
  );
  return { events: Number(rows[0]!.events), since: rows[0]!.since };
}
