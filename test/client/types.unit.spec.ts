import { join } from "node:path";
import { isObjectType } from "graphql";
import { describe, expect, it } from "vitest";
import { describedBy } from "../../services/api/graphql/descriptions.ts";
import { makeSchema } from "../../services/api/graphql/schema.ts";
import { SCALAR_OF, typeNameOf } from "../../services/api/graphql/view-types.ts";
import { loadForms, loadViews } from "../../services/cli/folders.ts";
import { OWN_SUBJECTS, ROOT } from "../../services/cli/program.ts";
import { columnKinds, typesFile } from "../../services/cli/types-file.ts";
import type { View } from "../../services/merge/engine.ts";
import { names, phones } from "../support/api-hub.ts";
import { gate } from "../support/hub.ts";

const folders = { schemas: join(ROOT, "schemas"), projections: join(ROOT, "projections") };
const views: readonly View[] = [...(await loadViews(folders)), phones, names];

describe("the types that a web application is compiled with", () => {
  it("are those that `tributary types` writes of its project", async () => {
    const text = typesFile(loadForms(folders, { trusted: true }), views, OWN_SUBJECTS);
    await expect(text).toMatchFileSnapshot(join(ROOT, "test/webapp/tributary.d.ts"));
  });

  it("name each view's columns as the hub's schema does, and of the same kinds", () => {
    const schema = makeSchema(views, describedBy(gate));
    for (const view of views) {
      const row = schema.getType(`${typeNameOf(view.name)}Row`);
      const shown = isObjectType(row)
        ? Object.entries(row.getFields()).map(([name, { type }]) => [name, String(type).replace("!", "")])
        : null;
      const kinds = columnKinds(view);
      expect(kinds === null ? null : Object.entries(kinds).map(([name, kind]) => [name, SCALAR_OF[kind]])).toEqual(shown);
    }
    expect(new Set(views.map(({ kind }) => kind))).toEqual(new Set(["entity", "totals", "sql"]));
  });
});
