import { describe, expect, it } from "vitest";
import type { Field } from "../../services/field/index.ts";
import { receiptsCount } from "../../services/field/life.ts";
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

describe("a device that was revoked after the hub's log was set back", () => {
  const KAMPALA_AND_GULU = policyOf("kampala", ["kampala"], { district: ["Kampala", "Gulu"] });
  /** A device with an own event of each of two people, of which the second one was lost with the end of the log, and one that it has not sent. It has pulled since, and no push has asked what the log holds. */
  const inDoubt = async () => {
    const hub = await hubWith(KAMPALA_AND_GULU);
    const field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    await field.append(registered(1, "Kampala", { village: `${MARK}-1` }));
    await pushToMemory(hub, field);
    await hub.seal();
    const backup = hub.log.entries.at(-1)!.position;
    await field.append(registered(2, "Gulu", { village: `${MARK}-2` }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    await field.append(updated(1, { village: `${MARK}-3` }));
    await hub.restore(backup);
    await hub.seal();
    await pull(field);
    expect(receiptsCount(field.store)).toBe(false);
    return { hub, field, pull };
  };
  const textsOf = (field: Field): readonly string[] =>
    [1, 2, 3].map((n) => `${MARK}-${n}`).filter((mark) => bytesAt(field).includes(mark));

  it.each([
    ["", async () => {}],
    [
      ", also of what it might no longer hold before",
      async (hub: MemoryHub, pull: () => Promise<unknown>) => {
        await hub.removePolicy("kampala");
        await hub.seal();
        await pull();
      },
    ],
  ])("keeps none of its own events that the hub has ever confirmed, and all that it has not%s", async (_, meanwhile) => {
    const { hub, field, pull } = await inDoubt();
    using __ = field;
    await meanwhile(hub, () => pull(field));
    expect(textsOf(field)).toEqual([`${MARK}-1`, `${MARK}-2`, `${MARK}-3`]);
    replicaOf(field).purgeAll("revoked");
    expect(textsOf(field)).toEqual([`${MARK}-3`]);
    expect(field.query("people")).toMatchObject([{ id: number(1), village: `${MARK}-3` }]);
    // It was enrolled again, and hands over what it has.
    await pushToMemory(hub, field);
    replicaOf(field).refresh();
    expect(hub.log.entries.map(({ content }) => JSON.stringify(content)).join()).toContain(`${MARK}-3`);
    expect(textsOf(field)).toEqual([]);
  });

  it("keeps what the hub has said that its log lacks", async () => {
    const { hub, field } = await inDoubt();
    using _ = field;
    // The hello is answered, and nothing is carried after it.
    let messages = 0;
    await expect(pushToMemory(hub, field, () => (messages++ === 0 ? null : "lost"))).rejects.toThrow();
    expect(receiptsCount(field.store)).toBe(true);
    replicaOf(field).purgeAll("revoked");
    expect(textsOf(field)).toEqual([`${MARK}-2`, `${MARK}-3`]);
  });

  it("or rather withdrawn from all buckets, keeps its own events until its next push has asked the hub, and no longer", async () => {
    const { hub, field, pull } = await inDoubt();
    using _ = field;
    await hub.removePolicy("kampala");
    await hub.seal();
    await pull(field);
    await pushToMemory(hub, field);
    replicaOf(field).refresh();
    expect(textsOf(field)).toEqual([]);
    const log = hub.log.entries.map(({ content }) => JSON.stringify(content)).join();
    for (const n of [1, 2, 3]) expect(log).toContain(`${MARK}-${n}`);
  });
});
