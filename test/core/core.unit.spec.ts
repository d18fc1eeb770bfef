import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import avsc from "avsc";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BATCH_SCHEMA,
  type Batch,
  canonicalize,
  compareStamps,
  decodeBatch,
  decodeBatchInTurns,
  type EventBody,
  encodeBatch,
  eventBodySchema,
  eventIdOf,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type Hlc,
  hashOf,
  includes,
  isHlc,
  isOriginId,
  type JsonValue,
  join as joinVectors,
  MAX_BATCH_BYTES,
  MAX_COUNTER,
  type OriginId,
  observe,
  parseCanonical,
  parseHlc,
  peekOrigin,
  peekSender,
  type Seq,
  tick,
  type Vector,
} from "../../services/core/index.ts";
import { chainHash, zstd, zstdBegin, zstdInTurns } from "../../services/core/node.ts";
import { batchOf } from "../support/batches.ts";
import { runs } from "../support/runs.ts";

const ORIGIN = "relief.juba.t1.abcdefghijkl" as OriginId;
const OTHERS = ["relief.juba.t1.abcdefghijkl", "relief.kampala.t2.bbb", "relief.nairobi.t3.ccc"] as OriginId[];
const text = fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }).filter((s) => s.isWellFormed());
const wallMs = fc.integer({ min: 0, max: Date.parse("2100-01-01") });

const body = (seq: number): fc.Arbitrary<EventBody> =>
  fc
    .record(
      {
        type: fc.constantFrom("beneficiary.registered", "beneficiary.updated", "distribution.recorded"),
        data: fc.dictionary(text, fc.jsonValue() as fc.Arbitrary<JsonValue>),
        origin: fc.constant(ORIGIN),
        seq: fc.constant(seq as Seq),
        entity: fc.record({ type: fc.constantFrom("beneficiary", "distribution"), id: fc.oneof(text, fc.uuid()) }),
        schema: fc.record({ subject: fc.constantFrom("beneficiary", "x-y"), version: fc.integer({ min: 1, max: 9 }) }),
        actor: text,
        org: fc.constant("relief"),
        occurredAt: wallMs.map((ms) => new Date(ms).toISOString()),
        hlc: fc
          .tuple(wallMs, fc.integer({ min: 0, max: MAX_COUNTER }))
          .map(([ms, counter]) => formatHlc({ wallMs: ms, counter })),
        basis: fc.dictionary(fc.constantFrom(...OTHERS), fc.nat({ max: 2 ** 40 })).map((v) => {
          if (v[ORIGIN] !== undefined) v[ORIGIN] = Math.min(v[ORIGIN], seq - 1);
          if (v[ORIGIN] === -1) delete v[ORIGIN];
          return v as unknown as Vector;
        }),
        correlationId: fc.oneof(fc.uuid(), text),
        causationId: fc.uuid(),
      } satisfies Record<keyof EventBody, fc.Arbitrary<unknown>>,
      { requiredKeys: ["type", "data", "origin", "seq", "entity", "schema", "actor", "org", "occurredAt", "hlc", "basis"] },
    )
    .map((event) => event as EventBody);

const batch: fc.Arbitrary<{ batch: Batch; bodies: EventBody[] }> = fc
  .tuple(fc.integer({ min: 0, max: 1e6 }), fc.integer({ min: 1, max: 12 }), wallMs)
  .chain(([first, count, sentAtMs]) =>
    fc.tuple(...Array.from({ length: count }, (_, i) => body(first + i))).map((bodies) => {
      let prev = first === 0 ? GENESIS : ("ab".repeat(32) as Hash);
      const start = prev;
      for (const event of bodies) prev = hashOf(prev, event, chainHash);
      const events = bodies.map(({ data, ...head }) => ({
        head,
        encoding: "json" as const,
        payload: new TextEncoder().encode(canonicalize(data)),
      }));
      return { bodies, batch: { origin: ORIGIN, firstSeq: first as Seq, prev: start, head: prev, sentAtMs, events } };
    }),
  );

