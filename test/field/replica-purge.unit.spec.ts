import { DatabaseSync, StatementSync } from "node:sqlite";
import { describe, expect, it, vi } from "vitest";
import { type Field, salvage } from "../../services/field/index.ts";
import { moveOn, takeBack } from "../../services/field/move.ts";
import { openReplicaRows } from "../../services/field/replica/rows.ts";
import { defineProjection, lastWriteWins, logOrder, set, text } from "../../services/merge/index.ts";
import { bytesAt, KAMPALA_ONLY, MARK, typesOf, withPerson } from "../support/leaving.ts";
import { openMemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { linkLost, memoryWay } from "../support/memory-way.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, KAMPALA, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

const count = ({ store: { db } }: Field, table: string): unknown => db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n;
const person = (n: number) => ({ type: "beneficiary", id: number(n) });

describe("an event that a device wrote again under another name", () => {
  const writtenAgain = {
    "after a twin had written on": ({ store }: Field): void => {
      moveOn(store, { originId: store.current().id, keptThrough: 0, aside: null, isShared: true });
    },
    "after a hub had refused it, and another took it": ({ store }: Field): void => {
      const aside = { code: "event-too-large", reason: "too large" };
      moveOn(store, { originId: store.current().id, keptThrough: 0, aside, isShared: true });
      takeBack(store);
    },
    "by a program that left its old content": ({ store }: Field): void => {
      const { id } = store.current();
      const { head, data } = store.db.prepare("SELECT head, data FROM event WHERE origin = ? AND seq = 1").get(id) ?? {};
      moveOn(store, { originId: id, keptThrough: 0, aside: null, isShared: true });
      store.db.prepare("UPDATE event SET head = ?, data = ? WHERE origin = ? AND seq = 1").run(head!, data!, id);
    },
  };

  it.each(Object.entries(writtenAgain))("is deleted with its entity, under both names: %s", async (_, writeAgain) => {
    const { hub, field: first, leave, pull } = await withPerson();
    await first.append(updated(1, { phone: "+254712345678" }));
    await pushToMemory(hub, first);
    await first.append(updated(1, { village: `${MARK}-own` }));
    writeAgain(first);
    const { path } = first.store;
    first.close();
    using field = openAt(hub, "kampala", { path });
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    expect(replicaOf(field).row("people", number(1))?.row.values.village).toBe(`${MARK}-own`);
    await leave(1);
    await pull(field);
    expect(typesOf(field)).toContain("replica.purged");
    expect(bytesAt(field)).not.toContain(`${MARK}-own`);
    expect(bytesAt(field)).not.toContain(number(1));
  });

  it("is deleted before its purge is confirmed, where another program wrote when it was to be emptied", async () => {
    const { hub, field, leave, pull } = await withPerson();
    using _ = field;
    await field.append(updated(1, { phone: "+254712345678" }));
    await pushToMemory(hub, field);
    await field.append(updated(1, { village: `${MARK}-own` }));
    const { rows, current } = field.store;
    const { emptyMoved } = rows;
    const locked = () => {
      throw Object.assign(new Error("database is locked"), { errcode: 5 });
    };
    Object.assign(rows, { emptyMoved: locked });
    moveOn(field.store, { originId: current().id, keptThrough: 0, aside: null, isShared: true });
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    await leave(1);
    await pull(field);
    expect(bytesAt(field)).toContain(`${MARK}-own`);
    expect(typesOf(field)).not.toContain("replica.purged");
    Object.assign(rows, { emptyMoved });
    await pull(field);
    expect(typesOf(field)).toContain("replica.purged");
    expect(bytesAt(field)).not.toContain(`${MARK}-own`);
  });

  it("costs one look at what the hub has sent, however many there are", async () => {
    const { hub, field, pull } = await withPerson();
    using _ = field;
    await field.append(updated(1, { phone: "+254712345678" }));
    await field.appendMany(Array.from({ length: 40 }, (_, n) => updated(1, { village: `Own ${n}` })));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    let looks = 0;
    for (const name of ["all", "run"] as const) {
      const of = StatementSync.prototype[name] as (...given: unknown[]) => never;
      vi.spyOn(StatementSync.prototype, name).mockImplementation(function (this: StatementSync, ...given: unknown[]) {
        const isLook = /(FROM|UPDATE) replica_event\b/.test(this.sourceSQL) && !/ n = \?/.test(this.sourceSQL);
        if (isLook) looks++;
        return of.apply(this, given);
      });
    }
    try {
      moveOn(field.store, { originId: field.store.current().id, keptThrough: 0, aside: null, isShared: true });
    } finally {
      vi.restoreAllMocks();
    }
    expect(looks).toBe(1);
    expect(
      replicaOf(field)
        .history(person(1))
        .filter(({ text }) => text?.includes("Own ")),
    ).toHaveLength(40);
  });

  it("counts once when the database is salvaged", async () => {
    const { hub, field } = await withPerson();
    using _ = field;
    await field.append(updated(1, { phone: "+254712345678" }));
    await pushToMemory(hub, field);
    await field.append(updated(1, { village: "Own" }));
    moveOn(field.store, { originId: field.store.current().id, keptThrough: 0, aside: null, isShared: true });
    const lines: unknown[] = [];
    expect(salvage(field.store.path, (line) => lines.push(line))).toEqual({
      ...{ whole: 2, searched: 0, damaged: 0, lost: [], problem: null },
    });
    expect(lines).toMatchObject([{ level: "SYNCED" }, { level: "LOCAL", event: { data: { village: "Own" } } }]);
  });

  it("keeps what it shows, where the hub had brought it back under its old name", async () => {
    const { hub, field, pull } = await withPerson();
    using _ = field;
    await field.append(updated(1, { phone: "+254712345678" }));
    await field.append(updated(1, { village: "Own" }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    moveOn(field.store, { originId: field.store.current().id, keptThrough: 0, aside: null, isShared: true });
    expect(
      replicaOf(field)
        .history(person(1))
        .map(({ text }) => text),
    ).toContain('{"village":"Own"}');
  });
});

describe("an entity that moves into a bucket of which only states are given", () => {
  it.each([
    ["first", 0],
    ["last", 9],
  ])("keeps no history, and shows the state as of now, when that bucket comes %s", async (_, priority) => {
    const hub = await hubWith(
      policyOf("whole", ["kampala"], { district: "Kampala" }, { priority: 5 }),
      policyOf("states", ["kampala"], { district: "Nairobi" }, { priority, statesOnly: true }),
    );
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala", { village: `${MARK}-before` }));
    await juba.write(registered(2, "Nairobi"));
    await juba.write(registered(3, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    await pull(field);
    expect(bytesAt(field)).toContain(`${MARK}-before`);
    await juba.write(updated(1, { district: "Nairobi", village: "Kibera" }));
    await hub.seal();
    for (let round = 0; round < 2; round++) {
      await pull(field, { limit: 1 });
      expect(replicaOf(field).history(person(1))).toEqual([]);
      expect(replicaOf(field).row("people", number(1))?.row.values).toMatchObject({ village: "Kibera" });
      expect(expectSame(hub, field, "beneficiary")).toBe(3);
    }
    expect(typesOf(field)).toEqual(["replica.purged"]);
    expect(bytesAt(field)).not.toContain(`${MARK}-before`);
  });
});

describe("a purge", () => {
  it("is confirmed only when no other program keeps the old bytes in the log of the database", async () => {
    const { field, leave, pull } = await withPerson();
    using _ = field;
    field.store.db.exec("PRAGMA busy_timeout = 0");
    const reader = new DatabaseSync(field.store.path, { readOnly: true });
    reader.exec("BEGIN");
    reader.prepare("SELECT count(*) FROM replica_event").get();
    await leave(2);
    const taken = await pull(field);
    expect(taken.some(({ hasWritten }) => hasWritten)).toBe(false);
    expect(bytesAt(field)).toContain(MARK);
    expect(typesOf(field)).toEqual([]);
    expect(field.status().replica?.unconfirmed).toBe(1);
    reader.close();
    expect((await pull(field)).some(({ hasWritten }) => hasWritten)).toBe(true);
    expect(bytesAt(field)).not.toContain(MARK);
    expect(typesOf(field)).toEqual(["replica.purged"]);
    expect(field.status().replica?.unconfirmed).toBe(0);
  });

  it("is confirmed after the app was closed before the bytes were gone", async () => {
    const { hub, field: first, leave, pull } = await withPerson();
    await leave(2);
    const exec = DatabaseSync.prototype.exec;
    const full = vi.spyOn(DatabaseSync.prototype, "exec").mockImplementation(function (this: DatabaseSync, sql) {
      if (sql === "VACUUM") throw new Error("the disk is full");
      exec.call(this, sql);
    });
    try {
      await pull(first);
      expect(typesOf(first)).toEqual([]);
      const { path } = first.store;
      first.close();
      full.mockRestore();
      using field = openAt(hub, "kampala", { path });
      expect(bytesAt(field)).not.toContain(MARK);
      expect((await pull(field)).some(({ hasWritten }) => hasWritten)).toBe(true);
      expect(typesOf(field)).toEqual(["replica.purged"]);
    } finally {
      full.mockRestore();
    }
  });

  it("is not confirmed while something stands in the files that another program of the device has deleted since they were written anew", async () => {
    const { field, leave, pull } = await withPerson();
    using _ = field;
    using other = new DatabaseSync(field.store.path);
    const exec = DatabaseSync.prototype.exec;
    const during = vi.spyOn(DatabaseSync.prototype, "exec").mockImplementation(function (this: DatabaseSync, sql) {
      exec.call(this, sql);
      if (sql === "VACUUM") openReplicaRows(other).noteDeleted();
    });
    try {
      await leave(2);
      expect((await pull(field)).some(({ hasWritten }) => hasWritten)).toBe(false);
      expect(typesOf(field)).toEqual([]);
    } finally {
      during.mockRestore();
    }
    expect((await pull(field)).some(({ hasWritten }) => hasWritten)).toBe(true);
    expect(typesOf(field)).toEqual(["replica.purged"]);
  });

  it("writes a large file anew every ten minutes at most, and when it is closed", async () => {
    const clock = { nowMs: Date.UTC(2026, 4, 3) };
    const { hub, juba, field: first, leave, pull } = await withPerson(() => clock.nowMs);
    first.store.db.exec("PRAGMA synchronous = OFF; CREATE TABLE filler AS SELECT zeroblob(17000000) AS zeros");
    const purges = (field: Field): number => typesOf(field).filter((type) => type === "replica.purged").length;
    await leave(1);
    await pull(first);
    expect(purges(first)).toBe(1);
    await leave(2);
    await pull(first);
    expect(purges(first)).toBe(1);
    clock.nowMs += 10 * 60_000;
    await pull(first);
    expect(purges(first)).toBe(2);
    expect(bytesAt(first)).not.toContain(MARK);
    await juba.write(registered(3, "Kampala", { village: `${MARK}-3` }));
    await hub.seal();
    await pull(first);
    await leave(3);
    await pull(first);
    expect(purges(first)).toBe(2);
    const { path } = first.store;
    first.close();
    using field = openAt(hub, "kampala", { path });
    expect(purges(field)).toBe(3);
    expect(bytesAt(field)).not.toContain(`${MARK}-3`);
  });
});

describe("a history that had come in part", () => {
  const inPart = async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala", { village: MARK }));
    for (let i = 0; i < 12; i++) await juba.write(updated(1, { village: `${MARK} ${i}` }));
    await hub.seal();
    const field = openAt(hub, "kampala");
    const { step, pull } = pulling(hub);
    await step(field, {}, false);
    while (count(field, "replica_part") === 0) await step(field, { maxEvents: 3 });
    return { hub, juba, field, pull };
  };

  it("is deleted when its entity leaves before the rest comes", async () => {
    const { hub, juba, field, pull } = await inPart();
    using _ = field;
    await juba.write(updated(1, { district: "Gulu" }));
    await hub.seal();
    await pull(field);
    expect(count(field, "replica_part")).toBe(0);
    expect(bytesAt(field)).not.toContain(MARK);
    expect(bytesAt(field)).not.toContain(number(1));
  });
});

describe("a hub whose log was set back", () => {
  it("is followed with the positions that it gives now, where the histories are the same as before", async () => {
    const hub = await hubWith(KAMPALA_ONLY, policyOf("states", ["gulu"], { district: "Kampala" }, { statesOnly: true }));
    const backup = hub.log.entries.at(-1)!.position;
    using juba = openAt(hub, "juba");
    using nairobi = openAt(hub, "nairobi");
    await juba.append(registered(1, "Kampala"));
    await pushToMemory(hub, juba);
    await hub.seal();
    using kampala = openAt(hub, "kampala");
    using gulu = openAt(hub, "gulu");
    for (const field of [kampala, gulu]) await pulling(hub).pull(field);
    const placed = (): readonly unknown[] =>
      replicaOf(kampala)
        .history(person(1))
        .map(({ position }) => position);
    const before = placed();
    await hub.restore(backup);
    await nairobi.append(registered(2, "Kampala"));
    await pushToMemory(hub, nairobi);
    await pushToMemory(hub, juba);
    await hub.seal();
    const states: string[] = [];
    await pulling(hub).pull(kampala);
    await pulling(hub).pull(gulu, {
      onPage: (page) => {
        for (const section of page.sections)
          if (section.kind === "members")
            for (const { entityId, states: of } of section.members) if (of.people) states.push(entityId);
        return page;
      },
    });
    const now = hub.log.entries.filter(({ head }) => head.entity.id === number(1)).map(({ position }) => position);
    expect(now).not.toEqual(before);
    expect(placed()).toEqual(now);
    expect(states.sort()).toEqual([number(1), number(2)]);
    for (const field of [kampala, gulu]) expect(expectSame(hub, field, "beneficiary")).toBe(2);
  });
});

describe("an own event that was damaged on the device", () => {
  it("comes back from the hub", async () => {
    const { hub, field, pull } = await withPerson();
    using _ = field;
    const { origin, seq } = await field.append(updated(1, { village: "Katwe" }));
    await pushToMemory(hub, field);
    field.store.db.prepare("UPDATE event SET data = replace(data, 'Katwe', 'Katwa') WHERE seq = ?").run(seq);
    await hub.seal();
    await pull(field);
    expect(replicaOf(field).row("people", number(1))).toMatchObject({ own: "confirmed", row: { values: { village: "Katwe" } } });
    expect(
      replicaOf(field)
        .history(person(1))
        .filter(({ head }) => head.origin === origin),
    ).toMatchObject([{ text: '{"village":"Katwe"}', own: "confirmed" }]);
    expect(expectSame(hub, field, "beneficiary")).toBe(2);
  });

  it("is taken with the text that the hub sends, where its hash alone is right", async () => {
    const { hub, field, pull, step } = await withPerson();
    using _ = field;
    const { seq } = await field.append(updated(1, { village: "Katwe" }));
    await pushToMemory(hub, field);
    field.store.db.prepare("UPDATE event SET data = replace(data, 'Katwe', 'Katwa') WHERE seq = ?").run(seq);
    await hub.seal();
    await step(field, {}, false);
    await step(field, {
      onPage: (page) => ({
        ...page,
        sections: page.sections.map((section) =>
          section.kind !== "lines"
            ? section
            : {
                ...section,
                lines: section.lines.map((line) => ({
                  ...line,
                  events: line.events.map((event) => ({ ...event, text: event.text ?? '{"village":"Katwe"}' })),
                })),
              },
        ),
      }),
    });
    expect(replicaOf(field).row("people", number(1))?.row.values.village).toBe("Katwe");
    await pull(field);
    expect(
      replicaOf(field)
        .history(person(1))
        .map(({ text }) => text),
    ).toContain('{"village":"Katwe"}');
  });
});

describe("a pull that was cut off while it compared", () => {
  it("goes on with the ranges that it had found", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (let n = 1; n <= 70; n++) await juba.write(registered(n, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull, step } = pulling(hub);
    await pull(field);
    field.store.db.exec(`UPDATE replica_member SET digest = '${"0".repeat(64)}'; UPDATE replica_bucket SET phase = 'compare'`);
    while (count(field, "replica_todo") === 0) await step(field);
    const wanted = replicaOf(field).asks();
    expect(wanted[KAMPALA]).toMatchObject({
      kind: "compare",
      ranges: expect.arrayContaining([expect.objectContaining({ prefix: expect.stringMatching(/^.$/) })]),
    });
    const way = memoryWay(hub, field);
    way.befalls = (n) => (n === 1 ? linkLost() : null);
    await field.pull({ ...way.options, maxTries: 3 });
    const asked = way.asked.filter(({ buckets }) => Object.keys(buckets).length > 0);
    expect(asked[1]?.buckets[KAMPALA]).toEqual(asked[0]?.buckets[KAMPALA]);
    expect(expectSame(hub, field, "beneficiary")).toBe(70);
  });
});

describe("an own event about an entity of which only states are given", () => {
  it("counts as placed once the hub's state has it, so what others write later is shown", async () => {
    const byOrder = defineProjection({
      ...{ name: "people", entity: "beneficiary", scopeBy: ["district"] },
      columns: { given_name: text(), district: text(), village: text() },
      resolve: { village: logOrder(), others: lastWriteWins },
      events: {
        "beneficiary.registered": set("given_name", "district", "village"),
        "beneficiary.updated": set("district", "village"),
      },
    });
    const hub = await openMemoryHub({ views: [byOrder] });
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }, { statesOnly: true }));
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala", { views: [byOrder] });
    const { pull } = pulling(hub);
    await pull(field);
    await field.append(updated(1, { village: "Own" }));
    await pushToMemory(hub, field);
    await juba.write(updated(1, { village: "Later" }));
    await hub.seal();
    await pull(field);
    expect(replicaOf(field).row("people", number(1))).toMatchObject({ own: "confirmed", row: { values: { village: "Later" } } });
    expect(replicaOf(field).history(person(1))).toMatchObject([{ own: "confirmed", text: '{"village":"Own"}' }]);
    expect(expectSame(hub, field, "beneficiary")).toBe(1);
  });
});
