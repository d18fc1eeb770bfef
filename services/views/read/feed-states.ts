import type { Projection } from "../../merge/engine.ts";
import type { Db } from "../connect.ts";
import { LIVE } from "../names.ts";
import { statesOf } from "../states.ts";

/** The packed states that live views have of entities, by entity and view. `views`: those that are asked; one that is not live yet says nothing. */
export async function packedStates(
  db: Db,
  views: readonly Projection[],
  entityIds: readonly string[],
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
  const found = new Map<string, Record<string, string>>();
  const { rows } = await db.query<{ view: string }>(
    "SELECT view FROM tributary.generation WHERE state = 'live' AND kind = 'entity' AND view = ANY($1)",
    [views.map(({ name }) => name)],
  );
  for (const { view } of rows)
    for (const { id, state } of await statesOf(db, LIVE, view, entityIds)) {
      const states = found.get(id) ?? {};
      states[view] = state;
      found.set(id, states);
    }
  return found;
}
