import { type Position, TributaryError } from "../core/index.ts";
import { type Db, inTransaction } from "./connect.ts";
import { asPosition } from "./shards.ts";

/** How long a process may say nothing: after that it has lost its shards, even if its connection stands. */
export const LEASE_MS = 6_000;
/** How often a process says that it is there, and looks whether shards should change hands. */
export const TEND_MS = 1_000;
/** With a projector's number, this names the advisory lock that the projector's connection holds. The lock is gone at once when the process dies. */
export const ALIVE_LOCK = 7_401_103;

declare const brand: unique symbol;
/** A shard's fence, as the driver gives a bigint: raised whenever the shard changes hands. Only PostgreSQL counts it; here it is only handed back. */
export type Fence = string & { readonly [brand]: "Fence" };
/** The number of the views' layout, as the driver gives a bigint: raised by every swap. */
export type Layout = string & { readonly [brand]: "Layout" };

/** One projector process, as the database knows it: listed from when it first takes shards. */
export interface Member {
  readonly number: number;
  readonly name: string;
}

/** A shard in hand. Every transaction checks `fence`: a process that takes the shard over raises it. */
export interface Lease {
  readonly shard: number;
  readonly fence: Fence;
  /** The last position folded; moved with each page. */
  position: Position | null;
}

/** Gives a connection's process a number, and holds the lock that says that the process lives. The process counts among the projectors once it takes shards. */
export async function enroll(db: Db, name: string): Promise<Member> {
  const { rows } = await db.query<{ number: number }>("SELECT nextval('tributary.projector_number')::int AS number");
  const number = rows[0]!.number;
  await db.query("SELECT pg_advisory_lock($1, $2)", [ALIVE_LOCK, number]);
  return { number, name };
}

const saysIsThere = ({ number, name }: Member) => ({
  name: "heartbeat",
  text: `INSERT INTO tributary.projector AS p VALUES ($1, $2, clock_timestamp()) ON CONFLICT (number) DO UPDATE SET heartbeat_at = excluded.heartbeat_at`,
  values: [number, name],
});

const IS_GONE = `(p.number IS NULL OR p.heartbeat_at < clock_timestamp() - $2 * interval '1 ms' OR pg_try_advisory_xact_lock_shared(${ALIVE_LOCK}, p.number))`;

/** The other projectors at work, by name. */
export async function othersAlive(db: Db, { number }: Member): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    `SELECT p.name FROM tributary.projector p WHERE p.number <> $1 AND NOT ${IS_GONE} ORDER BY p.number`,
    [number, LEASE_MS],
  );
  return rows.map(({ name }) => name);
}

/**
 * Takes shards that nobody has, or whose holder is gone, up to this process's fair share. `look` reads the views in the same transaction, which keeps
 * swaps out: what it sees belongs to the layout that is returned (`null`: no shard was free, so there is nothing to hold to it).
 */
export async function takeShards<T>(
  db: Db,
  member: Member,
  look: () => Promise<T>,
): Promise<{ readonly leases: Lease[]; readonly layout: Layout | null; readonly seen: T }> {
  return inTransaction(db, async () => {
    // One process at a time: two at once would each see the same shards free.
    await db.query("SELECT pg_advisory_xact_lock($1)", [ALIVE_LOCK]);
    await db.query(saysIsThere(member));
    const share = await fairShare(db, member);
    const { rows } = await db.query<{ shard: number; fence: Fence; position: string | null; layout: Layout }>(
      `UPDATE tributary.shard SET holder = $1, fence = fence + 1, lease_until = clock_timestamp() + $2 * interval '1 ms'
       WHERE shard IN (
         SELECT s.shard FROM tributary.shard s LEFT JOIN tributary.projector p ON p.number = s.holder
         WHERE s.holder IS NULL OR s.holder = $1 OR s.lease_until < clock_timestamp() OR ${IS_GONE}
         ORDER BY s.shard LIMIT $3)
       RETURNING shard, fence, position, layout`,
      [member.number, LEASE_MS, share],
    );
    const seen = await look();
    await db.query(`DELETE FROM tributary.projector p WHERE p.number <> $1 AND ${IS_GONE}`, [member.number, LEASE_MS]);
    return {
      leases: rows.map(({ shard, fence, position }) => ({
        shard,
        fence,
        position: asPosition(position),
      })),
      layout: rows[0]?.layout ?? null,
      seen,
    };
  });
}

