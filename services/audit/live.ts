import { TributaryError } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { entityViews, type Projection, type View } from "../merge/engine.ts";
import { type Db, generationsOf, isBuiltAs, type ReadData } from "../views/index.ts";
import { notFound } from "./names.ts";

/** How a view reads data of any version: in the form of the versions that it is pinned to. */
export const readWith =
  (gate: Pick<Gate, "openAs">, pins: Pins): ReadData =>
  (head, data) =>
    gate.openAs(head, data, pins);

/** Views that were built by another declaration, or never built: their files do not say what readers see. */
export async function builtOtherwise(db: Db, views: readonly View[]): Promise<ReadonlySet<string>> {
  const live = await generationsOf(db, "live");
  return new Set(views.filter((view) => !isBuiltAs(view, live)).map(({ name }) => name));
}

/** The views of entities of a type, or the one that has the given name. */
export function viewsOfType(views: readonly View[], type: string, name: string | null): readonly [Projection, ...Projection[]] {
  const [first, ...others] = entityViews(views).filter(({ entity }) => entity === type);
  if (first === undefined) throw notFound(`view of entities of type ${type}`);
  if (name === null) return [first, ...others];
  const all = [first, ...others];
  const found = all.find((view) => view.name === name);
  if (found === undefined)
    throw new TributaryError(
      "not-found",
      `${name} is not a view of entities of type ${type}`,
      `There are: ${all.map((view) => view.name).join(", ")}.`,
    );
  return [found];
}
