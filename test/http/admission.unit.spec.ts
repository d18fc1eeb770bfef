import { createPublicKey } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { DEFAULT_MATRIX, matrixOf, RIGHTS, TributaryError } from "../../services/core/index.ts";
import {
  doorkeeper,
  fixedKeyring,
  fixedPeople,
  type Gatekeeper,
  gatekeeper,
  issuePersonToken,
  issueToken,
  makeKey,
  mustMay,
  type PeopleSettings,
  parsePeople,
} from "../../services/http/index.ts";
import {
  asHub,
  byHS256,
  byNobody,
  byZeros,
  makeProviderKey,
  type ProviderKey,
  rawToken,
  type Signing,
} from "../support/person-tokens.ts";

const NOW = Date.UTC(2026, 5, 1);
const NOW_S = NOW / 1000;
const IDP = "https://id.example.org";
const hubKey = await makeKey("hub-1");
const strangerKey = await makeKey("hub-1");
const ring = fixedKeyring({ keys: [hubKey] });
const keeper = doorkeeper(ring);
const [es, rs, ed] = [makeProviderKey("ES256", "es"), makeProviderKey("RS256", "rs"), makeProviderKey("EdDSA", "ed")] as const;

const provider = {
  issuer: IDP,
  audience: "tributary",
  jwks: { keys: [es.jwk, rs.jwk, ed.jwk] },
  orgs: ["relief", "msf"],
  orgClaim: "org",
};
const settingsOf = (...providers: readonly object[]): PeopleSettings => parsePeople(JSON.stringify({ providers }), "people.json");
const gateOf = (settings: PeopleSettings, hub: string | null = "relief"): Gatekeeper =>
  gatekeeper({ ring, keeper, people: fixedPeople(settings), revoked: () => {}, hub: () => hub });

const gate = gateOf(settingsOf(provider));
const admit = (token: string, at: Gatekeeper = gate) => at.admit(`Bearer ${token}`, NOW);
const person = (more: Partial<Parameters<typeof issuePersonToken>[1]> = {}) =>
  issuePersonToken(hubKey, { person: "amina", org: "relief", roles: ["resolver"], lifetimeS: 3_600, nowMs: NOW, ...more });

/** A token of the hub, and one of the provider, with members changed; `undefined` takes one out. */
const ownHeader = { alg: "EdDSA", kid: "hub-1", typ: "tributary-person+jwt" };
const ownClaims = {
  ...{ iss: "tributary", aud: "tributary-people", sub: "amina", org: "relief", roles: ["resolver"] },
  ...{ jti: "j-1", iat: NOW_S, nbf: NOW_S, exp: NOW_S + 3_600 },
};
const own = (claims: object = {}, header: object = {}, signing: Signing = asHub(hubKey)): string =>
  rawToken({ ...ownHeader, ...header }, { ...ownClaims, ...claims }, signing);
const theirClaims = { iss: IDP, aud: "tributary", sub: "u-17", org: "msf", roles: ["coordinator"], iat: NOW_S, exp: NOW_S + 600 };
const theirs = (claims: object = {}, header: object = {}, key: ProviderKey = es, signing: Signing = key.signing): string =>
  rawToken({ alg: key.alg, kid: key.jwk.kid, typ: "JWT", ...header }, { ...theirClaims, ...claims }, signing);

