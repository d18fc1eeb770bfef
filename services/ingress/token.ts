import {
  createLocalJWKSet,
  errors,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JSONWebKeySet,
  type JWK,
  jwtVerify,
  SignJWT,
} from "jose";
import type { OriginId } from "../core/index.ts";
import { MAX_WALL_MS, messageOf, partsOf, TributaryError } from "../core/index.ts";
import { messageAuthorization } from "../core/node.ts";
import { proofReader } from "./proof.ts";

export const ISSUER = "tributary";
export const AUDIENCE = "tributary-ingress";
export const SCOPE_APPEND = "events:append";
/** For registering schemas, comparing them, and setting how they may change. */
export const SCOPE_SCHEMAS = "schemas:write";
/** For reading the registry. */
export const SCOPE_SCHEMAS_READ = "schemas:read";
/** Any of these may read the registry: who sends events needs their schemas. */
export const MAY_READ_SCHEMAS: readonly string[] = [SCOPE_SCHEMAS_READ, SCOPE_SCHEMAS, SCOPE_APPEND];
/** Clock difference allowed between who issues a token and the hub. */
const CLOCK_TOLERANCE_S = 30;
/** Decoded tokens remembered, so that a stream of batches under one token is checked by signature once. */
const MAX_REMEMBERED = 1_000;

/** What a valid token says. */
export interface Claims {
  readonly org: string;
  readonly site: string;
  /** Present where the token is for one device only. */
  readonly device: string | null;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly notBeforeMs: number | null;
  readonly expiresAtMs: number;
}

const again = "Ask your coordinator for a new token (`tributary site add` issues one).";

/** Makes a signing key: an Ed25519 JWK with a key id, private part included. Keep it secret. */
export async function makeKey(kid: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: "EdDSA", use: "sig" };
}

/** The public half of a key, as verifiers need it. */
export const publicKey = ({ d: _, ...rest }: JWK): JWK => rest;

/** Issues a site's token. `lifetimeS` in seconds. */
export async function issueToken(
  key: JWK,
  claims: {
    readonly org: string;
    readonly site: string;
    readonly device?: string;
    readonly lifetimeS: number;
    readonly nowMs: number;
    /** What it allows; default: sending events. */
    readonly scopes?: readonly string[];
  },
): Promise<string> {
  const { org, site, device, lifetimeS, nowMs, scopes = [SCOPE_APPEND] } = claims;
  const nowS = Math.floor(nowMs / 1000);
  return new SignJWT({ org, site, ...(device === undefined ? {} : { device }), scope: scopes.join(" ") })
    .setProtectedHeader({ alg: "EdDSA", kid: key.kid! })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(`${org}.${site}`)
    .setJti(crypto.randomUUID())
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + lifetimeS)
    .sign(await importJWK(key, "EdDSA"));
}

export interface Doorkeeper {
  /**
   * Checks an `Authorization` header's value as of `atMs`: signature, issuer, audience, times, scope. A message that
   * waited in the broker is checked as of its arrival there. `scope`: what it must allow (default: sending events); of several, one of them.
   * A token may also come as the password of `Basic` credentials. Throws `token-missing`, `-invalid`, `-expired`, `-scope`.
   */
  admit(authorization: string | null | undefined, atMs: number, scope?: string | readonly string[]): Promise<Claims>;
  /** The same for a message that came over a broker: its header may prove a token for just these bytes instead of showing it. */
  admitMessage(authorization: string | null | undefined, message: Uint8Array, atMs: number): Promise<Claims>;
  /** What a message that the hub itself hands to the broker, for a sender whose header was admitted, may carry in its place. */
  forMessage(authorization: string, message: Uint8Array): string;
}

