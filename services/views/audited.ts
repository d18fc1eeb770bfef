/** Events as the audit has them, by position, for whoever compares the audit with the log. */
import type { Hash, OriginId, Position, Seq } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { asPosition } from "./shards.ts";

/** An event as it was folded. */
export interface Audited {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly position: Position;
  readonly hash: Hash;
}

type AuditedRow = { readonly origin: OriginId; readonly seq: string; readonly position: string; readonly hash: Hash };
const asAudited = ({ origin, seq, position, hash }: AuditedRow): Audited => ({
  origin,
  seq: Number(seq) as Seq,
  position: asPosition(position)!,
  hash,
});

/** The last folded event of each of the origins that wrote last. `limit`: how many origins; `null`: all. */
export async function lastOfOrigins(db: Db, limit: number | null): Promise<Audited[]> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT a.origin, a.seq, a.position, a.hash FROM (SELECT origin, through FROM tributary.origin ORDER BY position DESC LIMIT $1) o
       JOIN tributary.audit a ON a.origin = o.origin AND a.seq = o.through`,
    [limit],
  );
  return rows.map(asAudited);
}

/** The last audited event after `after` and up to `upTo`; `null` for either: no bound. */
export async function lastAudited(db: Db, after: bigint | null, upTo: bigint | null): Promise<Audited | null> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT origin, seq, position, hash FROM tributary.audit
     WHERE ($1::bigint IS NULL OR position > $1) AND ($2::bigint IS NULL OR position <= $2) ORDER BY position DESC LIMIT 1`,
    [after, upTo],
  );
  return rows[0] === undefined ? null : asAudited(rows[0]);
}

/** The last audited events up to a position, in log order. */
export async function auditedUpTo(db: Db, upTo: Position, limit: number): Promise<Audited[]> {
  const { rows } = await db.query<AuditedRow>(
    `SELECT * FROM (SELECT origin, seq, position, hash FROM tributary.audit WHERE position <= $1 ORDER BY position DESC LIMIT $2) a
     ORDER BY position`,
    [upTo, limit],
  );
  return rows.map(asAudited);
}

/** The first audited events after a position (`-1n`: from the first event on), in log order. */
export async function auditedAfter(db: Db, after: bigint, limit: number): Promise<Audited[]> {
  const { rows } = await db.query<AuditedRow>(
    "SELECT origin, seq, position, hash FROM tributary.audit WHERE position > $1 ORDER BY position LIMIT $2",
    [after, limit],
  );
  return rows.map(asAudited);
}
