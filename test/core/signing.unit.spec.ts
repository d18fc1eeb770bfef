import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalize,
  type Hash,
  messageText,
  type OriginId,
  publicKeySchema,
  runText,
  type Seq,
  type Signature,
  thumbprintText,
} from "../../services/core/index.ts";
import { isSignedBy, keyIdOf, makeKeyPair, signerOf } from "../../services/core/node.ts";

/** The key of RFC 8037, appendix A, with its thumbprint and a signature that it made. */
const RFC = {
  kty: "OKP",
  crv: "Ed25519",
  d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
  x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
} as const;
const RUN = { origin: "relief.juba.t1.abcdefghijkl" as OriginId, through: 41 as Seq, head: "ab".repeat(32) as Hash };

describe("a key", () => {
  it("is named as RFC 8037 names its example, and signs as the example does", () => {
    expect(keyIdOf(RFC)).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    expect(thumbprintText(RFC)).toBe('{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
    expect(signerOf(RFC).sign("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")).toEqual({
      kid: keyIdOf(RFC),
      value: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    });
  });

  it("has one form: only the canonical way to write its bytes in base64url is taken", () => {
    expect(publicKeySchema.safeParse(RFC).success).toBe(true);
    // The last character's two lowest bits stand for nothing: another one decodes to the same bytes.
    const twin = { ...RFC, x: `${RFC.x.slice(0, -1)}p` };
    expect(Buffer.from(twin.x, "base64url").equals(Buffer.from(RFC.x, "base64url"))).toBe(true);
    expect(publicKeySchema.safeParse(twin).success).toBe(false);
    for (const x of ["", `${RFC.x}=`, RFC.x.slice(1), `${RFC.x.slice(0, -1)}!`])
      expect(publicKeySchema.safeParse({ ...RFC, x }).success).toBe(false);
  });
});

describe("a signature", () => {
  it("holds for its text and its key only", () => {
    const [mine, other] = [signerOf(makeKeyPair()), signerOf(makeKeyPair())];
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 60 }),
        fc.string({ unit: "grapheme", maxLength: 60 }),
        (text, another) => {
          const signature = mine.sign(text) as Signature;
          expect(isSignedBy(mine.key, text, signature)).toBe(true);
          expect(isSignedBy(mine.key, another, signature)).toBe(another === text);
          expect(isSignedBy(other.key, text, signature)).toBe(false);
          expect(isSignedBy(other.key, text, { ...signature, kid: other.kid })).toBe(false);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("of one kind of statement never passes for another kind, whatever stands in them", () => {
    const message = { origin: RUN.origin, through: RUN.through };
    const texts = [
      runText(RUN),
      ...(["hello", "hello-request", "receipt", "refusal", "enrolment", "rotation"] as const).map((kind) =>
        messageText(kind, message),
      ),
    ];
    expect(new Set(texts).size).toBe(texts.length);
    // No text begins another, and none can be a token's signing input, which has no line break.
    for (const a of texts) for (const b of texts) if (a !== b) expect(b.startsWith(a)).toBe(false);
    for (const text of texts) expect(text).toContain("\n");
  });

  it("covers all of a message except itself, in whatever order its members came", () => {
    const signer = signerOf(RFC);
    const receipt = { kind: "receipt", through: 3, head: RUN.head, quarantined: [] };
    const signature = signer.sign(messageText("receipt", receipt)) as Signature;
    const arrived = JSON.parse(JSON.stringify({ signature, ...receipt })) as typeof receipt;
    expect(isSignedBy(signer.key, messageText("receipt", arrived), signature)).toBe(true);
    expect(isSignedBy(signer.key, messageText("receipt", { ...arrived, through: 7 }), signature)).toBe(false);
    expect(messageText("receipt", arrived)).toBe(`tributary receipt\n${canonicalize(receipt)}`);
  });
});
