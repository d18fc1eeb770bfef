import { describe, expect, it, vi } from "vitest";
import { deviceRevokedWords } from "../../services/core/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { defineProjection, defineTotals, integer, manual, set, text } from "../../services/merge/index.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { linkLost, memoryWay } from "../support/memory-way.ts";
import { inDistrict, people, personNo, registered, updated } from "../support/people.ts";
import { hubWith, kampalaOnly } from "../support/serving.ts";
import { eventually, tempDir } from "../support/temp.ts";

const counts = defineTotals({
  name: "counts",
  keys: { district: text() },
  sums: { people: integer() },
  from: { people: ({ district }) => ({ district: district ?? null, people: 1 }) },
});
const secrets = defineProjection({
  name: "secrets",
  entity: "beneficiary",
  columns: { given_name: text() },
  events: { "beneficiary.registered": set("given_name") },
  hubOnly: true,
});

const tablet = (hub: MemoryHub, site = "kampala"): Field =>
  openField({
    path: `${tempDir()}/t.db`,
    name: { org: "relief", site, device: "t1" },
    schemas: hub.gate,
    views: [people, counts, secrets],
    now: hub.now,
  });

/** A hub that has so many people in Kampala, by Nairobi's hand, and a few elsewhere. */
async function hubOf(count: number): Promise<MemoryHub> {
  const hub = await hubWith(kampalaOnly);
  const nairobi = hub.device("nairobi");
  for (let n = 1; n <= count; n++) await nairobi.write(registered(personNo(n), "Kampala", { village: `V${n % 3}` }));
  await nairobi.write(registered(personNo(900), "Nairobi"));
  await hub.seal();
  return hub;
}

describe("a device that pulls", () => {
  it("shows, offline, what another site wrote and its policy gives it, and nothing else, with the rows of the hub", async () => {
    const hub = await hubOf(25);
    using field = tablet(hub);
    const { options } = memoryWay(hub, field);
    const result = await field.pull(options);
    // The policy that says so comes down too.
    expect(result).toMatchObject({ events: 26, refused: [], withdrawn: [], purged: { entities: 0, events: 0 } });
    expect(result.current).toBe(result.buckets);
    expect(result.receivedBytes).toBeGreaterThan(100);
    expect(field.query("people", { where: { village: "V1" }, order: "id", limit: 2 })).toMatchObject([
      { id: personNo(1), district: "Kampala", given_name: "Amina", _own: null },
      { id: personNo(4) },
    ]);
    expect(field.query("people")).toHaveLength(25);
    expect(field.replica?.rowsHash("people", inDistrict("Kampala"))).toBe(hub.rowsHash("people", inDistrict("Kampala")));
    expect(field.status().replica).toMatchObject({ behind: 0, olderRules: [], unconfirmed: 0 });
  });

  it("asks once while nothing changes, and keeps what it has", async () => {
    const hub = await hubOf(3);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    await field.pull(way.options);
    way.asked.length = 0;
    expect(await field.pull(way.options)).toMatchObject({ events: 0, entities: 0, pages: 1 });
    expect(way.asked).toHaveLength(1);
    const { number: seal } = await hub.store.newest();
    expect(way.asked[0]).toMatchObject({ buckets: {}, summary: expect.any(String), seal });
  });

  it("goes on after each cut where it was: nothing that came is asked for again, and pages get smaller", async () => {
    const hub = await hubOf(60);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    const told: string[] = [];
    way.befalls = (n) => (n % 3 === 2 ? linkLost() : null);
    const result = await field.pull({ ...way.options, onProgress: ({ kind }) => told.push(kind) });
    expect(result).toMatchObject({ events: 61, current: result.buckets });
    expect(told).toContain("waiting");
    expect(told).toContain("pulled");
    const sizes = way.asked.map(({ maxBytes }) => maxBytes);
    expect(Math.min(...sizes)).toBeLessThan(sizes[0]!);
    expect(field.query("people")).toHaveLength(60);
  });

  it("gives up after so many tries on a dead link, in words, and keeps what came", async () => {
    const hub = await hubOf(5);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    way.befalls = (n) => (n >= 1 ? linkLost() : null);
    await expect(field.pull({ ...way.options, maxTries: 3 })).rejects.toMatchObject({
      code: "sync-gave-up",
      message: expect.stringContaining("the pull gave up after 3 tries"),
    });
    way.befalls = () => null;
    expect(await field.pull(way.options)).toMatchObject({ events: 6 });
  });

  it("believes no page that its hub has not signed for this very question", async () => {
    const hub = await hubOf(4);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    let kept: Uint8Array | null = null;
    way.changes = (frame) => {
      const before = kept ?? frame;
      kept = frame;
      return before;
    };
    await expect(field.pull(way.options)).rejects.toMatchObject({ code: "hub-unproven" });
    expect(field.query("people")).toEqual([]);
    way.changes = (frame) => frame.map((byte, i) => (i === frame.length - 9 ? byte ^ 1 : byte));
    await expect(field.pull(way.options)).rejects.toMatchObject({ code: "hub-unproven" });
    way.changes = (frame) => frame;
    await field.pull(way.options);
    expect(field.query("people")).toHaveLength(4);
  });

  it("deletes who has moved away, and says so to the hub with the same sync", async () => {
    const hub = await hubOf(6);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    await field.sync(way.options);
    await hub.device("nairobi", "t2").write(updated(personNo(2), { district: "Nairobi" }));
    await hub.seal();
    const result = await field.sync(way.options);
    expect(result.pulled).toMatchObject({ purged: { entities: 1, events: 1 } });
    expect(result).toMatchObject({ confirmed: 1, pending: 0, pullProblem: null });
    expect(field.query("people").map(({ id }) => id)).not.toContain(personNo(2));
    expect(hub.log.entries.map(({ head }) => head.type)).toContain("replica.purged");
  });
});

