import { describe, expect, it } from "vitest";
import type { Hash, JsonObject } from "../../services/core/index.ts";
import { serve } from "../../services/exchange/index.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { askerOf, memoryReplica, requestOf } from "../support/memory-replica.ts";
import {
  districtPolicy,
  inDistrict,
  inQuarantineOf,
  inVillage,
  people,
  personNo,
  phoneNo,
  registered,
  updated,
} from "../support/people.ts";
import { chooser } from "../support/random.ts";
import { counted, eventsOf, hubWith, kampalaOnly, saidIn, TABLET } from "../support/serving.ts";

const KAMPALA = inDistrict("Kampala");
const NAIROBI = inDistrict("Nairobi");

const kampalaStates = districtPolicy("kampala", { sites: ["relief.kampala"] }, ["Kampala"], { statesOnly: true });

/** A replica holds exactly the present entities of a bucket, each with its whole history. */
async function expectSame(hub: MemoryHub, replica: ReturnType<typeof memoryReplica>, bucket = KAMPALA): Promise<void> {
  const members = await hub.store.members(bucket, { prefix: "", after: null }, 10_000);
  const held = replica.buckets.get(bucket)!;
  const sorted = (list: readonly (readonly [string, Hash])[]) => [...list].sort(([a], [b]) => (a < b ? -1 : 1));
  expect(sorted([...held.entities].map(([id, { digest }]) => [id, digest] as const))).toEqual(
    sorted(members.map(({ entityId, digest }) => [entityId, digest] as const)),
  );
}

