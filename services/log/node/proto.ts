/**
 * Protocol buffers' wire format, as far as EventStoreDB's streams service needs it. It is written by hand because each event passes here:
 * google-protobuf's generated classes cost about 25 µs an event, this code about 1 µs. A test compares both.
 * Source: https://protobuf.dev/programming-guides/encoding/
 */

export interface ProtoWriter {
  /** A varint field; left out when it is zero, as proto3 does, unless `always`. */
  uint(field: number, value: number | bigint, always?: boolean): ProtoWriter;
  bytes(field: number, value: Uint8Array): ProtoWriter;
  text(field: number, value: string): ProtoWriter;
  message(field: number, body: Uint8Array): ProtoWriter;
  finish(): Buffer;
}

export const EMPTY = Buffer.alloc(0);

export function proto(initialBytes = 256): ProtoWriter {
  let buffer = Buffer.allocUnsafe(initialBytes);
  let at = 0;
  const room = (count: number): void => {
    if (at + count <= buffer.length) return;
    const next = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + count));
    buffer.copy(next, 0, 0, at);
    buffer = next;
  };
  const varint = (value: number): void => {
    let rest = value;
    while (rest >= 0x80) {
      buffer[at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    buffer[at++] = rest;
  };
  const bigVarint = (value: bigint): void => {
    let rest = BigInt.asUintN(64, value);
    while (rest >= 0x80n) {
      buffer[at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    buffer[at++] = Number(rest);
  };
  const self: ProtoWriter = {
    uint(field, value, always = false) {
      if (!always && (value === 0 || value === 0n)) return self;
      room(15);
      varint(field * 8);
      if (typeof value === "bigint") bigVarint(value);
      else varint(value);
      return self;
    },
    bytes(field, value) {
      return value.length === 0 ? self : self.message(field, value);
    },
    text(field, value) {
      const length = Buffer.byteLength(value);
      if (length === 0) return self;
      room(15 + length);
      varint(field * 8 + 2);
      varint(length);
      at += buffer.write(value, at, "utf8");
      return self;
    },
    message(field, body) {
      room(15 + body.length);
      varint(field * 8 + 2);
      varint(body.length);
      buffer.set(body, at);
      at += body.length;
      return self;
    },
    finish: () => buffer.subarray(0, at),
  };
  return self;
}

/** A field as it stands in a message: a number for varints, bytes for the rest. */
export interface Field {
  readonly number: number;
  readonly uint: number;
  readonly big: bigint;
  readonly bytes: Buffer;
}

/** Walks over a message's fields in order. Throws `RangeError` when it is cut short. */
export function eachField(buffer: Buffer, visit: (field: Field) => void): void {
  let at = 0;
  const varint = (): bigint => {
    let low = 0;
    let scale = 1;
    const start = at;
    for (;;) {
      if (at >= buffer.length) throw new RangeError("message cut short");
      const byte = buffer[at++]!;
      if (at - start > 7) break;
      low += (byte & 0x7f) * scale;
      if (byte < 0x80) return BigInt(low);
      scale *= 0x80;
    }
    at = start;
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= buffer.length || shift > 63n) throw new RangeError("message cut short");
      const byte = buffer[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
  };
  while (at < buffer.length) {
    const tag = Number(varint());
    const number = tag >> 3;
    switch (tag & 7) {
      case 0: {
        const big = varint();
        visit({ number, uint: Number(big), big, bytes: EMPTY });
        break;
      }
      case 2: {
        const length = Number(varint());
        if (at + length > buffer.length) throw new RangeError("message cut short");
        visit({ number, uint: 0, big: 0n, bytes: buffer.subarray(at, at + length) });
        at += length;
        break;
      }
      case 1:
        at += 8;
        break;
      case 5:
        at += 4;
        break;
      default:
        throw new RangeError("unknown wire type");
    }
  }
}

/** The bytes of one field of a message; `null` when it is absent. */
export function fieldOf(buffer: Buffer, number: number): Buffer | null {
  let found: Buffer | null = null;
  eachField(buffer, (field) => {
    if (field.number === number) found = field.bytes;
  });
  return found;
}
