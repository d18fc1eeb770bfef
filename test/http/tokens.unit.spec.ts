import { importJWK, SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { AUDIENCE, doorkeeper, ISSUER, issueToken, makeKey, publicKey } from "../../services/http/tokens.ts";

const NOW = Date.UTC(2026, 5, 1);
const key = await makeKey("k");
const keeper = doorkeeper({ keys: [publicKey(key)] });
const good = await issueToken(key, { org: "relief", site: "juba", lifetimeS: 3_600, nowMs: NOW });
const admit = (token: string) => keeper.admit(`Bearer ${token}`, NOW);
const with_ = async (claims: Record<string, unknown>): Promise<string> =>
  new SignJWT({
    org: "relief",
    site: "juba",
    sub: "relief.juba",
    scope: "events:append",
    iss: ISSUER,
    aud: AUDIENCE,
    ...claims,
  } as never)
    .setProtectedHeader({ alg: "EdDSA", kid: "k" })
    .sign(await importJWK(key, "EdDSA"));

describe("a token", () => {
  it("is taken in one spelling only: its base64 as an encoder writes it", async () => {
    await expect(admit(good)).resolves.toMatchObject({ site: "juba" });
    const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = ALPHABET.indexOf(good.at(-1)!);
    // 64 bytes of signature: four bits of the last letter mean nothing.
    for (const spare of [1, 2, 5, 15]) {
      const other = good.slice(0, -1) + ALPHABET[last ^ spare];
      expect(Buffer.from(other.split(".")[2]!, "base64url")).toEqual(Buffer.from(good.split(".")[2]!, "base64url"));
      await expect(admit(other)).rejects.toMatchObject({ code: "token-invalid" });
    }
    for (const other of [`${good}=`, `${good}==`, `${good}A`, good.replace(".", "=."), `${good}\n`])
      await expect(admit(other)).rejects.toMatchObject({ code: expect.stringMatching(/^token-(invalid|missing)$/) });
  });
  it("whose times are not times is refused", async () => {
    for (const exp of [-1, 1e15, 1e300, 253_402_300_800, "soon", null, [], true, "1900000000"])
      await expect(admit(await with_({ exp })), `exp ${String(exp)}`).rejects.toMatchObject({
        code: expect.stringMatching(/^token-(invalid|expired)$/),
      });
    for (const nbf of [-1, 1e300, "now", {}, true])
      await expect(admit(await with_({ exp: NOW / 1_000 + 60, nbf })), `nbf ${String(nbf)}`).rejects.toMatchObject({
        code: "token-invalid",
      });
    await expect(admit(await with_({ exp: NOW / 1_000 + 60, nbf: NOW / 1_000 }))).resolves.toMatchObject({ notBeforeMs: NOW });
  });
});
