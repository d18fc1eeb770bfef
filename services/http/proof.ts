import { createPrivateKey, type KeyObject, sign, timingSafeEqual } from "node:crypto";
import type { JSONWebKeySet, JWK } from "jose";
import { TributaryError } from "../core/index.ts";
import { PROOF_SCHEME, proofKey, proofOf } from "../core/node.ts";

/** Tokens whose proofs were read, so that a stream of batches under one token costs one signature. */
const MAX_REMEMBERED = 1_000;
const MAX_CLAIMS_CHARS = 8_192;

export interface ProofReader {
  /** Whether there is a private key at all. Public keys cannot read proofs. */
  readonly canRead: boolean;
  /**
   * A message's `Authorization` header as one that shows the token. A proof is checked against the message's bytes first; other headers pass as they are.
   * Throws `token-invalid`. The caller still has to check the token's claims.
   */
  bearer(authorization: string | null | undefined, message: Uint8Array): string | null | undefined;
}

/** Reads proofs with the keys that issued the tokens: Ed25519 gives the same signature for the same claims, so the hub need not keep the tokens it issued. */
export function proofReader({ keys }: JSONWebKeySet): ProofReader {
  const secrets = new Map<string, KeyObject>();
  for (const key of keys) if (key.kid !== undefined && key.d !== undefined) secrets.set(key.kid, secretOf(key));
  const remembered = new Map<string, { readonly signature: string; readonly key: Buffer }>();

  const refused = (why: string): TributaryError =>
    new TributaryError(
      "token-invalid",
      `the proof that came with the message is not valid: ${why}`,
      "Ask your coordinator for a new token (`tributary site add` issues one).",
    );

  const signed = (claims: string): { readonly signature: string; readonly key: Buffer } => {
    const known = remembered.get(claims);
    if (known !== undefined) return known;
    const secret = secrets.get(keyNameOf(claims) ?? "");
    if (secret === undefined) throw refused("this hub does not hold the key that its token names");
    // Made only for comparing. A signature that the sender does not already have never leaves this function's callers.
    const signature = sign(null, Buffer.from(claims), secret).toString("base64url");
    return { signature, key: proofKey(signature) };
  };

  return {
    canRead: secrets.size > 0,
    bearer(authorization, message) {
      const [, claims, proof] = new RegExp(`^${PROOF_SCHEME} ([\\w-]+\\.[\\w-]+)\\.([\\w-]+)$`).exec(authorization ?? "") ?? [];
      if (claims === undefined || proof === undefined) return authorization;
      if (claims.length > MAX_CLAIMS_CHARS) throw refused("it is too long");
      const made = signed(claims);
      if (!isSame(proof, proofOf(made.key, message)))
        throw refused("it is for another message, or by somebody without the token");
      if (!remembered.has(claims)) {
        if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value ?? "");
        remembered.set(claims, made);
      }
      return `Bearer ${claims}.${made.signature}`;
    },
  };
}

// A JWK's index signature hides that these members are what an Ed25519 key has; `createPrivateKey` checks them.
const secretOf = ({ kty, crv, x, d }: JWK): KeyObject =>
  createPrivateKey({ key: { kty, crv, x, d } as Record<string, string>, format: "jwk" });

/** The key that a token's header names; `null` when it names none. */
function keyNameOf(claims: string): string | null {
  try {
    const header: unknown = JSON.parse(Buffer.from(claims.slice(0, claims.indexOf(".")), "base64url").toString());
    const kid = typeof header === "object" && header !== null && "kid" in header ? header.kid : null;
    return typeof kid === "string" ? kid : null;
  } catch {
    return null;
  }
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}
