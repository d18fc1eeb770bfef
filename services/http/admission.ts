/**
 * Who asks, and what they may. In comes an `Authorization` header; out comes a principal: a person, by a token of the hub or of a provider that the team trusts, or a
 * site, by a token of the hub. Never a right that a role does not have, never a person who was revoked, and never a token of one kind taken for another.
 *
 *   token ─┬ typ is a person's of the hub ─▶ the hub's keys ────┐
 *          ├ iss is a provider's ─▶ that provider's keys ───────┴▶ times ─▶ organisation, roles ─▶ revoked? ─▶ rights by the matrix ─▶ person
 *          └ anything else ─▶ the doorkeeper, which knows sites' tokens only ─▶ scopes ─▶ site
 *
 * The token's own words choose only whose keys it is checked with; the key, found by its name, says which algorithm counts. By RFC 8725 (JSON Web Token
 * Best Current Practices): 3.1 and 3.2 algorithms, 3.3 all of the signature, 3.8 issuer and subject, 3.9 audience, 3.10 nothing fetched that a token names,
 * 3.11 explicit types, 3.12 rules that exclude each other for different kinds of tokens.
 */
import { decodeJwt, decodeProtectedHeader, errors, importJWK, type JWK, type JWTPayload, jwtVerify, SignJWT } from "jose";
import {
  HUB_RIGHTS,
  type HubOrg,
  isName,
  isPersonRole,
  isRight,
  MAX_WALL_MS,
  type Matrix,
  messageOf,
  type Right,
  type Role,
  rightsAt,
  rightWords,
  rolesWith,
  TributaryError,
  type Viewer,
  viewerOf,
} from "../core/index.ts";
import { tokenIn } from "./bearer.ts";
import { type AskLimits, givenKeys, type KeySet, type KeySource, keySetOf, remoteKeys } from "./jwks.ts";
import type { Keyring } from "./keyring.ts";
import type { ClaimPath, People, PeopleSettings, Provider } from "./people.ts";
import { type Claims, type Doorkeeper, ISSUER, SCOPE_APPEND, SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ } from "./tokens.ts";

/** What a person's token of the hub says it is (`typ`). A site's token says nothing of the kind, and is for another audience. */
export const PERSON_TYPE = "tributary-person+jwt";
export const PEOPLE_AUDIENCE = "tributary-people";
/** A longer token is not looked at. */
export const MAX_TOKEN_CHARS = 8_192;
/** Clock difference allowed between who issues a token and the hub. */
const CLOCK_TOLERANCE_S = 30;
/** So many tokens whose signature was checked are remembered. */
const MAX_REMEMBERED = 10_000;
const MAX_KID_CHARS = 200;
/** A person is named by 1 to 200 characters that can be seen, as an event's `actor` is. */
const SUBJECT = /^(?! )[^\p{C}\p{Zl}\p{Zp}]{1,200}(?<! )$/u;
const MAX_JTI_CHARS = 200;
const MAX_ROLE_NAMES = 200;

/** Somebody who asks, with what was proved of them. */
export interface Principal {
  readonly kind: "person" | "site";
  /** Who says so: the hub, or a provider. Only together with it does `subject` name one person. */
  readonly issuer: string;
  readonly subject: string;
  readonly org: string;
  /** A site has none. */
  readonly roles: readonly Role[];
  readonly rights: readonly Right[];
  /** Whose rows are shown. */
  readonly viewer: Viewer;
  /** The token's id, by which it can be revoked; a provider may give none. */
  readonly jti: string | null;
  readonly expiresAtMs: number;
  /** The matrix that gave the rights. */
  readonly matrix: Matrix;
}

/** What a person's token proves, before the matrix is asked. */
export interface PersonClaims {
  readonly issuer: string;
  readonly subject: string;
  readonly org: string;
  readonly roles: readonly Role[];
  readonly jti: string | null;
  /** When it was issued, in seconds; 0: it does not say, so any revocation of the person covers it. */
  readonly issuedAtS: number;
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
}

export interface Gatekeeper {
  /**
   * Who sent a header's value, as of `atMs`. Throws `token-missing`, `token-invalid`, `token-expired`, `revoked`; `backend-unreachable` while a provider's keys or
   * the log cannot be read, and `backend-failed` while people.json cannot.
   */
  admit(authorization: string | null | undefined, atMs: number): Promise<Principal>;
  /** Counts one more question of somebody who was admitted before and stays connected. Throws `too-many-requests`. Absent: nobody counts. */
  count?(principal: Principal): Promise<void>;
  /** The same again for somebody who was admitted before and stays connected: their rights as of now. Throws what `admit` throws. */
  again(principal: Principal, atMs: number): Promise<Principal>;
}