describe("a person's token of the hub", () => {
  it("proves who they are, of which organisation, and what they may", async () => {
    const amina = await admit(await person());
    expect(amina).toMatchObject({
      ...{ kind: "person", issuer: "tributary", subject: "amina", org: "relief", roles: ["resolver"] },
      ...{ viewer: { orgs: ["relief"] }, expiresAtMs: NOW + 3_600_000 },
    });
    expect(amina.rights).toEqual(DEFAULT_MATRIX.resolver.toSorted((a, b) => RIGHTS.indexOf(a) - RIGHTS.indexOf(b)));
    expect(amina.jti).toMatch(/^[0-9a-f-]{36}$/);
    expect(JSON.stringify(amina)).not.toContain("eyJ");
  });

  it("shows every organisation's rows to auditors of the hub's own organisation only", async () => {
    const viewer = async (org: string, at = gate) => (await admit(await person({ org, roles: ["auditor"] }), at)).viewer;
    expect(await viewer("relief")).toEqual({ orgs: null });
    expect(await viewer("msf")).toEqual({ orgs: ["msf"] });
    expect(await viewer("relief", gateOf(settingsOf(), null))).toEqual({ orgs: ["relief"] });
  });

  it("gives the rights of the team's matrix, and none for roles that there are not", async () => {
    const strict = gateOf({ matrix: matrixOf({ resolver: ["cases:read"] }), providers: [] });
    expect((await admit(await person(), strict)).rights).toEqual(["cases:read"]);
    expect(await admit(own({ roles: ["root", "__proto__", "constructor", 7, null] }))).toMatchObject({ roles: [], rights: [] });
    for (const roles of [undefined, null, {}, 7, true, ""])
      expect((await admit(own({ roles }))).rights, String(roles)).toEqual([]);
  });

  it("is not taken for a site's token, nor a site's for a person's", async () => {
    await expect(keeper.admit(`Bearer ${await person()}`, NOW)).rejects.toMatchObject({ code: "token-invalid" });
    const site = await issueToken(hubKey, { org: "relief", site: "juba", lifetimeS: 60, nowMs: NOW });
    expect(await admit(site)).toMatchObject({
      ...{ kind: "site", subject: "relief.juba", roles: [], rights: ["events:append"], viewer: { orgs: ["relief"] } },
    });
    const tool = await issueToken(hubKey, { org: "relief", site: "hub", lifetimeS: 60, nowMs: NOW, scopes: ["schemas:write"] });
    expect((await admit(tool)).rights).toEqual(["schemas:write"]);
    // A scope that is nobody's right lets nobody in here.
    const console = await issueToken(hubKey, { org: "relief", site: "hub", lifetimeS: 60, nowMs: NOW, scopes: ["keys:enrol"] });
    await expect(admit(console)).rejects.toMatchObject({ code: "token-scope" });
  });
});

describe("a provider's token", () => {
  it("is believed under each algorithm, by the key that it names", async () => {
    for (const key of [es, rs, ed])
      expect(await admit(theirs({}, {}, key)), key.alg).toMatchObject({
        ...{ kind: "person", issuer: IDP, subject: "u-17", org: "msf", roles: ["coordinator"], jti: null },
      });
    const [first] = settingsOf({ ...provider, algorithms: ["ES256"] }).providers;
    const only = gateOf({ matrix: DEFAULT_MATRIX, providers: [first!] });
    expect(await admit(theirs(), only)).toMatchObject({ subject: "u-17" });
    await expect(admit(theirs({}, {}, rs), only)).rejects.toMatchObject({ code: "token-invalid" });
  });

  it("speaks only for the organisations that the team lets it speak for", async () => {
    for (const org of ["unhcr", "", "*", null, ["msf"], undefined, "MSF"])
      await expect(admit(theirs({ org })), String(org)).rejects.toMatchObject({ code: "token-invalid" });
    const single = gateOf(settingsOf({ ...provider, orgs: ["msf"], orgClaim: undefined }));
    // Whatever it says of itself.
    expect(await admit(theirs({ org: "relief", roles: ["admin"] }), single)).toMatchObject({
      org: "msf",
      viewer: { orgs: ["msf"] },
    });
  });

  it("is read by the claims that the team names, and its roles are called ours only where the team says so", async () => {
    const nested = gateOf(
      settingsOf({
        ...provider,
        ...{ orgClaim: ["resource", "org"], rolesClaim: ["realm_access", "roles"], subjectClaim: "preferred_username" },
        roles: { "hq-desk": ["resolver", "coordinator"], checkers: ["auditor"] },
      }),
    );
    const claims = {
      resource: { org: "relief" },
      realm_access: { roles: ["hq-desk", "admin", "toString"] },
      preferred_username: "amina",
    };
    expect(await admit(theirs(claims), nested)).toMatchObject({
      subject: "amina",
      org: "relief",
      roles: ["resolver", "coordinator"],
    });
    for (const resource of [undefined, null, "relief", ["relief"], { org: { org: "relief" } }])
      await expect(admit(theirs({ ...claims, resource }), nested)).rejects.toMatchObject({ code: "token-invalid" });
    expect(await admit(theirs({ roles: "auditor  field" }))).toMatchObject({ roles: ["auditor", "field"] });
  });
});

