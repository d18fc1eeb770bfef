import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Provider, { type JWK } from "oidc-provider";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  doorkeeper,
  fixedKeyring,
  fixedPeople,
  type Gatekeeper,
  gatekeeper,
  makeKey,
  parsePeople,
} from "../../services/http/index.ts";

/*
 * A real provider of OpenID Connect signs people in, by the flow that a console uses: authorization code with PKCE, through the provider's own pages. Its tokens are then shown to a hub.
 */
const API = "https://hub.example.org";
const REDIRECT = "http://127.0.0.1:1/back";
const CLIENT = "console";
const PEOPLE: Readonly<Record<string, { readonly org: string; readonly roles: readonly string[] }>> = {
  amina: { org: "relief", roles: ["Field lead"] },
  bol: { org: "health", roles: ["Auditor", "Cook"] },
  eve: { org: "elsewhere", roles: ["Field lead"] },
};

const jwkOf = (key: KeyObject, kid: string, alg: string): JWK => ({
  ...(key.export({ format: "jwk" }) as JWK),
  kid,
  alg,
  use: "sig",
});
const keys = [
  jwkOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, "es", "ES256"),
  jwkOf(generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey, "rs", "RS256"),
];

let server: ReturnType<typeof createServer>;
let issuer = "";
let gate: Gatekeeper;

beforeAll(async () => {
  server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        ...{ client_id: CLIENT, redirect_uris: [REDIRECT], response_types: ["code"], grant_types: ["authorization_code"] },
        ...{ application_type: "native", token_endpoint_auth_method: "none", id_token_signed_response_alg: "RS256" },
      },
    ],
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => API,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "hub",
          audience: API,
          accessTokenFormat: "jwt" as const,
          jwt: { sign: { alg: "ES256" as const } },
        }),
      },
    },
    scopes: ["openid", "hub"],
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    extraTokenClaims: (_, token) => {
      const { org, roles } = PEOPLE[String("accountId" in token ? token.accountId : "")] ?? { org: "", roles: [] };
      return { organisation: { id: org }, groups: [...roles] };
    },
  });
  server.on("request", provider.callback());
  const metadata = (await (await fetch(`${issuer}/.well-known/openid-configuration`)).json()) as { jwks_uri: string };
  const people = parsePeople(
    JSON.stringify({
      providers: [
        {
          ...{ issuer, audience: API, jwksUri: metadata.jwks_uri, orgs: ["relief", "health"] },
          ...{
            orgClaim: ["organisation", "id"],
            rolesClaim: "groups",
            roles: { "Field lead": ["coordinator"], Auditor: ["auditor"] },
          },
        },
      ],
    }),
    "people.json",
  );
  const ring = fixedKeyring({ keys: [await makeKey("hub")] });
  gate = gatekeeper({ ring, keeper: doorkeeper(ring), people: fixedPeople(people), revoked: () => {}, hub: () => "relief" });
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

/** Signs somebody in as a browser does, and returns the tokens that the provider issues for that. */
async function signIn(person: string): Promise<{ readonly access_token: string; readonly id_token: string }> {
  const verifier = "v".repeat(64);
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const jar = new Map<string, string>();
  const go = async (url: string, form?: Record<string, string>): Promise<Response> => {
    const answer = await fetch(new URL(url, issuer), {
      redirect: "manual",
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") },
      ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [pair = ""] = cookie.split(";");
      jar.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
    }
    return answer;
  };
  const query = new URLSearchParams({
    ...{ client_id: CLIENT, response_type: "code", redirect_uri: REDIRECT, scope: "openid hub", state: "s" },
    ...{ code_challenge: challenge, code_challenge_method: "S256", resource: API },
  });
  let answer = await go(`/auth?${query}`);
  for (let steps = 0; steps < 12; steps++) {
    const to = answer.headers.get("location");
    if (to?.startsWith(REDIRECT)) {
      const code = new URL(to).searchParams.get("code") ?? "";
      const issued = await fetch(`${issuer}/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "authorization_code",
          client_id: CLIENT,
          redirect_uri: REDIRECT,
          code,
          code_verifier: verifier,
          resource: API,
        }),
      });
      return (await issued.json()) as { access_token: string; id_token: string };
    }
    if (to !== null) answer = await go(to);
    else {
      const page = await answer.text();
      const action = /action="([^"]+)"/.exec(page)?.[1] ?? "";
      const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1] ?? "";
      answer = await go(action, prompt === "login" ? { prompt, login: person, password: "any" } : { prompt });
    }
  }
  throw new Error("the provider did not send the browser back");
}

describe("a person who is signed in by a real provider of OpenID Connect", () => {
  it("is who the provider says, with the roles that the team gives its groups, and nothing for groups that it does not name", async () => {
    const { access_token } = await signIn("amina");
    expect(await gate.admit(`Bearer ${access_token}`, Date.now())).toMatchObject({
      ...{ kind: "person", issuer, subject: "amina", org: "relief", roles: ["coordinator"], viewer: { orgs: ["relief"] } },
    });
    const bol = await signIn("bol");
    expect(await gate.admit(`Bearer ${bol.access_token}`, Date.now())).toMatchObject({
      org: "health",
      roles: ["auditor"],
      viewer: { orgs: ["health"] },
    });
  });

  it("is refused where the provider may not speak for the organisation, and when the token is another one or too old", async () => {
    const eve = await signIn("eve");
    await expect(gate.admit(`Bearer ${eve.access_token}`, Date.now())).rejects.toMatchObject({ code: "token-invalid" });
    const amina = await signIn("amina");
    // It says who somebody is to the console, not to the hub.
    await expect(gate.admit(`Bearer ${amina.id_token}`, Date.now())).rejects.toMatchObject({ code: "token-invalid" });
    await expect(gate.admit(`Bearer ${amina.access_token}`, Date.now() + 24 * 3_600_000)).rejects.toMatchObject({
      code: "token-expired",
    });
  });
});
