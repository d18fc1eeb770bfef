import { TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { DELETED, registersWith, type Story, tell, type View } from "../merge/engine.ts";
import { countedEvents, type Db, readersOf, whereParked } from "../views/index.ts";
import { builtOtherwise, readWith, viewsOfType } from "./live.ts";
import { notFound, parseEntity } from "./names.ts";

export interface Explanation extends Story {
  readonly entity: string;
  readonly view: string;
  /** The live view was built by another declaration. This story follows the file in projections/. */
  readonly builtOtherwise: boolean;
  /** Set if the entity is parked in the view. What is shown is as of before that event. */
  readonly parked?: { readonly event: string; readonly error: string };
}

/**
 * How an entity's row came to be what it is, in each view that shows it (or the one named): for each register (or the one that holds `field`) who wrote
 * what, having seen what, beside whom, and what decided.
 */
export async function explainEntity(
  deps: { readonly db: Db; readonly gate: Gate; readonly projections: readonly View[] },
  entity: string,
  field: string | null,
  view: string | null = null,
): Promise<readonly Explanation[]> {
  const ref = parseEntity(entity);
  const views = viewsOfType(deps.projections, ref.type, view);
  const having = views.filter((projection) => registersWith(projection, field).length > 0);
  if (having.length === 0)
    throw new TributaryError(
      "not-found",
      `${views.map(({ name }) => name).join(" and ")} has no field ${field}`,
      `There are: ${[...new Set(views.flatMap(({ columns }) => Object.keys(columns))), DELETED].join(", ")}.`,
    );
  const otherwise = await builtOtherwise(deps.db, having);
  const readers = await readersOf(deps.db);
  const parked = await whereParked(deps.db, ref);
  const out: Explanation[] = [];
  for (const projection of having) {
    const events = await countedEvents(deps.db, ref, null, readWith(deps.gate, readers.get(projection.name) ?? {}));
    const told = tell(projection, ref.id, events, field);
    const at = parked.find((each) => each.view === projection.name) ?? null;
    if (told !== null || at !== null)
      out.push({
        entity,
        view: projection.name,
        builtOtherwise: otherwise.has(projection.name),
        ...(told ?? { deleted: false, registers: [], unfolded: [] }),
        ...(at === null ? {} : { parked: { event: at.event, error: at.error } }),
      });
  }
  if (out.length === 0) throw notFound(entity);
  return out;
}
