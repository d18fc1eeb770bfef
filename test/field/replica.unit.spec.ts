import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { moveOn } from "../../services/field/move.ts";
import { defineProjection, logOrder, set, text } from "../../services/merge/index.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, KAMPALA, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

describe("a device's replica", () => {
  it("shows what others wrote, in the buckets that it may hold and in no other", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const nairobi = hub.device("nairobi");
    for (let n = 1; n <= 40; n++) await nairobi.write(registered(n, n % 2 === 0 ? "Kampala" : "Nairobi"));
    for (let n = 2; n <= 40; n += 4) await nairobi.write(updated(n, { village: "Katwe" }));
    await hub.seal();
    using field = openAt(hub, "kampala");
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
    using field = openAt(hub, "kampala");
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
    using kampala = openAt(hub, "kampala");
    using nairobi = openAt(hub, "nairobi");
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
    using field = openAt(hub, "kampala");
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
  });
});

describe("a device's replica of a view whose rule names the hub whose order counts", () => {
  it("shows what the hub shows; an own event comes last until the hub has it, whatever the clocks say", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const views = [
      defineProjection({
        name: "people",
        entity: "beneficiary",
        columns: { given_name: text(), district: text({ index: true }), village: text(), phone: text() },
        resolve: { phone: logOrder("last", { hub: hub.id }), village: logOrder("first", { hub: hub.id }) },
        scopeBy: ["district"],
        events: {
          "beneficiary.registered": set("given_name", "district"),
          "beneficiary.updated": set("district", "village", "phone"),
        },
      }),
    ];
    await hub.setViews(views);
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala", { views });
    const { pull } = pulling(hub, views);
    await pull(field);
    // Written before Juba's, and later in the hub's log.
    await field.append(updated(1, { phone: "+254700000002", village: "Kampala" }));
    await juba.write(updated(1, { phone: "+254700000001", village: "Juba" }));
    await hub.seal();
    await pull(field);
    const shown = () => replicaOf(field).row("people", number(1))?.row.values;
    expect(shown()).toMatchObject({ phone: "+254700000002", village: "Juba" });
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    expect(shown()).toMatchObject({ phone: "+254700000002", village: "Juba" });
    expect(expectSame(hub, field, "beneficiary")).toBe(1);
    const rule = `logOrder of hub ${hub.id}`;
    expect(field.explain({ type: "beneficiary", id: number(1) }, { field: "phone" })).toMatchObject([
      { registers: [{ rule, value: "+254700000002", decision: { rule, reason: "later-in-log" } }] },
    ]);
  });
});

describe("a device's replica, beside the usual", () => {
  const person = (n: number) => ({ type: "beneficiary", id: number(n) });

  it("of a policy that gives states only has the rows, and no history", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }, { statesOnly: true }));
    const juba = hub.device("juba");
    for (let n = 1; n <= 20; n++) await juba.write(registered(n, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    await pull(field, { maxEvents: 7 });
    expect(expectSame(hub, field, "beneficiary")).toBe(20);
    expect(replicaOf(field).history(person(1))).toEqual([]);
    await juba.write(updated(1, { village: "Katwe" }));
    await juba.write(updated(2, { district: "Gulu" }));
    await hub.seal();
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(19);
    expect(replicaOf(field).row("people", number(1))?.row.values.village).toBe("Katwe");
  });

  it("shows what was held in quarantine once it is released, as its author's", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    using field = openAt(hub, "kampala");
    const replica = replicaOf(field);
    const { pull } = pulling(hub);
    const { data } = registered(1, "Kampala");
    const { origin, seq } = await field.append(
      { ...registered(1, "Kampala"), data: { ...data, sex: "neither" } },
      { onInvalid: "keep" },
    );
    await pushToMemory(hub, field);
    replica.refresh();
    await hub.seal();
    await pull(field);
    expect(replica.row("people", number(1))).toBeNull();
    expect(replica.history({ type: "quarantine", id: `${origin}/${seq}` })).toMatchObject([
      { own: "quarantined", note: { held: { code: "invalid" } } },
    ]);
    await hub.release({ origin, seq }, data);
    await hub.seal();
    await pull(field);
    expect(replica.row("people", number(1))?.row.values.given_name).toBe("Amina 1");
    expect(expectSame(hub, field, "beneficiary")).toBe(1);
    expect([...field.events()].map(({ type }) => type)).toContain("beneficiary.registered");
  });

  it("folds its own events also where no policy gives it the bucket, and after they were written again under another name", async () => {
    const hub = await hubWith();
    using field = openAt(hub, "kampala");
    const replica = replicaOf(field);
    await field.append(registered(1, "Gulu"));
    await pushToMemory(hub, field);
    await pulling(hub).pull(field);
    expect(replica.row("people", number(1))).toMatchObject({ own: "confirmed", row: { values: { district: "Gulu" } } });
    await field.append(updated(1, { village: "Layibi" }));
    const { id } = field.store.current();
    moveOn(field.store, { originId: id, keptThrough: 0, aside: null, isShared: true });
    replica.refresh();
    const name = field.store.current().name;
    expect(replica.row("people", number(1))).toMatchObject({ own: "pending", row: { values: { village: "Layibi" } } });
    expect(replica.state("people", number(1))?.seen).toMatchObject({ [name]: 0 });
  });

  it("stamps what it writes after what it has read, but follows no clock that runs far ahead", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const nowMs = hub.now();
    await hub.device("juba").write(registered(1, "Kampala"), { atMs: nowMs + 5 * 60_000 });
    await hub.device("gulu").write(registered(2, "Kampala"), { atMs: nowMs + 86_400_000 });
    await hub.seal();
    using field = openAt(hub, "kampala");
    await pulling(hub).pull(field);
    const heard = Date.parse(field.store.meta("hlc")!.slice(0, 24));
    expect(heard).toBeGreaterThanOrEqual(nowMs + 5 * 60_000);
    expect(heard).toBeLessThan(nowMs + 86_400_000);
  });

  it("folds all again when a view is declared otherwise, and says where the hub's declaration is another", async () => {
    const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala", { village: "Katwe" }));
    await hub.seal();
    const path = join(tempDir(), "f.db");
    {
      using field = openAt(hub, "kampala", { path });
      await pulling(hub).pull(field);
    }
    const shorter = defineProjection({
      name: "people",
      entity: "beneficiary",
      columns: { village: text() },
      events: { "beneficiary.registered": set("village") },
    });
    using field = openAt(hub, "kampala", { path, views: [shorter] });
    expect(replicaOf(field).row("people", number(1))?.row.values).toEqual({ village: "Katwe" });
    await juba.write(registered(2, "Kampala"));
    await hub.seal();
    await pulling(hub).pull(field);
    expect(replicaOf(field).views()).toEqual([{ view: "people", rows: 2, olderRules: true }]);
    expect(replicaOf(field).rowsHash("people", KAMPALA)).toBeNull();
  });
});
