/**
 * Keys that others sign tokens with. In comes a set of keys (RFC 7517), from a file or from an address; out comes the one key of a name and an algorithm.
 *
 *   not read ── asked ─▶ read ── an unknown name, once an interval; or too old ─▶ asked again ─▶ read: keys that are gone are gone at once
 *                          └── no answer ─▶ the last set for a while ─▶ none: nobody is let in by it
 *
 * An answer is bounded in size and time, comes from the address itself (no redirect), and over TLS unless the address is this machine's.
 */
import { type CryptoKey, importJWK, type JWK } from "jose";
import { z } from "zod";
import { messageOf, TributaryError } from "../core/index.ts";

/** What tokens of people may be signed with. Each key has one of these, by its type, and verifies nothing else. */
export const ALGORITHMS = ["EdDSA", "ES256", "RS256"] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export const MAX_KEYS = 100;
const MAX_KID_CHARS = 200;
/** Bytes of an RSA modulus: 2,048 to 8,192 bits. A larger one costs more time than it is worth. */
const RSA_BYTES = { least: 256, most: 1_024 };

const jwkSchema = z.looseObject({ kty: z.string(), kid: z.string().min(1).max(MAX_KID_CHARS).optional() });
export const jwksSchema = z.looseObject({ keys: z.array(jwkSchema).max(MAX_KEYS) });
export type Jwks = z.infer<typeof jwksSchema>;

/** The keys of one answer. Another answer makes another object, also where nothing has changed. */
export interface KeySet {
  /** The key of this name that verifies this algorithm; `null`: there is none, or more than one. */
  find(kid: string, algorithm: string): CryptoKey | null;
  readonly size: number;
}

/** Only these members are taken of a key: what else it says, a private part or an address among it, is nothing to us. */
function usable(jwk: Jwks["keys"][number]): { readonly algorithm: Algorithm; readonly jwk: JWK } | null {
  const { kty, crv, x, y, n, e, alg, use, key_ops: ops } = jwk;
  if ((use !== undefined && use !== "sig") || (ops !== undefined && !(Array.isArray(ops) && ops.includes("verify")))) return null;
  const of = (algorithm: Algorithm, part: Record<string, unknown>) => {
    const isWhole = Object.values(part).every((value) => typeof value === "string");
    return isWhole && (alg === undefined || alg === algorithm) ? { algorithm, jwk: { kty, ...part } } : null;
  };
  if (kty === "OKP" && crv === "Ed25519") return of("EdDSA", { crv, x });
  if (kty === "EC" && crv === "P-256") return of("ES256", { crv, x, y });
  if (kty !== "RSA" || typeof n !== "string") return null;
  const bytes = Buffer.from(n, "base64url").length;
  return bytes >= RSA_BYTES.least && bytes <= RSA_BYTES.most ? of("RS256", { n, e }) : null;
}

/** The keys of a set that can verify a signature here. A key without a name is none; nor is a symmetric one. */
export async function keySetOf({ keys }: Jwks): Promise<KeySet> {
  const found = new Map<string, CryptoKey[]>();
  let size = 0;
  for (const jwk of keys) {
    const { kid } = jwk;
    const made = kid === undefined ? null : usable(jwk);
    // A key that the library cannot read must not make the others unusable.
    const key = made === null ? null : await importJWK(made.jwk, made.algorithm).catch(() => null);
    if (kid === undefined || made === null || key === null || key instanceof Uint8Array) continue;
    const name = nameOf(kid, made.algorithm);
    found.set(name, [...(found.get(name) ?? []), key]);
    size++;
  }
  return {
    size,
    find(kid, algorithm) {
      const [key, ...more] = found.get(nameOf(kid, algorithm)) ?? [];
      return key === undefined || more.length > 0 ? null : key;
    },
  };
}

const nameOf = (kid: string, algorithm: string): string => JSON.stringify([algorithm, kid]);