describe("a replica that pulls", () => {
  it("gets the people that a policy gives its site, with whole histories, and then only what is new", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 30; n++) await nairobi.write(registered(personNo(n), n % 3 === 0 ? "Nairobi" : "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxEvents: 7 });
    expect(await replica.pull()).toBeGreaterThan(3);
    await expectSame(hub, replica);
    expect(replica.buckets.has(NAIROBI)).toBe(false);
    await nairobi.write(updated(personNo(1), { village: "Katwe" }));
    await nairobi.write(updated(personNo(3), { village: "Westlands" }));
    await hub.seal();
    const before = replica.pages.length;
    await replica.pull();
    const events = replica.pages.slice(before).flatMap(({ sections }) => sections.flatMap(eventsOf));
    expect(events.map(({ head }) => head.entity.id)).toEqual([personNo(1)]);
    await expectSame(hub, replica);
  });

  it("hears nothing, and costs nothing but a look at the newest seal, while nothing changes", async () => {
    const hub = await hubWith(kampalaOnly);
    await hub.device("nairobi").write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const replica = memoryReplica(hub, TABLET, { server: serve(store, { views: hub.views }) });
    await replica.pull();
    calls.length = 0;
    const page = await replica.poll();
    expect(page).toMatchObject({ holding: null, ends: null, sections: [], withdrawn: [], shapes: {}, more: false });
    await replica.poll();
    expect(calls).toEqual(["newest", "newest"]);
    await hub.device("nairobi", "t2").write(registered(personNo(2), "Kampala"));
    await hub.seal();
    const { ends } = await replica.poll();
    expect(ends).toHaveLength(replica.buckets.size);
  });

  it("goes on where a page ended, in the middle of a segment, with an honest head at each end", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(0), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxEvents: 3 });
    await replica.pull();
    for (let seal = 0; seal < 3; seal++) {
      for (let n = 0; n < 5; n++) {
        await nairobi.write(registered(personNo(100 * seal + n + 1), "Kampala"));
        await nairobi.write(updated(personNo(0), { phone: phoneNo(10 * seal + n) }));
      }
      await hub.seal();
    }
    const before = replica.pages.length;
    await replica.pull();
    const cursors = replica.pages
      .slice(before)
      .flatMap(({ sections }) => sections.flatMap((each) => (each.kind === "lines" ? [each.to] : [])));
    expect(cursors.length).toBeGreaterThan(9);
    expect(cursors.some(({ line }) => line > 0)).toBe(true);
    expect(cursors.at(-1)!.line).toBe(0);
    expect(replica.pages.slice(before).some(({ sections }) => sections.some(({ kind }) => kind === "unknown"))).toBe(false);
    await expectSame(hub, replica);
  });

  it("loses the people who moved away, and owes the hub a word on it, once however often it asks", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await nairobi.write(registered(personNo(2), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    const at = replica.buckets.get(KAMPALA)!.at!;
    await nairobi.write(updated(personNo(1), { district: "Nairobi", phone: "+254700000000" }));
    // Comes and goes between two pulls: the replica never had it.
    await nairobi.write(registered(personNo(3), "Kampala"));
    await nairobi.write(updated(personNo(3), { district: "Nairobi" }));
    await hub.seal();
    await replica.pull();
    await expectSame(hub, replica);
    expect([...replica.buckets.get(KAMPALA)!.entities.keys()]).toEqual([personNo(2)]);
    const told = saidIn(replica.pages);
    expect(told).not.toContain("+254700000000");
    const owed = [{ device: TABLET, bucket: KAMPALA, seal: 2, entityIds: [personNo(1)] }];
    expect(hub.feed.debts).toEqual(owed);
    const { store, calls } = counted(hub.store);
    const server = serve(store, { views: hub.views });
    for (let i = 0; i < 3; i++)
      await server.answer(requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at } } }), askerOf(hub, TABLET));
    expect(calls.filter((name) => name === "owes")).toHaveLength(1);
    expect(hub.feed.debts).toEqual(owed);
  });

  it("is told in words what is withdrawn from it, and owes the deletion of all that it had", async () => {
    const hub = await hubWith(kampalaOnly);
    await hub.device("nairobi").write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    const at = replica.buckets.get(KAMPALA)!.at!;
    await hub.removePolicy("kampala");
    await hub.seal();
    const server = serve(hub.store, { views: hub.views });
    const request = requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at } } });
    for (let i = 0; i < 3; i++) {
      const page = await server.answer(request, askerOf(hub, TABLET));
      expect(page.withdrawn).toEqual([{ bucket: KAMPALA, why: "no policy gives it to relief.kampala" }]);
      expect(page.sections).toEqual([]);
    }
    expect(hub.feed.debts).toEqual([{ device: TABLET, bucket: KAMPALA, seal: at.seal, entityIds: null }]);
    await replica.pull();
    expect(replica.buckets.has(KAMPALA)).toBe(false);
  });

  it("repairs what it lost by ranges, and gets no more than that", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 300; n++) await nairobi.write(registered(personNo(n), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    replica.damage(KAMPALA, personNo(17));
    const before = replica.pages.length;
    await replica.pull();
    const events = replica.pages.slice(before).flatMap(({ sections }) => sections.flatMap(eventsOf));
    expect(events.map(({ head }) => head.entity.id)).toEqual([personNo(17)]);
    await expectSame(hub, replica);
  });

  it("gets a history that is longer than a page in parts, as a member and as somebody who moves in", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    for (let n = 0; n < 40; n++) await nairobi.write(updated(personNo(1), { phone: phoneNo(n) }));
    await nairobi.write(registered(personNo(2), "Nairobi"));
    for (let n = 0; n < 2_100; n++) await nairobi.write(updated(personNo(2), { phone: phoneNo(n) }));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxEvents: 10 });
    await replica.pull();
    await expectSame(hub, replica);
    await nairobi.write(updated(personNo(2), { district: "Kampala" }));
    await hub.seal();
    await replica.pull();
    await expectSame(hub, replica);
    expect(replica.pages.every(({ sections }) => sections.flatMap(eventsOf).length <= 10)).toBe(true);
  });

  it("gets somebody with a long history in one page of their own, where that page is not too large", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await nairobi.write(registered(personNo(2), "Nairobi"));
    for (let n = 0; n < 40; n++) await nairobi.write(updated(personNo(2), { phone: phoneNo(n) }));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxEvents: 10 });
    await replica.pull();
    await nairobi.write(updated(personNo(1), { village: "Katwe" }));
    await nairobi.write(updated(personNo(2), { district: "Kampala" }));
    await hub.seal();
    const before = replica.pages.length;
    await replica.pull();
    const sizes = replica.pages.slice(before).map(({ sections }) => sections.flatMap(eventsOf).length);
    expect(sizes.filter((size) => size > 0)).toEqual([1, 42]);
    await expectSame(hub, replica);
  });

  it("does not get its own events again, but their names", async () => {
    const hub = await hubWith(kampalaOnly);
    const own = hub.device("kampala");
    await own.write(registered(personNo(1), "Kampala"));
    await hub.device("nairobi").write(updated(personNo(1), { village: "Katwe" }));
    await own.write(updated(personNo(1), { phone: phoneNo(1) }));
    await hub.seal();
    const asks = { buckets: { [KAMPALA]: { kind: "members", after: null, want: "events" } } };
    const answer = async (origins: Record<string, number>) =>
      (
        await serve(hub.store, { views: hub.views }).answer(
          requestOf(TABLET, { ...asks, own: origins as never }),
          askerOf(hub, TABLET),
        )
      ).sections
        .flatMap(eventsOf)
        .map(({ text, hash }) => [text === null, hash.length]);
    expect(await answer({ [own.origin]: 0 })).toEqual([
      [true, 64],
      [false, 64],
      [false, 64],
    ]);
    expect(await answer({ [own.origin]: 5 })).toEqual([
      [true, 64],
      [false, 64],
      [true, 64],
    ]);
    expect(await answer({ "relief.nairobi.t1.memory": 5 })).toEqual([
      [false, 64],
      [false, 64],
      [false, 64],
    ]);
  });

  it("sees its own site's quarantine until it is settled, and nobody else's", async () => {
    const hub = await hubWith(kampalaOnly);
    const own = hub.device("kampala");
    const held = await own.write(registered(personNo(1), "Kampala", { registered_on: "never" }));
    await hub.device("nairobi").write(registered(personNo(2), "Nairobi", { registered_on: "never" }));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    const mine = inQuarantineOf("relief.kampala");
    await expectSame(hub, replica, mine);
    expect(replica.buckets.get(mine)!.entities.get(`${own.origin}/0`)!.events[0]!.held?.code).toBeDefined();
    expect(replica.buckets.has(inQuarantineOf("relief.nairobi"))).toBe(false);
    await hub.release({ origin: own.origin, seq: held.head.seq }, registered(personNo(1), "Kampala").data);
    await hub.seal();
    await replica.pull();
    expect(replica.buckets.get(mine)!.entities.size).toBe(0);
    expect(
      replica.buckets
        .get(KAMPALA)!
        .entities.get(personNo(1))!
        .events.map(({ head }) => head.type),
    ).toEqual(["beneficiary.registered", "quarantine.released"]);
  });

  it("gets what has the first priority first", async () => {
    const hub = await hubWith(
      districtPolicy("far", { sites: ["relief.kampala"] }, ["Nairobi"], { priority: 7 }),
      districtPolicy("near", { sites: ["relief.kampala"] }, ["Kampala"], { priority: 1 }),
    );
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 9; n++) await nairobi.write(registered(personNo(n), n < 5 ? "Nairobi" : "Kampala"));
    await hub.seal();
    const all = (bucket: string) => ({ [bucket]: { kind: "members", after: null, want: "events" } });
    const request = requestOf(TABLET, { buckets: { ...all(NAIROBI), ...all(KAMPALA) }, maxEvents: 6 });
    const { sections, more } = await serve(hub.store, { views: hub.views }).answer(request, askerOf(hub, TABLET));
    expect(sections.map(({ bucket }) => bucket)).toEqual([KAMPALA, NAIROBI]);
    expect(sections.map((section) => eventsOf(section).length)).toEqual([5, 1]);
    expect(more).toBe(true);
  });

  it("compares, and gets no more than what differs, after the hub has lost PostgreSQL or its log was set back", async () => {
    const hub = await hubWith(kampalaOnly);
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 20; n++) await nairobi.write(registered(personNo(n), "Kampala"));
    await hub.seal();
    const server = serve(hub.store, { views: hub.views });
    const replica = memoryReplica(hub, TABLET, { server });
    await replica.pull();
    const mid = hub.log.entries.at(-1)!.position;
    await nairobi.write(updated(personNo(2), { district: "Nairobi" }));
    await hub.losePostgres();
    // The feed is being made again. Nobody must believe that it is empty.
    await server
      .answer(
        requestOf(TABLET, { buckets: { [KAMPALA]: { kind: "follow", at: replica.buckets.get(KAMPALA)!.at! } } }),
        askerOf(hub, TABLET),
      )
      .then((page) => {
        expect(page).toMatchObject({ seal: 0, holding: null, withdrawn: [], sections: [] });
      });
    await hub.seal();
    let before = replica.pages.length;
    await replica.pull();
    await expectSame(hub, replica);
    expect(replica.buckets.get(KAMPALA)!.entities.has(personNo(2))).toBe(false);
    expect(replica.pages.slice(before).flatMap(({ sections }) => sections.flatMap(eventsOf))).toEqual([]);
    await hub.restore(mid);
    await hub.seal();
    before = replica.pages.length;
    await replica.pull();
    await expectSame(hub, replica);
    const events = replica.pages.slice(before).flatMap(({ sections }) => sections.flatMap(eventsOf));
    expect(events.map(({ head }) => head.entity.id)).toEqual([personNo(2)]);
  });

  it("moves to the buckets of another scope", async () => {
    const hub = await hubWith(districtPolicy("all", "everyone", []));
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 6; n++)
      await nairobi.write(registered(personNo(n), "Kampala", { village: n < 4 ? "Katwe" : "Kisenyi" }));
    await hub.seal();
    let server = serve(hub.store, { views: hub.views });
    const replica = memoryReplica(hub, TABLET, { server: { answer: (request, asker) => server.answer(request, asker) } });
    await replica.pull();
    await hub.setViews([{ ...people, scopeBy: ["village"] }]);
    await hub.seal();
    server = serve(hub.store, { views: hub.views });
    const moved = memoryReplica(hub, TABLET);
    await moved.pull();
    await replica.pull();
    for (const each of [moved, replica]) {
      await expectSame(hub, each, inVillage("Katwe"));
      await expectSame(hub, each, inVillage("Kisenyi"));
      expect(each.buckets.has(KAMPALA)).toBe(false);
    }
  });

  it("is told of schemas that it lacks, those that others refer to first, and of the views' shapes", async () => {
    const hub = await hubWith(kampalaOnly);
    await hub.device("nairobi").write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const server = serve(hub.store, { views: hub.views, schemas: () => hub.gate.store });
    const asks = { buckets: { [KAMPALA]: { kind: "members", after: null, want: "events" } } };
    const ask = async (more: object) => server.answer(requestOf(TABLET, { ...asks, ...more }), askerOf(hub, TABLET));
    expect((await ask({})).schemas).toEqual([]);
    expect((await ask({ schemas: "none" })).schemas.map(({ subject }) => subject)).toEqual(["beneficiary"]);
    expect(Object.keys((await ask({})).shapes)).toEqual(["people", "policies"]);
  });
});

