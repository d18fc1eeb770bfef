import { expect, it } from "vitest";
import { openPulls } from "../../services/cli/door-pulls.ts";
import type { IncarnationId } from "../../services/core/index.ts";
import { wordsForSenders } from "../../services/ingress/words.ts";
import type { View } from "../../services/merge/engine.ts";
import { gate } from "../support/hub.ts";

const LOG = "abcdefghijkl" as IncarnationId;
const PULLER = {
  ...{ org: "relief", site: "juba", device: "relief.juba.t1", hub: LOG, incarnation: LOG },
  ...{ nowMs: 0, maxBytes: 100_000, sign: null },
};
const ASKED = {
  ...{ kind: "pull", device: "relief.juba.t1", protocol: { oldest: 1, newest: 2 }, nonce: "n".repeat(20), sentAtMs: 0 },
  ...{ holding: null, buckets: {} },
};
const pulls = (views: readonly View[] | null) =>
  openPulls({
    postgresUrl: "postgres://tributary:secret@127.0.0.1:1/views",
    log: { at: () => Promise.reject(new Error("the log is not read")) },
    gate,
    views: () => views,
    say: () => {},
  });

it("while it is not known which views are live, a pull is refused: by other buckets a replica would delete what it may hold", async () => {
  await expect(pulls(null).page(ASKED, PULLER)).rejects.toMatchObject({
    code: "backend-unreachable",
    message: "the hub does not know yet that its views are built as declared",
  });
});

it("while PostgreSQL is away, a pull is refused in words that name neither its address nor its user", async () => {
  const making = pulls([]);
  const refused = await making.page(ASKED, PULLER).catch(wordsForSenders);
  await making.close();
  expect(refused).toMatchObject({ code: "backend-unreachable", message: "PostgreSQL does not answer" });
  expect(JSON.stringify(refused)).not.toMatch(/127\.0\.0\.1|secret|ECONN/);
});

it("what cannot be read as a pull is refused with the member that is wrong", async () => {
  await expect(pulls([]).page({ ...ASKED, buckets: { x: { kind: "all" } } }, PULLER)).rejects.toMatchObject({
    code: "input-malformed",
    message: expect.stringMatching(/^the pull cannot be read: .*bucket/s),
  });
});
