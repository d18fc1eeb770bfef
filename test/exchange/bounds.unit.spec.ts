import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { IncarnationId } from "../../services/core/index.ts";
import { type Bucket, bucketIdOf, type Hash, type Policy, policySchema, position } from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import { holdings } from "../../services/exchange/holdings.ts";
import { type FeedStore, serve } from "../../services/exchange/index.ts";
import { memoryOf } from "../../services/exchange/known.ts";
import { askerOf, memoryReplica, requestOf } from "../support/memory-replica.ts";
import { districtPolicy, inDistrict, personNo, phoneNo, registered, updated } from "../support/people.ts";
import { counted, eventsOf, hubWith, kampalaOnly, TABLET } from "../support/serving.ts";

const KAMPALA = inDistrict("Kampala");

/** A store that notes how many names of events one question brought at most, and how many lines. */
function weighed(store: FeedStore) {
  const most = { names: 0, lines: 0 };
  const names = (found: readonly (readonly unknown[])[]): void => {
    most.names = Math.max(most.names, found.flat().length);
  };
  const watched: FeedStore = {
    ...store,
    async histories(...asked) {
      const found = await store.histories(...asked);
      names(found);
      return found;
    },
    async historiesUpTo(...asked) {
      const found = await store.historiesUpTo(...asked);
      names(found);
      return found;
    },
    async lines(...asked) {
      const found = await store.lines(...asked);
      most.lines = Math.max(most.lines, found.length);
      return found;
    },
  };
  return { watched, most };
}

describe("what a pull makes the hub read", () => {
  it("is a few histories at a time, and of a long one no more than a page may have", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(0), "Kampala"));
    await hub.seal();
    const late = memoryReplica(hub, TABLET, { maxEvents: 100 });
    await late.pull();
    for (let n = 1; n <= 25; n++) {
      await nairobi.write(registered(personNo(n), "Nairobi"));
      for (let i = 0; i < 25; i++) await nairobi.write(updated(personNo(n), { phone: phoneNo(i) }));
      await nairobi.write(updated(personNo(n), { district: "Kampala" }));
    }
    await hub.seal();
    const { watched, most } = weighed(hub.store);
    const server = serve(watched, { views: hub.views });
    const ask = (way: unknown) =>
      server.answer(requestOf(TABLET, { buckets: { [KAMPALA]: way }, maxEvents: 100 }), askerOf(hub, TABLET));
    for (const way of [
      { kind: "members", after: null, want: "events" },
      { kind: "compare", ranges: [], fetch: Array.from({ length: 25 }, (_, n) => personNo(n + 1)) },
      { kind: "follow", at: late.buckets.get(KAMPALA)!.at },
    ]) {
      most.names = 0;
      const { sections } = await ask(way);
      expect(sections.flatMap(eventsOf).length).toBeGreaterThan(0);
      expect(most.names).toBeGreaterThan(0);
      // Of twenty histories, before it is known how long they are; all together have 675 names.
      expect(most.names).toBeLessThanOrEqual(20 * 27);
    }
  });

  it("ends with the page where only states are sent, however many lines are about the same people", async () => {
    const hub = await hubWith(districtPolicy("kampala", { sites: ["relief.kampala"] }, ["Kampala"], { statesOnly: true }));
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxBytes: 4_000 });
    await replica.pull();
    for (let n = 0; n < 1_200; n++) await nairobi.write(updated(personNo(1), { phone: phoneNo(n) }));
    await hub.seal();
    const before = replica.pages.length;
    const { watched, most } = weighed(hub.store);
    const { store, calls } = counted(watched);
    const page = await serve(store, { views: hub.views }).answer(
      requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at: replica.buckets.get(KAMPALA)!.at } }, maxBytes: 4_000 }),
      askerOf(hub, TABLET),
    );
    expect(page.more).toBe(true);
    expect(calls.filter((name) => name === "lines").length).toBeLessThanOrEqual(2);
    expect(most.lines).toBeLessThanOrEqual(500);
    await replica.pull();
    expect(replica.pages.length - before).toBeGreaterThan(5);
    expect(replica.buckets.get(KAMPALA)!.entities.get(personNo(1))!.states.people).toContain(phoneNo(1_199));
  });

  it("is nothing of the lines for a cursor that stands beyond its segment", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    await nairobi.write(updated(personNo(1), { village: "Katwe" }));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const at = { ...replica.buckets.get(KAMPALA)!.at!, line: Number.MAX_SAFE_INTEGER };
    const page = await serve(store, { views: hub.views }).answer(
      requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at } } }),
      askerOf(hub, TABLET),
    );
    expect(page.sections).toEqual([{ kind: "unknown", bucket: KAMPALA }]);
    expect(calls).not.toContain("lines");
  });
});