describe("a replica of states only", () => {
  it("gets states and never an event, follows by the hub's word, and finds itself the same", async () => {
    const hub = await hubWith(kampalaStates);
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 12; n++) await nairobi.write(registered(personNo(n), "Kampala"));
    await hub.seal();
    const replica = memoryReplica(hub, TABLET, { maxEvents: 5 });
    await replica.pull();
    await expectSame(hub, replica);
    await nairobi.write(updated(personNo(1), { village: "Katwe" }));
    await nairobi.write(updated(personNo(2), { district: "Nairobi" }));
    await nairobi.write(registered(personNo(13), "Kampala"));
    await hub.seal();
    for (let n = 3; n <= 12; n++) await nairobi.write(updated(personNo(n), { village: "Kisenyi" }));
    await hub.seal();
    const before = replica.pages.length;
    await replica.pull();
    await expectSame(hub, replica);
    const held = replica.buckets.get(KAMPALA)!;
    expect(held.at).toMatchObject({
      head: (await hub.store.headsAfter(0)).find(({ bucket }) => bucket === KAMPALA)!.head,
      line: 0,
    });
    expect(held.entities.get(personNo(1))!.states.people).toContain("Katwe");
    const people_ = replica.pages.flatMap(({ sections }) =>
      sections.filter(({ bucket }) => bucket === KAMPALA).flatMap(eventsOf),
    );
    expect(people_).toEqual([]);
    expect(
      replica.pages
        .slice(before)
        .some(({ sections }) => sections.some((each) => each.kind === "members" && each.gone.includes(personNo(2)))),
    ).toBe(true);
    expect(hub.feed.debts.map(({ entityIds }) => entityIds)).toEqual([[personNo(2)]]);
  });

  it("gets events all the same where another policy gives them, with the first priority of the two", async () => {
    const hub = await hubWith(
      districtPolicy("states", "everyone", ["Kampala"], { statesOnly: true, priority: 2 }),
      districtPolicy("events", { orgs: ["relief"] }, ["Kampala"], { priority: 4 }),
    );
    await hub.device("nairobi").write(registered(personNo(1), "Kampala"));
    await hub.seal();
    const holdingOf = async (device: string) =>
      (await serve(hub.store, { views: hub.views }).answer(requestOf(device), askerOf(hub, device))).holding!.buckets.find(
        ({ bucket }) => bucket === KAMPALA,
      );
    expect(await holdingOf(TABLET)).toMatchObject({ statesOnly: false, priority: 2 });
    expect(await holdingOf("shelter.kampala.t1")).toMatchObject({ statesOnly: true, priority: 2 });
  });

  it("is not shown the state of somebody who has moved away, before that is sealed", async () => {
    const hub = await hubWith(kampalaStates);
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(personNo(1), "Kampala"));
    await hub.seal();
    await nairobi.write(updated(personNo(1), { district: "Nairobi", phone: "+254700000000" }));
    const replica = memoryReplica(hub, TABLET);
    await replica.pull();
    expect(replica.buckets.get(KAMPALA)!.entities.get(personNo(1))!.states).toEqual({});
  });
});

