import { describe, expect, it } from "vitest";
import { retiredBy } from "../../services/desk/builds.ts";
import { type Builder, type BuildOrder, type Differing, rebuildViews, rollBack, viewNamesOf } from "../../services/desk/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { defineProjection, defineTotals, integer, set, text } from "../../services/merge/index.ts";

const entityView = (name: string) =>
  defineProjection({ name, entity: name, columns: { name: text(), size: integer() }, events: { [`${name}.written`]: set() } });
const homes = entityView("homes");
const sizes = defineTotals({
  name: "sizes",
  keys: { name: text() },
  sums: { size: integer() },
  from: { homes: ({ name, size }) => ({ name: name ?? null, size: size ?? 0 }) },
});
const views: readonly View[] = [entityView("people"), homes, sizes];
const same: Differing = { changed: [], undeclared: [] };

/** A hub that builds nothing, and a list of what it was told to build. */
function hub(differing: Differing): Builder<string> & { readonly orders: BuildOrder[] } {
  const orders: BuildOrder[] = [];
  const build = async (order: BuildOrder): Promise<string> => {
    orders.push(order);
    return "built";
  };
  return { views, differing: async () => differing, build, orders };
}
const plain = { compare: false, compareOnly: false };

describe("views that are rebuilt", () => {
  it("are those that are named, and the builder's result comes back", async () => {
    const here = hub(same);
    expect(await rebuildViews(here, { ...plain, which: ["people", "people"], compare: true, fresh: true })).toBe("built");
    expect(here.orders).toEqual([
      { names: ["people"], retired: [], rollback: false, compare: true, compareOnly: false, fresh: true },
    ]);
  });

  it("are refused where another view differs from its live build, and nothing is built", async () => {
    const here = hub({ changed: ["homes"], undeclared: ["cows"] });
    await expect(rebuildViews(here, { ...plain, which: ["people"], fresh: false })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("homes, cows"),
      hint: expect.stringContaining("--all"),
    });
    expect(here.orders).toEqual([]);
  });

  it("include the views that are built together with them: totals need not be named beside the view that they add up", () => {
    expect(retiredBy(views, { changed: ["sizes", "homes"], undeclared: [] }, ["homes"])).toEqual([]);
    expect(() => retiredBy(views, { changed: ["sizes"], undeclared: [] }, ["people"])).toThrow(/sizes/);
  });

  it("are all views where all are chosen, and those that are no longer declared are removed", async () => {
    const here = hub({ changed: ["homes"], undeclared: ["cows"] });
    await rebuildViews(here, { ...plain, which: "all", fresh: false });
    expect(here.orders).toMatchObject([{ names: ["people", "homes", "sizes"], retired: ["cows"] }]);
  });

  it("may be only compared while others differ: then nothing is swapped and nothing is taken away", async () => {
    const here = hub({ changed: ["homes"], undeclared: ["cows"] });
    await rebuildViews(here, { ...plain, which: ["people"], compareOnly: true, fresh: false });
    expect(here.orders).toMatchObject([{ names: ["people"], retired: [], compareOnly: true }]);
  });

  it("must be named by a declared name; a refusal lists the declared names", () => {
    expect(() => viewNamesOf(views, [])).toThrow(expect.objectContaining({ code: "usage" }));
    expect(() => viewNamesOf(views, ["peple"])).toThrow(
      expect.objectContaining({ code: "not-found", hint: "There are: people, homes, sizes." }),
    );
  });
});

describe("going back to the builds before", () => {
  it("is ordered from the builder as such, and never begins at the log's start", async () => {
    const here = hub(same);
    await rollBack(here, { ...plain, which: ["people"] });
    expect(here.orders).toMatchObject([{ names: ["people"], rollback: true, fresh: false, retired: [] }]);
  });

  it("is refused where another view differs from its live build", async () => {
    const here = hub({ changed: ["people", "homes"], undeclared: [] });
    await expect(rollBack(here, { ...plain, which: ["people"] })).rejects.toMatchObject({ code: "usage" });
    expect(here.orders).toEqual([]);
  });
});