export interface GatekeeperOptions {
  /** The hub's keys, which sign its tokens. */
  readonly ring: Keyring;
  /** Who knows sites' tokens. */
  readonly keeper: Doorkeeper;
  readonly people: People;
  /** Throws for a person who was revoked, or whose token was. */
  readonly revoked: (claims: PersonClaims) => void;
  /** The organisation whose hub this is; `null`: not known. */
  readonly hub: () => HubOrg;
  readonly say?: (event: Record<string, unknown>) => void;
  /** Bounds of asking providers for their keys. */
  readonly limits?: Partial<AskLimits>;
  /** Milliseconds of a clock that is not set, for those bounds. */
  readonly now?: () => number;
}

const again = "Sign in again, or ask for a new token (`tributary token issue` makes one).";
const invalid = (why: string, cause?: unknown): TributaryError =>
  new TributaryError("token-invalid", `the token is not valid: ${why}`, again, { cause });

/** What a site's token may allow, and what is a person's right as well. */
const SITE_SCOPES: readonly string[] = [SCOPE_APPEND, SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ];

/** Issues a person's token. `lifetimeS` in seconds. */
export async function issuePersonToken(
  key: JWK,
  claims: {
    readonly person: string;
    readonly org: string;
    readonly roles: readonly Role[];
    readonly lifetimeS: number;
    readonly nowMs: number;
    /** Not before this second: after a revocation of the person's tokens. */
    readonly issuedAfterS?: number;
  },
): Promise<string> {
  const { person, org, roles, lifetimeS, nowMs, issuedAfterS = 0 } = claims;
  const nowS = Math.max(Math.floor(nowMs / 1000), issuedAfterS + 1);
  return new SignJWT({ org, roles: [...roles] })
    .setProtectedHeader({ alg: "EdDSA", kid: key.kid!, typ: PERSON_TYPE })
    .setIssuer(ISSUER)
    .setAudience(PEOPLE_AUDIENCE)
    .setSubject(personName(person))
    .setJti(crypto.randomUUID())
    .setIssuedAt(nowS)
    .setNotBefore(nowS)
    .setExpirationTime(nowS + lifetimeS)
    .sign(await importJWK(key, "EdDSA"));
}

/** A person's name as tokens have it. Throws `input-malformed` for what cannot be one. */
export function personName(name: string): string {
  if (SUBJECT.test(name)) return name;
  throw new TributaryError(
    "input-malformed",
    `${JSON.stringify(name.slice(0, 80))} cannot name a person`,
    "Use 1 to 200 characters that can be seen, without spaces at the ends.",
  );
}

/** Somebody without a right is told which it is, what it allows, and who has it. Throws `right-missing`. */
export function mustMay({ kind, subject, org, rights, matrix }: Principal, right: Right): void {
  if (rights.includes(right)) return;
  const roles = rolesWith(right, matrix);
  const who = kind === "site" ? `a token of ${subject}` : `${subject} of ${org}`;
  const words = rightWords(right);
  const having = roles.length === 0 ? "No role has it at this hub" : `The roles that have it: ${roles.join(", ")}`;
  const bound = HUB_RIGHTS.includes(right) ? "; only people of the hub's own organisation have it" : "";
  throw new TributaryError(
    "right-missing",
    `${who} does not have the right ${right}, which is to ${words.charAt(0).toLowerCase()}${words.slice(1, -1)}`,
    `${having}${bound}. \`tributary role list\` shows all.`,
  );
}

/** Knows who asks, by the hub's keys and those of the providers that the team trusts. */
export function gatekeeper(options: GatekeeperOptions): Gatekeeper {
  const { keeper, people, revoked, hub } = options;
  const own = ownKeys(options.ring);
  const sources = providerKeys(people, options);
  const remembered = new Map<string, { readonly claims: PersonClaims; readonly under: KeySet; readonly by: Provider | null }>();
  /** So that somebody who stays connected can be asked about again, without a token in what others see of them. */
  const shown = new WeakMap<Principal, string>();

  /** `by`: the provider; `null`: the hub. */
  const person = async (token: string, by: Provider | null, named: Named, atMs: number): Promise<PersonClaims> => {
    const under = by === null ? await own() : await sources.of(by).keys(named.kid, named.algorithm);
    const before = remembered.get(token);
    if (before !== undefined && before.under === under && before.by === by) return before.claims;
    const mayUse = by === null || isOneOf(by.algorithms, named.algorithm);
    const key = mayUse ? under.find(named.kid, named.algorithm) : null;
    if (key === null) throw invalid("none of the issuer's keys has the name that it gives, for its algorithm");
    const payload = await verified(token, { key, ...named }, by ?? OWN, atMs);
    const claims = by === null ? ownClaims(payload) : providerClaims(payload, by);
    if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
    remembered.set(token, { claims, under, by });
    return claims;
  };

  const admit: Gatekeeper["admit"] = async (authorization, atMs) => {
    const token = tokenIn(authorization, again);
    if (token.length > MAX_TOKEN_CHARS) throw invalid(`it has more than ${MAX_TOKEN_CHARS} characters`);
    const { typ, kid, alg, iss } = peeked(token);
    const settings = people.settings();
    const provider = settings.providers.find(({ issuer }) => issuer === iss) ?? null;
    const isOwn = typ === PERSON_TYPE && iss === ISSUER;
    let principal: Principal;
    if (!isOwn && provider === null) principal = siteOf(await keeper.admit(authorization, atMs, SITE_SCOPES), settings);
    else {
      if (typeof kid !== "string" || kid === "" || kid.length > MAX_KID_CHARS || typeof alg !== "string")
        throw invalid("it does not name the key that signed it");
      const claims = await person(token, isOwn ? null : provider, { kid, algorithm: alg }, atMs);
      inTime(claims, atMs);
      revoked(claims);
      principal = personOf(claims, settings, hub());
    }
    shown.set(principal, token);
    return principal;
  };
  return {
    admit,
    again: (principal, atMs) => {
      const token = shown.get(principal);
      return admit(token === undefined ? undefined : `Bearer ${token}`, atMs);
    },
  };
}

