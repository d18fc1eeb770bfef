import type { Position, Settled, Settlement } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { asPosition } from "../shards.ts";
import { QUARANTINE } from "./quarantine.ts";

/** The position at which a quarantined event was settled, as far as that was folded; `null`: it is held. */
export async function settledAt(db: Db, { origin, seq, hash }: Settled): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>(
    "SELECT settled_position AS position FROM tributary.quarantine WHERE origin = $1 AND seq = $2 AND hash = $3",
    [origin, seq, hash],
  );
  return asPosition(rows[0]?.position);
}

/**
 * Notes the settlements that hold on the quarantined events. `isBare`: notes only whether and where they were settled, for a table that refuses the rest; the log has it.
 * `table`: another table of the same columns.
 */
export async function settleQuarantine(
  db: Db,
  settlements: readonly Settlement[],
  { isBare = false, table = QUARANTINE }: { readonly isBare?: boolean; readonly table?: string } = {},
): Promise<void> {
  for (const { of, release, by } of settlements) {
    const { head, content, position, recordedAtMs } = by;
    const reason = content.kind === "accepted" ? content.data.reason : null;
    await db.query(
      `UPDATE ${table} SET state = $4, settled_position = $5, settled_at = $6, settled_by = $7, settled_note = $8,
         released_subject = $9, released_version = $10, released_data = $11
       WHERE origin = $1 AND seq = $2 AND hash = $3 AND state = 'held'`,
      [
        of.origin,
        of.seq,
        of.hash,
        release === null ? "rejected" : "released",
        position,
        new Date(recordedAtMs).toISOString(),
        isBare ? null : head.actor,
        isBare ? null : ((release === null ? reason : release.note) ?? null),
        isBare ? null : (release?.schema.subject ?? null),
        isBare ? null : (release?.schema.version ?? null),
        release === null || isBare ? null : JSON.stringify(release.data).replaceAll("\\u0000", "\\ufffd"),
      ],
    );
  }
}