describe("a sync", () => {
  it("sends, then pulls: its own event comes back with its place, and its row says so", async () => {
    const hub = await hubOf(2);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    await field.append(registered(personNo(50), "Kampala"));
    expect(field.query("people", { where: { id: personNo(50) } })).toMatchObject([{ _own: "pending" }]);
    const result = await field.sync(way.options);
    expect(result).toMatchObject({ confirmed: 1, pulled: { events: 3 } });
    expect(field.query("people", { where: { _own: "confirmed" } })).toMatchObject([{ id: personNo(50) }]);
    expect(field.history({ type: "beneficiary", id: personNo(50) })).toMatchObject([{ position: null, own: "confirmed" }]);
    await hub.seal();
    await field.pull(way.options);
    expect(field.history({ type: "beneficiary", id: personNo(50) })).toMatchObject([
      { position: expect.stringMatching(/^\d+$/), own: "confirmed", data: { district: "Kampala" } },
    ]);
  });

  it("stays whole where the hub answers no pulls, or refuses them: what was sent is confirmed, and the result says why nothing came", async () => {
    const hub = await hubOf(2);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    for (const code of ["backend-missing", "not-permitted"] as const) {
      await field.append(registered(personNo(code.length), "Kampala"));
      way.refusal = { code, message: "the hub answers no pulls", hint: "Update it." };
      expect(await field.sync(way.options)).toMatchObject({
        ...{ confirmed: 1, pending: 0 },
        pullProblem: { code, message: "the hub answers no pulls", hint: "Update it." },
      });
    }
    way.refusal = null;
    way.befalls = () => linkLost();
    await field.append(registered(personNo(70), "Kampala"));
    expect(await field.sync({ ...way.options, maxTries: 3 })).toMatchObject({
      ...{ confirmed: 1, pending: 0 },
      pullProblem: { code: "backend-unreachable" },
    });
  });

  it("pulls nothing on a device that folds no views, which says so when it is asked for rows", async () => {
    const hub = await hubOf(1);
    using field = openField({
      path: ":memory:",
      name: { org: "relief", site: "kampala", device: "t9" },
      schemas: hub.gate,
      now: hub.now,
    });
    const way = memoryWay(hub, field);
    expect(await field.sync(way.options)).toMatchObject({ pulled: null, pullProblem: null });
    expect(way.asked).toEqual([]);
    expect(() => field.query("people")).toThrow("this device folds no views");
    await expect(field.pull(way.options)).rejects.toMatchObject({ code: "usage" });
  });

  it("gives up all that came from the hub when the hub has signed that the device was revoked, and not for anybody else's word or a revoked token", async () => {
    const hub = await hubOf(3);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    await field.sync(way.options);
    way.refusal = { code: "revoked", message: "the token was revoked", hint: "Ask." };
    expect((await field.sync(way.options)).pullProblem?.code).toBe("revoked");
    expect(field.query("people")).toHaveLength(3);
    way.refusal = { code: "revoked", message: deviceRevokedWords("relief.kampala.t1"), hint: "Ask." };
    expect((await field.sync(way.options)).pullProblem?.code).toBe("revoked");
    expect(field.query("people")).toEqual([]);
    expect(field.status().replica).toMatchObject({ buckets: 0, entities: 0 });

    using other = tablet(hub);
    const unpinned = memoryWay(hub, other, { isPinned: false });
    await other.sync(unpinned.options);
    unpinned.refusal = way.refusal;
    await other.sync(unpinned.options);
    expect(other.query("people")).toHaveLength(3);
  });
});