/** The key that a token names. */
interface Named {
  readonly kid: string;
  readonly algorithm: string;
}

const isOneOf = (names: readonly string[], name: string): boolean => names.includes(name);

/** What a token says before anything of it is proved: it chooses whose keys are asked. */
function peeked(token: string): { readonly typ: unknown; readonly kid: unknown; readonly alg: unknown; readonly iss: unknown } {
  try {
    const { typ, kid, alg } = decodeProtectedHeader(token);
    return { typ, kid, alg, iss: decodeJwt(token).iss };
  } catch (error) {
    throw invalid("it is not a JSON Web Token", error);
  }
}

/** The hub's keys, made ready again only when they change. */
function ownKeys(ring: Keyring): () => Promise<KeySet> {
  let of: unknown = null;
  let made: Promise<KeySet> | null = null;
  return () => {
    const { accepted } = ring.state();
    if (made === null || of !== accepted) {
      of = accepted;
      made = keySetOf({
        keys: accepted.keys.map(({ kid, ...rest }) => ({
          ...rest,
          kty: String(rest.kty),
          ...(kid === undefined ? {} : { kid }),
        })),
      });
    }
    return made;
  };
}

/** Where each provider's keys come from. Those of one that is no longer trusted are forgotten; others are kept when the file is read again. */
function providerKeys(people: People, { limits, say, now }: GatekeeperOptions): { of(provider: Provider): KeySource } {
  let of: PeopleSettings | null = null;
  let known = new Map<string, KeySource>();
  const sourceOf = ({ jwks, jwksUri }: Provider): KeySource =>
    jwksUri === undefined
      ? givenKeys(jwks ?? { keys: [] })
      : remoteKeys(jwksUri, {
          ...(limits === undefined ? {} : { limits }),
          ...(say === undefined ? {} : { say }),
          ...(now === undefined ? {} : { now }),
        });
  const nameOf = ({ issuer, jwks, jwksUri }: Provider): string => JSON.stringify([issuer, jwksUri ?? null, jwks ?? null]);
  return {
    of(provider) {
      const settings = people.settings();
      if (of !== settings) {
        const before = known;
        known = new Map(settings.providers.map((each) => [nameOf(each), before.get(nameOf(each)) ?? sourceOf(each)]));
        of = settings;
      }
      const source = known.get(nameOf(provider));
      // Taken out of the file between two looks at it.
      if (source === undefined) throw invalid("its issuer is not one that this hub believes");
      return source;
    },
  };
}

/** What a token must say of itself, whoever issued it. */
interface Expected {
  readonly issuer: string;
  readonly audience: string;
  readonly types: readonly string[];
  /** Claims that must be there besides `exp`. */
  readonly required?: readonly string[];
}
const OWN: Expected = {
  issuer: ISSUER,
  audience: PEOPLE_AUDIENCE,
  types: [PERSON_TYPE],
  required: ["jti", "iat", "nbf"],
};

async function verified(
  token: string,
  { key, algorithm }: Named & { readonly key: NonNullable<ReturnType<KeySet["find"]>> },
  { issuer, audience, types, required = [] }: Expected,
  atMs: number,
): Promise<JWTPayload> {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      issuer,
      audience,
      requiredClaims: ["exp", ...required],
      clockTolerance: CLOCK_TOLERANCE_S,
      currentDate: new Date(atMs),
    });
    if (!types.includes(protectedHeader.typ ?? ""))
      throw invalid(`its typ is not ${types.map((each) => each || "missing").join(" or ")}`);
    return payload;
  } catch (error) {
    if (error instanceof TributaryError) throw error;
    if (error instanceof errors.JWTExpired)
      throw new TributaryError("token-expired", "the token has run out", again, { cause: error });
    throw invalid(messageOf(error), error);
  }
}

