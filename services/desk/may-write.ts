import { forbidden, type HubOrg, type OriginId, partsOf, TributaryError } from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";

/**
 * Throws `not-permitted` where an origin may not write one of these events at a hub. Called before anything is written: the hub's door would only put the events
 * in quarantine.
 */
export function checkMayWrite(origin: OriginId, hub: HubOrg, events: readonly Pick<NewEvent, "type" | "entity">[]): void {
  for (const { type, entity } of events) {
    const why = forbidden({ type, origin, entity }, { hub, types: null });
    if (why === null) continue;
    const { org, site } = partsOf(origin);
    throw new TributaryError(
      "not-permitted",
      `${org}.${site} may not write ${type} on ${entity.type}/${entity.id}: ${why.message}`,
      hub === null
        ? "Nothing was written. Write from the hub's own console."
        : `Nothing was written. The log says that its hub belongs to ${hub}: decide there, with --data of the hub of ${hub}.`,
    );
  }
}