async function fairShare(db: Db, { number }: Member): Promise<number> {
  const { rows } = await db.query<{ alive: number; shards: number }>(
    `SELECT (SELECT count(*)::int FROM tributary.projector p WHERE p.number = $1 OR NOT ${IS_GONE}) AS alive,
       (SELECT count(*)::int FROM tributary.shard) AS shards`,
    [number, LEASE_MS],
  );
  return Math.ceil(rows[0]!.shards / Math.max(1, rows[0]!.alive));
}

/** Says that this process is there. Returns `lost` where its shards were taken or views were swapped, and `rebalance` where it holds more than its share or could take free shards. */
export async function tend(
  db: Db,
  member: Member,
  leases: readonly Lease[],
  layout: Layout | null,
): Promise<"fine" | "rebalance" | "lost"> {
  await db.query(saysIsThere(member));
  const { rowCount } = await db.query({
    name: "renew",
    text: `WITH mine AS (SELECT shard FROM tributary.shard WHERE shard = ANY($2) ORDER BY shard FOR UPDATE)
      UPDATE tributary.shard s SET lease_until = clock_timestamp() + $4 * interval '1 ms'
      FROM mine m, unnest($2::int[], $3::bigint[]) AS x (shard, fence) WHERE s.shard = m.shard AND s.shard = x.shard AND s.fence = x.fence AND s.holder = $1 AND s.layout::text = $5`,
    values: [member.number, leases.map(({ shard }) => shard), leases.map(({ fence }) => fence), LEASE_MS, layout],
  });
  if (rowCount !== leases.length) return "lost";
  const share = await fairShare(db, member);
  if (leases.length > share) return "rebalance";
  if (leases.length === share) return "fine";
  const { rows } = await db.query<{ free: number }>(
    `SELECT count(*)::int AS free FROM tributary.shard s LEFT JOIN tributary.projector p ON p.number = s.holder
     WHERE s.holder IS DISTINCT FROM $1 AND (s.holder IS NULL OR s.lease_until < clock_timestamp() OR ${IS_GONE})`,
    [member.number, LEASE_MS],
  );
  return rows[0]!.free > 0 ? "rebalance" : "fine";
}

/** Gives shards back, so that others need not wait until the leases run out. */
export async function giveBack(db: Db, leases: readonly Lease[]): Promise<void> {
  await db.query(
    `UPDATE tributary.shard s SET holder = NULL, lease_until = NULL
     FROM unnest($1::int[], $2::bigint[]) AS x (shard, fence) WHERE s.shard = x.shard AND s.fence = x.fence`,
    [leases.map(({ shard }) => shard), leases.map(({ fence }) => fence)],
  );
}

/** Takes a process off the list of projectors. */
export async function leave(db: Db, { number }: Member): Promise<void> {
  await db.query("DELETE FROM tributary.projector WHERE number = $1", [number]);
}

/**
 * Moves the shards in hand to `through`, inside the transaction that writes what was folded. Throws `already-running` when any of them has been taken over,
 * moved, or folded into views that were swapped meanwhile: the transaction must then be undone.
 */
export async function moveShards(db: Db, leases: readonly Lease[], layout: Layout | null, through: Position): Promise<void> {
  const { rowCount } = await db.query({
    name: "move",
    // Rows are locked in one order everywhere, so that no two processes ever wait for each other.
    text: `WITH mine AS (SELECT shard FROM tributary.shard WHERE shard = ANY($1) ORDER BY shard FOR UPDATE)
      UPDATE tributary.shard s SET position = x.upto, lease_until = clock_timestamp() + $6 * interval '1 ms'
      FROM mine m, unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) AS x (shard, fence, before, upto)
      WHERE s.shard = m.shard AND s.shard = x.shard AND s.fence = x.fence AND s.layout = $5 AND s.position IS NOT DISTINCT FROM x.before`,
    values: [
      leases.map(({ shard }) => shard),
      leases.map(({ fence }) => fence),
      leases.map(({ position }) => position?.toString() ?? null),
      leases.map(({ position }) => (position !== null && position > through ? position : through).toString()),
      layout,
      LEASE_MS,
    ],
  });
  if (rowCount !== leases.length) {
    throw new TributaryError(
      "already-running",
      "meanwhile another process has taken over shards or swapped views",
      "Nothing was written; the projector looks again by itself.",
    );
  }
}