/** Checks tokens against a set of public keys. Each key must name its algorithm; no other is accepted for it. */
export function doorkeeper(keys: JSONWebKeySet): Doorkeeper {
  for (const key of keys.keys) {
    if (key.kid === undefined || key.alg !== "EdDSA" || key.kty !== "OKP") {
      throw new TributaryError(
        "input-malformed",
        `the key ${JSON.stringify(key.kid ?? "without kid")} is no Ed25519 key`,
        'List keys with "kid", "kty": "OKP", "alg": "EdDSA".',
      );
    }
  }
  const find = createLocalJWKSet({ keys: keys.keys.map(publicKey) });
  const proofs = proofReader(keys);
  const remembered = new Map<string, Claims>();

  const inTime = (claims: Claims, atMs: number, scope: string | readonly string[]): Claims => {
    const wanted = [scope].flat();
    if (!claims.scopes.some((each) => wanted.includes(each)))
      throw new TributaryError(
        "token-scope",
        `the token does not allow ${wanted[0]}`,
        wanted.some((each) => each === SCOPE_SCHEMAS) ? "`tributary schema token` issues one that does." : again,
      );
    if (atMs > claims.expiresAtMs + CLOCK_TOLERANCE_S * 1000) {
      throw new TributaryError("token-expired", `the token ran out on ${new Date(claims.expiresAtMs).toISOString()}`, again);
    }
    if (claims.notBeforeMs !== null && atMs < claims.notBeforeMs - CLOCK_TOLERANCE_S * 1000) {
      throw new TributaryError("token-invalid", "the token is not valid yet", "Check the clock of the machine that issued it.");
    }
    return claims;
  };

  return {
    async admit(authorization, atMs, scope = SCOPE_APPEND) {
      const token = /^([\w-]+\.[\w-]+\.[\w-]+)$/.exec(bearerOf(authorization ?? ""))?.[1];
      if (token === undefined)
        throw new TributaryError("token-missing", "no token came with the request", 'Send it as "Authorization: Bearer …".');
      if (!token.split(".").every(isCanonical))
        throw new TributaryError("token-invalid", "the token is not valid: its base64 is not as it is written", again);
      const known = remembered.get(token);
      if (known !== undefined) return inTime(known, atMs, scope);
      const claims = claimsOf(await verify(token, atMs));
      if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
      remembered.set(token, claims);
      return inTime(claims, atMs, scope);
    },
    async admitMessage(authorization, message, atMs) {
      return this.admit(proofs.bearer(authorization, message), atMs);
    },
    // A hub with public keys alone could not read its own proof again.
    forMessage: (authorization, message) =>
      proofs.canRead ? messageAuthorization(bearerOf(authorization), message) : authorization,
  };

  async function verify(token: string, atMs: number): Promise<Record<string, unknown>> {
    try {
      const { payload } = await jwtVerify(token, find, {
        algorithms: ["EdDSA"],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ["exp", "sub", "org", "site", "scope"],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: new Date(atMs),
      });
      return payload;
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw new TributaryError("token-expired", "the token has run out", again, { cause: error });
      }
      throw new TributaryError("token-invalid", `the token is not valid: ${messageOf(error)}`, again, { cause: error });
    }
  }
}

/**
 * Whether a part of a token is base64url as an encoder writes it. Else several texts would be one token: `jose` takes padding bits that are not zero,
 * and lengths that no bytes have.
 */
const isCanonical = (part: string): boolean => Buffer.from(part, "base64url").toString("base64url") === part;

/** A claim's time in milliseconds. Throws `token-invalid` for what is none: no number, before 1970, or after the year 9999. */
function timeOf(claim: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value * 1000 > MAX_WALL_MS)
    throw new TributaryError("token-invalid", `the token's ${claim} is no time`, again);
  return value * 1000;
}

function bearerOf(authorization: string): string {
  const [, kind, rest] = /^(Bearer|Basic) (\S+)$/i.exec(authorization) ?? [];
  if (kind === undefined || rest === undefined) return "";
  if (kind.toLowerCase() === "bearer") return rest;
  const credentials = Buffer.from(rest, "base64").toString();
  return credentials.slice(credentials.indexOf(":") + 1);
}

function claimsOf(payload: Record<string, unknown>): Claims {
  const { org, site, device, scope, sub, nbf, exp } = payload;
  if (typeof org !== "string" || typeof site !== "string" || (device !== undefined && typeof device !== "string")) {
    throw new TributaryError("token-invalid", "the token names no organisation and site", again);
  }
  return {
    org,
    site,
    device: device ?? null,
    subject: String(sub),
    scopes: typeof scope === "string" ? scope.split(" ") : [],
    notBeforeMs: nbf === undefined ? null : timeOf("nbf", nbf),
    expiresAtMs: timeOf("exp", exp),
  };
}

/** Refuses an origin that a token is not for: `token-site`. */
export function checkOrigin(claims: Claims, origin: OriginId): void {
  const { org, site, device } = partsOf(origin);
  if (org === claims.org && site === claims.site && (claims.device === null || claims.device === device)) return;
  throw new TributaryError(
    "token-site",
    `a token for ${claims.org}.${claims.site}${claims.device === null ? "" : `.${claims.device}`} cannot send events of ${origin}`,
    "Use the token of that site.",
  );
}
