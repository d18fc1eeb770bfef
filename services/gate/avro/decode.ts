import { canonicalize, type JsonObject, type JsonValue } from "../../core/index.ts";
import { latin1Text } from "../bytes.ts";
import { type Avro, type AvroRecord, MAX_VALUE_DEPTH } from "./model.ts";

/**
 * Avro's binary form to plain JSON values and their canonical text, in one pass, for bytes that may be hostile: a few bytes can claim a list of
 * any length, so every item counts against a bound, whether or not it takes bytes.
 * Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
 */

/** How many items and members all lists, maps and records in one value may have together. */
const MAX_ITEMS = 100_000;

const unfit = (why: string): never => {
  throw new RangeError(why);
};

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Eight bytes to be read as a number; Avro's byte order is the order of every machine this runs on. */
const scratch = new Uint8Array(8);
const asDouble = new Float64Array(scratch.buffer);
const asFloat = new Float32Array(scratch.buffer);

/** An offset into the bytes; one for each decoder, since decoding never waits. */
class Cursor {
  bytes: Uint8Array = new Uint8Array();
  /** The bytes as characters: plain texts are cut out of them. */
  chars = "";
  at = 0;
  left = 0;
  depth = 0;
  /** Canonical JSON of the value that was read last. */
  text = "";

  byte(): number {
    if (this.at >= this.bytes.length) unfit("it ends too early");
    return this.bytes[this.at++]!;
  }

  long(): number {
    const bytes = this.bytes;
    let byte = this.byte();
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
    // The lowest bit is the sign; the others are summed without it, so that every number that JSON can hold exactly comes out exact.
    const isNegative = (byte & 1) === 1;
    let value = (byte & 0x7f) >>> 1;
    let scale = 64;
    for (let groups = 1; ; groups++) {
      if (groups > 9) unfit("a number is longer than ten bytes");
      if (this.at >= bytes.length) unfit("it ends too early");
      byte = bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) break;
    }
    if (value > Number.MAX_SAFE_INTEGER - (isNegative ? 1 : 0)) unfit("a number is beyond 2^53");
    return isNegative ? -value - 1 : value;
  }

  /** Counts the items that are about to be made. */
  take(count: number): void {
    this.left -= count;
    if (this.left < 0) unfit(`it holds more than ${MAX_ITEMS} items`);
  }

  string(): string {
    const length = this.long();
    const { bytes, at } = this;
    if (length < 0 || length > bytes.length - at) unfit("a text is longer than the data");
    const end = at + length;
    this.at = end;
    for (let i = at; i < end; i++) {
      const byte = bytes[i]!;
      // Anything but plain characters that JSON writes as they are.
      if (byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c) return this.unusual(at, end);
    }
    const value = this.chars.substring(at, end);
    this.text = `"${value}"`;
    return value;
  }

  unusual(at: number, end: number): string {
    const value = utf8.decode(this.bytes.subarray(at, end));
    this.text = canonicalize(value);
    return value;
  }

  float(size: 4 | 8): number {
    if (this.at + size > this.bytes.length) unfit("it ends too early");
    const { bytes, at } = this;
    for (let i = 0; i < size; i++) scratch[i] = bytes[at + i]!;
    this.at = at + size;
    const value = size === 4 ? asFloat[0]! : asDouble[0]!;
    if (!Number.isFinite(value)) unfit(`${value} is not a JSON number`);
    return value === 0 ? 0 : value;
  }

  /** Enters a record, list or map; the caller leaves it with `depth--`. */
  enter(items: number): void {
    if (++this.depth > MAX_VALUE_DEPTH) unfit(`it nests more than ${MAX_VALUE_DEPTH} deep`);
    this.take(items);
  }
}

/** Reads a value, and leaves its canonical text in `from.text`. */
type Read = (from: Cursor) => JsonValue;

/** A whole value and its canonical text, in the form of the gate's verdict, since it mostly becomes one. */
export interface Decoded {
  readonly ok: true;
  readonly data: JsonObject;
  readonly text: string;
}

