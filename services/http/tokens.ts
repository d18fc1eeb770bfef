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
import { type DeviceName, deviceOf, MAX_WALL_MS, messageOf, siteOfDevice, TributaryError } from "../core/index.ts";
import { messageAuthorization } from "../core/node.ts";
import { bearerOf, tokenIn } from "./bearer.ts";
import { fixedKeyring, type Keyring } from "./keyring.ts";
import { proofReader } from "./proof.ts";

/** Types of keys, for those who keep keys and need nothing else of the library. */
export type { JSONWebKeySet, JWK };

export const ISSUER = "tributary";
export const AUDIENCE = "tributary-ingress";
export const SCOPE_APPEND = "events:append";
/** For registering schemas, comparing them, and setting how they may change. */
export const SCOPE_SCHEMAS = "schemas:write";
/** For putting another key in the place of a device's: only the hub's own console has it, for some minutes. */
export const SCOPE_ENROL = "keys:enrol";
/** For reading the registry. */
export const SCOPE_SCHEMAS_READ = "schemas:read";
/** Any of these may read the registry, because whoever sends events needs their schemas. */
export const MAY_READ_SCHEMAS: readonly string[] = [SCOPE_SCHEMAS_READ, SCOPE_SCHEMAS, SCOPE_APPEND];
/** Clock difference allowed between who issues a token and the hub. */
const CLOCK_TOLERANCE_S = 30;
/** So many decoded tokens are remembered, so that the signature is checked once for a stream of batches under one token. */
const MAX_REMEMBERED = 1_000;

/** What a valid token says. */
export interface Claims {
  readonly org: string;
  readonly site: string;
  /** Present where the token is for one device only. */
  readonly device: string | null;
  readonly subject: string;
  readonly scopes: readonly string[];
  /** The entity types that events under it may be about; `null`: all. */
  readonly types: readonly string[] | null;
  readonly notBeforeMs: number | null;
  readonly expiresAtMs: number;
  readonly issuedAtS: number;
  readonly jti: string | null;
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
    /** The entity types that events under it may be about; default: all. */
    readonly types?: readonly string[];
    /** The hub's public keys (`x`), present and next: who is handed the token knows from then on what the hub's word looks like. */
    readonly hub?: readonly string[];
    /** Not before this second: after a revocation of the site's tokens. */
    readonly issuedAfterS?: number;
  },
): Promise<string> {
  const { org, site, device, lifetimeS, nowMs, scopes = [SCOPE_APPEND], types, hub, issuedAfterS = 0 } = claims;
  const nowS = Math.max(Math.floor(nowMs / 1000), issuedAfterS + 1);
  const more = {
    ...(device === undefined ? {} : { device }),
    ...(types === undefined ? {} : { types }),
    ...(hub === undefined ? {} : { hub }),
  };
  return new SignJWT({ org, site, ...more, scope: scopes.join(" ") })
    .setProtectedHeader({ alg: "EdDSA", kid: key.kid! })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(`${org}.${site}`)
    .setJti(crypto.randomUUID())
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + lifetimeS)
    .sign(await importJWK(key, "EdDSA"));
}

/** What came with a message to let it in. */
export interface Shown {
  readonly authorization: string | undefined;
  /** The message's bytes, if it came over a broker. Then the header may prove a token for just these bytes instead of showing it. */
  readonly message?: Uint8Array;
}

export interface Doorkeeper {
  /**
   * Checks an `Authorization` header's value as of `atMs`: signature, issuer, audience, times, scope. A message that
   * waited in the broker is checked as of its arrival there. `scope`: what it must allow (default: sending events); of several, one of them.
   * A token may also come as the password of `Basic` credentials. Throws `token-missing`, `-invalid`, `-expired`, `-scope`.
   */
  admit(authorization: string | null | undefined, atMs: number, scope?: string | readonly string[]): Promise<Claims>;
  /** The same for a message that came over a broker: its header may prove a token for just these bytes instead of showing it. */
  admitMessage(
    authorization: string | null | undefined,
    message: Uint8Array,
    atMs: number,
    scope?: string | readonly string[],
  ): Promise<Claims>;
  /** The header for a message that the hub itself hands to the broker, for a sender whose own header was admitted. */
  forMessage(authorization: string, message: Uint8Array): string;
}

