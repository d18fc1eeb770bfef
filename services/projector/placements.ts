/**
 * Which bucket each of a page's entities is in, and which events count for it there. Pure.
 *
 *   an event that counts ─▶ the bucket of its entity's row after it; where the view that says so does not take the event, the entity stays where it is
 *   a quarantined event ─▶ the bucket of its site's quarantine ── settled ─▶ none; where it is released, it counts for its entity together with the releasing event
 */
import {
  type Bucket,
  type EntityRef,
  type EventHead,
  type LogEntry,
  partsOf,
  QUARANTINE_ENTITY,
  quarantineBucket,
} from "../core/index.ts";
import { bucketOf } from "../merge/engine.ts";
import type { EventName, Placement, ViewBuild, ViewChanges } from "../views/index.ts";
import type { Judged } from "./counts.ts";

/** What is said of the buckets of a page's entities, in log order. `targets`: all builds that the page is folded into; `views`: what it changes in them. */
export function placementsOf(
  entries: readonly LogEntry[],
  judged: readonly Judged[],
  targets: readonly ViewBuild[],
  views: readonly ViewChanges[],
): Placement[] {
  const homes = new Map(targets.flatMap(({ isHome, projection }) => (isHome ? [[projection.entity, projection] as const] : [])));
  const buckets = new Map<number, Bucket>(views.flatMap(({ target, buckets }) => (target.isHome && buckets ? [...buckets] : [])));
  const placements: Placement[] = [];
  for (const [index, { head, content, position }] of entries.entries()) {
    const { counted, settlement } = judged[index]!;
    if (content.kind === "quarantined") {
      const { org, site } = partsOf(head.origin);
      placements.push({ ...quarantined(head), position, bucket: quarantineBucket(`${org}.${site}`), events: [nameOf(head)] });
    }
    if (settlement !== null) placements.push({ ...quarantined(settlement.of), position, bucket: null, events: [] });
    const home = counted === null ? undefined : homes.get(counted.head.entity.type);
    if (counted === null || home === undefined || home.entity === QUARANTINE_ENTITY) continue;
    const bucket = buckets.get(index);
    placements.push({
      ...entityOf(counted.head.entity),
      position,
      ...(bucket === undefined ? { bucket: bucketOf(home, {}), stays: true } : { bucket }),
      events: settlement === null ? [nameOf(head)] : [nameOf(settlement.of), nameOf(head)],
    });
  }
  return placements;
}

const nameOf = ({ origin, seq }: EventName): EventName => ({ origin, seq });
const entityOf = ({ type, id }: EntityRef): Pick<Placement, "entityType" | "entityId"> => ({ entityType: type, entityId: id });

/** The entity that a quarantined event is until it is settled. */
const quarantined = ({ origin, seq }: Pick<EventHead, "origin" | "seq">): Pick<Placement, "entityType" | "entityId"> => ({
  entityType: QUARANTINE_ENTITY,
  entityId: `${origin}/${seq}`,
});
