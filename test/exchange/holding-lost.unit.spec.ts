import { describe, expect, it } from "vitest";
import { isTributaryError } from "../../services/core/index.ts";
import { type FeedStore, serve } from "../../services/exchange/index.ts";
import { askerOf, memoryReplica, requestOf } from "../support/memory-replica.ts";
import { hubWith, KAMPALA, policyOf, registered } from "../support/replicas.ts";

describe("a bucket that a policy does not give any more", () => {
  it("is owed by a replica that hears of it in the answer to a poll", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, "relief.kampala.t1");
    await replica.pull();
    expect(hub.feed.debts).toEqual([]);
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Nairobi" }));
    await hub.seal();
    await replica.poll();
    expect(hub.feed.debts).toMatchObject([{ device: "relief.kampala.t1", bucket: KAMPALA, entityIds: null }]);
    expect(replica.buckets.has(KAMPALA)).toBe(false);
  });
});

describe("a hub whose door was started again", () => {
  it("still knows what a replica was told that it may hold: what a policy took away meanwhile is owed, and nothing else", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.device("nairobi", "t2").write(registered(2, "Nairobi"));
    await hub.seal();
    const door = () => serve(hub.store, { views: hub.views });
    const before = door();
    const ask = (server: ReturnType<typeof serve>, holding: string | null, device = "relief.kampala.t1") =>
      server.answer(requestOf(device, { holding, summary: "none" }), askerOf(hub, device));
    const { digest } = (await ask(before, null)).holding!;
    // It is told of several other lists before the door stops; the tablet is away all the while.
    for (const district of ["Juba", "Nairobi", "Gulu", "Lira", "Nairobi"]) {
      await hub.setPolicy(policyOf("kampala", ["kampala"], { district }));
      await hub.seal();
      await ask(before, null, "relief.kampala.t2");
    }
    expect(hub.feed.debts).toEqual([]);
    const after = door();
    expect((await ask(after, digest)).holding).not.toBeNull();
    expect(hub.feed.debts).toEqual([{ device: "relief.kampala.t1", bucket: KAMPALA, seal: expect.any(Number), entityIds: null }]);
    await ask(after, "of another hub", "relief.kampala.t3");
    await ask(after, digest, "relief.nairobi.t1");
    expect(hub.feed.debts).toHaveLength(1);
  });
});

describe("a feed that is being made again while a pull is answered", () => {
  it("withdraws nothing: the replica is told to pull again", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.seal();
    let isEmptied = false;
    const { store } = hub;
    const emptied = { ...store, newest: async () => (isEmptied ? { number: 0, through: null } : store.newest()) };
    // The pull has looked; then the feed is cleared, before it works.
    const cleared: FeedStore = {
      ...emptied,
      atOnce(work) {
        isEmptied = true;
        return work(emptied);
      },
    };
    const server = serve(cleared, { views: hub.views });
    const asked = server.answer(
      requestOf("relief.kampala.t1", { buckets: { [KAMPALA]: { kind: "members", after: null, want: "events" } } }),
      askerOf(hub, "relief.kampala.t1"),
    );
    await expect(asked).rejects.toSatisfy((error) => isTributaryError(error) && error.code === "backend-unreachable");
  });
});
