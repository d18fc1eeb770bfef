/**
 * Bytes as text, as quick as the machine can: Node's buffers have methods that take any bytes and are several times as quick as a decoder for
 * the few that an event has. Elsewhere a decoder says the same.
 */
type Slice = (this: Uint8Array, from: number, to: number) => string;
// A browser has no Buffer, whatever Node's types say; and they leave these two methods out.
const nodes = (globalThis.Buffer as typeof Buffer | undefined)?.prototype as
  | { readonly utf8Slice: Slice; readonly latin1Slice: Slice }
  | undefined;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** UTF-8; bytes that are not are shown as U+FFFD. */
export const utf8Text: (bytes: Uint8Array) => string =
  nodes === undefined ? (bytes) => utf8.decode(bytes) : (bytes) => nodes.utf8Slice.call(bytes, 0, bytes.length);

/** Each byte as the character of its number. */
export const latin1Text: (bytes: Uint8Array) => string =
  nodes === undefined
    ? (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")
    : (bytes) => nodes.latin1Slice.call(bytes, 0, bytes.length);

const encoder = new TextEncoder();
export const utf8Bytes = (text: string): Uint8Array => encoder.encode(text);