describe("attacks", () => {
  const pem = createPublicKey({ format: "jwk", key: { ...rs.jwk } }).export({ type: "spki", format: "pem" });
  const hubPublic = Buffer.from(String(hubKey.x), "base64url");
  const embedded = makeProviderKey("ES256", "own");
  const later = NOW_S + 3_600;

  const NO_KEY = "none of the issuer's keys has the name that it gives, for its algorithm";
  const NO_TOKEN = "what came with the request is not a token";

  /** Each would be let in by somebody who checks less; `because`: what refuses it, so that no other check hides a missing one. */
  const REFUSED: readonly (readonly [title: string, because: string, token: () => string])[] = [
    ["alg none", NO_TOKEN, () => own({}, { alg: "none" }, byNobody)],
    ["alg none with something in the signature's place", NO_KEY, () => own({}, { alg: "none" }, byZeros)],
    ["alg none in other letters", NO_KEY, () => own({}, { alg: "NoNe" }, byZeros)],
    ["alg none of a provider", NO_KEY, () => theirs({}, { alg: "none" }, es, byZeros)],
    ["no signature", NO_TOKEN, () => own({}, {}, byNobody)],
    ["a signature of zeros", "signature verification failed", () => own({}, {}, byZeros)],
    ["an elliptic signature of zeros", "signature verification failed", () => theirs({}, {}, es, byZeros)],
    ["no alg", "it does not name the key that signed it", () => own({}, { alg: undefined })],
    ["HS256 with the hub's public key as the secret", NO_KEY, () => own({}, { alg: "HS256" }, byHS256(hubPublic))],
    ["HS256 with the public key's letters as the secret", NO_KEY, () => own({}, { alg: "HS256" }, byHS256(String(hubKey.x)))],
    ["HS256 with a provider's public key as the secret", NO_KEY, () => theirs({}, { alg: "HS256" }, rs, byHS256(String(pem)))],
    ["an RSA key under another RSA algorithm", NO_KEY, () => theirs({}, { alg: "PS256" }, rs)],
    ["an elliptic key's name under RS256", NO_KEY, () => theirs({}, { alg: "RS256" }, es)],
    ["an RSA key's name under ES256", NO_KEY, () => theirs({}, { alg: "ES256", kid: "rs" }, es)],
    ["RS256 under a name whose key is elliptic", NO_KEY, () => theirs({}, { kid: "es" }, rs)],
    ["another hub's key of the same name", "signature verification failed", () => own({}, {}, asHub(strangerKey))],
    ["a provider's key in the hub's name", NO_KEY, () => own({}, { kid: "ed" }, ed.signing)],
    ["the hub's key in a provider's name", NO_KEY, () => theirs({}, { alg: "EdDSA", kid: "hub-1" }, ed, asHub(hubKey))],
    [
      "a provider in the hub's name",
      NO_KEY,
      () => theirs({ iss: "tributary", aud: "tributary-people" }, { typ: "tributary-person+jwt" }, ed),
    ],
    [
      "an issuer that nobody knows",
      "no applicable key found in the JSON Web Key Set",
      () => theirs({ iss: "https://evil.example.org" }, {}, ed),
    ],
    [
      "an issuer that is nearly the provider",
      "no applicable key found in the JSON Web Key Set",
      () => theirs({ iss: `${IDP}/` }, {}, ed),
    ],
    ["an issuer that is a list", "no applicable key found in the JSON Web Key Set", () => theirs({ iss: [IDP] }, {}, ed)],
    ["no issuer", "no applicable key found in the JSON Web Key Set", () => theirs({ iss: undefined }, {}, ed)],
    [
      "a person's claims without the typ",
      'unexpected "aud" claim value',
      () => own({ scope: "events:append", site: "juba" }, { typ: undefined }),
    ],
    [
      "a person's claims under the typ of other tokens",
      'unexpected "aud" claim value',
      () => own({ scope: "events:append", site: "juba" }, { typ: "JWT" }),
    ],
    ["a provider's log-out token", "its typ is not JWT or at+jwt", () => theirs({}, { typ: "logout+jwt" })],
    ["a provider's token without a typ", "its typ is not JWT or at+jwt", () => theirs({}, { typ: undefined })],
    ["a provider's token under the hub's typ", "its typ is not JWT or at+jwt", () => theirs({}, { typ: "tributary-person+jwt" })],
    ["a token for the hub's door", 'unexpected "aud" claim value', () => own({ aud: "tributary-ingress" })],
    ["a token for somebody else", 'unexpected "aud" claim value', () => theirs({ aud: "another-app" })],
    ["audiences without this hub", 'unexpected "aud" claim value', () => theirs({ aud: ["account", "another-app"] })],
    ["an empty list of audiences", 'unexpected "aud" claim value', () => theirs({ aud: [] })],
    ["no audience", 'missing required "aud" claim', () => theirs({ aud: undefined })],
    ["no kid", "it does not name the key that signed it", () => own({}, { kid: undefined })],
    ["an empty kid", "it does not name the key that signed it", () => theirs({}, { kid: "" })],
    ["a kid that is a path", NO_KEY, () => theirs({}, { kid: "../../../../dev/null" }, es, byHS256(""))],
    ["a kid that is SQL", NO_KEY, () => theirs({}, { kid: "es' UNION SELECT 'x" })],
    ["a kid that is a member of every object", NO_KEY, () => own({}, { kid: "__proto__" })],
    ["a kid that is a list", "it does not name the key that signed it", () => own({}, { kid: ["hub-1"] })],
    ["a kid without end", "it does not name the key that signed it", () => own({}, { kid: "k".repeat(5_000) })],
    ["a key inside the token", NO_KEY, () => theirs({}, { kid: "own", jwk: embedded.jwk }, embedded)],
    [
      "a key inside the token, under a known name",
      "signature verification failed",
      () => theirs({}, { kid: "es", jwk: embedded.jwk }, embedded),
    ],
    [
      "an address of keys inside the token",
      NO_KEY,
      () => theirs({}, { kid: "own", jku: "https://evil.example.org/jwks" }, embedded),
    ],
    [
      "an address of a certificate inside the token",
      NO_KEY,
      () => theirs({}, { kid: "own", x5u: "https://evil.example.org/c" }, embedded),
    ],
    ["a certificate inside the token", NO_KEY, () => theirs({}, { kid: "own", x5c: ["MIIB"] }, embedded)],
    ["a critical extension", 'Extension Header Parameter "exp" is not recognized', () => own({}, { crit: ["exp"], exp: later })],
    [
      "a critical extension of somebody's own",
      'Extension Header Parameter "https://x/y" is not recognized',
      () => theirs({}, { crit: ["https://x/y"], "https://x/y": true }),
    ],
    ["a payload that is not encoded", "JWTs MUST NOT use unencoded payload", () => own({}, { b64: false, crit: ["b64"] })],
    ["a token that has run out", "the token has run out", () => own({ exp: NOW_S - 60 })],
    ["a provider's token that has run out", "the token has run out", () => theirs({ exp: NOW_S - 60 })],
    ["a token that is not valid yet", '"nbf" claim timestamp check failed', () => own({ nbf: later, exp: later + 60 })],
    [
      "a provider's token that is not valid yet",
      '"nbf" claim timestamp check failed',
      () => theirs({ nbf: later, exp: later + 60 }),
    ],
    [
      "a token from the future, which a revocation would not reach",
      "it was issued in the future",
      () => theirs({ iat: later, exp: later + 60 }),
    ],
    ["no exp", 'missing required "exp" claim', () => own({ exp: undefined })],
    ["a provider's token without exp", 'missing required "exp" claim', () => theirs({ exp: undefined })],
    ["an exp that is a text", '"exp" claim must be a number', () => theirs({ exp: String(later) })],
    ["an exp beyond all time", "its exp is not a time", () => theirs({ exp: 1e300 })],
    ["an nbf that is not a time", "its nbf is not a time", () => theirs({ nbf: -1 })],
    ["an iat that is not a time", '"iat" claim must be a number', () => theirs({ iat: "now" })],
    ["a token of the hub without jti, which nobody could revoke", 'missing required "jti" claim', () => own({ jti: undefined })],
    ["a jti that is not a text", "its jti is not an id", () => theirs({ jti: 7 })],
    ["a jti without end", "its jti is not an id", () => theirs({ jti: "j".repeat(1_000) })],
    ["no subject", "it does not name a person", () => own({ sub: undefined })],
    ["a subject that is a number", "it does not name a person", () => theirs({ sub: 17 })],
    ["an empty subject", "it does not name a person", () => theirs({ sub: "" })],
    ["a subject that nobody can see", "it does not name a person", () => theirs({ sub: "\u200b" })],
    ["a subject with spaces at its end", "it does not name a person", () => theirs({ sub: "amina " })],
    ["a subject with a line end", "it does not name a person", () => theirs({ sub: "amina\nadmin" })],
    ["a subject without end", "it does not name a person", () => theirs({ sub: "s".repeat(201) })],
    ["an organisation that is not a name", "it does not name an organisation", () => own({ org: "relief.hub" })],
    ["no organisation", "it does not name an organisation", () => own({ org: undefined })],
    ["a token larger than any that is issued", "it has more than 8192 characters", () => theirs({ padding: "x".repeat(9_000) })],
    ["a payload that is a list", "it is not a JSON Web Token", () => rawToken(ownHeader, [ownClaims], asHub(hubKey))],
    ["a payload that is not JSON", "it is not a JSON Web Token", () => rawToken(ownHeader, "{", asHub(hubKey))],
    ["a header that is not JSON", "it is not a JSON Web Token", () => rawToken("{", ownClaims, asHub(hubKey))],
    [
      "a member of the header twice, the last a lie",
      NO_KEY,
      () => rawToken('{"alg":"EdDSA","kid":"hub-1","typ":"tributary-person+jwt","alg":"none"}', ownClaims, byZeros),
    ],
    [
      "another spelling of the same token",
      "its base64 is not in the form that encoders write",
      () => own().replace(/.$/, (last) => (last === "A" ? "B" : last === "Q" ? "R" : last === "g" ? "h" : "x")),
    ],
    ["an encrypted token's five parts", NO_TOKEN, () => `${own()}.AAAA.AAAA`],
  ];

  it.each(REFUSED)("are refused (I43): %s", async (_, because, token) => {
    const error: unknown = await admit(token()).then(
      (principal) => principal,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(TributaryError);
    expect(error).toMatchObject({
      ...{ code: expect.stringMatching(/^token-(invalid|expired)$/), status: 401, message: expect.stringContaining(because) },
    });
  });

  it("are told apart from what is in order: the same tokens, unchanged", async () => {
    expect((await admit(own())).subject).toBe("amina");
    expect((await admit(theirs())).subject).toBe("u-17");
    expect((await admit(theirs({ aud: ["account", "tributary"] }))).subject).toBe("u-17");
    expect((await admit(theirs({}, { typ: "at+jwt" }))).subject).toBe("u-17");
    // Addresses and keys in the header are nothing to us where the signature is by the provider's own key.
    expect((await admit(theirs({}, { jku: "https://evil.example.org/jwks", jwk: embedded.jwk }))).subject).toBe("u-17");
    // Half a minute between two clocks is nothing.
    expect((await admit(own({ exp: NOW_S - 20 }))).subject).toBe("amina");
    expect((await admit(own({ nbf: NOW_S + 20 }))).subject).toBe("amina");
  });

  it("with a claim twice get what the last one says, as every reader of JSON here has it", async () => {
    const twice = JSON.stringify(ownClaims).replace(/\}$/, ',"org":"msf","roles":["field"]}');
    expect(await admit(rawToken(ownHeader, twice, asHub(hubKey)))).toMatchObject({ org: "msf", roles: ["field"] });
  });

  it("do not come through what is remembered of a token, when its time or its key is over", async () => {
    const token = own({ exp: NOW_S + 60 });
    await admit(token);
    await expect(gate.admit(`Bearer ${token}`, NOW + 120_000)).rejects.toMatchObject({ code: "token-expired" });
    let keys = fixedKeyring({ keys: [hubKey] });
    const turning = gatekeeper({
      ...{
        ring: { state: () => keys.state() },
        keeper,
        people: fixedPeople(settingsOf()),
        revoked: () => {},
        hub: () => "relief",
      },
    });
    await admit(token, turning);
    keys = fixedKeyring({ keys: [await makeKey("hub-2")] });
    await expect(admit(token, turning)).rejects.toMatchObject({ code: "token-invalid" });
  });
});

