import { describe, expect, it } from "vitest";
import { serve } from "../../services/exchange/index.ts";
import type { Page } from "../../services/exchange/protocol/index.ts";
import { memoryReplica } from "../support/memory-replica.ts";
import { districtPolicy, inDistrict, inVillage, people, personNo, registered } from "../support/people.ts";
import { hubWith, kampalaOnly, saidIn, TABLET } from "../support/serving.ts";

const byVillage = { ...people, scopeBy: ["village"] };

/** A page that says nothing: the replica that gets it leaves all as it is. */
const SAYS_NOTHING: Partial<Page> = {
  seal: 0,
  through: null,
  holding: null,
  ends: null,
  withdrawn: [],
  sections: [],
  more: false,
};

/** A hub that tells people apart by district, whose Kampala a tablet holds. Nobody of the village Kampala, in another district, may come to it. */
async function hubOfDistricts() {
  const hub = await hubWith(kampalaOnly);
  const nairobi = hub.device("nairobi");
  await nairobi.write(registered(personNo(1), "Kampala", { village: "Katwe" }));
  await nairobi.write(registered(personNo(2), "Nairobi", { village: "Kampala" }));
  await hub.seal();
  const old = serve(hub.store, { views: hub.views });
  const replica = memoryReplica(hub, TABLET, { server: old });
  await replica.pull();
  return { hub, old, replica };
}

describe("while a view's scope is being changed", () => {
  it("a replica is told nothing, whichever views the door has, and keeps what it has", async () => {
    const { hub, replica } = await hubOfDistricts();
    const before = [...replica.buckets.keys()];
    await hub.setViews([byVillage]);
    const young = memoryReplica(hub, TABLET, { server: serve(hub.store, { views: hub.views }) });
    expect(await replica.poll()).toMatchObject(SAYS_NOTHING);
    expect(await young.poll()).toMatchObject(SAYS_NOTHING);
    expect([...replica.buckets.keys()]).toEqual(before);
    expect(replica.buckets.get(inDistrict("Kampala"))?.entities.has(personNo(1))).toBe(true);
  });

  it("a door that has the earlier views yet never takes a village for the district of the same name", async () => {
    const { hub, old, replica } = await hubOfDistricts();
    await hub.setViews([byVillage]);
    await hub.seal();
    const seen = replica.pages.length;
    await replica.poll();
    const late = memoryReplica(hub, TABLET, { server: old });
    await late.pull();
    expect([...replica.pages.slice(seen), ...late.pages]).toEqual(
      [...replica.pages.slice(seen), ...late.pages].map(() => expect.objectContaining(SAYS_NOTHING)),
    );
    expect(saidIn([replica.pages, late.pages])).not.toContain(personNo(2));
    expect(replica.buckets.get(inDistrict("Kampala"))?.entities.has(personNo(1))).toBe(true);
  });

  it("a replica gets what the policies give by the new columns, once all is sealed and the door has the new views", async () => {
    const { hub } = await hubOfDistricts();
    await hub.setViews([byVillage]);
    await hub.seal();
    const server = serve(hub.store, { views: hub.views });
    const none = memoryReplica(hub, TABLET, { server });
    await none.pull();
    expect(saidIn(none.pages)).not.toContain(personNo(1));
    await hub.setPolicy({
      ...districtPolicy("villages", { sites: ["relief.kampala"] }, []),
      entities: { beneficiary: { where: { village: "Katwe" } } },
    });
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { server });
    await replica.pull();
    expect([...(replica.buckets.get(inVillage("Katwe"))?.entities.keys() ?? [])]).toEqual([personNo(1)]);
    expect(saidIn(replica.pages)).not.toContain(personNo(2));
  });
});
