/**
 * Avro's binary encoding for the few types that the batch frame uses. It is written out because the frame must encode in a
 * browser and at ten thousand events a second; a test reads and writes the same bytes with `avsc`.
 * Source: https://avro.apache.org/docs/1.12.0/specification/#binary_encoding
 */

const encoder = new TextEncoder();
/** A text that begins with U+FEFF keeps it: the event's hash covers it. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export interface Writer {
  long(value: number): void;
  bytes(value: Uint8Array): void;
  fixed(value: Uint8Array): void;
  string(value: string): void;
  array<T>(items: readonly T[], write: (item: T) => void): void;
  finish(): Uint8Array;
}

export function writer(initialBytes = 4096): Writer {
  let buffer = new Uint8Array(initialBytes);
  let at = 0;
  const room = (count: number): void => {
    if (at + count <= buffer.length) return;
    const next = new Uint8Array(Math.max(buffer.length * 2, at + count));
    next.set(buffer.subarray(0, at));
    buffer = next;
  };
  const self: Writer = {
    long(value) {
      room(10);
      // The lowest bit is the sign; the rest is written without it, so every number is exact.
      const [sign, size] = value >= 0 ? [0, value] : [1, -value - 1];
      let byte = (size % 0x40) * 2 + sign;
      for (let rest = Math.floor(size / 0x40); rest > 0; rest = Math.floor(rest / 0x80)) {
        buffer[at++] = byte | 0x80;
        byte = rest % 0x80;
      }
      buffer[at++] = byte;
    },
    bytes(value) {
      self.long(value.length);
      self.fixed(value);
    },
    fixed(value) {
      room(value.length);
      buffer.set(value, at);
      at += value.length;
    },
    string(value) {
      self.bytes(encoder.encode(value));
    },
    array(items, write) {
      if (items.length > 0) {
        self.long(items.length);
        for (const item of items) write(item);
      }
      self.long(0);
    },
    finish: () => buffer.slice(0, at),
  };
  return self;
}

export interface Reader {
  long(): number;
  bytes(): Uint8Array;
  fixed(length: number): Uint8Array;
  string(): string;
  /** Reads an array of at most `max` items. */
  array<T>(max: number, read: () => T): T[];
  readonly atEnd: boolean;
}

/** Reads Avro bytes. Throws `RangeError` at anything that is cut short or beyond its bound. */
export function reader(buffer: Uint8Array): Reader {
  let at = 0;
  const self: Reader = {
    long() {
      if (at >= buffer.length) throw new RangeError("cut short");
      let byte = buffer[at++]!;
      // The lowest bit is the sign; the rest is summed without it, so every number that is accepted is exact.
      const isNegative = (byte & 1) === 1;
      let value = (byte & 0x7f) >>> 1;
      for (let scale = 64; byte >= 0x80; scale *= 0x80) {
        if (at >= buffer.length) throw new RangeError("cut short");
        if (scale > Number.MAX_SAFE_INTEGER) throw new RangeError("number too large");
        byte = buffer[at++]!;
        value += (byte & 0x7f) * scale;
      }
      if (value > Number.MAX_SAFE_INTEGER - (isNegative ? 1 : 0)) throw new RangeError("number too large");
      return isNegative ? -value - 1 : value;
    },
    bytes() {
      return self.fixed(self.long());
    },
    fixed(length) {
      if (length < 0 || at + length > buffer.length) throw new RangeError("cut short");
      at += length;
      return buffer.subarray(at - length, at);
    },
    string() {
      return decoder.decode(self.bytes());
    },
    array(max, read) {
      const out: ReturnType<typeof read>[] = [];
      for (let count = self.long(); count !== 0; count = self.long()) {
        if (count < 0) {
          count = -count;
          self.long();
        }
        if (out.length + count > max) throw new RangeError(`more than ${max} items`);
        for (let i = 0; i < count; i++) out.push(read());
      }
      return out;
    },
    get atEnd() {
      return at === buffer.length;
    },
  };
  return self;
}
