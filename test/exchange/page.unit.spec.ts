import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import avsc from "avsc";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Bucket,
  GENESIS,
  type Hash,
  isTributaryError,
  MAX_BATCH_BYTES,
  MAX_PAGE_BYTES,
  position,
  type Seq,
} from "../../services/core/index.ts";
import { isSignedBy, makeKeyPair, sha256Hex, signerOf, zstd } from "../../services/core/node.ts";
import {
  decodePage,
  encodePage,
  hasComputedHash,
  PAGE_FORMS,
  PAGE_SCHEMA,
  type Page,
  type PagedEvent,
  type PageReading,
  type PageWriting,
  pageText,
  type Section,
} from "../../services/exchange/protocol/index.ts";
import { gate } from "../support/hub.ts";
import { bucketOf, pageOf, pagesOf, reading, workedPage, writing } from "../support/page-of.ts";
import { sitesLog } from "../support/pages.ts";
import { randomPage } from "../support/random-pages.ts";
import { atLeast, runs } from "../support/runs.ts";

/** The encoding of data that travels by its members. */
const SHAPED = 3;
/** Stands for Avro: half of the schemas have a binary form, which is the text turned upside down. */
const turned = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 0xff).reverse();
const binary: PageWriting = {
  ...writing,
  pack: ({ version }, text) =>
    version % 2 === 0
      ? { encoding: "avro", payload: turned(Buffer.from(text)) }
      : { encoding: "json", payload: Buffer.from(text) },
};
const plain: PageWriting = { ...binary, compression: null };
const reader: PageReading = { ...reading, unpack: (_, payload) => Buffer.from(turned(payload)).toString() };

/** All events of a page, each once. */
const eventsIn = ({ sections }: Page): PagedEvent[] => [
  ...new Set(
    sections.flatMap((section) =>
      section.kind === "lines"
        ? section.lines.flatMap(({ events }) => events)
        : section.kind === "members"
          ? section.members.flatMap(({ events }) => events)
          : [],
    ),
  ),
];
/** The body's record, as another implementation of Avro reads it. */
const whole = avsc.Type.forSchema(PAGE_SCHEMA as unknown as avsc.Schema, { wrapUnions: "always" });
const recordIn = (frame: Uint8Array) =>
  whole.fromBuffer(Buffer.from(frame.subarray(4))) as {
    prevs: Buffer;
    data: Buffer;
    type: number[];
    encoding: number[];
    members: string[];
    sections: object[];
  };

const log = await sitesLog();
const byType = ({ head }: PagedEvent): Bucket => bucketOf(head.entity.type);