describe("a batch on the wire", () => {
  it("comes out as it went in, and its chain can be computed again from what arrived", () => {
    fc.assert(
      fc.property(batch, ({ batch, bodies }) => {
        const decoded = decodeBatch(encodeBatch(batch, zstd), zstd);
        expect(decoded).toEqual({ ...batch, events: decoded.events });
        expect(decoded.events.map(({ head }) => head)).toEqual(batch.events.map(({ head }) => head));
        let prev = decoded.prev;
        for (const { head, payload } of decoded.events)
          prev = chainHash(prev, eventText(head, new TextDecoder().decode(payload)));
        expect(prev).toBe(decoded.head);
        expect(bodies.every((event) => eventBodySchema.safeParse(event).success)).toBe(true);
      }),
      { numRuns: runs(300) },
    );
  });

  it("is the Avro that its schema declares: avsc reads and writes the same bytes", () => {
    const type = avsc.Type.forSchema(BATCH_SCHEMA as unknown as avsc.Schema, { wrapUnions: "always" });
    fc.assert(
      fc.property(batch, ({ batch }) => {
        const bytes = Buffer.from(zstd.decompress(encodeBatch(batch, zstd).subarray(3), MAX_BATCH_BYTES));
        const value = type.fromBuffer(bytes) as { origin: string; firstSeq: number; type: number[] };
        expect(value).toMatchObject({ origin: batch.origin, firstSeq: batch.firstSeq });
        expect(value.type).toHaveLength(batch.events.length);
        expect(type.toBuffer(value).equals(bytes)).toBe(true);
      }),
      { numRuns: runs(100) },
    );
  });

  it("that is damaged is refused with a code, never misread or crashed on", () => {
    fc.assert(
      fc.property(batch, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean(), ({ batch }, at, flip, cut) => {
        const plain = zstd.decompress(encodeBatch(batch, zstd).subarray(3), MAX_BATCH_BYTES);
        const bytes = Uint8Array.from([0x54, 0x42, 0, ...plain]);
        const index = 3 + (at % plain.length);
        const bad = cut ? bytes.subarray(0, index) : bytes.with(index, bytes[index]! ^ flip);
        let decoded: Batch;
        try {
          decoded = decodeBatch(bad, zstd);
        } catch (error) {
          expect(error).toMatchObject({ code: "batch-undecodable" });
          return;
        }
        // What can still be read must not pass the chain as the same batch with other content.
        let prev = decoded.prev;
        for (const { head, payload } of decoded.events)
          prev = chainHash(prev, eventText(head, new TextDecoder().decode(payload)));
        if (prev === batch.head && decoded.prev === batch.prev) {
          expect(canonicalize(decoded.events.map(({ head }) => head))).toBe(canonicalize(batch.events.map(({ head }) => head)));
        }
      }),
      { numRuns: runs(500) },
    );
  });

  it("that grows beyond its bound when decompressed is refused", () => {
    const bomb = zstd.compress(new Uint8Array(MAX_BATCH_BYTES + 1));
    expect(() => decodeBatch(Uint8Array.from([0x54, 0x42, 1, ...bomb]), zstd)).toThrow(
      expect.objectContaining({ code: "batch-undecodable" }),
    );
  });

  it("shows whose it is by its first bytes, whatever the rest is, packed or not", async () => {
    await fc.assert(
      fc.asyncProperty(batch, fc.boolean(), async ({ batch }, isPacked) => {
        const frame = encodeBatch(batch, isPacked ? zstd : { ...zstd, compress: (bytes) => bytes });
        const form = isPacked ? frame[2]! : frame[2]! & 0xf0;
        expect(await peekSender(frame.with(2, form), zstdBegin)).toBe(ORIGIN);
      }),
      { numRuns: runs(50) },
    );
    const refused = { code: "batch-undecodable" };
    const empty = zstd.compress(new Uint8Array(0));
    for (const bytes of [
      [],
      [0x54, 0x42, 1],
      [0x54, 0x42, 1, 1, 2, 3],
      [0x54, 0x42, 1, ...empty],
      [0x54, 0x42, 0, 4, 0x41, 0x42],
    ])
      await expect(peekSender(Uint8Array.from(bytes), zstdBegin)).rejects.toMatchObject(refused);
  });

  it("is read a little at a time, even if a few events name thousands of origins each: others have their turn in between", async () => {
    const basis = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`relief.juba.d${i}.abc`, 1])) as Vector;
    const large = batchOf(
      ORIGIN,
      Array.from({ length: 4 }, () => '{"phone":null}'),
      { basis },
    );
    let pauses = 0;
    const frame = encodeBatch(large, zstd);
    const read = await decodeBatchInTurns(frame, zstdInTurns, async () => void pauses++);
    expect(read).toEqual(decodeBatch(frame, zstd));
    // 4 × 10,000 pairs of numbers, twice: as a column, and event by event.
    expect(pauses).toBeGreaterThanOrEqual(8 + 3);
  });

  it("shows whose it is without being read completely", () => {
    fc.assert(
      fc.property(batch, ({ batch }) => {
        expect(peekOrigin(encodeBatch(batch, zstd), zstd)).toBe(ORIGIN);
      }),
    );
  });

  it("takes at most 100 bytes an event for a hundred small updates of a hundred people (I34)", () => {
    let prev: Hash = GENESIS;
    const events = Array.from({ length: 100 }, (_, i) => {
      const head = {
        type: "beneficiary.updated",
        origin: ORIGIN,
        seq: i as Seq,
        entity: {
          type: "beneficiary",
          id: `0190${String(i * 7919).padStart(4, "0")}-aaaa-7bbb-8ccc-${String((i * 104_729_131) % 1e12).padStart(12, "0")}`,
        },
        schema: { subject: "beneficiary-update", version: 1 },
        actor: "deng",
        org: "relief",
        occurredAt: new Date(1.79e12 + i * 61_003).toISOString(),
        hlc: formatHlc({ wallMs: 1.79e12 + i * 61_003, counter: 0 }),
        basis: { "relief.nairobi.t3.ccc": (i * 37) % 5000 } as unknown as Vector,
      };
      const data = `{"phone":"+2119${String((i * 7_368_787) % 1e8).padStart(8, "0")}"}`;
      prev = chainHash(prev, eventText(head, data));
      return { head, encoding: "json" as const, payload: new TextEncoder().encode(data) };
    });
    const frame = encodeBatch(
      { origin: ORIGIN, firstSeq: 0 as Seq, prev: GENESIS, head: prev, sentAtMs: 1.79e12 + 7e6, events },
      zstd,
    );
    expect(frame.length / 100).toBeLessThanOrEqual(100);
  });
});

