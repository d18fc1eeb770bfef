import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { JWK } from "../../services/http/index.ts";

/** Tokens as an attacker or a careless provider makes them: any header, any claims, signed with any key, or with none. */
export type Signing = (input: Buffer) => Buffer;

const part = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A token of these parts. A text stands as it is, so that it may hold what no encoder writes, such as a member twice. */
export function rawToken(header: unknown, payload: unknown, signing: Signing): string {
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${signing(Buffer.from(input)).toString("base64url")}`;
}

export const byEdDSA =
  (key: KeyObject): Signing =>
  (input) =>
    sign(null, input, key);
export const byES256 =
  (key: KeyObject): Signing =>
  (input) =>
    sign("sha256", input, { key, dsaEncoding: "ieee-p1363" });
export const byRS256 =
  (key: KeyObject): Signing =>
  (input) =>
    sign("sha256", input, key);
export const byHS256 =
  (secret: string | Buffer): Signing =>
  (input) =>
    createHmac("sha256", secret).update(input).digest();
export const byNobody: Signing = () => Buffer.alloc(0);
/** Of the length of a signature, and of a curve's point at infinity. */
export const byZeros: Signing = () => Buffer.alloc(64);

/** A key of a provider: its public part as a set of keys has it, and what signs with its private part. */
export interface ProviderKey {
  readonly jwk: JWK & { readonly kty: string; readonly kid: string };
  readonly alg: string;
  readonly signing: Signing;
}

function publicPart(key: KeyObject, kid: string): ProviderKey["jwk"] {
  const { kty, ...rest } = key.export({ format: "jwk" });
  return { ...rest, kty: String(kty), kid, use: "sig" };
}

export function makeProviderKey(alg: "EdDSA" | "ES256" | "RS256", kid: string, rsaBits = 2_048): ProviderKey {
  if (alg === "EdDSA") {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    return { jwk: publicPart(publicKey, kid), alg, signing: byEdDSA(privateKey) };
  }
  if (alg === "ES256") {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return { jwk: publicPart(publicKey, kid), alg, signing: byES256(privateKey) };
  }
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: rsaBits });
  return { jwk: publicPart(publicKey, kid), alg, signing: byRS256(privateKey) };
}

/** What signs as the hub does, with a key that it keeps. */
export const asHub = (key: JWK): Signing =>
  byEdDSA(createPrivateKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x: String(key.x), d: String(key.d) } }));
