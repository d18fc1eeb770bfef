import fc from "fast-check";
import { expect, it } from "vitest";
import { canonicalize, type JsonValue } from "../../services/core/index.ts";
import { avroMismatches } from "../../services/gate/avro/compat.ts";
import { avroExamples } from "../../services/gate/avro/examples.ts";
import { type Avro, fits, parseAvro } from "../../services/gate/avro/model.ts";
import { avroReader, UnreadableError } from "../../services/gate/avro/resolve.ts";
import { avscType } from "../../services/gate/compiled.ts";
import { atLeast, runs, untilEnough } from "../support/runs.ts";

/** Types small enough that two of them often meet. Named types get their names from where they stand. */
type Shape = string | { readonly of: string; readonly parts: readonly Shape[]; readonly n: number };
const { shape } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { maxDepth: 2, depthSize: "small" },
    fc.constantFrom<Shape>("null", "boolean", "int", "long", "float", "double", "string"),
    fc.record({ of: fc.constantFrom("enum"), parts: fc.constant([]), n: fc.integer({ min: 1, max: 7 }) }) as fc.Arbitrary<Shape>,
    fc.record({
      of: fc.constantFrom("array", "map"),
      parts: fc.array(tie("shape"), { minLength: 1, maxLength: 1 }),
      n: fc.constant(0),
    }) as fc.Arbitrary<Shape>,
    fc.record({
      of: fc.constant("union"),
      parts: fc.uniqueArray(fc.constantFrom<Shape>("null", "int", "string", "boolean"), { minLength: 1, maxLength: 3 }),
      n: fc.constant(0),
    }) as fc.Arbitrary<Shape>,
    fc.record({
      of: fc.constant("record"),
      parts: fc.array(tie("shape"), { maxLength: 3 }),
      n: fc.integer({ min: 0, max: 7 }),
    }) as fc.Arbitrary<Shape>,
  ),
}));

/** The schema of a shape; bit i of a record's `n` gives its field i a default, and bit i of an enum's `n` says whether it has symbol i. */
function schemaOf(shape: Shape, path = "R"): JsonValue {
  if (typeof shape === "string") return shape;
  const { of, parts, n } = shape;
  const below = parts.map((part, i) => schemaOf(part, `${path}_${i}`));
  switch (of) {
    case "enum":
      return {
        type: "enum",
        name: path,
        symbols: ["A", "B", "C"].filter((_, i) => n & (1 << i)),
        ...(n === 7 ? { default: "A" } : {}),
      };
    case "array":
      return { type: "array", items: below[0]! };
    case "map":
      return { type: "map", values: below[0]! };
    case "union":
      return below;
    default:
      return {
        type: "record",
        name: path,
        fields: below.map((type, i) => {
          const [example] = avroExamples(parseAvro(type));
          return { name: `f${i}`, type, ...(n & (1 << i) && example !== undefined ? { default: example } : {}) };
        }),
      };
  }
}

const record = shape.map((part): Shape => ({ of: "record", parts: [part], n: 0 }));
/** Pairs of shapes: the same but for one change somewhere, or quite different. */
const pairs = fc.oneof(
  fc.tuple(record, record),
  fc
    .tuple(fc.array(shape, { minLength: 1, maxLength: 3 }), shape, fc.nat(2), fc.integer({ min: 0, max: 7 }), fc.nat(2))
    .map(([parts, other, at, n, how]): [Shape, Shape] => {
      const changed = how === 0 ? parts.with(at % parts.length, other) : how === 1 ? [...parts, other] : parts.slice(1);
      return [
        { of: "record", parts, n },
        { of: "record", parts: changed, n },
      ];
    }),
);

it("says of random pairs what reading does: compatible data is read, and each refusal has a document that shows it (I28)", () => {
  let compatible = 0;
  let incompatible = 0;
  let compared = 0;
  const round = (): void =>
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        const [writerSchema, readerSchema] = [schemaOf(a), schemaOf(b)];
        const [writer, reader] = [parseAvro(writerSchema), parseAvro(readerSchema)];
        const mismatches = avroMismatches(reader, writer);
        const read = avroReader(reader, writer);
        const documents = avroExamples(writer).filter((document) => fits(writer, document));
        const unreadable = documents.filter((document) => isUnreadable(() => read(document)));
        if (mismatches.length > 0) {
          incompatible++;
          expect(unreadable.length, JSON.stringify([writerSchema, readerSchema])).toBeGreaterThan(0);
          return;
        }
        compatible++;
        expect(unreadable).toEqual([]);
        for (const document of documents) {
          const seen = read(document);
          expect(fits(reader, seen), JSON.stringify([readerSchema, document, seen])).toBe(true);
          const theirs = byAvsc(writerSchema, readerSchema, document);
          if (theirs === undefined) continue;
          compared++;
          expect(canonicalize(seen), JSON.stringify([writerSchema, readerSchema, document])).toBe(theirs);
        }
      }),
      { numRuns: runs(500) },
    );
  untilEnough(round, () => compatible > atLeast(50) && incompatible > atLeast(100) && compared > atLeast(100));
  expect(compatible).toBeGreaterThan(atLeast(50));
  expect(incompatible).toBeGreaterThan(atLeast(100));
  expect(compared).toBeGreaterThan(atLeast(100));
});

function isUnreadable(read: () => unknown): boolean {
  try {
    read();
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(UnreadableError);
    return true;
  }
}

/** What avsc reads, where it agrees that there is something to read. It does not round what is promoted to a float of 32 bits; we do. */
function byAvsc(writerSchema: JsonValue, readerSchema: JsonValue, document: JsonValue): string | undefined {
  if (JSON.stringify(readerSchema).includes('"float"')) return undefined;
  try {
    const [writer, reader] = [avscType([writerSchema]), avscType([readerSchema])];
    const value: unknown = reader.fromBuffer(writer.toBuffer(document), reader.createResolver(writer));
    return canonicalize(JSON.parse(JSON.stringify(value)));
  } catch {
    return undefined;
  }
}

it("a type that contains itself is read by another version of it, either way", () => {
  const tree = (more: JsonValue[]): Avro =>
    parseAvro({
      type: "record",
      name: "T",
      fields: [{ name: "v", type: "int" }, { name: "next", type: ["null", "T"], default: null }, ...more],
    });
  const [old, grown] = [tree([]), tree([{ name: "note", type: "string", default: "" }])];
  expect([avroMismatches(grown, old), avroMismatches(old, grown)]).toEqual([[], []]);
  expect(avroReader(grown, old)({ v: 1, next: { v: 2, next: null } })).toEqual({
    v: 1,
    note: "",
    next: { v: 2, note: "", next: null },
  });
  expect(
    avroMismatches(
      parseAvro({
        type: "record",
        name: "T",
        fields: [
          { name: "v", type: "string" },
          { name: "next", type: ["null", "T"] },
        ],
      }),
      old,
    ).map(({ rule }) => rule),
  ).toContain("type_mismatch");
});
