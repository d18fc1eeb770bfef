import { join } from "node:path";
import { expect, it } from "vitest";
import { type JsonObject, type OriginId, SCHEMA_REGISTERED } from "../../services/core/index.ts";
import { openField } from "../../services/field/index.ts";
import { fieldSchemas } from "../../services/field/schemas.ts";
import { createGate, type SchemaStore } from "../../services/gate/index.ts";
import { tempDir } from "../support/temp.ts";

const NONE: SchemaStore = { subjects: () => [], versions: () => [] };
const HUB = "relief.hub.registry.aaaaaaaaaaaa" as OriginId;

/** The schemas of a new device. */
function device() {
  const path = join(tempDir(), "field.db");
  const field = openField({ path, name: { org: "relief", site: "juba", device: "t1" }, schemas: createGate(NONE) });
  return { schemas: fieldSchemas(field.store, NONE), again: () => fieldSchemas(field.store, NONE), close: () => field.close() };
}

const registered = (subject: string, version: number, text: string, more: JsonObject = {}, origin = HUB) => ({
  type: SCHEMA_REGISTERED,
  origin,
  data: { subject, version, kind: "json", fingerprint: "f", text, references: [], authority: "relief", ...more },
});
const form = (...members: string[]): string =>
  JSON.stringify({ type: "object", properties: Object.fromEntries(members.map((name) => [name, {}])) });

it("a device learns schemas from the events of a hub's registry, whichever comes first, and keeps them", () => {
  const { schemas, again, close } = device();
  const part = { name: "part.json", subject: "part", version: 1 };
  const whole = JSON.stringify({ type: "object", properties: { at: { $ref: "part.json" } } });
  const told = schemas.learnEvents([
    registered("whole", 1, whole, { references: [part] }),
    registered("part", 1, form("x")),
    registered("part", 2, form("x", "y")),
    // Of a form that comes with the program.
    registered("policy", 1, form("for"), { authority: null }),
  ]);
  expect(told).toBe(4);
  for (const each of [schemas, again()]) {
    expect(each.subjects()).toEqual(["part", "policy", "whole"]);
    expect(each.versions("part").map(({ text }) => text)).toEqual([form("x"), form("x", "y")]);
    expect(each.versions("whole")[0]?.references).toEqual([part]);
  }
  expect(schemas.learnEvents([registered("part", 1, form("x"))])).toBe(0);
  close();
});

it("a later registration of the same version counts, as after a hub was restored from a backup", () => {
  const { schemas, close } = device();
  schemas.learnEvents([registered("part", 1, form("x"))]);
  expect(schemas.learnEvents([registered("part", 1, form("a")), registered("part", 1, form("b"))])).toBe(2);
  expect(schemas.versions("part").map(({ text }) => text)).toEqual([form("b")]);
  close();
});

it("a device takes no schema from a site's event, from a proposal, or from data that are no registration", () => {
  const { schemas, close } = device();
  const fine = registered("part", 1, form("x"));
  expect(
    schemas.learnEvents([
      { ...fine, origin: "relief.juba.t1.aaaaaaaaaaaa" as OriginId },
      { ...fine, type: "schema.proposed" },
      { ...fine, type: "schema.changed", data: { subject: "part", level: "NONE", fact: 0 } },
      registered("part", 0, form("x")),
      registered("part", 1, form("x"), { kind: "xml" }),
      registered("part", 1, "x".repeat(262_145)),
    ]),
  ).toBe(0);
  expect(schemas.subjects()).toEqual([]);
  close();
});