/** Each key must name its algorithm. No other is accepted for it. */
function finderOf({ keys }: JSONWebKeySet): ReturnType<typeof createLocalJWKSet> {
  for (const key of keys) {
    if (key.kid === undefined || key.alg !== "EdDSA" || key.kty !== "OKP") {
      throw new TributaryError(
        "input-malformed",
        `the key ${JSON.stringify(key.kid ?? "without kid")} is not an Ed25519 key`,
        'List keys with "kid", "kty": "OKP", "alg": "EdDSA".',
      );
    }
  }
  return createLocalJWKSet({ keys: keys.map(publicKey) });
}

/**
 * Checks tokens against the hub's keys, as they are at the time. `refuse` throws for tokens that were revoked.
 * Long because its three questions share one memory of keys and tokens, which all of them must drop together when a key goes; each is short.
 */
export function doorkeeper(keys: JSONWebKeySet | Keyring, refuse: (claims: Claims) => void = () => {}): Doorkeeper {
  const ring = "state" in keys ? keys : fixedKeyring(keys);
  let known = ring.state().accepted;
  let find = finderOf(known);
  let proofs = proofReader(ring.state().secrets);
  const remembered = new Map<string, Claims>();
  /** Looks whether keys came or went since. Tokens of a key that is gone must not be remembered. */
  const look = (): void => {
    const { accepted, secrets } = ring.state();
    if (accepted === known) return;
    known = accepted;
    find = finderOf(accepted);
    proofs = proofReader(secrets);
    remembered.clear();
  };

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
    refuse(claims);
    if (claims.notBeforeMs !== null && atMs < claims.notBeforeMs - CLOCK_TOLERANCE_S * 1000) {
      throw new TributaryError("token-invalid", "the token is not valid yet", "Check the clock of the machine that issued it.");
    }
    return claims;
  };

  return {
    async admit(authorization, atMs, scope = SCOPE_APPEND) {
      const token = tokenIn(authorization, again);
      look();
      const before = remembered.get(token);
      if (before !== undefined) return inTime(before, atMs, scope);
      const under = known;
      const claims = claimsOf(await verify(token, atMs));
      if (under !== known) return inTime(claims, atMs, scope);
      if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
      remembered.set(token, claims);
      return inTime(claims, atMs, scope);
    },
    async admitMessage(authorization, message, atMs, scope) {
      look();
      return this.admit(proofs.bearer(authorization, message), atMs, scope);
    },
    forMessage(authorization, message) {
      look();
      // A hub that has only public keys could not read its own proof.
      return proofs.canRead ? messageAuthorization(bearerOf(authorization), message) : authorization;
    },
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

/** A claim's time in milliseconds. Throws `token-invalid` for what is not a time: not a number, before 1970, or after the year 9999. */
function timeOf(claim: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value * 1000 > MAX_WALL_MS)
    throw new TributaryError("token-invalid", `the token's ${claim} is not a time`, again);
  return value * 1000;
}

function claimsOf(payload: Record<string, unknown>): Claims {
  const { org, site, device, scope, types, sub, nbf, exp, iat, jti } = payload;
  if (typeof org !== "string" || typeof site !== "string" || (device !== undefined && typeof device !== "string")) {
    throw new TributaryError("token-invalid", "the token does not name an organisation and a site", again);
  }
  // A limit of a token must not be ignored because it cannot be read.
  if (types !== undefined && !(Array.isArray(types) && types.every((type) => typeof type === "string")))
    throw new TributaryError("token-invalid", "the token's types are not a list of entity types", again);
  return {
    org,
    site,
    device: device ?? null,
    subject: String(sub),
    scopes: typeof scope === "string" ? scope.split(" ") : [],
    types: types === undefined ? null : (types as string[]),
    notBeforeMs: nbf === undefined ? null : timeOf("nbf", nbf),
    expiresAtMs: timeOf("exp", exp),
    issuedAtS: typeof iat === "number" ? iat : 0,
    jti: typeof jti === "string" ? jti : null,
  };
}

/** Throws `token-site` for an origin that the token is not for. */
export const checkOrigin = (claims: Whose, origin: OriginId): void =>
  checkDevice(claims, deviceOf(origin), `send events of ${origin}`);

type Whose = Pick<Claims, "org" | "site" | "device">;

/** Throws `token-site` for a device that the token is not for. `what`: what its sender cannot do, in words. */
export function checkDevice(claims: Whose, device: DeviceName, what: string): void {
  const site = `${claims.org}.${claims.site}`;
  const whose = claims.device === null ? site : `${site}.${claims.device}`;
  if (claims.device === null ? siteOfDevice(device) === site : device === whose) return;
  throw new TributaryError("token-site", `a token for ${whose} cannot ${what}`, "Use the token of that site.");
}
