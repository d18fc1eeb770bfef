import { CASE_NOTES, type LogEntry } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";

/** Notes what the hub's people did about cases. */
export async function writeCaseNotes(db: Db, entries: readonly LogEntry[]): Promise<void> {
  for (const { head, content, position, recordedAtMs } of entries) {
    if (content.kind !== "accepted") continue;
    const kind = CASE_NOTES[head.type];
    if (kind === undefined) continue;
    const { assignee, mark, text } = content.data;
    await db.query(
      `INSERT INTO tributary.case_note (case_id, position, kind, actor, origin, recorded_at, assignee, mark, text)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        head.entity.id,
        position,
        kind,
        head.actor,
        head.origin,
        new Date(recordedAtMs).toISOString(),
        assignee ?? null,
        mark ?? null,
        typeof text === "string" ? withoutNul(text) : null,
      ],
    );
  }
}
