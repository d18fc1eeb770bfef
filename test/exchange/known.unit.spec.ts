import { describe, expect, it } from "vitest";
import { policySchema } from "../../services/core/index.ts";
import { serve } from "../../services/exchange/index.ts";
import { askerOf, memoryReplica, requestOf } from "../support/memory-replica.ts";
import { districtPolicy, inDistrict, personNo, registered, updated } from "../support/people.ts";
import { counted, eventsOf, hubWith, kampalaOnly, TABLET } from "../support/serving.ts";

const KAMPALA = inDistrict("Kampala");
const NAIROBI = inDistrict("Nairobi");

describe("a replica that pulls", () => {
  it("asks for the newest seal twice when something has changed: once beside, and once in the moment that the page shows", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const moment = { ...store, atOnce: <T>(work: (from: typeof store) => Promise<T>): Promise<T> => work(store) };
    const server = serve(moment, { views: hub.views });
    const replica = memoryReplica(hub, TABLET, { server });
    await replica.pull();
    await nairobi.write(updated(personNo(1), { village: "Katwe" }));
    await hub.seal();
    const { at } = replica.buckets.get(KAMPALA)!;
    calls.length = 0;
    const request = requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at } } });
    expect((await server.answer(request, askerOf(hub, TABLET))).sections.flatMap(eventsOf)).toHaveLength(1);
    expect(calls.filter((name) => name === "newest")).toHaveLength(2);
  });

  it("is given what policies give that no line tells of, from the next look at the hub on, and keeps its list where nothing came of it", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await nairobi.write(registered(personNo(2), "Nairobi"));
    await hub.seal();
    let policies = await hub.store.policies();
    let reach = "1";
    const store = {
      ...hub.store,
      newest: async () => ({ ...(await hub.store.newest()), reach }),
      policies: async () => policies,
    };
    const replica = memoryReplica(hub, TABLET, { server: serve(store, { views: hub.views }) });
    await replica.pull();
    expect([replica.buckets.has(KAMPALA), replica.buckets.has(NAIROBI)]).toEqual([true, false]);
    policies = [policySchema.parse(districtPolicy("kampala", { sites: ["relief.kampala"] }, ["Kampala", "Nairobi"]))];
    await replica.pull();
    expect(replica.buckets.has(NAIROBI)).toBe(false);
    reach = "2";
    await replica.pull();
    expect(replica.buckets.has(NAIROBI)).toBe(true);
    policies = structuredClone(policies);
    reach = "3";
    const before = replica.pages.length;
    await replica.pull();
    expect(new Set(replica.pages.slice(before).map(({ holding }) => holding))).toEqual(new Set([null]));
    policies = [];
    reach = "4";
    await replica.pull();
    expect([replica.buckets.has(KAMPALA), replica.buckets.has(NAIROBI)]).toEqual([false, false]);
  });
});
