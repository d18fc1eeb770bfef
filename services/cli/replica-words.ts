/** How pulls and replicas are told on a command line. */
import type { FieldStatus, PullResult, ReplicaStatus } from "../field/index.ts";
import { counted, type Output } from "./output.ts";

/** What has come down, in words. An entity's state may come before its events, so of entities only those that are here now are counted. */
export function tellPulled(
  out: Output,
  { events, entities, purged, buckets, receivedBytes, withdrawn, refused }: PullResult,
  { replica: held, levels }: FieldStatus,
): void {
  const holds = `this device holds ${held === null ? "" : `${counted(held.entities, "entity", "entities")} in `}${counted(buckets, "bucket")}`;
  if (events + entities > 0)
    out.line(
      `${events > 0 ? counted(events, "event") : `${counted(entities, "entity", "entities")} without events`} came down, ${counted(receivedBytes, "byte")}; ${holds}.`,
    );
  else out.line(buckets === 0 ? "The hub's policies give this device nothing." : `Nothing new at the hub; ${holds}.`);
  for (const { why } of withdrawn) out.line(`  withdrawn: ${why}`);
  if (purged.entities > 0)
    out.line(
      `${counted(purged.entities, "entity", "entities")} that this device may not hold any more ${purged.entities === 1 ? "was" : "were"} deleted, with ${counted(purged.events, "event")}; ${levels.LOCAL + levels.QUEUED > 0 ? "the next `field sync` tells the hub" : "the hub is told"}.`,
    );
  if (refused.length > 0)
    out.line(
      `${counted(refused.length, "part")} of what came did not come out, and ${refused.length === 1 ? "was" : "were"} not kept: ${refused.map(({ why }) => why).join("; ")}. What is here was compared with the hub's instead.`,
    );
}

/** How the replica stands, in words. */
export function replicaLines(replica: ReplicaStatus | null): string[] {
  if (replica === null) return [];
  const { buckets, entities, behind, pulledAt, olderRules, unconfirmed } = replica;
  const late = behind === 0 ? "up to date" : `${behind} of them behind`;
  return [
    `  from the hub: ${counted(entities, "entity", "entities")} in ${counted(buckets, "bucket")}, ${late}; last pull: ${pulledAt ?? "not to its end yet"}`,
    ...(unconfirmed === 0 ? [] : [`  ${counted(unconfirmed, "deletion")} not confirmed to the hub yet`]),
    ...(olderRules.length === 0 ? [] : [`  folded by other rules than the hub's: ${olderRules.join(", ")}`]),
  ];
}