describe("keys of a provider", () => {
  const refused: readonly (readonly [string, object])[] = [
    ["for encryption", { ...es.jwk, use: "enc" }],
    ["for signing alone", { ...es.jwk, key_ops: ["sign"] }],
    ["for another algorithm", { ...es.jwk, alg: "ES384" }],
    ["without a name", { ...es.jwk, kid: undefined }],
    ["symmetric", { kty: "oct", kid: "es", k: Buffer.from("secret").toString("base64url") }],
    ["that is damaged", { ...es.jwk, x: "AAAA" }],
  ];
  it.each(refused)("are passed over: one %s", async (_, jwk) => {
    const at = gateOf(settingsOf({ ...provider, jwks: { keys: [jwk, rs.jwk] } }));
    await expect(admit(theirs(), at)).rejects.toMatchObject({ code: "token-invalid" });
    // The others work.
    expect((await admit(theirs({}, {}, rs), at)).subject).toBe("u-17");
  });

  it("of 1,024 bits are none, since they can be broken", async () => {
    const small = makeProviderKey("RS256", "small", 1_024);
    const at = gateOf(settingsOf({ ...provider, jwks: { keys: [small.jwk, es.jwk] } }));
    await expect(admit(theirs({}, {}, small), at)).rejects.toMatchObject({
      message: expect.stringContaining("none of the issuer's keys has the name"),
    });
  });

  it("of one name and one algorithm are none, since nobody can tell which is meant", async () => {
    const twin = makeProviderKey("ES256", "es");
    const at = gateOf(settingsOf({ ...provider, jwks: { keys: [es.jwk, twin.jwk] } }));
    await expect(admit(theirs(), at)).rejects.toMatchObject({ code: "token-invalid" });
    await expect(admit(theirs({}, {}, twin), at)).rejects.toMatchObject({ code: "token-invalid" });
  });
});