/** A claim's time in milliseconds. Throws `token-invalid` for what is not a time: not a number, before 1970, or after the year 9999. */
function timeOf(claim: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value * 1000 > MAX_WALL_MS) throw invalid(`its ${claim} is not a time`);
  return value * 1000;
}

/** What all issuers' tokens say in the same claims. */
function common({ exp, nbf, iat, jti }: JWTPayload): Pick<PersonClaims, "jti" | "issuedAtS" | "notBeforeMs" | "expiresAtMs"> {
  if (jti !== undefined && (typeof jti !== "string" || jti === "" || jti.length > MAX_JTI_CHARS))
    throw invalid("its jti is not an id");
  return {
    jti: jti ?? null,
    issuedAtS: iat === undefined ? 0 : timeOf("iat", iat) / 1000,
    notBeforeMs: nbf === undefined ? 0 : timeOf("nbf", nbf),
    expiresAtMs: timeOf("exp", exp),
  };
}

function subjectIn(value: unknown): string {
  if (typeof value !== "string" || !SUBJECT.test(value)) throw invalid("it does not name a person");
  return value;
}

/** What a token of the hub says. Roles that this version does not know give nothing. */
function ownClaims(payload: JWTPayload): PersonClaims {
  const { sub, org, roles } = payload;
  if (typeof org !== "string" || !isName(org)) throw invalid("it does not name an organisation");
  return { ...common(payload), issuer: ISSUER, subject: subjectIn(sub), org, roles: namesIn(roles).filter(isPersonRole) };
}

/** What a provider's token says, by the claims that the team has named. */
function providerClaims(payload: JWTPayload, provider: Provider): PersonClaims {
  const { issuer, orgs, orgClaim, rolesClaim, subjectClaim, roles: called } = provider;
  const org = orgClaim === undefined ? orgs[0] : at(payload, orgClaim);
  if (typeof org !== "string" || !orgs.includes(org))
    throw invalid(`${issuer} does not speak for the organisation that it names`);
  const names = namesIn(at(payload, rolesClaim));
  const roles = called === undefined ? names : names.flatMap((name) => (Object.hasOwn(called, name) ? (called[name] ?? []) : []));
  return {
    ...common(payload),
    ...{ issuer, org, subject: subjectIn(at(payload, subjectClaim)), roles: [...new Set(roles)].filter(isPersonRole) },
  };
}

/** What stands at a claim's name, or at the end of the way to it. */
function at(payload: JWTPayload, claim: ClaimPath): unknown {
  let value: unknown = payload;
  for (const name of [claim].flat()) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
    value = Object.entries(value).find(([each]) => each === name)?.[1];
  }
  return value;
}

/** Names in a claim: a list, or one text with spaces between them. Anything else names nothing. */
function namesIn(value: unknown): readonly string[] {
  const names: unknown[] = typeof value === "string" ? value.split(" ") : Array.isArray(value) ? value : [];
  return names.slice(0, MAX_ROLE_NAMES).filter((name) => typeof name === "string");
}

function inTime({ notBeforeMs, issuedAtS, expiresAtMs }: PersonClaims, atMs: number): void {
  const toleranceMs = CLOCK_TOLERANCE_S * 1000;
  if (atMs > expiresAtMs + toleranceMs)
    throw new TributaryError("token-expired", `the token ran out on ${new Date(expiresAtMs).toISOString()}`, again);
  if (atMs < notBeforeMs - toleranceMs) throw invalid("it is not valid yet");
  // One from the future would outlive a revocation.
  if (atMs < issuedAtS * 1000 - toleranceMs) throw invalid("it was issued in the future");
}

const personOf = (
  { issuer, subject, org, roles, jti, expiresAtMs }: PersonClaims,
  { matrix }: PeopleSettings,
  hub: HubOrg,
): Principal => ({
  ...{ kind: "person", issuer, subject, org, roles, jti, expiresAtMs, matrix },
  rights: rightsAt({ org, roles, hub }, matrix),
  viewer: viewerOf({ org, roles, hub }),
});

/** A site has the rights that its token's scopes name; a role it has none. */
const siteOf = ({ org, site, device, scopes, jti, expiresAtMs }: Claims, { matrix }: PeopleSettings): Principal => ({
  ...{
    kind: "site",
    issuer: ISSUER,
    subject: [org, site, ...(device === null ? [] : [device])].join("."),
    org,
    roles: [],
    jti,
    expiresAtMs,
    matrix,
  },
  rights: scopes.filter(isRight),
  viewer: { orgs: [org] },
});
