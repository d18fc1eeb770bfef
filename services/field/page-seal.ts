import { isTributaryError, type Signature, signatureSchema } from "../core/index.ts";
import { sha256Hex, zstd } from "../core/node.ts";
import { sealOf } from "../exchange/protocol/index.ts";

/** What a hub has signed of a page's frame. */
export interface PageSeal {
  /** SHA-256 of the unpacked body, hexadecimal. */
  readonly digest: string;
  readonly signature: Signature | null;
}

/** The seal of a page's frame; `null`: it cannot be unpacked. */
export function pageSeal(frame: Uint8Array): PageSeal | null {
  try {
    const { digest, signature } = sealOf(frame, { compression: zstd, sha256: sha256Hex });
    return { digest, signature: signature === null ? null : signatureSchema.parse(signature) };
  } catch (error) {
    if (isTributaryError(error)) return null;
    throw error;
  }
}