describe("the hash chain", () => {
  it("hashes the canonical JSON of the event", () => {
    fc.assert(
      fc.property(body(5), (event) => {
        const { data, ...head } = event;
        expect(eventText(head, canonicalize(data))).toBe(canonicalize(event));
      }),
    );
  });

  it("gives another hash, and another id, to any other content", () => {
    fc.assert(
      fc.property(body(5), text, (event, actor) => {
        fc.pre(actor !== event.actor);
        const a = hashOf(GENESIS, event, chainHash);
        const b = hashOf(GENESIS, { ...event, actor }, chainHash);
        expect(a).not.toBe(b);
        expect(eventIdOf(1, a)).not.toBe(eventIdOf(1, b));
        expect(eventIdOf(1.79e12, a)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      }),
    );
  });
});

describe("canonical JSON (RFC 8785)", () => {
  it("is told apart from other JSON, whichever way it is checked", () => {
    const key = fc.oneof(fc.constantFrom("a", "b", "10", "9", "é", "\u{1F600}", "__proto__", ""), fc.string({ maxLength: 3 }));
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.string(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("value")),
        fc.dictionary(key, tie("value")),
      ),
    }));
    fc.assert(
      fc.property(value, (given) => {
        const text = canonicalize(given);
        expect(parseCanonical(text)).not.toBeNull();
        expect(canonicalize(parseCanonical(text)!.value)).toBe(text);
        const plain = JSON.stringify(given);
        expect(parseCanonical(plain) !== null).toBe(plain === text);
      }),
    );
    for (const other of [
      '{"b":1,"a":1}',
      '{"a":1,"a":1}',
      "1.0",
      "-0",
      '"\\ud800"',
      '{"a": 1}',
      "[1,]",
      '"\\u0041"',
      `${"[".repeat(100)}${"]".repeat(100)}`,
    ])
      expect(parseCanonical(other), other).toBeNull();
  });
  it.each([
    [{ b: 1, a: [true, null, "x"] }, '{"a":[true,null,"x"],"b":1}'],
    [[333333333.3333333, 1e30, 4.5, 2e-3, 1e-27, -0], "[333333333.3333333,1e+30,4.5,0.002,1e-27,0]"],
    ['€$\u000f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'],
    [
      { "€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": 6, ö: 7 },
      '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
    ],
    [{ a: undefined, b: {} }, '{"b":{}}'],
  ])("writes %j", (value, expected) => {
    expect(canonicalize(value)).toBe(expected);
  });
  it.each([[Number.NaN], [Number.POSITIVE_INFINITY], [1n], ["\ud800"], [{ "\udc00": 1 }], [() => 1]])("refuses %s", (value) => {
    expect(() => canonicalize(value)).toThrow(expect.objectContaining({ code: "event-invalid" }));
  });
  it("refuses nesting beyond its bound instead of overflowing the stack", () => {
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(() => canonicalize(deep)).toThrow(/deep/);
  });
});