/** A decoder for a record type. The decoder throws `RangeError`, with the reason in words, for anything but exactly one whole value. */
// Long because the readers of types call one another through one table, in which a type that holds itself finds its own reader.
export function avroDecoder(type: AvroRecord): (bytes: Uint8Array) => Decoded {
  const made = new Map<Avro, { read: Read }>();
  const read = make(type);
  const cursor = new Cursor();
  return (bytes) => {
    cursor.bytes = bytes;
    cursor.chars = latin1Text(bytes);
    cursor.at = 0;
    cursor.left = MAX_ITEMS;
    cursor.depth = 0;
    const data = read(cursor) as JsonObject;
    if (cursor.at !== bytes.length) unfit("bytes are left over");
    return { ok: true, data, text: cursor.text };
  };

  function make(of: Avro): Read {
    const known = made.get(of);
    if (known !== undefined) return (from) => known.read(from);
    const slot: { read: Read } = { read: () => null };
    if (of.kind === "record") made.set(of, slot);
    slot.read = build(of);
    return slot.read;
  }

  function build(of: Avro): Read {
    const number = (read: (from: Cursor) => number): Read => {
      return (from) => {
        const value = read(from);
        from.text = `${value}`;
        return value;
      };
    };
    switch (of.kind) {
      case "null":
        return (from) => {
          from.text = "null";
          return null;
        };
      case "boolean":
        return (from) => {
          const byte = from.byte();
          if (byte > 1) unfit("a truth value is neither 0 nor 1");
          from.text = byte === 1 ? "true" : "false";
          return byte === 1;
        };
      case "int":
        return number((from) => {
          const value = from.long();
          if (value < -(2 ** 31) || value >= 2 ** 31) unfit("a whole number takes more than 32 bits");
          return value;
        });
      case "long":
        return number((from) => from.long());
      case "float":
        return number((from) => from.float(4));
      case "double":
        return number((from) => from.float(8));
      case "string":
        return (from) => from.string();
      case "bytes":
      case "fixed":
        return () => unfit("JSON cannot hold bytes");
      case "enum": {
        const { symbols } = of;
        return (from) => {
          const symbol = symbols[from.long()] ?? unfit("an enum's symbol is not among those declared");
          from.text = `"${symbol}"`;
          return symbol;
        };
      }
      case "union": {
        const branches = of.branches.map(make);
        const none: Read = () => unfit("a union's branch is not among those declared");
        return (from) => (branches[from.long()] ?? none)(from);
      }
      case "array":
        return arrayOf(make(of.items));
      case "map":
        return mapOf(make(of.values));
      case "record":
        return recordOf(of);
    }
  }

  function arrayOf(item: Read): Read {
    return (from) => {
      from.enter(1);
      const out: JsonValue[] = [];
      const texts: string[] = [];
      for (let count = blockOf(from); count > 0; count = blockOf(from)) {
        from.take(count);
        for (let i = 0; i < count; i++) {
          out.push(item(from));
          texts.push(from.text);
        }
      }
      from.text = `[${texts.join(",")}]`;
      from.depth--;
      return out;
    };
  }

  function mapOf(member: Read): Read {
    return (from) => {
      from.enter(1);
      const out: Record<string, JsonValue> = {};
      for (let count = blockOf(from); count > 0; count = blockOf(from)) {
        from.take(count);
        for (let i = 0; i < count; i++) {
          const key = from.string();
          Object.defineProperty(out, key, { value: member(from), enumerable: true, writable: true, configurable: true });
        }
      }
      from.text = canonicalize(out);
      from.depth--;
      return out;
    };
  }

  /**
   * A record's reader, as code of its own: an object made with all its members at once, and a text joined in the order that canonical JSON wants. Names
   * are Avro names, so they need no quoting in code.
   */
  function recordOf({ fields }: AvroRecord): Read {
    const reads = fields.map((field) => make(field.type));
    const sorted = fields.map(({ name }, i) => ({ name, i })).sort((a, b) => (a.name < b.name ? -1 : 1));
    const text = sorted.map(({ name, i }, at) => `'${at === 0 ? "{" : ","}"${name}":' + t${i}`).join(" + ");
    const code = `"use strict";
      ${reads.map((_, i) => `const r${i} = reads[${i}];`).join("\n      ")}
      return (from) => {
        from.enter(${fields.length + 1});
        ${fields.map((_, i) => `const v${i} = r${i}(from), t${i} = from.text;`).join("\n        ")}
        from.text = ${fields.length === 0 ? "'{}'" : `${text} + '}'`};
        from.depth--;
        return { ${fields.map(({ name }, i) => `["${name}"]: v${i}`).join(", ")} };
      };`;
    return new Function("reads", code)(reads) as Read;
  }
}

/** The number of items in the next block. A negative count is followed by the block's size in bytes, which is not needed. */
function blockOf(from: Cursor): number {
  const count = from.long();
  if (count >= 0) return count;
  from.long();
  return -count;
}
