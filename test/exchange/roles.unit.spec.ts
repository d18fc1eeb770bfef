import { describe, expect, it } from "vitest";
import { serve } from "../../services/exchange/index.ts";
import { memoryReplica } from "../support/memory-replica.ts";
import { districtPolicy, inDistrict, personNo, registered } from "../support/people.ts";
import { hubWith, TABLET } from "../support/serving.ts";

const KAMPALA = inDistrict("Kampala");
const GULU = inDistrict("Gulu");
const NURSES = districtPolicy("nurses", { roles: ["nurse"] }, ["Kampala"]);
const SITE = "relief.kampala";

/** A hub whose nurses may hold Kampala's people, and whose everybody may hold Gulu's. */
async function hospital() {
  const hub = await hubWith(NURSES, districtPolicy("all", "everyone", ["Gulu"]));
  const nairobi = hub.device("nairobi");
  await nairobi.write(registered(personNo(1), "Kampala"));
  await nairobi.write(registered(personNo(2), "Gulu"));
  await hub.seal();
  return hub;
}

describe("a site's roles", () => {
  it("give its devices what policies give the role, from the next seal on; another site and another organisation's site of that name get nothing by them", async () => {
    const hub = await hospital();
    const server = serve(hub.store, { views: hub.views });
    const [mine, other, partner] = [TABLET, "relief.juba.t1", "shelter.kampala.t1"].map((device) =>
      memoryReplica(hub, device, { server }),
    ) as [ReturnType<typeof memoryReplica>, ReturnType<typeof memoryReplica>, ReturnType<typeof memoryReplica>];
    const everyone = [mine, other, partner];
    for (const replica of everyone) await replica.pull();
    expect(everyone.map(({ buckets }) => buckets.has(KAMPALA))).toEqual([false, false, false]);
    await hub.setRoles(SITE, ["nurse", "clerk"]);
    await hub.seal();
    for (const replica of everyone) await replica.pull();
    expect(everyone.map(({ buckets }) => buckets.has(KAMPALA))).toEqual([true, false, false]);
    expect([...(mine.buckets.get(KAMPALA)?.entities.keys() ?? [])]).toEqual([personNo(1)]);
    // Whoever gets nothing by it is not sent its list of buckets again.
    expect((await other.poll()).holding).toBeNull();
  });

  it("that are taken away take with them what only they gave: the bucket is withdrawn, and owed by those who held it", async () => {
    const hub = await hospital();
    await hub.setRoles(SITE, ["nurse"]);
    await hub.seal();
    const server = serve(hub.store, { views: hub.views });
    const [polls, follows] = [memoryReplica(hub, TABLET, { server }), memoryReplica(hub, "relief.kampala.t2", { server })];
    await polls.pull();
    await follows.pull();
    await hub.setRoles(SITE, ["clerk"]);
    await hub.seal();
    await polls.poll();
    await follows.pull();
    for (const { buckets } of [polls, follows]) {
      expect(buckets.has(KAMPALA)).toBe(false);
      expect(buckets.get(GULU)?.entities.size).toBe(1);
    }
    const owed = hub.feed.debts.map(({ device, bucket, entityIds }) => [device, bucket, entityIds]);
    expect(owed.sort()).toEqual([
      [TABLET, KAMPALA, null],
      ["relief.kampala.t2", KAMPALA, null],
    ]);
  });

  it("change nothing where they change and give the same: nobody deletes anything", async () => {
    const hub = await hospital();
    await hub.setRoles(SITE, ["nurse"]);
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { server: serve(hub.store, { views: hub.views }) });
    await replica.pull();
    await hub.setRoles(SITE, ["clerk", "nurse"]);
    await hub.seal();
    expect((await replica.poll()).holding).toBeNull();
    expect(hub.feed.debts).toEqual([]);
  });

  it("are the same after the hub was started again, and after its tables were lost: they follow from the log", async () => {
    const hub = await hospital();
    await hub.setRoles(SITE, ["cook"]);
    await hub.setRoles(SITE, ["nurse"]);
    await hub.seal();
    const held = async () => {
      const replica = memoryReplica(hub, TABLET);
      await replica.pull();
      return [...replica.buckets.keys()].sort();
    };
    const before = await held();
    expect(before).toContain(KAMPALA);
    hub.restart();
    expect(await held()).toEqual(before);
    await hub.losePostgres();
    await hub.seal();
    expect(await held()).toEqual(before);
  });

  it("are not what a site says of itself: its event is quarantined, whatever its type and its entity", async () => {
    const hub = await hospital();
    const juba = hub.device("kampala");
    for (const entity of [
      { type: "site", id: SITE },
      { type: "beneficiary", id: personNo(1) },
    ]) {
      const { content } = await juba.write({ type: "site.roles-set", entity, actor: "x", data: { roles: ["nurse"] } });
      expect(content).toMatchObject({ kind: "quarantined" });
    }
    await hub.seal();
    expect((await hub.store.roles()).get(SITE) ?? []).toEqual([]);
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    expect(replica.buckets.has(KAMPALA)).toBe(false);
  });
});
