import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import avsc from "avsc";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  BATCH_SCHEMA,
  type Batch,
  commonVersion,
  decodeBatch,
  encodeBatch,
  enrolledSchema,
  enrolmentSchema,
  HEADS_SCHEMA,
  type HeadInBatch,
  helloRequestSchema,
  helloSchema,
  MORE,
  PROTOCOL,
  replySchema,
  rotationSchema,
  SUBJECTS,
  UNSAID,
} from "../../services/core/index.ts";
import { zstd } from "../../services/core/node.ts";

const VECTORS = join(import.meta.dirname, "../vectors/wire");

interface Vector {
  readonly name: string;
  /** The same batch compressed, and plain. */
  readonly frames: readonly string[];
  readonly batch: Omit<Batch, "events" | "signature" | "heads"> & {
    readonly signature?: string;
    readonly heads?: readonly (Omit<HeadInBatch, "signature"> & { readonly signature: string })[];
    readonly events: readonly (Omit<Batch["events"][number], "payload"> & { readonly payload: string })[];
  };
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));
const vectorsOf = (version: number): Vector[] => JSON.parse(readFileSync(join(VECTORS, `v${version}.json`), "utf8")) as Vector[];
const batchOf = ({ batch: { events, signature, heads, ...rest } }: Vector): Batch => ({
  ...rest,
  ...(signature === undefined ? {} : { signature: bytesOf(signature) }),
  ...(heads === undefined ? {} : { heads: heads.map((head) => ({ ...head, signature: bytesOf(head.signature) })) }),
  events: events.map(({ payload, ...event }) => ({ ...event, payload: bytesOf(payload) })),
});
/** A batch with plain byte arrays: a frame that was compressed holds its bytes in another type than one that was not. */
const bare = ({ signature, heads, ...batch }: Batch): Batch => ({
  ...batch,
  ...(signature === undefined ? {} : { signature: Uint8Array.from(signature) }),
  ...(heads === undefined ? {} : { heads: heads.map((head) => ({ ...head, signature: Uint8Array.from(head.signature) })) }),
  events: batch.events.map(({ payload, ...event }) => ({ ...event, payload: Uint8Array.from(payload) })),
});
const plain = { compress: (bytes: Uint8Array) => bytes, decompress: (bytes: Uint8Array) => bytes };
const versions = Array.from({ length: PROTOCOL.newest - PROTOCOL.oldest + 1 }, (_, i) => PROTOCOL.oldest + i);

/**
 * All that the wire's readers and writers go by. A change that an older side would misread needs a new version (`core/protocol-version.ts`) with frames
 * of its own among the vectors; a change that older sides pass over (an optional member) changes the hash of the newest version here, and nothing else.
 */
const HASHES: Readonly<Record<number, string>> = {
  2: "36e227fbcfdaae07",
};

