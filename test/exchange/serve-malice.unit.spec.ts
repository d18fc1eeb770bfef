import { describe, expect, it } from "vitest";
import { bucketIdOf, FEED_START, GENESIS } from "../../services/core/index.ts";
import { serve } from "../../services/exchange/index.ts";
import { askerOf, memoryReplica, requestOf } from "../support/memory-replica.ts";
import { districtPolicy, inDistrict, personNo, registered, updated } from "../support/people.ts";
import { counted, eventsOf, hubWith, kampalaOnly, saidIn, TABLET } from "../support/serving.ts";

const KAMPALA = inDistrict("Kampala");
const NAIROBI = inDistrict("Nairobi");

describe("a device that asks for what it may not have", () => {
  /** A hub with people of two districts, of whom the asker may hold none but Kampala's. */
  async function guarded() {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await nairobi.write(registered(personNo(2), "Nairobi"));
    await hub.seal();
    await nairobi.write(registered(personNo(3), "Kampala"));
    await nairobi.write(updated(personNo(3), { phone: "+256700000000" }));
    await nairobi.write(updated(personNo(3), { district: "Nairobi" }));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const server = serve(store, { views: hub.views });
    const ask = (buckets: Record<string, unknown>) => server.answer(requestOf(TABLET, { buckets }), askerOf(hub, TABLET));
    const headOf = async (id: string) => (await hub.store.headsAfter(0)).find(({ bucket }) => bucket === id)!;
    return { hub, calls, ask, headOf };
  }

  it("gets nothing of a bucket by its id, in whichever way it asks, and nobody learns whether there is such a bucket", async () => {
    const { hub, ask, headOf } = await guarded();
    const { seal, head } = await headOf(NAIROBI);
    const none = inDistrict("Nowhere");
    for (const way of [
      { kind: "follow", at: { seal: 0, head: GENESIS } },
      { kind: "follow", at: { seal: 1, head } },
      { kind: "members", after: null, want: "events" },
      { kind: "members", after: null, want: "states" },
      { kind: "compare", ranges: [{ prefix: "", count: 0, fingerprint: "0".repeat(32) }], fetch: [personNo(2), personNo(3)] },
    ]) {
      const page = await ask({ [NAIROBI]: way, [none]: way });
      expect(page.sections).toEqual([]);
      expect(new Set(page.withdrawn.map(({ why }) => why))).toEqual(new Set(["no policy gives it to relief.kampala"]));
    }
    expect(hub.feed.debts).toEqual([]);
    await ask({ [NAIROBI]: { kind: "follow", at: { seal, head } } });
    expect(hub.feed.debts).toHaveLength(1);
  });

  it("gets nobody of another bucket by name", async () => {
    const { ask } = await guarded();
    const page = await ask({
      [KAMPALA]: { kind: "compare", ranges: [], fetch: [personNo(2), personNo(3), "", "__proto__", personNo(1)] },
    });
    expect(page.sections).toHaveLength(1);
    expect(page.sections[0]).toMatchObject({ kind: "members", gone: [personNo(2), personNo(3), "", "__proto__"] });
    expect(page.sections.flatMap(eventsOf).map(({ head }) => head.entity.id)).toEqual([personNo(1)]);
  });

  it("gets nobody who has left, by following from before it was allowed to or with a cursor that it made up", async () => {
    const { ask, headOf } = await guarded();
    const { seal, head } = await headOf(KAMPALA);
    for (const at of [
      FEED_START,
      { ...FEED_START, line: 1, digest: head },
      { seal: 1, head: GENESIS },
      { seal: Number.MAX_SAFE_INTEGER, head: "f".repeat(64) },
      { seal, head: "f".repeat(64), line: 0 },
      { seal, head, line: 1 },
      { seal, head, line: Number.MAX_SAFE_INTEGER },
    ])
      expect((await ask({ [KAMPALA]: { kind: "follow", at } })).sections, JSON.stringify(at)).toEqual([
        { kind: "unknown", bucket: KAMPALA },
      ]);
  });

  it("gets no lines from a cursor within a segment that is not its own", async () => {
    const { hub, ask } = await guarded();
    const first = (await hub.store.lines(KAMPALA, { seal: 0, skip: 0 }, 1))[0]!;
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    const nairobi = hub.device("nairobi", "t2");
    for (let n = 10; n < 14; n++) await nairobi.write(registered(personNo(n), "Kampala"));
    await hub.seal();
    const { seal, head } = replica.buckets.get(KAMPALA)!.at!;
    const wrong = await ask({ [KAMPALA]: { kind: "follow", at: { seal, head, line: 2, digest: first.digest } } });
    expect(wrong.sections).toEqual([{ kind: "unknown", bucket: KAMPALA }]);
  });

  it("asks for 10,000 buckets at once, and the hub is not kept busy", async () => {
    const { calls, ask } = await guarded();
    await ask({});
    calls.length = 0;
    const many = Array.from({ length: 9_999 }, (_, n) => bucketIdOf({ entityType: "x", values: [n] }));
    const way = { kind: "compare", ranges: [{ prefix: "", count: 9, fingerprint: "0".repeat(32) }], fetch: [] };
    const page = await ask({ ...Object.fromEntries(many.map((id) => [id, way])), [NAIROBI]: way });
    expect(page.sections).toEqual([]);
    expect(page.withdrawn.length).toBeLessThan(3_000);
    expect(page.more).toBe(true);
    expect(calls.filter((name) => name !== "newest").length).toBeLessThan(10);
  });

  it("asks about ranges that overlap, that are not there and of 16 digits, and gets each once", async () => {
    const { hub, ask } = await guarded();
    const [member] = await hub.store.members(KAMPALA, { prefix: "", after: null }, 1);
    const nothing = { count: 7, fingerprint: "0".repeat(32) };
    const prefixes = ["", member!.key, member!.key.slice(0, 3), member!.key.slice(0, 3), "0123456789abcdef"];
    const { sections } = await ask({
      [KAMPALA]: { kind: "compare", ranges: prefixes.map((prefix) => ({ prefix, ...nothing })), fetch: [] },
    });
    expect(sections.map((each) => each.kind === "listed" && [each.prefix, each.entities.length])).toEqual([
      ["", 1],
      [member!.key, 1],
      [member!.key.slice(0, 3), 1],
      ["0123456789abcdef", 0],
    ]);
  });

  it("asks about more ranges than a page answers, and the hub stops at a bound and says that there is more", async () => {
    const hub = await hubWith(districtPolicy("all", "everyone", []));
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 5; n++) await nairobi.write(registered(personNo(n), `District ${n}`));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const ranges = Array.from({ length: 256 }, (_, n) => ({
      prefix: n.toString(16).padStart(16, "0"),
      ...{ count: 7, fingerprint: "0".repeat(32) },
    }));
    const asks = [1, 2, 3, 4, 5].map((n) => [inDistrict(`District ${n}`), { kind: "compare", ranges, fetch: [] }]);
    const page = await serve(store, { views: hub.views }).answer(
      requestOf(TABLET, { buckets: Object.fromEntries(asks) }),
      askerOf(hub, TABLET),
    );
    expect(calls.filter((name) => name === "range")).toHaveLength(1_000);
    expect(page.more).toBe(true);
  });

  it("gets nothing by a policy whose direction is up, or for another site, organisation or role", async () => {
    const hub = await hubWith(
      districtPolicy("up", { sites: ["relief.kampala"] }, ["Kampala"], { direction: "up" }),
      districtPolicy("other-site", { sites: ["relief.nairobi", "shelter.kampala"] }, ["Kampala"]),
      districtPolicy("other-org", { orgs: ["shelter"] }, ["Kampala"]),
      districtPolicy("role", { roles: ["nurse"] }, ["Kampala"]),
    );
    await hub.device("nairobi").write(registered(personNo(1), "Kampala"));
    await hub.seal();
    await hub.setRoles("relief.gulu", ["cook", "nurse"]);
    await hub.setRoles("relief.juba", ["cook"]);
    await hub.seal();
    for (const [device, may] of [
      [TABLET, false],
      ["relief.gulu.t1", true],
      ["relief.nairobi.t1", true],
      ["shelter.kampala.t1", true],
      ["shelter.juba.t1", true],
      ["unicef.gulu.t1", false],
      ["relief.juba.t1", false],
    ] as const) {
      const replica = memoryReplica(hub, device);
      await replica.pull();
      expect(replica.buckets.has(KAMPALA), device).toBe(may);
      expect(saidIn(replica.pages).includes(personNo(1)), device).toBe(may);
    }
  });
});
