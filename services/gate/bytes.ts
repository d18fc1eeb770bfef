/**
 * Bytes as text, as quickly as the machine can: Node's buffers have methods that take any bytes and are several times as fast as a decoder for
 * the few bytes that an event has. Elsewhere a decoder gives the same text.
 */
type Slice = (this: Uint8Array, from: number, to: number) => string;
// A browser has no Buffer, whatever Node's types say, and Node's types leave these two methods out.
const nodes = (globalThis.Buffer as typeof Buffer | undefined)?.prototype as
  | { readonly utf8Slice: Slice; readonly latin1Slice: Slice }
  | undefined;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads UTF-8; bytes that are not UTF-8 are shown as U+FFFD. */
export const utf8Text: (bytes: Uint8Array) => string =
  nodes === undefined ? (bytes) => utf8.decode(bytes) : (bytes) => nodes.utf8Slice.call(bytes, 0, bytes.length);

/** Reads each byte as the character with its number. */
export const latin1Text: (bytes: Uint8Array) => string =
  nodes === undefined
    ? (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")
    : (bytes) => nodes.latin1Slice.call(bytes, 0, bytes.length);

const encoder = new TextEncoder();
export const utf8Bytes = (text: string): Uint8Array => encoder.encode(text);
