import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import { canonicalForm, crc64 } from "../../services/gate/avro/canonical.ts";
import { avroMismatches } from "../../services/gate/avro/compat.ts";
import { avroExamples } from "../../services/gate/avro/examples.ts";
import { parseAvro } from "../../services/gate/avro/model.ts";
import { avroReader, UnreadableError } from "../../services/gate/avro/resolve.ts";
import { jsonMismatches } from "../../services/gate/json/compat/mismatches.ts";
import { type Document, type Schema, viewOf } from "../../services/gate/json/document.ts";
import { jsonExamples } from "../../services/gate/json/examples.ts";
import { oracle } from "../../services/gate/json/validator.ts";

const vectors = <T>(name: string): T => JSON.parse(readFileSync(join(import.meta.dirname, "../vectors", name), "utf8")) as T;

describe("Avro's canonical form and fingerprints are those of Apache Avro", () => {
  const cases = vectors<{ id: string; input: JsonValue; canonical: string; fingerprint: string }[]>("avro-canonical.json");
  it.each(cases)("$id", ({ input, canonical, fingerprint }) => {
    const text = canonicalForm(parseAvro(input));
    expect(text).toBe(canonical);
    expect(BigInt.asIntN(64, BigInt(`0x${crc64(text)}`)).toString()).toBe(fingerprint);
  });
});

describe("Avro schema resolution agrees with Apache Avro on all 131 pairs", () => {
  const pairs = vectors<{ reader: JsonValue; writer: JsonValue; result: string; incompat: string[] }[]>("avro-py-pairs.json");
  it("has them all", () => expect(pairs).toHaveLength(131));
  it.each(pairs.map((pair, i) => ({ ...pair, i })))("pair $i is $result", ({ reader, writer, result, incompat }) => {
    const [r, w] = [parseAvro(reader), parseAvro(writer)];
    const mismatches = avroMismatches(r, w);
    expect(mismatches.map(({ rule }) => rule)).toEqual(incompat);
    expect(mismatches.length === 0).toBe(result === "compatible");
    // What the comparison says is what reading does.
    const read = avroReader(r, w);
    const unreadable = avroExamples(w).filter((value) => {
      try {
        read(value);
        return false;
      } catch (error) {
        expect(error).toBeInstanceOf(UnreadableError);
        return true;
      }
    });
    expect(unreadable.length > 0).toBe(result !== "compatible");
  });
});

interface Pair {
  readonly id: string;
  readonly compatibility: "backward" | "forward" | "both" | "none";
  readonly original: JsonValue;
  readonly updated: JsonValue;
}
const expected = ({ compatibility }: Pair) => ({
  backward: compatibility === "backward" || compatibility === "both",
  forward: compatibility === "forward" || compatibility === "both",
});

describe("Avro compatibility agrees with Apicurio on its 4 pairs", () => {
  it.each(vectors<{ tests: Pair[] }>("apicurio-avro-compat.json").tests)("$id is $compatibility", (pair) => {
    const [original, updated] = [parseAvro(pair.original), parseAvro(pair.updated)];
    expect({
      backward: avroMismatches(updated, original).length === 0,
      forward: avroMismatches(original, updated).length === 0,
    }).toEqual(expected(pair));
  });
});

/** Where we differ from Apicurio, and why. Each is so by the JSON Schema specification: the documents named show it. */
const DEVIATIONS: Readonly<Record<string, string>> = {
  "Const (2) backward": "a text that equals a list: the original takes nothing at all, so nothing of it can fail",
  "Const (2) forward": "the same the other way round",
  "Enum 4 forward": "an enum without values is refused, by the validator and when it is registered",
  "Complex: anyOf 1 forward": "both take everything: only a text has a length, and every text is a text",
  "Complex: oneOf 1 backward": "the text 'abcdefgh' fits one alternative of the original, and both of the update",
  "Complex: oneOf 1 forward": "whatever fits exactly one alternative of the update fits exactly one of the original",
  "Complex: oneOf 3 backward": "the text 'a' fits both alternatives of the update",
  "Conditional: if backward": "'lowerCase' is not a value that case may have, so both divide the documents in the same way",
  "Conditional: if forward": "the same the other way round",
};

