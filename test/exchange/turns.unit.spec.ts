import { expect, it } from "vitest";
import type { IncarnationId } from "../../services/core/index.ts";
import { type PullQuestion, pullAnswers } from "../../services/ingress/pulls.ts";
import { pullOf } from "../../services/ingress/question.ts";

const LOG = "abcdefghijkl" as IncarnationId;
const LIFE = { id: LOG, isConfirmed: true } as never;

const question = (device: string, maxBytes = 1_000): PullQuestion => ({
  shown: { authorization: undefined },
  asks: pullOf({ kind: "pull", device, nonce: "n".repeat(20), sentAtMs: 0, protocol: { oldest: 1, newest: 2 } }),
  atMs: 7,
  maxBytes,
});

/** A door whose pages are made when the test says so. */
function held() {
  const making: { readonly device: string; done(): void }[] = [];
  const door = pullAnswers({
    pulls: {
      schema: {},
      page: (_, { device }) => new Promise((resolve) => making.push({ device, done: () => resolve(new Uint8Array([1])) })),
    },
    vouch: { pull: async () => {} },
    standing: { logId: () => LOG, incarnation: () => LIFE },
    signing: () => null,
  });
  return { making, door };
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it("a site that asks a hundred times costs another site one turn; what is more than its share is told to come back", async () => {
  const { making, door } = held();
  const greedy = Array.from({ length: 102 }, (_, i) => door.answer(question(`relief.greedy.t${i}`)));
  await settled();
  expect(making.map(({ device }) => device)).toEqual(["relief.greedy.t0", "relief.greedy.t1"]);
  await expect(door.answer(question("relief.greedy.t102"))).rejects.toMatchObject({
    code: "backend-failed",
    message: "the hub is busy: relief.greedy has 100 requests waiting",
  });
  const modest = door.answer(question("relief.modest.t1"));
  await settled();
  expect(making.map(({ device }) => device)).toEqual(["relief.greedy.t0", "relief.greedy.t1", "relief.modest.t1"]);
  making[2]?.done();
  expect(await modest).toEqual(new Uint8Array([1]));
  for (let next = 0; next < making.length; next++) {
    making[next]?.done();
    await settled();
  }
  expect(await Promise.all(greedy)).toHaveLength(102);
});

it("a hub that does not know its log yet makes no page: positions would have no name", async () => {
  const door = pullAnswers({
    pulls: { schema: {}, page: () => Promise.reject(new Error("nobody is asked")) },
    vouch: { pull: async () => {} },
    standing: { logId: () => null, incarnation: () => null },
    signing: () => null,
  });
  await expect(door.answer(question("relief.juba.t1"))).rejects.toMatchObject({
    code: "backend-unreachable",
    message: "the log has not said yet which hub it belongs to",
  });
});
