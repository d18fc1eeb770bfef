/** A page's frame: three bytes that name it, who signed it, and its body, packed. */
import {
  assert,
  base64urlBytes,
  bytesBase64url,
  type Compression,
  isTributaryError,
  MAX_BATCH_BYTES,
  MAX_PAGE_BYTES,
  messageOf,
  TributaryError,
} from "../../core/index.ts";
import type { SignedPage } from "./page.ts";
import { PAGE_FORMS, PAGE_MAGIC } from "./schema.ts";

type PageSignature = SignedPage["signature"];

const HEAD_BYTES = 4;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

const undecodable = (why: string, cause?: unknown): TributaryError =>
  new TributaryError(
    "page-undecodable",
    `the page cannot be read: ${why}`,
    "Pull again; if it fails again, one of the two sides is damaged or too old.",
    { cause },
  );

const ASK_FEWER = "Ask for fewer events at a time (maxEvents, maxBytes).";

/** Of what the writer of a page puts in, there is more than a reader would take. */
export const tooMany = (what: string, count: number, max: number): TributaryError =>
  new TributaryError("page-too-large", `the page has ${count} ${what}; ${max} are allowed`, ASK_FEWER);

/** Whatever goes wrong with what somebody else wrote is `page-undecodable`. */
export function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isTributaryError(error) && error.code === "page-undecodable" ? error : undecodable(messageOf(error), error);
  }
}

/** `compression`: `null` leaves the body as it is. Throws `page-too-large` for a page that no reader would take. */
export function sealFrame(body: Uint8Array, compression: Compression | null, signature: PageSignature): Uint8Array {
  if (body.length > MAX_BATCH_BYTES) throw tooMany("bytes", body.length, MAX_BATCH_BYTES);
  const packed = compression === null ? body : compression.compress(body);
  const signed = signature === null ? 0 : KEY_BYTES + SIGNATURE_BYTES;
  const frame = new Uint8Array(HEAD_BYTES + signed + packed.length);
  if (frame.length > MAX_PAGE_BYTES) throw tooMany("packed bytes", frame.length, MAX_PAGE_BYTES);
  frame.set([...PAGE_MAGIC, (PAGE_FORMS.newest << 4) | (compression === null ? 0 : 1), signature === null ? 0 : 1]);
  if (signature !== null) {
    const [kid, value] = [base64urlBytes(signature.kid), base64urlBytes(signature.value)];
    assert(kid.length === KEY_BYTES && value.length === SIGNATURE_BYTES, "a hub signs with an Ed25519 key");
    frame.set(kid, HEAD_BYTES);
    frame.set(value, HEAD_BYTES + KEY_BYTES);
  }
  frame.set(packed, HEAD_BYTES + signed);
  return frame;
}

/** Whether bytes begin as a page does. */
export const isPage = (bytes: Uint8Array): boolean => bytes[0] === PAGE_MAGIC[0] && bytes[1] === PAGE_MAGIC[1];

/** The unpacked body, and who signed it. Throws `page-undecodable`, or `protocol-unsupported` for a form that came later. */
export function openFrame(frame: Uint8Array, compression: Compression): { body: Uint8Array; signature: PageSignature } {
  if (frame.length > MAX_PAGE_BYTES) throw undecodable(`it has ${frame.length} bytes; ${MAX_PAGE_BYTES} are allowed`);
  const [, , form = 0, signers = 0xff] = frame;
  if (!isPage(frame)) throw undecodable("it is not a page of a Tributary hub");
  const version = form >> 4;
  if (version > PAGE_FORMS.newest) {
    throw new TributaryError(
      "protocol-unsupported",
      `the page is written in form ${version}; this side reads forms ${PAGE_FORMS.oldest} to ${PAGE_FORMS.newest}`,
      "Update this side, or have the other one write an older form.",
    );
  }
  if (version < PAGE_FORMS.oldest || (form & 0xf) > 1 || signers > 1) throw undecodable("it does not say how it is written");
  const start = HEAD_BYTES + signers * (KEY_BYTES + SIGNATURE_BYTES);
  if (frame.length < start) throw undecodable("it is cut short");
  const packed = frame.subarray(start);
  const body = (form & 0xf) === 0 ? packed : readable(() => compression.decompress(packed, MAX_BATCH_BYTES));
  if (signers === 0) return { body, signature: null };
  const key = frame.subarray(HEAD_BYTES, HEAD_BYTES + KEY_BYTES);
  const value = frame.subarray(HEAD_BYTES + KEY_BYTES, start);
  return { body, signature: { kid: bytesBase64url(key), value: bytesBase64url(value) } };
}