describe("a page on the wire", () => {
  it("comes out as it went in, whatever its sections and events hold", () => {
    fc.assert(
      fc.property(randomPage, fc.boolean(), (page, mayPack) => {
        const frame = encodePage(page, mayPack ? binary : plain);
        // A small body travels as it is, whatever it may.
        const isPacked = ((frame[2] ?? 0) & 0xf) === 1;
        expect(decodePage(frame, reader)).toEqual({
          page,
          digest: sha256Hex(isPacked ? binary.compression!.decompress(frame.subarray(4), MAX_BATCH_BYTES) : frame.subarray(4)),
          signature: null,
        });
      }),
      { numRuns: runs(400) },
    );
  });

  it("carries positions up to 8 PiB of log, in whichever order its sections name them", () => {
    const far = [2n ** 53n - 1n, 0n, 2n ** 53n - 2n, 1n, 2n ** 52n];
    const events = log.slice(0, far.length).map((event, i) => ({ ...event, position: position(far[i] ?? 0n) }));
    const page = pageOf(events, byType);
    expect(decodePage(encodePage(page, writing), reading).page).toEqual(page);
    const beyond = pageOf([{ ...events[0]!, position: position(2n ** 53n) }], byType);
    expect(() => encodePage(beyond, writing)).toThrow("position 9007199254740992 is below 2^53");
  });

  it("is the Avro that its schema declares: avsc reads and writes the same bytes", () => {
    fc.assert(
      fc.property(randomPage, (page) => {
        const frame = encodePage(page, plain);
        const record = recordIn(frame);
        expect(record.type.length).toBe(eventsIn(page).length);
        expect(record.sections.length).toBe(page.sections.length);
        expect(whole.toBuffer(record).equals(frame.subarray(4))).toBe(true);
      }),
      { numRuns: runs(200) },
    );
  });

  it("says an event once, however often it is named, and the hash before it only where no event of the page has it", () => {
    let shaped = 0;
    fc.assert(
      fc.property(randomPage, (page) => {
        const events = eventsIn(page);
        const keys = new Set(events.map(({ head }) => `${head.origin}/${head.seq}`));
        const { prevs, data, encoding } = recordIn(encodePage(page, plain));
        const needed = events.filter(({ head: { origin, seq } }) => seq > 0 && !keys.has(`${origin}/${seq - 1}`));
        expect(prevs.length).toBe(32 * needed.length);
        // What does not stand among the members' values stands here, once.
        const bytes = events.map(({ text }, i) => (encoding[i] === SHAPED ? 0 : Buffer.byteLength(text ?? "")));
        expect(data.length).toBe(bytes.reduce((sum, each) => sum + each, 0));
        shaped += encoding.filter((form) => form === SHAPED).length;
      }),
      { numRuns: runs(200) },
    );
    expect(shaped).toBeGreaterThan(atLeast(30));
  });

  it("is signed over the asker's nonce and the body: another nonce, or one changed byte, is not what the hub signed", () => {
    const signer = signerOf(makeKeyPair());
    const page = pageOf(log.slice(0, 20), byType);
    const nonce = "a-nonce-of-the-asker";
    const frame = encodePage(page, { ...writing, compression: null, sign: (digest) => signer.sign(pageText(nonce, digest)) });
    const signed = (from: Uint8Array, of = nonce): boolean => {
      const { digest, signature } = decodePage(from, reading);
      return isSignedBy(signer.key, pageText(of, digest), signature as Parameters<typeof isSignedBy>[2]);
    };
    expect(decodePage(frame, reading)).toMatchObject({ page, signature: { kid: signer.kid } });
    expect(signed(frame)).toBe(true);
    expect(signed(frame, "another-nonce-of-it")).toBe(false);
    // A letter of a name: the page can be read, and is not the hub's.
    const at = Buffer.from(frame).indexOf("officer-") + 8;
    expect(signed(frame.with(at, (frame[at] ?? 0) ^ 1))).toBe(false);
  });

  it("gives an event another hash when a byte of its text is changed, and all that come after it in its origin", () => {
    const { origin } = log[0]!.head;
    const events = log.filter(({ head }) => head.origin === origin).slice(0, 10);
    const frame = encodePage(pageOf(events, byType), { ...writing, compression: null });
    const third = Buffer.from(frame).indexOf(JSON.parse(events[2]!.text!).given_name);
    expect(third).toBeGreaterThan(0);
    const changed = eventsIn(decodePage(frame.with(third, (frame[third] ?? 0) ^ 1), reading).page);
    const same = changed.map(({ hash, head }) => hash === events[head.seq]?.hash);
    expect(same).toEqual(events.map((_, i) => i < 2));
  });

  it("tells which events' hashes were computed from their contents: as they were read, not of a copy, nor of one without its text", () => {
    const page = pageOf(log.slice(0, 10), byType);
    const bare = eventsIn(page)[0]!;
    const without = (event: PagedEvent): PagedEvent => (event === bare ? { ...event, text: null } : event);
    const sections = page.sections.map(
      (section): Section =>
        section.kind === "lines"
          ? { ...section, lines: section.lines.map((line) => ({ ...line, events: line.events.map(without) })) }
          : section,
    );
    const read = eventsIn(decodePage(encodePage({ ...page, sections }, writing), reading).page);
    expect(read.filter((event) => !hasComputedHash(event)).map(({ text }) => text)).toEqual([null]);
    expect(read.some((event) => hasComputedHash({ ...event }))).toBe(false);
    expect(eventsIn(page).some(hasComputedHash)).toBe(false);
  });

  it("of a hundred real events takes at most 60 bytes an event, signature and all; 90 where a bucket has few of an origin's events", () => {
    const signer = signerOf(makeKeyPair());
    const bytesOf = (events: readonly PagedEvent[]): number => {
      const pages = pagesOf(events, 100, byType);
      expect(pages.length).toBeGreaterThan(0);
      const frames = pages.map((page) =>
        encodePage(page, { ...writing, sign: (digest) => signer.sign(pageText("a-nonce-of-the-asker", digest)) }),
      );
      return frames.reduce((sum, { length }) => sum + length, 0) / (100 * pages.length);
    };
    const of = (type: string) => log.filter(({ head }) => head.entity.type === type);
    // Measured: 47 of all events in the log's order; 55 of people alone, of whom one in five needs the hash before it; 37 of distributions alone.
    for (const events of [log, of("beneficiary"), of("distribution")]) expect(bytesOf(events)).toBeLessThanOrEqual(60);
    // As in a bucket of one district in two: all need the hash before them, 32 bytes that nothing compresses. Measured: 83.
    const sparse = of("beneficiary").filter((_, i) => i % 2 === 0);
    expect(bytesOf(sparse)).toBeLessThanOrEqual(90);
  });

  it("carries data as Avro where the asker has its schemas; a reader without schemas refuses it in words", () => {
    const page = pageOf(log.filter(({ head }) => head.type === "distribution.recorded").slice(0, 5), byType);
    const frame = encodePage(page, { ...writing, pack: (schema, text) => gate.payload(schema, text, true) });
    expect(frame.length).toBeLessThan(encodePage(page, writing).length);
    expect(decodePage(frame, { ...reading, unpack: gate.unpack }).page).toEqual(page);
    expect(() => decodePage(frame, reading)).toThrow("its data is Avro, and this reader has no schemas");
  });

  it("is read in bounded memory, whatever it says of itself", () => {
    const frame = encodePage(pageOf(log.slice(0, 30), byType), { ...writing, compression: null });
    // A member that nearly all objects have gets a name of a megabyte.
    const record = recordIn(frame);
    const members = record.members.map((name) => (name === '"registration_no"' ? `"${"x".repeat(1_000_000)}"` : name));
    const inflated = Uint8Array.from([...frame.subarray(0, 4), ...whole.toBuffer({ ...record, members })]);
    expect(() => decodePage(inflated, reading)).toThrow("its data has more than 8388608 characters");
    const bomb = Uint8Array.from([
      ...encodePage(pageOf([], byType), writing).subarray(0, 4),
      ...zstd.compress(new Uint8Array(MAX_BATCH_BYTES + 1)),
    ]);
    expect(() => decodePage(bomb, reading)).toThrow(expect.objectContaining({ code: "page-undecodable" }));
    expect(() => decodePage(new Uint8Array(MAX_PAGE_BYTES + 1), reading)).toThrow("1040001 bytes; 1040000 are allowed");
  });

  it("that its reader would not take is not written: the hub is told, and puts fewer events in", () => {
    const [first] = log;
    const events = Array.from(
      { length: 2_001 },
      (_, seq): PagedEvent => ({
        ...first!,
        head: { ...first!.head, seq: seq as Seq },
        prev: first!.prev,
        hash: sha256Hex(String(seq)) as Hash,
      }),
    );
    expect(() => encodePage(pageOf(events, byType), writing)).toThrow(expect.objectContaining({ code: "page-too-large" }));
    const noise = { ...first!, text: randomBytes(1_100_000).toString("base64") };
    expect(() => encodePage(pageOf([noise], byType), writing)).toThrow(expect.objectContaining({ code: "page-too-large" }));
    const text = `{"${"x".repeat(900_000)}":1}`;
    const alike = events
      .slice(0, 10)
      .map((event): PagedEvent => ({ ...event, text, prev: event.head.seq === 0 ? GENESIS : events[event.head.seq - 1]!.hash }));
    expect(() => encodePage(pageOf(alike, byType), writing)).toThrow("characters of data");
  });

  it("is not written where an event does not follow the one before it in the hub's log", () => {
    const { origin } = log[0]!.head;
    const [first, second] = log.filter(({ head }) => head.origin === origin);
    const page = pageOf([first!, { ...second!, prev: GENESIS }], byType);
    expect(() => encodePage(page, writing)).toThrow(expect.objectContaining({ code: "chain-broken" }));
  });

  it("is refused with a code when it is damaged, cut or made up, never misread or crashed on", () => {
    const codes = new Set<string>();
    fc.assert(
      fc.property(
        randomPage,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.option(fc.nat()),
        fc.boolean(),
        (page, flips, cut, isPacked) => {
          const frame = encodePage(page, isPacked ? binary : plain);
          for (const [at, byte] of flips) frame[at % frame.length] = byte;
          try {
            decodePage(cut === null ? frame : frame.subarray(0, cut % frame.length), reader);
          } catch (error) {
            if (!isTributaryError(error)) throw error;
            codes.add(error.code);
          }
        },
      ),
      { numRuns: runs(1_000) },
    );
    expect([...codes].filter((code) => code !== "protocol-unsupported")).toEqual(["page-undecodable"]);
  });

  it("is explained byte by byte in docs/exchange.md: its table is a page, with every field of the schema", () => {
    const document = readFileSync(join(import.meta.dirname, "../../docs/exchange.md"), "utf8");
    const [, table = ""] = /<!-- page -->\n([\s\S]*?)<!-- \/page -->/.exec(document) ?? [];
    const rows = [...table.matchAll(/^\| (`.*?) \| (.*?) \| .+ \|$/gm)].map(([, bytes = "", fields = ""]) => ({ bytes, fields }));
    const frame = Buffer.from(rows.map(({ bytes }) => bytes.replace(/`|<br>/g, "")).join(""), "hex");
    expect(decodePage(frame, reading)).toEqual({ page: workedPage(), digest: sha256Hex(frame.subarray(4)), signature: null });
    expect(Buffer.from(encodePage(workedPage(), { ...writing, compression: null })).equals(frame)).toBe(true);
    const lines = PAGE_SCHEMA.fields.flatMap(({ name, type }) => {
      if (name !== "sections") return [name];
      const [first] = type.items;
      return [name, ...first.fields.map((field) => field.name), "end"];
    });
    expect(rows.flatMap(({ fields }) => fields.replaceAll("`", "").split(", "))).toEqual(["frame", ...lines]);
  });

  it("has the schema that was written down for its form: what an older reader would misread is a new form", () => {
    const hash = sha256Hex(JSON.stringify(PAGE_SCHEMA)).slice(0, 16);
    expect({ [PAGE_FORMS.newest]: hash }).toEqual({ 1: "8992709c5da13dfa" });
  });

  it("of a later form is refused by its number; what a later writer adds is passed over, in `more` and behind it", () => {
    const frame = encodePage(workedPage(), { ...writing, compression: null });
    expect(() => decodePage(frame.with(2, 0x90), reading)).toThrow(
      expect.objectContaining({ code: "protocol-unsupported", message: expect.stringContaining("form 9") }),
    );
    // `more` is an empty list at the end: one more member, of a tag that nobody knows, then bytes of a field to come.
    expect(frame.at(-1)).toBe(0);
    const longer = Uint8Array.from([...frame.subarray(0, -1), 2, 98, 6, 1, 2, 3, 0, 77, 77]);
    expect(decodePage(longer, reading).page).toEqual(workedPage());
  });
});