describe("a right", () => {
  let resolver: Awaited<ReturnType<typeof admit>>;
  beforeAll(async () => {
    resolver = await admit(await person());
  });

  it("that somebody has lets them, and one that they lack is named with who has it", () => {
    expect(() => mustMay(resolver, "cases:decide")).not.toThrow();
    expect(() => mustMay(resolver, "policies:write")).toThrow(
      expect.objectContaining({
        ...{ code: "right-missing", status: 403 },
        message: "amina of relief does not have the right policies:write, which is to say which site may hold what",
        hint: "The roles that have it: admin; only people of the hub's own organisation have it. `tributary role list` shows all.",
      }),
    );
    expect(() => mustMay(resolver, "audit:read")).toThrow(/audit:read/);
  });

  it("that the team gave to no role is nobody's", async () => {
    const none = gateOf({ matrix: matrixOf({ admin: [], auditor: [], coordinator: [] }), providers: [] });
    const admin = await admit(await person({ roles: ["admin"] }), none);
    expect(() => mustMay(admin, "people:revoke")).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("No role has it at this hub") }),
    );
  });

  it("about the whole hub is not given to an admin of another organisation", async () => {
    const partner = await admit(await person({ org: "msf", roles: ["admin"] }));
    expect(() => mustMay(partner, "schemas:write")).toThrow(expect.objectContaining({ code: "right-missing" }));
    expect(() => mustMay(partner, "cases:decide")).not.toThrow();
  });
});

it("somebody who stays connected is asked about again: by their token, the matrix and the revocations of then", async () => {
  let matrix = DEFAULT_MATRIX;
  let isRevoked = false;
  const changing = gatekeeper({
    ...{ ring, keeper, hub: () => "relief" },
    people: { settings: () => ({ matrix, providers: [] }) },
    revoked: () => {
      if (isRevoked) throw new TributaryError("revoked", "the tokens of amina were revoked", "Ask.");
    },
  });
  const first = await admit(await person({ lifetimeS: 600 }), changing);
  matrix = matrixOf({ resolver: [] });
  const second = await changing.again(first, NOW + 1_000);
  expect(second.rights).toEqual([]);
  await expect(changing.again(second, NOW + 700_000)).rejects.toMatchObject({ code: "token-expired" });
  isRevoked = true;
  await expect(changing.again(second, NOW + 1_000)).rejects.toMatchObject({ code: "revoked" });
  // Not one of this gatekeeper's: nothing is known of a token.
  await expect(changing.again({ ...first }, NOW)).rejects.toMatchObject({ code: "token-missing" });
});
