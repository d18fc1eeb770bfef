import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalize,
  DATA_RANGE,
  dataOutOfRange,
  decodeBatch,
  encodeBatch,
  envelopeOutOfRange,
  envelopeProblem,
  eventText,
  GENESIS,
  type Hash,
  type JsonObject,
  type JsonValue,
  MAX_EVENT_BYTES,
  type Member,
  PROTOCOL,
  RANGES,
} from "../../services/core/index.ts";
import { chainHash, zstd } from "../../services/core/node.ts";
import { beyondOf, edgesOf, type HEAD, MEMBERS, withMember } from "../support/ranges.ts";

const encoder = new TextEncoder();
/** The event after its way over the wire, in its newest version or another. */
function overTheWire(head: typeof HEAD, version: number = PROTOCOL.newest): typeof HEAD {
  const hash = chainHash(GENESIS, eventText(head, "{}"));
  const events = [{ head, encoding: "json" as const, payload: encoder.encode("{}") }];
  const batch = {
    origin: head.origin,
    firstSeq: head.seq,
    prev: GENESIS,
    head: hash as Hash,
    sentAtMs: 1_777_777_777_777,
    events,
  };
  return decodeBatch(encodeBatch(batch, zstd, version), zstd).events[0]!.head;
}

describe("an event at the edge of its ranges", () => {
  const edges = MEMBERS.flatMap(([member, range]) => edgesOf(range).map((value): [Member, string | number] => [member, value]));

  it.each(edges)("is taken by the envelope and crosses the wire as it is: %s %j", (member, value) => {
    const head = withMember(member, value);
    expect(envelopeProblem(head)).toBeNull();
    expect(envelopeOutOfRange(head)).toBeNull();
    const arrived = overTheWire(head);
    expect(arrived).toEqual(head);
    expect(eventText(arrived, "{}")).toBe(eventText(head, "{}"));
  });

  it.each(edges)("crosses an older wire as it is or is refused there, and never loses a member: %s %j", (member, value) => {
    const head = withMember(member, value);
    const lost: number[] = [];
    for (let version = PROTOCOL.oldest as number; version < PROTOCOL.newest; version++) {
      try {
        if (eventText(overTheWire(head, version), "{}") !== eventText(head, "{}")) lost.push(version);
      } catch (error) {
        expect(error).toMatchObject({ code: "protocol-unsupported" });
      }
    }
    expect(lost).toEqual([]);
  });
});

describe("an event beyond its ranges", () => {
  const beyond = MEMBERS.flatMap(([member, range]) => beyondOf(range).map((value): [Member, string | number] => [member, value]));

  it("has an actor, a name, a link, a version or a time beyond its range", () => {
    expect([...new Set(beyond.map(([member]) => member))]).toEqual([
      "entity.id",
      "schema.version",
      "actor",
      "occurredAt",
      "correlationId",
      "causationId",
    ]);
  });

  it.each(beyond)(
    "is refused by the member's name, and still crosses the wire, so that it does not become a dead letter: %s %j",
    (member, value) => {
      const head = withMember(member, value);
      expect(envelopeProblem(head)).toBeNull();
      expect(envelopeOutOfRange(head)).toMatchObject({ member, message: expect.stringContaining(member), path: null });
      expect(overTheWire(head)).toEqual(head);
    },
  );

  it("names more origins than a batch can list", () => {
    const most = RANGES["basis.origins"].max;
    expect(envelopeOutOfRange(withMember("basis.origins", most + 1))).toMatchObject({ member: "basis.origins" });
  });
});

describe("a batch of an entity that many devices write", () => {
  it("is read even if each of its 500 bases names a hundred and fifty origins", () => {
    const head = withMember("basis.origins", 150);
    const events = Array.from({ length: 500 }, (_, seq) => ({
      head: { ...head, seq: seq as typeof head.seq },
      encoding: "json" as const,
      payload: encoder.encode("{}"),
    }));
    const batch = { origin: head.origin, firstSeq: head.seq, prev: GENESIS, head: GENESIS, sentAtMs: 0, events };
    expect(decodeBatch(encodeBatch(batch, zstd), zstd).events).toHaveLength(500);
  });
});

describe("an event's data", () => {
  it.each<[JsonObject, string, string]>([
    [{ given_name: "Ay\0en" }, "given_name", "/given_name"],
    [{ members: [{ name: "a" }, { name: "\0" }] }, "members.1.name", "/members/1/name"],
    [{ "a/b~c": { d: "\0" } }, "a/b~c.d", "/a~1b~0c/d"],
    [{ "x\0": 1 }, "x\0", "/x\0"],
    [{ a: [{ "\0": {} }] }, "a.0.\0", "/a/0/\0"],
  ])("with U+0000 in a text or a name is refused with the location: %j", (data, member, path) => {
    expect(dataOutOfRange(data, canonicalize(data))).toMatchObject({ member, path, message: expect.stringContaining("U+0000") });
    expect(dataOutOfRange(data)).toMatchObject({ member, path });
  });

  it("that only writes about U+0000 is fine", () => {
    const data = { note: "\\u0000", "\\u0000": ["\\\\u0000"] };
    expect(dataOutOfRange(data, canonicalize(data))).toBeNull();
  });

  it("is judged by its text just as by each of its values", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: unit() }), fc.jsonValue({ stringUnit: unit() })), (data) => {
        const plain = JSON.parse(JSON.stringify(data)) as JsonObject;
        const holds = (value: JsonValue): boolean =>
          typeof value === "string"
            ? value.includes("\0")
            : typeof value === "object" && value !== null
              ? Object.entries(value).some(([key, member]) => key.includes("\0") || holds(member as JsonValue))
              : false;
        expect(dataOutOfRange(plain, canonicalize(plain)) !== null).toBe(holds(plain));
        expect(dataOutOfRange(plain) !== null).toBe(holds(plain));
      }),
    );
  });

  it("may be as deep and as large as its range says, and no more", () => {
    const nested = (depth: number): JsonValue => (depth === 0 ? 1 : { a: nested(depth - 1) });
    expect(() => canonicalize(nested(DATA_RANGE.maxDepth))).not.toThrow();
    expect(() => canonicalize(nested(DATA_RANGE.maxDepth + 1))).toThrow(expect.objectContaining({ code: "event-invalid" }));
    expect(DATA_RANGE.maxBytes).toBeLessThan(MAX_EVENT_BYTES);
  });
});

function unit(): fc.Arbitrary<string> {
  return fc.constantFrom("\0", "\\", "u", "0000", "a", "\u{10ffff}");
}
