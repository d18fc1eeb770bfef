import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { DEFAULT_MATRIX } from "../../services/core/index.ts";
import {
  doorkeeper,
  fixedKeyring,
  fixedPeople,
  type Gatekeeper,
  gatekeeper,
  makeKey,
  parsePeople,
} from "../../services/http/index.ts";
import { WAIT_MS } from "../support/patience.ts";
import { makeProviderKey, type ProviderKey, rawToken } from "../support/person-tokens.ts";

const ring = fixedKeyring({ keys: [await makeKey("hub")] });
const NOW_S = Math.floor(Date.now() / 1000);

/** A provider with its keys at an address, as the test has it answer; the test moves the clock by which the hub asks again. */
async function openProvider(limits: { readonly timeoutMs?: number } = {}) {
  let listener: RequestListener = (_, response) => response.writeHead(500).end();
  let asked = 0;
  const server = createServer((request, response) => {
    asked++;
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  let nowMs = 0;
  const said: Record<string, unknown>[] = [];
  const made = { issuer: url, audience: "tributary", jwksUri: `${url}/jwks`, orgs: ["relief"] };
  const settings = parsePeople(JSON.stringify({ providers: [made] }), "people.json");
  const gate: Gatekeeper = gatekeeper({
    ...{ ring, keeper: doorkeeper(ring), people: fixedPeople(settings), revoked: () => {}, hub: () => "relief" },
    limits: { intervalMs: 30_000, maxAgeMs: 300_000, maxStaleMs: 3_600_000, timeoutMs: WAIT_MS, ...limits },
    now: () => nowMs,
    say: (event) => said.push(event),
  });
  const token = (key: ProviderKey): string =>
    rawToken(
      { alg: key.alg, kid: key.jwk.kid, typ: "JWT" },
      { iss: url, aud: "tributary", sub: "amina", roles: ["field"], iat: NOW_S, exp: NOW_S + 3_600 },
      key.signing,
    );
  return {
    ...{ url, said, gate },
    asked: () => asked,
    answer: (next: RequestListener) => {
      listener = next;
    },
    publish(...keys: readonly ProviderKey[]) {
      listener = (_, response) => response.end(JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
    },
    pass: (ms: number) => {
      nowMs += ms;
    },
    /** The subject, or the code of the refusal. */
    async admitted(key: ProviderKey): Promise<string> {
      return gate.admit(`Bearer ${token(key)}`, NOW_S * 1000).then(
        ({ subject }) => subject,
        ({ code }) => String(code),
      );
    },
  };
}
type OpenProvider = Awaited<ReturnType<typeof openProvider>>;

const [first, second, stranger] = [
  makeProviderKey("ES256", "first"),
  makeProviderKey("RS256", "second"),
  makeProviderKey("EdDSA", "stranger"),
] as const;

it("a provider publishes its next key, switches to it, and takes the old one away; nobody is shut out on the way, and the old key is worth nothing after it (I43)", async () => {
  const idp = await openProvider();
  idp.publish(first);
  expect(await idp.admitted(first)).toBe("amina");
  for (let n = 0; n < 20; n++) expect(await idp.admitted(first)).toBe("amina");
  expect(idp.asked()).toBe(1);

  // Publish, and wait.
  idp.publish(first, second);
  idp.pass(60_000);
  // Switch: the first token under the next key makes the hub ask.
  expect(await idp.admitted(second)).toBe("amina");
  expect(idp.asked()).toBe(2);
  expect(await idp.admitted(first)).toBe("amina");

  // Remove.
  idp.publish(second);
  expect(await idp.admitted(first)).toBe("amina");
  idp.pass(301_000);
  expect(await idp.admitted(first)).toBe("token-invalid");
  expect(await idp.admitted(second)).toBe("amina");
  expect(idp.asked()).toBe(3);
});

it("however many tokens come under unknown keys, the provider is asked once in half a minute", async () => {
  const idp = await openProvider();
  idp.publish(first);
  expect(await Promise.all(Array.from({ length: 50 }, () => idp.admitted(stranger)))).toEqual(Array(50).fill("token-invalid"));
  expect(idp.asked()).toBe(1);
  idp.pass(29_000);
  expect(await idp.admitted(stranger)).toBe("token-invalid");
  expect(idp.asked()).toBe(1);
  idp.pass(2_000);
  expect(await idp.admitted(stranger)).toBe("token-invalid");
  expect(idp.asked()).toBe(2);
});

it("while the provider is away its last keys count for an hour, and then nobody is let in by it until it is back", async () => {
  const idp = await openProvider();
  expect(await idp.admitted(first)).toBe("backend-unreachable");
  idp.publish(first);
  // It was asked a moment ago.
  expect(await idp.admitted(first)).toBe("backend-unreachable");
  idp.pass(31_000);
  expect(await idp.admitted(first)).toBe("amina");
  idp.answer((_, response) => response.writeHead(503).end());
  idp.pass(3_500_000);
  expect(await idp.admitted(first)).toBe("amina");
  idp.pass(200_000);
  expect(await idp.admitted(first)).toBe("backend-unreachable");
  idp.publish(first);
  idp.pass(31_000);
  expect(await idp.admitted(first)).toBe("amina");
  expect(idp.said.length).toBeGreaterThanOrEqual(3);
  for (const event of idp.said) expect(event).toMatchObject({ event: "jwks-failed", uri: `${idp.url}/jwks` });
});

/** Answers of a provider that is broken or hostile. */
const ANSWERS: readonly (readonly [title: string, answer: (idp: OpenProvider) => RequestListener, says: RegExp])[] = [
  [
    "redirects elsewhere",
    ({ url }) =>
      (_, response) =>
        response.writeHead(302, { location: `${url}/other` }).end(),
    /redirect|fetch/,
  ],
  [
    "never ends",
    () => (_, response) => {
      response.write('{"keys":[');
      const timer = setInterval(() => response.write(" ".repeat(60_000)), 1);
      response.on("close", () => clearInterval(timer));
    },
    /more than 262144 bytes/,
  ],
  ["is not JSON", () => (_, response) => response.end("<html>"), /JSON/],
  ["is not a set of keys", () => (_, response) => response.end('{"keys":{}}'), /keys/],
  [
    "has keys without number",
    () => (_, response) => response.end(JSON.stringify({ keys: Array.from({ length: 101 }, () => first.jwk) })),
    /keys/,
  ],
  [
    "is an error with keys in it",
    () => (_, response) => response.writeHead(404).end(JSON.stringify({ keys: [first.jwk] })),
    /404/,
  ],
];

it.each(ANSWERS)("an answer that %s gives no keys", async (_, answer, says) => {
  const idp = await openProvider();
  idp.answer(answer(idp));
  expect(await idp.admitted(first)).toBe("backend-unreachable");
  expect(idp.asked()).toBe(1);
  expect(idp.said).toEqual([{ event: "jwks-failed", uri: `${idp.url}/jwks`, message: expect.stringMatching(says) }]);
});

it("an answer that never begins is not waited for", async () => {
  const idp = await openProvider({ timeoutMs: 200 });
  idp.answer(() => {});
  expect(await idp.admitted(first)).toBe("backend-unreachable");
  expect(idp.said).toMatchObject([{ event: "jwks-failed", message: expect.stringMatching(/timeout/) }]);
});

it("a provider that is taken out of people.json is believed no more, and one that stays is not asked again for that", async () => {
  const idp = await openProvider();
  idp.publish(first);
  const made = (audience: string) => ({ issuer: idp.url, audience, jwksUri: `${idp.url}/jwks`, orgs: ["relief"] });
  const read = (...providers: object[]) => parsePeople(JSON.stringify({ providers }), "people.json");
  let settings = read(made("tributary"));
  const gate = gatekeeper({
    ...{ ring, keeper: doorkeeper(ring), people: { settings: () => settings }, revoked: () => {}, hub: () => "relief" },
  });
  const token = `Bearer ${rawToken(
    { alg: "ES256", kid: "first", typ: "JWT" },
    { iss: idp.url, aud: "tributary", sub: "amina", roles: ["field"], iat: NOW_S, exp: NOW_S + 3_600 },
    first.signing,
  )}`;
  const amina = await gate.admit(token, NOW_S * 1000);
  expect(amina.rights).toEqual(DEFAULT_MATRIX.field);
  settings = read(made("tributary"), { ...made("tributary"), issuer: "https://other.example.org" });
  expect(await gate.again(amina, NOW_S * 1000)).toMatchObject({ subject: "amina" });
  expect(idp.asked()).toBe(1);
  // What is remembered of a token does not outlive the rules that it was checked by.
  settings = read(made("another-hub"));
  await expect(gate.admit(token, NOW_S * 1000)).rejects.toMatchObject({ code: "token-invalid" });
  settings = read();
  await expect(gate.admit(token, NOW_S * 1000)).rejects.toMatchObject({ code: "token-invalid" });
});
