import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import { checkCompatibility, createGate, lintCasters } from "../../services/gate/index.ts";
import { loadCasters, loadSchemas } from "../../services/gate/node.ts";
import { tempDir } from "../support/temp.ts";

const tributary = { entity: "thing", events: ["thing.noted"] };
const schema = (properties: JsonObject, required: string[]) =>
  JSON.stringify({ tributary, type: "object", properties, required, additionalProperties: false });

/** Version 2 splits a name in two; version 3 knows one more state. */
function folder(casters: Record<string, string>): string {
  const dir = tempDir();
  mkdirSync(join(dir, "thing"));
  const write = (name: string, text: string): void => writeFileSync(join(dir, "thing", name), text);
  write("v1.schema.json", schema({ name: { type: "string", maxLength: 50 }, state: { enum: ["new", "old"] } }, ["name"]));
  write(
    "v2.schema.json",
    schema({ first: { type: "string" }, last: { type: "string" }, state: { enum: ["new", "old"] } }, ["first", "last"]),
  );
  write(
    "v3.schema.json",
    schema({ first: { type: "string" }, last: { type: "string" }, state: { enum: ["new", "old", "worn"] } }, ["first", "last"]),
  );
  for (const [name, text] of Object.entries(casters)) write(name, text);
  return dir;
}
const UP = `export default ({ name, ...rest }) => { const [first = "", ...last] = name.split(" "); return { ...rest, first, last: last.join(" ") }; };`;
const DOWN = `export default ({ first, last, ...rest }) => ({ ...rest, name: (first + " " + last).trim().slice(0, 50) });`;
const WORN = `export default ({ state, ...rest }) => ({ ...rest, ...(state === undefined ? {} : { state: state === "worn" ? "old" : state }) });`;
const ALL = { "v1-to-v2.ts": UP, "v2-to-v1.ts": DOWN, "v3-to-v2.ts": WORN };

it("make a change compatible that is not compatible by itself: checked on documents of every kind, both ways, over every pair of versions", async () => {
  const bare = loadSchemas(folder({}));
  const versions = bare.versions("thing");
  expect(checkCompatibility(versions[1]!, versions.slice(0, 1), "FULL").map(({ direction, rule }) => [direction, rule])).toEqual(
    expect.arrayContaining([
      ["backward", "required"],
      ["forward", "required"],
    ]),
  );
  expect(checkCompatibility(versions[2]!, versions.slice(1, 2), "FULL")).toMatchObject([
    { direction: "forward", rule: "enum", counterexample: { document: { state: "worn" } } },
  ]);
  const dir = folder(ALL);
  const casters = await loadCasters(dir);
  const store = loadSchemas(dir);
  for (const version of store.versions("thing")) {
    expect(
      checkCompatibility(version, store.versions("thing").slice(0, version.version - 1), "FULL_TRANSITIVE", casters),
    ).toEqual([]);
  }
  expect(lintCasters(store, casters, "thing")).toEqual([]);
});

it("read data up and down, one version at a time", async () => {
  const dir = folder(ALL);
  const gate = createGate(loadSchemas(dir), { casters: await loadCasters(dir) });
  const read = (from: number, to: number, data: JsonObject) =>
    gate.read({ subject: "thing", version: from }, data, { thing: to }).data;
  expect(read(1, 3, { name: "Awɛŋ Deng Kuol", state: "new" })).toEqual({ first: "Awɛŋ", last: "Deng Kuol", state: "new" });
  expect(read(3, 1, { first: "Awɛŋ", last: "Deng", state: "worn" })).toEqual({ name: "Awɛŋ Deng", state: "old" });
  expect(read(2, 2, { first: "A", last: "B" })).toEqual({ first: "A", last: "B" });
});

it("that make something that does not fit are refused, with the document that they fail on", async () => {
  const dir = folder({ ...ALL, "v2-to-v1.ts": DOWN.replace(".slice(0, 50)", " || undefined") });
  const casters = await loadCasters(dir);
  const versions = loadSchemas(dir).versions("thing");
  expect(checkCompatibility(versions[1]!, versions.slice(0, 1), "FORWARD", casters)).toMatchObject([
    { rule: "caster", counterexample: { document: { first: "", last: "" }, problem: "name is missing" } },
  ]);
});

it("that do not load are refused by name", async () => {
  await expect(loadCasters(folder({ "v1-to-v2.ts": "export const cast = 1;" }))).rejects.toThrow(
    /v1-to-v2\.ts does not export a function/,
  );
  await expect(loadCasters(folder({ "v1-to-v2.ts": "export default (" }))).rejects.toThrow(/v1-to-v2\.ts does not load/);
});
