import { z } from "zod";
import { type Hash, isHash, isOriginId, type OriginId, type Seq } from "./ids.ts";
import { canonicalize } from "./json.ts";

/**
 * What is signed, and the text that is signed for it. Devices and hubs have Ed25519 keys (RFC 8032), named by their thumbprints (RFC 7638). Each kind of
 * statement begins with words of its own, so a signature of one kind can never pass for one of another kind, nor for a token's.
 */

declare const brand: unique symbol;
/** A key's RFC 7638 thumbprint: SHA-256 in base64url, 43 characters. */
export type KeyId = string & { readonly [brand]: "KeyId" };

const BASE64URL_32 = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;
const BASE64URL_64 = /^[A-Za-z0-9_-]{85}[AQgw]$/;
export const keyIdSchema = z.string().regex(BASE64URL_32, "is a key's thumbprint") as unknown as z.ZodType<KeyId>;

/** A public key as a JWK (RFC 8037). The patterns take the canonical base64url alone: one key has one form. */
export const publicKeySchema = z.object({
  kty: z.literal("OKP"),
  crv: z.literal("Ed25519"),
  x: z.string().regex(BASE64URL_32, "is an Ed25519 public key in base64url"),
});
export type PublicKey = z.infer<typeof publicKeySchema>;

export const signatureSchema = z.object({
  kid: keyIdSchema,
  /** Base64url. */
  value: z.string().regex(BASE64URL_64, "is an Ed25519 signature in base64url"),
});
export type Signature = z.infer<typeof signatureSchema>;

/** A hub's key says which key comes after it, so a device that was away finds its way from the key that it knows to the present one. */
export const successionSchema = z.object({
  key: publicKeySchema,
  /** The older key, which signs this. */
  by: keyIdSchema,
  signature: signatureSchema,
});
export type Succession = z.infer<typeof successionSchema>;

/** Somebody who signs. A browser's keys sign asynchronously. */
export interface Signer {
  readonly kid: KeyId;
  readonly key: PublicKey;
  sign(text: string): Signature | Promise<Signature>;
}

/** The text whose SHA-256 is the key's thumbprint (RFC 7638 §3). */
export const thumbprintText = ({ crv, kty, x }: PublicKey): string => canonicalize({ crv, kty, x });

/** What an origin signs of each run that it hands over: where the run ends. The signature stands for all of the origin's events up to there. */
export const runText = ({ origin, through, head }: { origin: OriginId; through: Seq; head: Hash }): string =>
  `tributary run\n${origin}\n${through}\n${head}`;

/**
 * A head of an origin as people hand it on, with what it has seen of an entity: a run's end with that origin's signature. Whoever has it can show that
 * the origin's events up to there exist, even where they have not come yet.
 */
export const signedHeadSchema = z.object({
  origin: z.custom<OriginId>((v) => typeof v === "string" && isOriginId(v), "is written org.site.device.epoch"),
  through: z.int().min(0) as unknown as z.ZodType<Seq>,
  head: z.custom<Hash>((v) => typeof v === "string" && isHash(v), "is a SHA-256 in hexadecimal"),
  /** Base64url. */
  signature: z.string().regex(BASE64URL_64, "is an Ed25519 signature in base64url"),
});
export type SignedHead = z.infer<typeof signedHeadSchema>;

/** Kinds of messages that are signed with all their members. */
export type SignedKind =
  | "hello"
  | "hello-request"
  | "pull"
  | "receipt"
  | "refusal"
  | "enrolment"
  | "rotation"
  | "rotation-proof"
  | "enrolled"
  | "succession"
  | "key-fact"
  | "anchor";

/** The text that is signed of a message: its kind, and all of its members but the signature, as canonical JSON (RFC 8785). */
export function messageText(kind: SignedKind, message: object): string {
  const { signature: _, ...rest } = message as { signature?: unknown };
  return `tributary ${kind}\n${canonicalize(rest)}`;
}