it("a device that stays connected sends what is written, and shows what others write, without being asked", async () => {
  const hub = await hubOf(1);
  using field = tablet(hub);
  const way = memoryWay(hub, field);
  const follower = field.follow({ ...way.options, pullEveryMs: 1 });
  await eventually("the first rows", async () => field.query("people").length === 1);
  await field.append(registered(personNo(77), "Kampala"));
  await hub.device("nairobi", "t2").write(registered(personNo(5), "Kampala"));
  await hub.seal();
  await eventually("what another wrote", async () => field.query("people").length === 3);
  await eventually("the receipt", async () => field.query("people", { where: { _own: "confirmed" } }).length === 1);
  way.refusal = { code: "not-permitted", message: "no more", hint: "Ask." };
  await field.append(registered(personNo(78), "Kampala"));
  await eventually("the next receipt", async () => field.status().levels.LOCAL === 0);
  await follower.close();
  expect(await follower.done).toBeNull();
});

describe("a watch", () => {
  it("is told the rows at once, then once for each change: an own event, and a page, but not what leaves its rows as they are", async () => {
    const hub = await hubOf(4);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    const told: string[][] = [];
    const stop = field.watch("people", { where: { village: "V1" }, order: "id" }, (rows) =>
      told.push(rows.map(({ id, _own }) => `${id} ${_own}`)),
    );
    expect(told).toEqual([[]]);
    await field.pull(way.options);
    expect(told).toEqual([[], [`${personNo(1)} null`, `${personNo(4)} null`]]);
    await field.append(registered(personNo(60), "Kampala", { village: "V9" }));
    expect(told).toHaveLength(2);
    await field.append(updated(personNo(60), { village: "V1" }));
    expect(told.at(-1)).toEqual([`${personNo(1)} null`, `${personNo(4)} null`, `${personNo(60)} pending`]);
    stop();
    await field.append(updated(personNo(60), { village: "V2" }));
    expect(told).toHaveLength(3);
  });

  it("does not suffer from a listener that throws, nor does whoever writes", async () => {
    const hub = await hubOf(1);
    using field = tablet(hub);
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const told: number[] = [];
    field.watch("people", {}, () => {
      throw new Error("a broken screen");
    });
    field.watch("people", {}, (rows) => told.push(rows.length));
    await field.append(registered(personNo(1), "Kampala"));
    expect(told).toEqual([0, 1]);
    expect(warned.mock.calls.map(([error]) => (error as Error).message)).toContain("a broken screen");
    warned.mockRestore();
  });

  it("refuses a wrong question to whoever asks it", async () => {
    const hub = await hubOf(1);
    using field = tablet(hub);
    expect(() => field.watch("people", { where: { surname: "x" } }, () => {})).toThrow('people has no column "surname"');
    expect(() => field.query("counts")).toThrow("counts is kept at the hub only: totals add up rows that a device may not hold");
    expect(() => field.query("secrets")).toThrow("secrets is kept at the hub only");
    expect(() => field.query("persons")).toThrow('there is no view "persons" on this device');
  });
});