describe("JSON Schema compatibility agrees with Apicurio, but for the deviations named", () => {
  const seen = new Map<string, number>();
  const cases = vectors<{ tests: Pair[] }>("apicurio-jsonschema-compat.json").tests.map((pair) => {
    const count = (seen.get(pair.id) ?? 0) + 1;
    seen.set(pair.id, count);
    return { ...pair, name: count === 1 ? pair.id : `${pair.id} (${count})` };
  });
  it("has them all, and at most five deviations a direction", () => {
    expect(cases).toHaveLength(145);
    for (const direction of ["backward", "forward"])
      expect(Object.keys(DEVIATIONS).filter((key) => key.endsWith(direction)).length).toBeLessThanOrEqual(5);
  });
  it.each(cases.flatMap((pair) => (["backward", "forward"] as const).map((direction) => ({ ...pair, direction }))))(
    "$name, $direction",
    ({ direction, name, ...pair }) => {
      const documents = [pair.original, pair.updated].map(
        (schema): Document => ({ root: modern(schema) as Schema, references: new Map() }),
      );
      const [writer, reader] = direction === "backward" ? [documents[0]!, documents[1]!] : [documents[1]!, documents[0]!];
      const wanted = expected(pair as Pair)[direction];
      const deviates = DEVIATIONS[`${name} ${direction}`] !== undefined;
      const ask = oracle();
      if (name === "Enum 4" && direction === "forward") {
        expect(() => jsonMismatches(reader, writer, ask)).toThrow(/enum must have non-empty array/);
        return;
      }
      const isCompatible = jsonMismatches(reader, writer, ask).length === 0;
      expect(isCompatible).toBe(deviates ? !wanted : wanted);
      if (isCompatible)
        for (const document of jsonExamples(writer, ask, reader)) expect(ask(viewOf(reader), document)).toBe(true);
    },
  );
});

/** A schema of draft 7, in which the vectors are written, as one of 2020-12. */
function modern(schema: JsonValue): JsonValue {
  if (Array.isArray(schema)) return schema.map((each) => modern(each as JsonValue));
  if (typeof schema !== "object" || schema === null) return schema;
  const given = schema as Record<string, JsonValue>;
  const out: Record<string, JsonValue> = {};
  const named = (value: JsonValue): JsonValue =>
    Object.fromEntries(Object.entries(value as object).map(([key, each]) => [key, modern(each as JsonValue)]));
  for (const [keyword, value] of Object.entries(given)) {
    if (keyword === "$schema" || keyword === "id") continue;
    else if (keyword === "$id") {
      if (String(value).startsWith("#")) out.$anchor = String(value).slice(1);
    } else if (keyword === "items" && Array.isArray(value)) out.prefixItems = modern(value);
    else if (keyword === "additionalItems") {
      if (Array.isArray(given.items)) out.items = modern(value);
    } else if (keyword === "dependencies") {
      const entries = Object.entries(value as object) as [string, JsonValue][];
      out.dependentRequired = Object.fromEntries(entries.filter(([, each]) => Array.isArray(each)));
      out.dependentSchemas = named(Object.fromEntries(entries.filter(([, each]) => !Array.isArray(each))));
    } else if (keyword === "exclusiveMinimum" || keyword === "exclusiveMaximum") {
      const bound = keyword === "exclusiveMinimum" ? "minimum" : "maximum";
      out[keyword] = value === true ? given[bound]! : value;
    } else if (
      (keyword === "minimum" && given.exclusiveMinimum === true) ||
      (keyword === "maximum" && given.exclusiveMaximum === true)
    )
      continue;
    else if (["enum", "const", "default", "required"].includes(keyword)) out[keyword] = value;
    else out[keyword] = ["properties", "definitions", "patternProperties"].includes(keyword) ? named(value) : modern(value);
  }
  return out;
}
