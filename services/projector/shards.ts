import { type LogEntry, QUARANTINE_ENTITY, settledBy } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import { shardOf } from "../views/index.ts";
import { quarantinedEvent } from "./counts.ts";

/** The shard that folds an event: its entity's. What settles a quarantined event goes with that event, so that it can never come before it. */
export async function shardOfEntry(log: Pick<Log, "readOrigin">, { head, content }: LogEntry): Promise<number> {
  if (head.entity.type !== QUARANTINE_ENTITY || content.kind !== "accepted") return shardOf(head.entity);
  const settled = settledBy(head.type, content.data);
  const original = settled === null ? null : await quarantinedEvent(log, settled);
  return shardOf(original?.head.entity ?? head.entity);
}