/** Where keys come from. */
export interface KeySource {
  /** The keys at present. `kid`: the name that is looked for; where it is unknown, they may be asked for again. Throws `backend-unreachable`. */
  keys(kid: string, algorithm: string): Promise<KeySet>;
}

/** Keys that stand in a file. */
export function givenKeys(jwks: Jwks): KeySource {
  const set = keySetOf(jwks);
  return { keys: () => set };
}

/** Bounds of asking for keys, in milliseconds. */
export interface AskLimits {
  /** Between two questions: however many unknown names come, the provider is asked once. */
  readonly intervalMs: number;
  /** After this time a set is asked for again, so that a key which the provider has dropped is dropped here. */
  readonly maxAgeMs: number;
  /** So long a set is used where the provider does not answer. */
  readonly maxStaleMs: number;
  /** Until an answer is whole. */
  readonly timeoutMs: number;
}
export const ASK_LIMITS: AskLimits = { intervalMs: 30_000, maxAgeMs: 300_000, maxStaleMs: 3_600_000, timeoutMs: 5_000 };
export const MAX_JWKS_BYTES = 262_144;

export interface RemoteOptions {
  readonly limits?: Partial<AskLimits>;
  readonly say?: (event: Record<string, unknown>) => void;
  /** Milliseconds of a clock that is not set. */
  readonly now?: () => number;
}

/** Keys at an address, asked for when they are needed. */
export function remoteKeys(
  uri: string,
  { limits, say = () => {}, now = () => performance.now() }: RemoteOptions = {},
): KeySource {
  const { intervalMs, maxAgeMs, maxStaleMs, timeoutMs } = { ...ASK_LIMITS, ...limits };
  let known: { readonly set: KeySet; readonly atMs: number } | null = null;
  let askedAtMs = -Infinity;
  let asking: Promise<void> | null = null;
  const ask = async (): Promise<void> => {
    askedAtMs = now();
    try {
      const set = await keySetOf(await fetchJwks(uri, timeoutMs));
      known = { set, atMs: askedAtMs };
    } catch (error) {
      say({ event: "jwks-failed", uri, message: messageOf(error) });
    }
  };
  /** All who need an answer at the same time share it. Where one was asked for a moment ago, it stays at that. */
  const askInTurn = async (): Promise<void> => {
    if (asking === null && now() - askedAtMs < intervalMs) return;
    asking ??= ask().finally(() => {
      asking = null;
    });
    await asking;
  };
  const ageMs = (): number => (known === null ? Infinity : now() - known.atMs);
  return {
    async keys(kid, algorithm) {
      if (ageMs() > maxAgeMs || known?.set.find(kid, algorithm) == null) await askInTurn();
      if (known !== null && ageMs() <= maxStaleMs) return known.set;
      throw new TributaryError(
        "backend-unreachable",
        "the keys of the token's issuer cannot be read at present",
        "Try again in a minute. The hub's log says why.",
      );
    },
  };
}

/** Reads a set of keys from its address. Throws where it does not answer in time, in full, and with such a set. */
async function fetchJwks(uri: string, timeoutMs: number): Promise<Jwks> {
  const answer = await fetch(uri, {
    redirect: "error",
    headers: { accept: "application/jwk-set+json, application/json" },
    signal: AbortSignal.timeout(timeoutMs),
  });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop early cancels what is still to come.
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_JWKS_BYTES) throw new Error(`the answer has more than ${MAX_JWKS_BYTES} bytes`);
    chunks.push(chunk);
  }
  if (answer.status !== 200) throw new Error(`the answer is ${answer.status}`);
  return jwksSchema.parse(JSON.parse(Buffer.concat(chunks).toString()));
}

/** What is wrong with an address of keys; `null`: nothing. */
export function jwksUriProblem(text: string): string | null {
  const url = URL.parse(text);
  if (url === null) return "is not an address: write https://host/path";
  if (url.username + url.password !== "") return "holds a user or password: leave them out";
  if (url.protocol === "https:") return null;
  const isHere = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "http:" && isHere ? null : "is not an address that begins with https://";
}
