import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  beginIncarnation,
  confirmIncarnation,
  currentIncarnation,
  incarnations,
  type Log,
  openLog,
} from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";

let node: EmbeddedNode;
let log: Log;
beforeAll(async () => {
  node = await startNode();
  log = openLog(node.url);
});
afterAll(async () => {
  await log.close();
  await node.close();
});

describe("the lives of a log", () => {
  it("begin with the first hub, and only once, however many hubs start at the same time", async () => {
    const seen = await Promise.all([1, 2, 3, 4].map(() => currentIncarnation(log.journal)));
    expect(new Set(seen.map(({ id }) => id)).size).toBe(1);
    expect(seen[0]).toMatchObject({ how: "first", isConfirmed: true, seenEnd: null });
    expect(await incarnations(log.journal)).toHaveLength(1);
  });

  it("go on with a new one after a restore; if two processes notice the restore, the first one begins the new life", async () => {
    const before = await currentIncarnation(log.journal);
    const notices = { how: "detected", by: "projector", seenEnd: "4711" } as const;
    const [a, b] = await Promise.all([
      beginIncarnation(log.journal, before.id, notices),
      beginIncarnation(log.journal, before.id, notices),
    ]);
    expect(a!.id).toBe(b!.id);
    expect(a!.id).not.toBe(before.id);
    expect(await beginIncarnation(log.journal, before.id, notices)).toEqual(a);
    expect(a).toMatchObject({ how: "detected", seenEnd: "4711", isConfirmed: false });
    await confirmIncarnation(log.journal, a!.id, "adut");
    expect((await currentIncarnation(log.journal)).isConfirmed).toBe(true);
    expect(await incarnations(log.journal)).toHaveLength(2);
  });
});