describe("the hybrid logical clock", () => {
  it("never goes back, however the wall clock jumps", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1e12, max: 4e12 }), { minLength: 2 }), (walls) => {
        let last: ReturnType<typeof tick> | null = null;
        let before: Hlc | null = null;
        for (const wall of walls) {
          last = tick(last, wall);
          const stamp = formatHlc(last);
          expect(isHlc(stamp)).toBe(true);
          expect(parseHlc(stamp)).toEqual(last);
          if (before !== null) expect(stamp > before).toBe(true);
          before = stamp;
        }
      }),
    );
  });
  it("does not follow a stamp beyond the drift limit", () => {
    const own = { wallMs: 1_000, counter: 0 };
    expect(observe(own, { wallMs: 5_000, counter: 0 }, 1_000, 3_000)).toEqual(own);
    expect(observe(own, { wallMs: 3_500, counter: 2 }, 1_000, 3_000)).toEqual({ wallMs: 3_500, counter: 2 });
  });
  it("orders all stamps of all origins", () => {
    const hlc = formatHlc({ wallMs: 5, counter: 1 });
    expect(compareStamps({ hlc, origin: OTHERS[0]! }, { hlc, origin: OTHERS[1]! })).toBe(-1);
    expect(compareStamps({ hlc: formatHlc({ wallMs: 5, counter: 2 }), origin: OTHERS[0]! }, { hlc, origin: OTHERS[1]! })).toBe(1);
    expect(compareStamps({ hlc, origin: OTHERS[0]! }, { hlc, origin: OTHERS[0]! })).toBe(0);
  });
});

it("version vectors join to the least that knows both", () => {
  const vector = fc.dictionary(fc.constantFrom(...OTHERS), fc.nat(9)).map((v) => v as unknown as Vector);
  fc.assert(
    fc.property(vector, vector, vector, (a, b, c) => {
      const both = joinVectors(a, b);
      expect(includes(both, a) && includes(both, b)).toBe(true);
      expect(joinVectors(b, a)).toEqual(both);
      expect(joinVectors(joinVectors(a, b), c)).toEqual(joinVectors(a, joinVectors(b, c)));
      if (includes(c, a) && includes(c, b)) expect(includes(c, both)).toBe(true);
    }),
  );
});

it.each([
  ["relief.juba.t1.abc", true],
  ["relief.juba.t1", false],
  ["Relief.juba.t1.a", false],
  ["relief..t1.a", false],
  ["relief.juba.-t.a", false],
])("%s as an origin: %s", (name, expected) => {
  expect(isOriginId(name)).toBe(expected);
});

it("core needs nothing that a browser lacks", () => {
  const dir = join(import.meta.dirname, "../../services/core");
  const isForNode = (path: string): boolean => /(?:^|[/.])node\.ts$/.test(path);
  for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
    // `node.ts`, and what only `node.ts` imports.
    if (isForNode(name) || !name.endsWith(".ts")) continue;
    const source = readFileSync(join(dir, name), "utf8");
    for (const [, from] of source.matchAll(/from "([^"]+)"/g)) {
      const target = join(dirname(join(dir, name)), from!);
      expect(from === "zod" || (target.startsWith(`${dir}/`) && !isForNode(target)), `${name}: ${from}`).toBe(true);
    }
    expect(source).not.toMatch(/\bBuffer\b|\bprocess\.|\brequire\(|\bsetImmediate\b|Math\.random|Date\.now/);
  }
});
