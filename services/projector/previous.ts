/** Going back: builds that were live before are taken up again, where they can read all that is written and were made by the declarations that are in place. */
import { TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Projection, Totals } from "../merge/engine.ts";
import { areAbreast, type Db, dropGeneration, type Generation, generationsOf, isBuiltAs, takeUp } from "../views/index.ts";
import { unreadBy } from "./builds.ts";

/** Takes up the builds that were live before, or goes on where that was interrupted. */
export async function resumePrevious(db: Db, gate: Gate, family: readonly (Projection | Totals)[]): Promise<Generation[]> {
  const previous = await generationsOf(db, "previous");
  const building = await generationsOf(db, "building");
  const found = family.map((view) => {
    const kept = previous.get(view.name) ?? building.get(view.name);
    if (kept === undefined)
      throw new TributaryError(
        "not-found",
        `no earlier build of ${view.name} is kept`,
        "You can only go back to the build before the live one.",
      );
    if (!isBuiltAs(view, new Map([[view.name, kept]])))
      throw new TributaryError(
        "projection-malformed",
        `the earlier build of ${view.name} was made by another declaration than the one in projections/`,
        "Put the earlier file back first, for example with git; then run this again.",
      );
    const news = view.kind === "entity" && kept.readers !== null ? unreadBy(gate, view, kept.readers) : null;
    if (news !== null) throw unreadable([view.name], news);
    return kept;
  });
  if (!areAbreast(found))
    throw new TributaryError(
      "usage",
      `the earlier builds of ${found.map(({ view }) => view).join(", ")} were live until different moments`,
      "Go back to them one by one.",
    );
  for (const { view } of found) {
    const begun = building.get(view);
    if (begun !== undefined && previous.has(view)) await dropGeneration(db, begun);
  }
  await takeUp(db, found);
  return found.map((kept) => ({ ...kept, state: "building" }));
}

export const unreadable = (names: readonly string[], why: string): TributaryError =>
  new TributaryError(
    "schema-incompatible",
    `the earlier build of ${names.join(", ")} cannot read all that has been registered since: ${why}`,
    `\`tributary rebuild ${names.join(" ")}\` rebuilds it from the file that is in projections/ now. The live views were left as they are.`,
  );
