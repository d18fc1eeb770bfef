import { describe, expect, it } from "vitest";
import { bytesAt, MARK, typesOf, withPerson } from "../support/leaving.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

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