describe("the wire", () => {
  it("has a version, and its schema is the one that was written down for it", () => {
    const asJson = (schema: z.ZodType): unknown => z.toJSONSchema(schema, { unrepresentable: "any", io: "input" });
    const wire = {
      batch: BATCH_SCHEMA,
      more: MORE,
      heads: HEADS_SCHEMA,
      hello: [asJson(helloRequestSchema), asJson(helloSchema)],
      reply: asJson(replySchema),
      enrolment: [asJson(enrolmentSchema), asJson(rotationSchema), asJson(enrolledSchema)],
      subjects: SUBJECTS,
    };
    expect(createHash("sha256").update(JSON.stringify(wire)).digest("hex").slice(0, 16)).toBe(HASHES[PROTOCOL.newest]);
  });

  it("has signed heads as the Avro that their schema declares: avsc reads and writes the same bytes", () => {
    const vector = vectorsOf(PROTOCOL.newest).find(({ batch }) => batch.heads !== undefined)!;
    const whole = avsc.Type.forSchema(BATCH_SCHEMA as unknown as avsc.Schema, { wrapUnions: "always" });
    const { more } = whole.fromBuffer(Buffer.from(bytesOf(vector.frames[1]!).subarray(3))) as {
      more: { tag: number; value: Buffer }[];
    };
    const { value } = more.find(({ tag }) => tag === MORE.heads)!;
    const type = avsc.Type.forSchema(HEADS_SCHEMA as unknown as avsc.Schema);
    const heads = type.fromBuffer(value) as { origin: string; through: number; head: Buffer; signature: Buffer }[];
    expect(
      heads.map(({ head, signature, ...of }) => ({ ...of, head: head.toString("hex"), signature: signature.toString("base64") })),
    ).toEqual(vector.batch.heads);
    expect(type.toBuffer(heads).equals(value)).toBe(true);
  });

  it("has frames of each version that the hub takes, kept as they were sent", () => {
    expect(readdirSync(VECTORS).sort()).toEqual(versions.map((version) => `v${version}.json`));
  });

  for (const version of versions) {
    for (const vector of vectorsOf(version)) {
      it(`version ${version} is read for ever: ${vector.name} (I27)`, () => {
        for (const frame of vector.frames) expect(bare(decodeBatch(bytesOf(frame), zstd))).toEqual(batchOf(vector));
      });
      it(`version ${version} is still written as it was: ${vector.name}`, () => {
        const written = encodeBatch(batchOf(vector), plain, version).with(2, version === 1 ? 0 : version << 4);
        expect(Buffer.from(written).toString("base64")).toBe(vector.frames[1]);
      });
    }
  }

  it("grows: what a newer sender adds is passed over, inside `more` and behind it", () => {
    const [vector] = vectorsOf(2);
    const frame = bytesOf(vector!.frames[1]!);
    // `more` is an empty array at the end: one more member, of a tag that nobody knows, then bytes of a column to come.
    expect(frame.at(-1)).toBe(0);
    const longer = Uint8Array.from([...frame.subarray(0, -1), 2, 98, 6, 1, 2, 3, 0, 77, 77]);
    expect(decodeBatch(longer, zstd)).toEqual(batchOf(vector!));
    const old = vectorsOf(1)[0]!;
    expect(decodeBatch(Uint8Array.from([...bytesOf(old.frames[1]!), 0, 4, 9, 9]), zstd)).toEqual(batchOf(old));
  });

  it("of a version that this side does not know is refused by its number, not taken for damage", () => {
    const frame = bytesOf(vectorsOf(2)[0]!.frames[1]!).with(2, 0x90);
    expect(() => decodeBatch(frame, zstd)).toThrow(
      expect.objectContaining({ code: "protocol-unsupported", message: expect.stringContaining("version 9") }),
    );
  });

  it("is spoken in the newest version that both sides know; one that says nothing speaks the first", () => {
    expect(commonVersion(UNSAID)).toBe(1);
    expect(commonVersion({ oldest: 1, newest: 7 })).toBe(PROTOCOL.newest);
    expect(commonVersion({ oldest: 2, newest: 2 }, { oldest: 1, newest: 5 })).toBe(2);
    expect(commonVersion({ oldest: 8, newest: 9 })).toBeNull();
    expect(commonVersion(UNSAID, { oldest: 2, newest: 3 })).toBeNull();
  });

  it("of tomorrow's hellos and receipts is read today: members that nobody knows are passed over", () => {
    const receipt = {
      kind: "receipt",
      batch: null,
      origin: "relief.juba.t1.abcdefghijkl",
      through: 3,
      head: "ab".repeat(32),
      position: "77",
      quarantined: [],
    };
    expect(replySchema.parse({ ...receipt, weather: "fine" })).toEqual(receipt);
    const hello = { kind: "hello", nowMs: 1, receipt, avro: {} };
    expect(helloSchema.parse({ ...hello, weather: { is: "fine" } })).toEqual(hello);
    expect(helloRequestSchema.parse({ origin: receipt.origin, since: 3, weather: "fine" })).toEqual({
      origin: receipt.origin,
      since: 3,
    });
  });
});