describe("a thousand sites that poll", () => {
  it("make the hub ask its store for nothing but the newest seal", async () => {
    const hub = await hubWith(districtPolicy("all", "everyone", []));
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 20; n++) await nairobi.write(registered(personNo(n), `District ${n}`));
    await hub.seal();
    const { store, calls } = counted(hub.store);
    const server = serve(store, { views: hub.views });
    const sites = Array.from({ length: 1_000 }, (_, n) => `relief.site-${n}.t1`);
    const first = await Promise.all(sites.map((device) => server.answer(requestOf(device), askerOf(hub, device))));
    const read = calls.filter((name) => name !== "newest" && name !== "noteHolding");
    expect(read).toEqual(["headsAfter", "policies"]);
    calls.length = 0;
    for (const [i, device] of sites.entries()) {
      const { digest, buckets } = first[i]!.holding!;
      expect(buckets).toHaveLength(23);
      const page = await server.answer(requestOf(device, { holding: digest }), askerOf(hub, device));
      expect(page.holding).toBeNull();
    }
    expect(new Set(calls)).toEqual(new Set(["newest"]));
  });
});

describe("random histories", () => {
  it("leave every replica with what its buckets hold, whatever moves, however small the pages, and whatever the hub loses", async () => {
    for (let seed = 1; seed <= 12; seed++) await play(seed);
  });
});

