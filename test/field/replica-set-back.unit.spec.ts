import { describe, expect, it } from "vitest";
import type { Page } from "../../services/exchange/protocol/index.ts";
import { receiptsCount } from "../../services/field/life.ts";
import { bytesAt, MARK, typesOf, withPerson } from "../support/leaving.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

describe("a hub of which one door learns of new seals later than another", () => {
  const twoDoors = async () => {
    const clock = { nowMs: Date.UTC(2026, 4, 3) };
    const made = await withPerson(() => clock.nowMs);
    const { juba, hub, field, step, pull } = made;
    const late: Page = await made.ask(field, {}, false);
    await juba.write(registered(3, "Kampala"));
    await hub.seal();
    await pull(field);
    const stale = () => step(field, { onPage: () => late }, false);
    const phases = () =>
      new Set(
        replicaOf(field)
          .buckets()
          .map(({ phase }) => phase),
      );
    return { ...made, clock, stale, phases };
  };

  it("is asked again, and nothing that came is fetched once more or deleted", async () => {
    const { hub, field, clock, stale, phases, pull } = await twoDoors();
    using _ = field;
    expect(await stale()).toMatchObject({ isBehind: true, purged: [], withdrawn: [] });
    expect(phases()).toEqual(new Set(["follow"]));
    clock.nowMs += 500;
    expect(await stale()).toMatchObject({ isBehind: true });
    await pull(field);
    clock.nowMs += 700;
    expect(await stale()).toMatchObject({ isBehind: true });
    const taken = await pull(field);
    expect(taken.map(({ events, isBehind }) => [events, isBehind])).toEqual([[0, false]]);
    expect(expectSame(hub, field, "beneficiary")).toBe(3);
  });

  it("is told from one whose feed was set back: that says so again a second later, and then all is fetched", async () => {
    const { field, clock, stale, phases } = await twoDoors();
    using _ = field;
    expect(await stale()).toMatchObject({ isBehind: true });
    clock.nowMs += 1_000;
    expect(await stale()).toMatchObject({ isBehind: false });
    expect(phases()).toEqual(new Set(["events"]));
    expect(receiptsCount(field.store)).toBe(false);
  });
});

describe("an own event that a log which was set back has lost", () => {
  const KAMPALA_AND_GULU = policyOf("kampala", ["kampala"], { district: ["Kampala", "Gulu"] });

  it.each([
    ["and its entity with it", async () => {}],
    ["and its device may hold nothing any more", async (hub: MemoryHub) => hub.removePolicy("kampala")],
  ])("stays on a device that pulls before it sends, %s, until the hub has it again", async (_, meanwhile) => {
    const hub = await hubWith(KAMPALA_AND_GULU);
    using field = openAt(hub, "kampala");
    const pulls = pulling(hub);
    await field.append(registered(2, "Gulu"));
    await pushToMemory(hub, field);
    await hub.seal();
    const backup = hub.log.entries.at(-1)!.position;
    await field.append(registered(1, "Kampala", { village: MARK }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pulls.pull(field);
    await hub.restore(backup);
    await meanwhile(hub);
    await hub.seal();
    await pulls.pull(field);
    await pulls.pull(field);
    expect(String(field.store.rows.eventAt(field.store.current().id, 1)?.data)).toContain(MARK);
    expect((await pushToMemory(hub, field)).restoredBehind).toBe(1);
    expect(hub.log.entries.filter(({ head }) => head.entity.id === number(1))).toHaveLength(1);
    expect(field.status().aside).toEqual([]);
    replicaOf(field).refresh();
    await hub.seal();
    await pulls.pull(field);
    expectSame(hub, field, "beneficiary");
    await pushToMemory(hub, field);
    expect(field.status().replica?.unconfirmed).toBe(0);
  });

  it("goes as before once a push has heard from the hub in its new life", async () => {
    const { hub, field, pull } = await withPerson();
    using _ = field;
    await field.append(updated(1, { village: `${MARK}-own` }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    await hub.restore(hub.log.entries.at(-1)!.position);
    await hub.seal();
    await pull(field);
    const stays = await hub.device("nairobi").write(updated(1, { district: "Gulu" }));
    expect(stays.content.kind).toBe("accepted");
    await hub.seal();
    await pull(field);
    expect(bytesAt(field)).toContain(`${MARK}-own`);
    expect(typesOf(field)).not.toContain("replica.purged");
    await pushToMemory(hub, field);
    await pull(field);
    replicaOf(field).refresh();
    expect(bytesAt(field)).not.toContain(`${MARK}-own`);
    expect(typesOf(field)).toContain("replica.purged");
  });
});
