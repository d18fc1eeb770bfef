import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, it } from "vitest";
import { sha256 } from "../../services/core/index.ts";

const nodes = (text: string): string => createHash("sha256").update(text).digest("hex");

it("gives the standard's own examples", () => {
  expect(sha256("")).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect(sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

it("gives a schema the fingerprint that Node gives it, whatever its length and letters", () => {
  for (let length = 0; length < 200; length++) expect(sha256("x".repeat(length))).toBe(nodes("x".repeat(length)));
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => sha256(text) === nodes(text)));
});