describe("what a device tells of an entity", () => {
  it("that only it has written about, and that no policy gives it, is who wrote what, also when the hub has confirmed that", async () => {
    const hub = await hubWith(kampalaOnly);
    using field = tablet(hub);
    const way = memoryWay(hub, field);
    await field.append(registered(personNo(7), "Gulu", { village: "Laroo" }));
    const story = () => field.explain({ type: "beneficiary", id: personNo(7) }, { view: "people", field: "village" });
    const told = [{ hasEvents: true, registers: [{ value: "Laroo", steps: [{ value: "Laroo" }] }] }];
    expect(story()).toMatchObject(told);
    expect((await field.sync(way.options)).confirmed).toBe(1);
    await hub.seal();
    await field.pull(way.options);
    expect(field.query("people")).toMatchObject([{ id: personNo(7), _own: "confirmed" }]);
    expect(story()).toMatchObject(told);
  });

  it("of which the hub sends the present state only, is that state, whatever this device has written on top", async () => {
    const hub = await hubWith({ name: "states", for: "everyone", entities: { beneficiary: { statesOnly: true } } });
    await hub.device("nairobi").write(registered(personNo(1), "Kampala", { village: "Katwe" }));
    await hub.seal();
    using field = tablet(hub);
    await field.pull(memoryWay(hub, field).options);
    await field.append(updated(personNo(1), { phone: "+256700000001" }));
    expect(field.explain({ type: "beneficiary", id: personNo(1) }, { view: "people", field: "village" })).toMatchObject([
      { hasEvents: false, registers: [{ value: "Katwe" }] },
    ]);
  });

  const decided = defineProjection({
    name: "decided",
    entity: "beneficiary",
    columns: { village: text(), phone: text() },
    resolve: { village: manual },
    events: { "beneficiary.registered": set("village"), "beneficiary.updated": set("village", "phone") },
  });

  it("is who wrote what, beside whom, and what waits for a person, of the hub's events and its own that the hub has not seen", async () => {
    const hub = await hubWith({ name: "all", for: "everyone", entities: { beneficiary: {} } });
    await hub.setViews([decided]);
    await hub.device("nairobi").write(registered(personNo(1), "Kampala", { village: "Katwe" }));
    await hub.seal();
    using field = openField({
      ...{ path: `${tempDir()}/d.db`, name: { org: "relief", site: "kampala", device: "t1" }, schemas: hub.gate },
      ...{ views: [decided], now: hub.now },
    });
    const way = memoryWay(hub, field);
    await field.pull(way.options);
    await hub.device("nairobi", "t2").write(updated(personNo(1), { village: "Bwaise" }), { sees: {} });
    await field.append(updated(personNo(1), { village: "Makindye" }));
    await hub.seal();
    await field.pull(way.options);
    const [story] = field.explain({ type: "beneficiary", id: personNo(1) }, { field: "village" });
    expect(story).toMatchObject({ view: "decided", hasEvents: true, olderRules: false });
    const [village] = story!.registers;
    expect(village?.steps.map(({ value, position, recordedAt }) => [value, position === null, recordedAt === null])).toEqual([
      ["Katwe", false, false],
      ["Bwaise", false, false],
      ["Makindye", true, true],
    ]);
    expect(village?.decision).toMatchObject({ reason: "awaits-person", isOpen: true });
    expect(field.conflicts()).toMatchObject([
      { view: "decided", entity: `beneficiary/${personNo(1)}`, register: "village", isOpen: true },
    ]);
    expect(() => field.explain({ type: "beneficiary", id: "nobody" })).toThrow("this device has no beneficiary/nobody");
    expect(() => field.explain({ type: "beneficiary", id: personNo(1) }, { field: "shoe" })).toThrow("decided has no field shoe");
    expect(() => field.explain({ type: "beneficiary", id: personNo(1) }, { view: "people" })).toThrow(
      "people is not a view of entities of type beneficiary on this device",
    );
  });
});
