import { type LogEntry, QUARANTINE_ENTITY, settledBy } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import { shardOf } from "../views/index.ts";
import { quarantinedEvent } from "./counts.ts";

/** The shard that folds an event: that of its entity. A settlement goes to the shard of the event that it settles, so it can never come before that event. */
export async function shardOfEntry(log: Pick<Log, "readOrigin">, { head, content }: LogEntry): Promise<number> {
  if (head.entity.type !== QUARANTINE_ENTITY || content.kind !== "accepted") return shardOf(head.entity);
  const settled = settledBy(head.type, content.data);
  const original = settled === null ? null : await quarantinedEvent(log, settled);
  return shardOf(original?.head.entity ?? head.entity);
}
