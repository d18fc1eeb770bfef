import { expect, it } from "vitest";
import { type Hash, messageText, type OriginId, runText, type Seq } from "../../services/core/index.ts";
import { isSignedBy, makeKeyPair, signerOf } from "../../services/core/node.ts";

const ROUNDS = 500;

/** The fastest of many runs, in microseconds: the machine is busy with other things now and then. */
function fastestUs(work: () => unknown): number {
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const startedMs = performance.now();
    work();
    times.push((performance.now() - startedMs) * 1_000);
  }
  return Math.min(...times);
}

it("a signature and a check cost less than two milliseconds a batch, whatever its size", () => {
  const signer = signerOf(makeKeyPair());
  const run = runText({ origin: "relief.juba.t1.abcdefghijkl" as OriginId, through: 499 as Seq, head: "ab".repeat(32) as Hash });
  const signature = signer.sign(run);
  const receipt = {
    kind: "receipt",
    batch: "ab".repeat(16),
    origin: "relief.juba.t1.abcdefghijkl",
    through: 499,
    head: "ab".repeat(32),
    position: "123456",
    quarantined: [],
  };
  const costs = {
    signUs: fastestUs(() => signer.sign(run)),
    checkUs: fastestUs(() => isSignedBy(signer.key, run, signature)),
    sealUs: fastestUs(() => signer.sign(messageText("receipt", receipt))),
  };
  console.info(JSON.stringify(costs));
  for (const us of Object.values(costs)) expect(us).toBeLessThan(2_000);
});
