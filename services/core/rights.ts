import { CASE_ENTITY } from "./case.ts";
import type { EntityRef } from "./event.ts";
import { type OriginId, partsOf } from "./ids.ts";
import { HUB_SITE, QUARANTINE_ENTITY } from "./release.ts";

/** The entity that a site's registration is about: `site/<org>.<site>`. */
export const SITE_ENTITY = "site";

/** What the hub's own people alone write, each in the words that follow "only the hub's operators may". */
const HUB_ONLY: ReadonlyMap<string, string> = new Map([
  [SITE_ENTITY, "register sites"],
  [CASE_ENTITY, "note what is done about a case"],
  [QUARANTINE_ENTITY, "settle what is in quarantine"],
]);

/** Entity types that events of the hub's own origins alone are about, or whose names the events' types begin with. */
export const HUB_ENTITIES: readonly string[] = [...HUB_ONLY.keys()];

/** Why an origin may not write an event; `code` as in the gate's problems. */
export interface Forbidden {
  readonly code: "type-not-allowed" | "entity-not-allowed";
  readonly message: string;
  readonly path: null;
}

/**
 * Whether an origin may write an event. `types`: the entity types that whoever vouched for it lets it write; `null`: all. Who may overwrite what among those that may
 * write it is another matter: `authority` in the projections.
 */
export function forbidden(
  { type, origin, entity }: { readonly type: string; readonly origin: OriginId; readonly entity: EntityRef },
  types: readonly string[] | null,
): Forbidden | null {
  const { org, site } = partsOf(origin);
  if (site === HUB_SITE) return null;
  const what = HUB_ONLY.get(entity.type) ?? HUB_ONLY.get(type.slice(0, type.indexOf(".")));
  if (what !== undefined) return { code: "type-not-allowed", message: `only the hub's operators may ${what}`, path: null };
  if (types === null || types.includes(entity.type)) return null;
  const allowed = types.length === 0 ? "nothing" : `${types.join(", ")} only`;
  return {
    code: "entity-not-allowed",
    message: `${org}.${site} was let in to write about ${allowed}; this is about a ${entity.type}`,
    path: null,
  };
}
