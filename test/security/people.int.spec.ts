import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Me, meSurface } from "../../services/api/index.ts";
import { revokePerson, revokeToken } from "../../services/cli/hub-keys.ts";
import { DEFAULT_MATRIX, RIGHTS, rightsOf } from "../../services/core/index.ts";
import {
  fixedKeyring,
  fixedPeople,
  followPeople,
  gatekeeper,
  issuePersonToken,
  type Keyring,
  NO_PEOPLE,
} from "../../services/http/index.ts";
import type { Ingress } from "../../services/ingress/index.ts";
import { type KeyBook, openKeyBook } from "../../services/log/index.ts";
import { type Door, openDoor } from "../support/door.ts";
import { makeProviderKey, rawToken } from "../support/person-tokens.ts";
import { eventually } from "../support/temp.ts";

let door: Door;
let ring: Keyring;
let ingress: Ingress;
/** As the command line opens it, beside the door. */
let book: KeyBook;
const idp = { issuer: "https://id.example.org", key: makeProviderKey("ES256", "k") };

beforeAll(async () => {
  door = await openDoor();
  ring = fixedKeyring({ keys: [door.key] });
  const file = join(door.dir, "people.json");
  const provider = { issuer: idp.issuer, audience: "tributary", jwks: { keys: [idp.key.jwk] }, orgs: ["relief"] };
  writeFileSync(file, JSON.stringify({ providers: [provider] }));
  ingress = await door.startIngress({
    also: (keeper, revoked) => [
      meSurface(gatekeeper({ ring, keeper, people: followPeople(file), revoked, hub: () => "relief" })),
    ],
  });
  book = await openKeyBook(door.log.journal, { signer: () => ring.state().signer });
});
afterAll(async () => {
  book?.close();
  await door?.close();
});

const issue = (person: string, more: object = {}) =>
  issuePersonToken(door.key, { person, org: "relief", roles: ["resolver"], lifetimeS: 600, nowMs: Date.now(), ...more });

async function me(
  token: string | null,
): Promise<{ readonly status: number; readonly body: Me & { code?: string; hint?: string } }> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(`${ingress.http!.url}/v1/me`, { headers });
  expect(response.headers.get("content-type")).toMatch(response.ok ? /^application\/json/ : /^application\/problem\+json/);
  return { status: response.status, body: (await response.json()) as Me & { code?: string } };
}
const refused = (token: string) =>
  eventually("the revocation to reach the door", async () => {
    const { status, body } = await me(token);
    return status === 403 && body.code === "revoked";
  });

it("a person asks the hub who they are, and is told what they may", async () => {
  const { status, body } = await me(await issue("amina"));
  expect(status).toBe(200);
  expect(body).toMatchObject({
    kind: "person",
    issuer: "tributary",
    subject: "amina",
    org: "relief",
    roles: ["resolver"],
    sees: ["relief"],
  });
  expect(body.rights.map(({ right }) => right)).toEqual(rightsOf(["resolver"], DEFAULT_MATRIX));
  expect(body.rights[0]).toEqual({ right: "views:read", words: "Read the rows of the views, now and as they were." });
  expect((await me(await issue("root", { roles: ["admin"] }))).body).toMatchObject({
    sees: null,
    rights: { length: RIGHTS.length },
  });
  expect((await me(await door.token("juba"))).body).toMatchObject({ kind: "site", subject: "relief.juba", sees: ["relief"] });
  expect(await me(null)).toMatchObject({ status: 401, body: { code: "token-missing" } });
  expect(await me(await issue("amina", { lifetimeS: -60 }))).toMatchObject({ status: 401, body: { code: "token-expired" } });
  const api = (await (await fetch(`${ingress.http!.url}/v1/openapi.json`)).json()) as { paths: Record<string, unknown> };
  expect(api.paths).toHaveProperty("/v1/me");
});

it("a person's token does not let anybody send events, and a site's right to send stays as it was", async () => {
  const asDevice = await fetch(`${ingress.http!.url}/v1/ingress/hello?origin=relief.juba.t1.abcd`, {
    headers: { authorization: `Bearer ${await issue("amina", { roles: ["admin"] })}` },
  });
  expect(asDevice.status).toBe(401);
});

it("a person who is revoked is refused within seconds, with all tokens of before; a token that is issued later counts (I43)", async () => {
  const [one, other] = [await issue("deng"), await issue("deng")];
  const amina = await issue("amina");
  for (const token of [one, other]) expect((await me(token)).status).toBe(200);
  const throughS = await revokePerson(book, { subject: "deng", actor: "operator", reason: "left" });
  await refused(one);
  await refused(other);
  expect((await me(amina)).status).toBe(200);
  const next = await issue("deng", { issuedAfterS: throughS });
  expect((await me(next)).status).toBe(200);
  // A door that starts later reads it in the log.
  const later = await openKeyBook(door.log.journal);
  expect(later.record.personRevokedThroughS("deng", "tributary")).toBe(throughS);
  expect(later.record.personRevokedThroughS("deng", idp.issuer)).toBe(throughS);
  expect(later.record.personRevokedThroughS("amina", "tributary")).toBeNull();
  later.close();
});

it("one token is revoked by its id, and others of the person count", async () => {
  const [one, other] = [await issue("akol"), await issue("akol")];
  expect((await me(one)).status).toBe(200);
  const { jti } = JSON.parse(Buffer.from(one.split(".")[1]!, "base64url").toString()) as { jti: string };
  await revokeToken(book, jti, "operator");
  await refused(one);
  expect((await me(other)).status).toBe(200);
});

it("a person of a provider is revoked too, alone or with the hub's tokens of that name", async () => {
  const nowS = Math.floor(Date.now() / 1000);
  const theirs = (more: object = {}) =>
    rawToken(
      { alg: "ES256", kid: "k", typ: "JWT" },
      { iss: idp.issuer, aud: "tributary", sub: "lam", roles: ["field"], iat: nowS, exp: nowS + 600, ...more },
      idp.key.signing,
    );
  const own = await issue("lam");
  expect((await me(theirs())).body).toMatchObject({ issuer: idp.issuer, subject: "lam", roles: ["field"] });
  await revokePerson(book, { subject: "lam", issuer: idp.issuer, actor: "operator" });
  await refused(theirs());
  // It does not say when it was issued, so it may have been before.
  await refused(theirs({ iat: undefined }));
  expect((await me(own)).status).toBe(200);
  await revokePerson(book, { subject: "lam", actor: "operator" });
  await refused(own);
});

it("while the log is away a door that knew no revocation lets no person in", async () => {
  await door.stopNode();
  try {
    const alone = await door.startIngress({
      also: (keeper, revoked) => [
        meSurface(gatekeeper({ ring, keeper, people: fixedPeople(NO_PEOPLE), revoked, hub: () => "relief" })),
      ],
    });
    const response = await fetch(`${alone.http!.url}/v1/me`, { headers: { authorization: `Bearer ${await issue("amina")}` } });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([503, "backend-unreachable"]);
  } finally {
    await door.startNode();
  }
});
