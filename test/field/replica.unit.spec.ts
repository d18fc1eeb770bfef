import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { type MemoryHub, openMemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { bucketOf, expectSame, pulling, replicaOf } from "../support/pull.ts";
import { tempDir } from "../support/temp.ts";

const people = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text({ index: true }), village: text(), phone: text() },
  scopeBy: ["district"],
  events: {
    "beneficiary.registered": set("given_name", "district", "village"),
    "beneficiary.updated": set("district", "village", "phone"),
  },
});
const VIEWS: readonly View[] = [people];
const number = (n: number): string => `TST-${String(n).padStart(6, "0")}`;
const registered = (n: number, district: string, more: JsonObject = {}): NewEvent => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id: number(n) },
  actor: "tester",
  data: { registration_no: number(n), given_name: `Amina ${n}`, sex: "female", registered_on: "2026-01-05", district, ...more },
});
const updated = (n: number, data: JsonObject): NewEvent => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id: number(n) },
  actor: "tester",
  data,
});
const KAMPALA = bucketOf("beneficiary", "Kampala");
const NAIROBI = bucketOf("beneficiary", "Nairobi");

const policyOf = (name: string, sites: readonly string[], where: JsonObject, more: JsonObject = {}) => ({
  name,
  for: { sites: sites.map((site) => `relief.${site}`) },
  entities: { beneficiary: { where, direction: "both", ...more } },
});

async function hubWith(...policies: readonly unknown[]): Promise<MemoryHub> {
  const hub = await openMemoryHub({ views: VIEWS });
  for (const policy of policies) await hub.setPolicy(policy);
  return hub;
}

const open = (hub: MemoryHub, site: string, { path = join(tempDir(), "f.db"), views = VIEWS as readonly View[] } = {}): Field =>
  openField({ path, name: { org: "relief", site, device: "t1" }, schemas: hub.gate, now: hub.now, views });

describe("a device's replica", () => {
  it("shows what others wrote, in the buckets that it may hold and in no other", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 40; n++) await nairobi.write(registered(n, n % 2 === 0 ? "Kampala" : "Nairobi"));
    for (let n = 2; n <= 40; n += 4) await nairobi.write(updated(n, { village: "Katwe" }));
    await hub.seal();
    using field = open(hub, "kampala");
    const { pull } = pulling(hub);
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(20);
    expect(replicaOf(field).row("people", number(2))?.row.values).toMatchObject({ given_name: "Amina 2", village: "Katwe" });
    expect(replicaOf(field).row("people", number(1))).toBeNull();
    await nairobi.write(updated(2, { phone: "+254712345678" }));
    await hub.seal();
    const taken = await pull(field);
    expect(taken.reduce((sum, { events }) => sum + events, 0)).toBe(1);
    expect(expectSame(hub, field, "beneficiary")).toBe(20);
  });

  it("asks for nothing while nothing changes", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.seal();
    using field = open(hub, "kampala");
    const { pull, ask } = pulling(hub);
    await pull(field);
    expect(replicaOf(field).asks()).toEqual({});
    expect(await ask(field, {}, false)).toMatchObject({ ends: null, holding: null, sections: [] });
  });

  it("deletes an entity that leaves, confirms it, and shows one that comes with its whole history", async () => {
    const hub = await hubWith(
      policyOf("kampala", ["kampala"], { district: "Kampala" }),
      policyOf("nairobi", ["nairobi"], { district: "Nairobi" }),
    );
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala"));
    await juba.write(registered(2, "Kampala"));
    await hub.seal();
    using kampala = open(hub, "kampala");
    using nairobi = open(hub, "nairobi");
    const { pull } = pulling(hub);
    await pull(kampala);
    await pull(nairobi);
    await juba.write(updated(1, { phone: "+254712345679" }));
    await juba.write(updated(1, { district: "Nairobi", village: "Kibera" }));
    await hub.seal();
    const taken = (await pull(kampala)).flatMap(({ purged }) => purged);
    expect(taken).toMatchObject([{ bucket: KAMPALA, entities: 1, events: 2, reason: "left" }]);
    await pull(nairobi);
    expect(expectSame(hub, kampala, "beneficiary")).toBe(1);
    expect(expectSame(hub, nairobi, "beneficiary")).toBe(1);
    expect(replicaOf(nairobi).history({ type: "beneficiary", id: number(1) })).toHaveLength(3);
    expect(replicaOf(kampala).history({ type: "beneficiary", id: number(1) })).toEqual([]);
    expect([...kampala.events()].map(({ type }) => type)).toEqual(["replica.purged"]);
    await pushToMemory(hub, kampala);
  });

  it("shows its own events at once, and the same once the hub has placed them", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala"));
    await hub.seal();
    using field = open(hub, "kampala");
    const replica = replicaOf(field);
    const { pull } = pulling(hub);
    await pull(field);
    const { origin } = await field.append(updated(1, { phone: "+254712345678" }));
    await field.append(registered(2, "Kampala"));
    expect(replica.row("people", number(1))).toMatchObject({
      own: "pending",
      row: { values: { phone: "+254712345678", given_name: "Amina 1" } },
    });
    expect(replica.row("people", number(2))).toMatchObject({ own: "pending", lastPosition: null });
    expect(field.seen({ type: "beneficiary", id: number(1) })).toEqual({ [juba.origin]: 0, [origin]: 0 });
    await pushToMemory(hub, field);
    replica.refresh();
    expect(replica.row("people", number(2))).toMatchObject({ own: "confirmed", lastPosition: null });
    await hub.seal();
    await pull(field);
    expect(replica.row("people", number(1))).toMatchObject({ own: "confirmed", row: { values: { phone: "+254712345678" } } });
    expect(replica.row("people", number(2))?.lastPosition).not.toBeNull();
    expect(expectSame(hub, field, "beneficiary")).toBe(2);
    void NAIROBI;
  });
});
