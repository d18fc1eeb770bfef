import { canonicalize, type JsonObject, type JsonValue } from "../../core/index.ts";
import type { Avro, AvroRecord } from "./model.ts";

/**
 * Avro's binary form to plain JSON values, for bytes that may be hostile: a few bytes can claim a list of any length, so every item
 * counts against a bound, whether or not it takes bytes. Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
 */

/** Items and members of all lists, maps and records in one value, at most. */
const MAX_ITEMS = 100_000;
const MAX_DEPTH = 64;

const unfit = (why: string): never => {
  throw new RangeError(why);
};

const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A place in the bytes; one for each decoder, since decoding never waits. */
class Cursor {
  bytes: Uint8Array = new Uint8Array();
  at = 0;
  left = 0;
  depth = 0;

  byte(): number {
    if (this.at >= this.bytes.length) unfit("it ends too early");
    return this.bytes[this.at++]!;
  }

  long(): number {
    const bytes = this.bytes;
    let byte = this.byte();
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
    // Numbers above 2^53 have no place in JSON; seven groups fit exactly, an eighth is checked.
    let low = byte & 0x7f;
    let scale = 128;
    let value = low;
    for (let groups = 1; ; groups++) {
      if (groups > 9) unfit("a number is longer than ten bytes");
      if (this.at >= bytes.length) unfit("it ends too early");
      byte = bytes[this.at++]!;
      low = byte & 0x7f;
      value += low * scale;
      scale *= 128;
      if (byte < 0x80) break;
    }
    if (value > 2 * Number.MAX_SAFE_INTEGER) unfit("a number is beyond 2^53");
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** Counts items that are about to be made. */
  take(count: number): void {
    this.left -= count;
    if (this.left < 0) unfit(`it holds more than ${MAX_ITEMS} items`);
  }

  string(): string {
    const length = this.long();
    if (length < 0 || length > this.bytes.length - this.at) unfit("a text is longer than the data");
    const { bytes, at } = this;
    this.at += length;
    if (length < 24) {
      // Short plain texts are quicker by hand.
      let out = "";
      let i = 0;
      for (; i < length; i++) {
        const code = bytes[at + i]!;
        if (code >= 0x80) break;
        out += String.fromCharCode(code);
      }
      if (i === length) return out;
    }
    return text.decode(bytes.subarray(at, at + length));
  }

  view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  float(size: 4 | 8): number {
    if (this.at + size > this.bytes.length) unfit("it ends too early");
    const value = size === 4 ? this.view().getFloat32(this.at, true) : this.view().getFloat64(this.at, true);
    this.at += size;
    if (!Number.isFinite(value)) unfit(`${value} is no JSON number`);
    return value === 0 ? 0 : value;
  }
}

type Read = (from: Cursor) => JsonValue;

/** A decoder for a record type; it throws `RangeError`, with words, for anything but exactly one whole value. */
export function avroDecoder(type: AvroRecord): (bytes: Uint8Array) => JsonObject {
  const made = new Map<Avro, { read: Read }>();
  const read = make(type);
  const cursor = new Cursor();
  return (bytes) => {
    cursor.bytes = bytes;
    cursor.at = 0;
    cursor.left = MAX_ITEMS;
    cursor.depth = 0;
    const value = read(cursor);
    if (cursor.at !== bytes.length) unfit("bytes are left over");
    return value as JsonObject;
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
    switch (of.kind) {
      case "null":
        return () => null;
      case "boolean":
        return (from) => {
          const byte = from.byte();
          if (byte > 1) unfit("a truth value is neither 0 nor 1");
          return byte === 1;
        };
      case "int":
        return (from) => {
          const value = from.long();
          if (value < -(2 ** 31) || value >= 2 ** 31) unfit("a whole number takes more than 32 bits");
          return value;
        };
      case "long":
        return (from) => from.long();
      case "float":
        return (from) => from.float(4);
      case "double":
        return (from) => from.float(8);
      case "string":
        return (from) => from.string();
      case "bytes":
      case "fixed":
        return () => unfit("bytes have no place in JSON");
      case "enum": {
        const { symbols } = of;
        return (from) => symbols[from.long()] ?? unfit("an enum's symbol is not among those declared");
      }
      case "union": {
        const branches = of.branches.map(make);
        return (from) => (branches[from.long()] ?? (() => unfit("a union's branch is not among those declared")))(from);
      }
      case "array": {
        const item = make(of.items);
        return (from) => {
          const out: JsonValue[] = [];
          for (let count = blockOf(from); count > 0; count = blockOf(from)) {
            from.take(count);
            for (let i = 0; i < count; i++) out.push(item(from));
          }
          return out;
        };
      }
      case "map": {
        const member = make(of.values);
        return (from) => {
          const out: Record<string, JsonValue> = {};
          for (let count = blockOf(from); count > 0; count = blockOf(from)) {
            from.take(count);
            for (let i = 0; i < count; i++) {
              const key = from.string();
              Object.defineProperty(out, key, { value: member(from), enumerable: true, writable: true, configurable: true });
            }
          }
          return out;
        };
      }
      case "record": {
        const names = of.fields.map(({ name }) => name);
        const reads = of.fields.map((field) => make(field.type));
        const count = names.length;
        return (from) => {
          if (++from.depth > MAX_DEPTH) unfit(`it nests more than ${MAX_DEPTH} deep`);
          from.take(1);
          const out: Record<string, JsonValue> = {};
          for (let i = 0; i < count; i++) out[names[i]!] = reads[i]!(from);
          from.depth--;
          return out;
        };
      }
    }
  }
}

/** The number of items in the next block. A negative count is followed by the block's size in bytes, which is not needed. */
function blockOf(from: Cursor): number {
  const count = from.long();
  if (count >= 0) return count;
  from.long();
  return -count;
}

const SAFE = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
/** A text in JSON. Most hold nothing that needs escaping, which is quickly seen. */
const quoted = (value: string): string => (SAFE.test(value) ? `"${value}"` : canonicalize(value));

/**
 * A function that writes values of a type as canonical JSON, as `canonicalize` does: the order of members, and their quoted names, are
 * known beforehand. For values of the type only.
 */
export function avroText(type: Avro): (value: JsonValue) => string {
  const made = new Map<Avro, { write: (value: JsonValue) => string }>();
  return make(type);

  function make(of: Avro): (value: JsonValue) => string {
    const known = made.get(of);
    if (known !== undefined) return (value) => known.write(value);
    const slot = { write: (value: JsonValue) => canonicalize(value) };
    if (of.kind === "record") made.set(of, slot);
    slot.write = build(of);
    return slot.write;
  }

  function build(of: Avro): (value: JsonValue) => string {
    switch (of.kind) {
      case "null":
        return () => "null";
      case "boolean":
      case "int":
      case "long":
      case "float":
      case "double":
        return (value) => (value === 0 ? "0" : String(value));
      case "string":
      case "enum":
        return (value) => quoted(value as string);
      case "record": {
        const members = of.fields
          .map(({ name, type: member }) => ({ name, write: make(member) }))
          .sort((a, b) => (a.name < b.name ? -1 : 1))
          .map(({ name, write }, i) => ({ name, write, lead: `${i === 0 ? "{" : ","}"${name}":` }));
        return (value) => {
          const record = value as JsonObject;
          let out = members.length === 0 ? "{" : "";
          for (const { name, write, lead } of members) out += lead + write(record[name]!);
          return `${out}}`;
        };
      }
      case "array": {
        const item = make(of.items);
        return (value) => `[${(value as JsonValue[]).map(item).join(",")}]`;
      }
      case "union": {
        const others = of.branches.filter(({ kind }) => kind !== "null");
        const only = others.length === 1 ? make(others[0]!) : canonicalize;
        return (value) => (value === null ? "null" : only(value));
      }
      default:
        return canonicalize;
    }
  }
}
