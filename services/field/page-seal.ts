import { createHash } from "node:crypto";
import { MAX_BATCH_BYTES, type Signature, signatureSchema } from "../core/index.ts";
import { zstd } from "../core/node.ts";

/** What a hub has signed of a page's frame. */
export interface PageSeal {
  /** SHA-256 of the unpacked body, hexadecimal. */
  readonly digest: string;
  readonly signature: Signature | null;
}

const HEAD_BYTES = 4;
const KEY_BYTES = 32;
const SIGNED_BYTES = 96;

/** Whether an answer begins as a page does. */
export const isPage = (bytes: Uint8Array): boolean => bytes[0] === 0x54 && bytes[1] === 0x50;

/** The seal of a page's frame; `null`: it cannot be unpacked. */
export function sealOf(frame: Uint8Array): PageSeal | null {
  const start = HEAD_BYTES + (frame[3] === 1 ? SIGNED_BYTES : 0);
  const packed = frame.subarray(start);
  try {
    const body = ((frame[2] ?? 0) & 0xf) === 0 ? packed : zstd.decompress(packed, MAX_BATCH_BYTES);
    const digest = createHash("sha256").update(body).digest("hex");
    if (start === HEAD_BYTES) return { digest, signature: null };
    const text = (from: number, to: number): string => Buffer.from(frame.subarray(from, to)).toString("base64url");
    const signature = { kid: text(HEAD_BYTES, HEAD_BYTES + KEY_BYTES), value: text(HEAD_BYTES + KEY_BYTES, start) };
    return { digest, signature: signatureSchema.parse(signature) };
  } catch {
    return null;
  }
}