const DISTRICTS = ["Kampala", "Nairobi", "Juba"];

/** Writes, moves, seals, pulls and mishaps in a random order. In the end each replica holds what the hub does. */
async function play(seed: number): Promise<void> {
  const choose = chooser(seed);
  const int = (n: number): number => choose.int(0, n - 1);
  const hub = await hubWith(
    kampalaOnly,
    districtPolicy("nairobi", { sites: ["relief.nairobi"] }, ["Nairobi", "Juba"]),
    districtPolicy("states", { sites: ["relief.juba"] }, ["Juba", "Kampala"], { statesOnly: true }),
  );
  const server = serve(hub.store, { views: hub.views });
  const writers = ["kampala", "nairobi", "juba"].map((site) => hub.device(site));
  const replicas = ["kampala", "nairobi", "juba"].map((site) =>
    memoryReplica(hub, `relief.${site}.t1`, { server, maxEvents: 1 + int(12) }),
  );
  const written = new Set<number>();
  for (let step = 0; step < 120; step++) {
    const n = int(12);
    const writer = writers[int(3)]!;
    const kind = int(20);
    if (!written.has(n) && kind < 14) {
      written.add(n);
      await writer.write(registered(personNo(n), DISTRICTS[int(3)]!));
    } else if (kind < 9) await writer.write(updated(personNo(n), { phone: phoneNo(step) }));
    else if (kind < 12) await writer.write(updated(personNo(n), { district: DISTRICTS[int(3)]! }));
    else if (kind === 12) await writer.write(updated(personNo(n), { village: 7 } as unknown as JsonObject));
    else if (kind < 16) await hub.seal();
    else if (kind < 19) await replicas[int(3)]!.pull();
    else await hub.losePostgres();
  }
  await hub.seal();
  for (const replica of replicas) {
    await replica.pull();
    for (const bucket of replica.buckets.keys()) await expectSame(hub, replica, bucket);
  }
  expect(replicas[0]!.buckets.has(inDistrict("Nairobi"))).toBe(false);
}
