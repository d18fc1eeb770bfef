import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ALL_WITHHELD, type JsonObject, type Opened, type SealedHead } from "../../services/core/index.ts";
import { createGate, withOpener } from "../../services/gate/index.ts";
import { loadCasters, loadSchemas } from "../../services/gate/node.ts";
import { gateOf } from "../support/gate.ts";
import { withholding } from "../support/opener.ts";
import { tempDir } from "../support/temp.ts";

const head = (version: number, more: Partial<SealedHead> = {}): SealedHead => ({
  type: "thing.noted",
  entity: { type: "thing", id: "1" },
  schema: { subject: "thing", version },
  origin: "relief.juba.t1.a" as never,
  seq: 0 as never,
  ...more,
});
const record = (...fields: JsonObject[]): JsonObject => ({ type: "record", name: "Thing", fields });
const sorted = ({ data, withheld }: Opened): Opened => ({ data, withheld: [...withheld].sort() });

describe("an event's values, opened by one who may not see all of them", () => {
  it("are named in the newest version of an Avro schema, found by their aliases, and no default stands in their place", () => {
    const gate = gateOf(
      record({ name: "name", type: "string" }, { name: "size", type: "int" }),
      record(
        { name: "given_name", aliases: ["name"], type: "string", default: "none" },
        { name: "size", type: "int" },
        { name: "note", type: "string", default: "-" },
      ),
    );
    const seen = withOpener(gate, withholding(["name"]));
    expect(seen.openAs(head(1), { name: "Amina", size: 3 })).toEqual({
      data: { size: 3, note: "-" },
      withheld: ["given_name"],
    });
    expect(seen.open(head(1), { name: "Amina", size: 3 })).toEqual({ data: { size: 3 }, withheld: ["name"] });
    expect(gate.openAs(head(1), { name: "Amina", size: 3 })).toEqual({
      data: { given_name: "Amina", size: 3, note: "-" },
      withheld: [],
    });
    // An older reader that does not know the member has nothing that could be withheld.
    const sized = gateOf(
      record({ name: "name", type: "string" }, { name: "size", type: "int" }),
      record({ name: "size", type: "int" }),
    );
    expect(withOpener(sized, withholding(["name"])).openAs(head(1), { name: "Amina", size: 3 })).toEqual({
      data: { size: 3 },
      withheld: [],
    });
  });

  it("are named in the newest version of a JSON Schema, where no default stands in their place either", () => {
    const version = (properties: JsonObject): JsonObject => ({ type: "object", properties, additionalProperties: false });
    const gate = gateOf(
      version({ name: { type: "string" }, old: { type: "string" } }),
      version({ name: { type: "string", default: "none" }, note: { type: "string", default: "-" } }),
    );
    expect(withOpener(gate, withholding(["name", "old"])).openAs(head(1), { name: "Amina", old: "x" })).toEqual({
      data: { note: "-" },
      withheld: ["name"],
    });
  });

  it("pass a caster that only hands them on; where one may have looked at them, all may be missing", async () => {
    const dir = tempDir();
    mkdirSync(join(dir, "thing"));
    const tributary = { entity: "thing", events: ["thing.noted"] };
    const write = (name: string, text: string): void => writeFileSync(join(dir, "thing", name), text);
    for (const [n, name] of ["name", "called", "title"].entries()) {
      const properties = { [name]: { type: "string" }, size: { type: "integer" } };
      write(`v${n + 1}.schema.json`, JSON.stringify({ tributary, type: "object", properties, additionalProperties: false }));
    }
    write("v1-to-v2.ts", "export default ({ name, ...rest }) => ({ ...rest, called: name });");
    write("v2-to-v3.ts", "export default ({ called, ...rest }) => ({ ...rest, title: called.toUpperCase() });");
    const gate = createGate(loadSchemas(dir), { casters: await loadCasters(dir), opener: withholding(["name", "called"]) });
    expect(gate.openAs(head(1), { name: "Amina", size: 3 }, { thing: 2 })).toEqual({ data: { size: 3 }, withheld: ["called"] });
    expect(gate.openAs(head(1), { name: "Amina", size: 3 })).toEqual({ data: {}, withheld: [ALL_WITHHELD] });
    const names = (...pins: { thing: number }[]) => gate.withholds("thing.noted", ...pins).toSorted();
    expect([names({ thing: 2 }), names()]).toEqual([["called", "name"], [ALL_WITHHELD, "called", "name"].toSorted()]);
    // What is there is cast as ever.
    expect(gate.openAs(head(1), { size: 3 }, { thing: 2 })).toEqual({ data: { size: 3 }, withheld: [] });
  });

  it("are known by the names that they may have in any version, before there is an event", () => {
    const gate = gateOf(
      record({ name: "name", type: "string" }, { name: "size", type: "int" }),
      record({ name: "given_name", aliases: ["name"], type: "string" }, { name: "size", type: "int" }),
    );
    const withholds = (names: readonly string[], pins?: Record<string, number>) =>
      withOpener(gate, withholding(names)).withholds("thing.noted", pins).toSorted();
    expect(withholds(["name"])).toEqual(["given_name", "name"]);
    expect(withholds(["name"], { thing: 1 })).toEqual(["name"]);
    expect(withholds(["size"])).toEqual(["size"]);
    expect(gate.withholds("thing.noted")).toEqual([]);
    const { rights, open } = withholding(["size"]);
    expect(withOpener(gate, { rights, open }).withholds("thing.noted")).toEqual([ALL_WITHHELD]);
    expect(withOpener(gate, withholding(["size"])).withholds("quarantine.released")).toEqual([ALL_WITHHELD]);
  });

  it("are withheld in a release as in the event that it releases", () => {
    const gate = withOpener(gateOf(record({ name: "name", type: "string" })), withholding(["name"]));
    const release = {
      ...{ origin: "relief.juba.t1.a", seq: 4, hash: "a".repeat(64), type: "thing.noted" },
      ...{ entity: { type: "thing", id: "1" }, schema: { subject: "thing", version: 1 }, data: { name: "Amina" } },
    };
    const opened = gate.open(head(1, { type: "quarantine.released", entity: { type: "quarantine", id: "x" } }), release);
    expect(sorted(opened)).toEqual({ data: { ...release, data: {} }, withheld: ["data.name"] });
  });
});

it("no service reads the data of an event that was kept but by the gate that opens them", () => {
  const services = join(import.meta.dirname, "../../services");
  const reading = globSync("**/*.ts", { cwd: services }).flatMap((file) =>
    file.startsWith("gate/")
      ? []
      : readFileSync(join(services, file), "utf8")
          .split("\n")
          // What is being written, or comes to the door, is not sealed yet: it is held against the views as it is.
          .filter((line) => /\b\w*[gG]ate\.read\b/.test(line) && !line.includes("fitsViews("))
          .map((line) => `${file}: ${line.trim()}`),
  );
  expect(reading).toEqual([]);
});