const heapBytes = (): number => {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
};

const LOG = "aaaaaaaaaaaa" as IncarnationId;
const KNOWN_BUCKETS = 200;

/** A feed of many buckets, of which each seal changes one. */
function bucketsOnly(policies: readonly Policy[]) {
  const heads = Array.from({ length: KNOWN_BUCKETS }, (_, n) => {
    const of: Bucket = { entityType: "beneficiary", columns: ["district"], values: [`District ${n}`] };
    return {
      bucket: bucketIdOf(of),
      of,
      seal: 1,
      through: position(1n),
      head: sha256Hex(`${n}`) as Hash,
      count: 1,
      fingerprint: "0".repeat(32),
    };
  });
  const policy: Bucket = { entityType: "policy", values: [] };
  heads.push({ ...heads[0]!, of: policy, bucket: bucketIdOf(policy) });
  let number = 1;
  const store = {
    newest: async () => ({ number, through: position(BigInt(number)) }),
    headsAfter: async (after: number) => heads.filter(({ seal }) => seal > after),
    policies: async () => policies,
  } as unknown as FeedStore;
  return {
    store,
    change(n: number): void {
      number++;
      heads[n] = { ...heads[n]!, seal: number, head: sha256Hex(`${n} ${number}`) as Hash };
    },
  };
}
const SITES = Array.from({ length: 1_000 }, (_, n) => ({ kind: "site", org: "relief", site: `site-${n}` }) as const);
const scopes = new Map([["beneficiary", ["district"]]]);

describe("a thousand sites, each with two hundred buckets", () => {
  it("take little more memory than a hundred, since those that may hold the same share one list", async () => {
    const { store, change } = bucketsOnly([policySchema.parse(districtPolicy("all", "everyone", []))]);
    const held = holdings(scopes);
    const memory = memoryOf(store);
    const poll = async (from: number, to: number): Promise<void> => {
      for (let round = 0; round < 3; round++) {
        const known = await memory.now(LOG);
        for (const site of SITES.slice(from, to)) {
          const of = held.of(known, site);
          expect(of.find(inDistrict("District 7"))).toBeDefined();
          of.summary();
        }
        change(round);
      }
    };
    await poll(0, 100);
    const before = heapBytes();
    await poll(100, 1_000);
    const perSite = (heapBytes() - before) / 900;
    // The list of one alone has 200 pointers and, by its ids, a map of some 10,000 bytes.
    expect(perSite).toBeLessThan(6_000);
    expect(held.of(await memory.now(LOG), SITES[999]!).list()).toHaveLength(KNOWN_BUCKETS + 3);
  });

  it("make the hub compute a summary anew only for those who may hold what has changed", async () => {
    const own = (n: number) =>
      policySchema.parse(districtPolicy(`site-${n}`, { sites: [`relief.site-${n}`] }, [`District ${n}`]));
    const { store, change } = bucketsOnly([own(0), own(1)]);
    const held = holdings(scopes);
    const memory = memoryOf(store);
    const summaries = async () => {
      const known = await memory.now(LOG);
      return SITES.slice(0, 2).map((site) => held.of(known, site).summary());
    };
    const first = await summaries();
    for (let n = 5; n < 100; n++) {
      change(n);
      if (n % 10 === 0) expect(await summaries()).toEqual(first);
    }
    change(1);
    const second = await summaries();
    expect(second[0]).toBe(first[0]);
    expect(second[1]).not.toBe(first[1]);
    // What is remembered is what is computed from nothing.
    const fresh = holdings(scopes);
    const known = await memoryOf(store).now(LOG);
    expect(SITES.slice(0, 2).map((site) => fresh.of(known, site).summary())).toEqual(second);
  });
});
