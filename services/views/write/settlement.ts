import {
  HUB_SITE,
  type LogEntry,
  type Position,
  partsOf,
  QUARANTINE_ENTITY,
  releaseOf,
  type Settled,
  settledBy,
} from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { asPosition } from "../shards.ts";
import { QUARANTINE } from "./quarantine.ts";

/** Where in the log a quarantined event was settled, as far as it has been written; `null` while it is held. */
export async function settledAt(db: Db, { origin, seq, hash }: Settled): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>(
    "SELECT settled_position AS position FROM tributary.quarantine WHERE origin = $1 AND seq = $2 AND hash = $3",
    [origin, seq, hash],
  );
  return asPosition(rows[0]?.position);
}

/**
 * Notes what releases and rejections say of events in quarantine. The first word holds. `isBare`: only that and where, for a table that refuses what they say;
 * the log has it.
 */
export async function settleQuarantine(db: Db, entries: readonly LogEntry[], isBare = false, table = QUARANTINE): Promise<void> {
  for (const { head, content, position, recordedAtMs } of entries) {
    if (content.kind !== "accepted" || head.entity.type !== QUARANTINE_ENTITY || partsOf(head.origin).site !== HUB_SITE) continue;
    const settled = settledBy(head.type, content.data);
    if (settled === null) continue;
    const release = releaseOf(head.type, content.data);
    await db.query(
      `UPDATE ${table} SET state = $4, settled_position = $5, settled_at = $6, settled_by = $7, settled_note = $8,
         released_subject = $9, released_version = $10, released_data = $11
       WHERE origin = $1 AND seq = $2 AND hash = $3 AND state = 'held'
         AND ($12::text IS NULL OR (type = $12 AND entity_type = $13 AND entity_id = $14))`,
      [
        settled.origin,
        settled.seq,
        settled.hash,
        release === null ? "rejected" : "released",
        position,
        new Date(recordedAtMs).toISOString(),
        isBare ? null : head.actor,
        isBare ? null : ((release === null ? content.data.reason : release.note) ?? null),
        isBare ? null : (release?.schema.subject ?? null),
        isBare ? null : (release?.schema.version ?? null),
        release === null || isBare ? null : JSON.stringify(release.data).replaceAll("\\u0000", "\\ufffd"),
        release?.type ?? null,
        release?.entity.type ?? null,
        release?.entity.id ?? null,
      ],
    );
  }
}
