import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { storyLines } from "../../services/cli/story.ts";
import type { Opener } from "../../services/core/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { defineProjection, manual, set, text } from "../../services/merge/index.ts";
import { bytesAt } from "../support/leaving.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { openMemoryHub } from "../support/memory-hub.ts";
import { withholding } from "../support/opener.ts";
import { pulling, replicaOf } from "../support/pull.ts";
import { KAMPALA, number, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

const people = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text(), village: text(), phone: text({ index: true }), status: text() },
  groups: { location: ["district", "village"] },
  resolve: { phone: manual, status: manual },
  scopeBy: ["district"],
  derive: { call: { column: text(), of: ({ given_name, phone }) => (phone === null ? "no phone" : `${given_name}: ${phone}`) } },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
});
const VIEWS: readonly View[] = [people];
const [PHONE, OTHER] = ["+256771234567", "+256777654321"];

async function hubOf(): Promise<MemoryHub> {
  const hub = await openMemoryHub({ views: VIEWS });
  await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }));
  const [nairobi, juba] = [hub.device("nairobi"), hub.device("juba")];
  for (const n of [1, 2, 3]) await nairobi.write(registered(n, "Kampala"));
  await nairobi.write(updated(1, { phone: PHONE, status: "idp" }));
  await nairobi.write(updated(2, { district: "Kampala", village: "Katwe" }));
  await juba.write(updated(2, { phone: OTHER }));
  await hub.seal();
  return hub;
}
const open = (hub: MemoryHub, opener?: Opener, path = join(tempDir(), "f.db")): Field =>
  openField({
    path,
    name: { org: "relief", site: "kampala", device: "t1" },
    ...{ schemas: hub.gate, now: hub.now, views: VIEWS },
    ...(opener === undefined ? {} : { opener }),
  });
/** All that stands in the tables that are made of events, as text. */
const derived = ({ store: { db } }: Field): string =>
  db
    .prepare(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND (name LIKE 'view|_%' ESCAPE '|' OR name LIKE 'state|_%' ESCAPE '|')",
    )
    .all()
    .map(({ name }) => JSON.stringify(db.prepare(`SELECT * FROM "${String(name)}"`).all()))
    .join("\n");
const person = (n: number) => ({ type: "beneficiary", id: number(n) });

describe("a device that may not see a field (I40)", () => {
  it("shows all else as the hub does, names what it may not see, and has nothing of it in what it has made of events", async () => {
    const hub = await hubOf();
    using all = open(hub);
    using field = open(hub, withholding(["phone"]));
    for (const each of [all, field]) await pulling(hub).pull(each);
    expect(field.query("people", { order: "id" })).toMatchObject([
      { id: number(1), given_name: "Amina 1", status: "idp", phone: null, call: null, _withheld: ["phone", "call"] },
      { id: number(2), village: "Katwe", phone: null, call: null, _withheld: ["phone", "call"] },
      { id: number(3), phone: null, call: "no phone", _withheld: [] },
    ]);
    expect(all.query("people", { where: { phone: PHONE } })).toMatchObject([{ id: number(1), _withheld: [] }]);
    expect(derived(all)).toContain(PHONE);
    expect(derived(field)).not.toMatch(new RegExp(`${PHONE.slice(1)}|${OTHER.slice(1)}`));
  });

  it("compares equal with the hub where it sees, and finds a row that was changed, but compares nothing that it may not see", async () => {
    const hub = await hubOf();
    using field = open(hub, withholding(["phone"]));
    await pulling(hub).pull(field);
    const replica = replicaOf(field);
    const there = replica.withheld("people", KAMPALA);
    expect(Object.fromEntries(there)).toEqual({
      [number(1)]: { withheld: ["phone", "call"] },
      [number(2)]: { withheld: ["phone", "call"] },
    });
    expect(replica.rowsHash("people", KAMPALA)).toBe(hub.rowsHash("people", KAMPALA, there));
    expect(replica.rowsHash("people", KAMPALA)).not.toBe(hub.rowsHash("people", KAMPALA));
    field.store.db.exec(`UPDATE view_people SET village = 'Elsewhere' WHERE id = '${number(1)}'`);
    expect(replica.rowsHash("people", KAMPALA)).not.toBe(hub.rowsHash("people", KAMPALA, there));
    // What the hub may not see either is left out on both sides.
    const both = new Map([[number(1), { withheld: ["village", "district"] }]]);
    expect(replica.rowHashes("people", KAMPALA, both).get(number(1))).not.toBe(
      replica.rowHashes("people", KAMPALA).get(number(1)),
    );
  });

  it("finds no row by a value that it may not see, whatever is asked of it, and orders such rows last", async () => {
    const hub = await hubOf();
    using field = open(hub, withholding(["phone"]));
    await pulling(hub).pull(field);
    const ids = (where: object, order?: string): string[] =>
      field
        .query("people", { where: where as never, ...(order === undefined ? {} : { order: order as never }) })
        .map(({ id }) => id);
    expect(ids({ phone: PHONE })).toEqual([]);
    expect(ids({ phone: null })).toEqual([number(3)]);
    expect(ids({ phone: [PHONE, null] })).toEqual([number(3)]);
    expect(ids({ phone: { not: PHONE } })).toEqual([number(3)]);
    expect(ids({ phone: { not: null } })).toEqual([]);
    expect(ids({ phone: { gte: "" } })).toEqual([]);
    expect(ids({ call: { not: "no phone" } })).toEqual([]);
    expect(ids({ given_name: { not: "Amina 1" } })).toEqual([number(2), number(3)]);
    expect(ids({}, "call")).toEqual([number(3), number(1), number(2)]);
    expect(field.query("people", { order: "phone", limit: 2, after: number(1) }).map(({ id }) => id)).toEqual([
      number(2),
      number(3),
    ]);
  });

  it("tells histories and stories without it, and calls nothing a conflict that it cannot see", async () => {
    const hub = await hubOf();
    const [wau, yei] = [hub.device("wau"), hub.device("yei")];
    await wau.write(updated(1, { phone: OTHER, status: "host" }), { sees: {} });
    await yei.write(updated(3, { status: "host" }));
    await hub.seal();
    using all = open(hub);
    using field = open(hub, withholding(["phone"]));
    for (const each of [all, field]) await pulling(hub).pull(each);
    const registers = (of: Field): string[] =>
      of
        .conflicts("people")
        .map(({ register }) => register)
        .sort();
    expect(registers(all)).toEqual(["phone", "status"]);
    expect(registers(field)).toEqual(["status"]);
    expect(field.query("people", { where: { id: number(1) } })).toMatchObject([{ conflicts: 1 }]);
    const history = field.history(person(1));
    expect(history.map(({ data, withheld }) => [data?.phone, withheld])).toEqual([
      [undefined, []],
      [undefined, ["phone"]],
      [undefined, ["phone"]],
    ]);
    const [told] = field.explain(person(1), { field: "phone" });
    expect(told?.registers).toMatchObject([{ register: "phone", value: null, withheld: true, decision: null }]);
    const lines = told?.registers.flatMap(storyLines).join("\n") ?? "";
    expect(lines).toContain("phone: withheld");
    expect(lines).toContain("wrote a withheld value");
    expect(lines).toContain("What stands there is withheld, so nothing was decided here.");
    expect(JSON.stringify([history, told])).not.toMatch(/25677/);
    expect(JSON.stringify(all.history(person(1)))).toContain(PHONE);
  });

  it("shows a value that a later writer, who had seen it, wrote openly", async () => {
    const hub = await hubOf();
    const once: Opener = {
      rights: "not what Nairobi writes",
      open: (head, data) =>
        head.origin.startsWith("relief.nairobi.") ? withholding(["phone"]).open(head, data) : { data, withheld: [] },
    };
    using field = open(hub, once);
    const { pull } = pulling(hub);
    await pull(field);
    expect(field.query("people", { where: { id: number(1) } })).toMatchObject([{ phone: null, _withheld: ["phone", "call"] }]);
    // This device has read the entity, so what it writes covers the value that it could not see.
    await field.append(updated(1, { phone: OTHER }));
    expect(field.query("people", { where: { phone: OTHER } }).map(({ id, _withheld }) => [id, _withheld])).toEqual([
      [number(1), []],
      [number(2), []],
    ]);
  });

  it("hides what is its own too, and folds all again when its rights change, both ways", async () => {
    const hub = await hubOf();
    const path = join(tempDir(), "f.db");
    {
      using field = open(hub, withholding(["phone"]), path);
      await pulling(hub).pull(field);
      await field.append(updated(3, { phone: PHONE }));
      expect(field.query("people", { where: { id: number(3) } })).toMatchObject([{ phone: null, _own: "pending" }]);
    }
    {
      using field = open(hub, undefined, path);
      expect(field.query("people", { order: "id" }).map(({ phone, _withheld }) => [phone, _withheld])).toEqual([
        [PHONE, []],
        [OTHER, []],
        [PHONE, []],
      ]);
    }
    using field = open(hub, withholding(["phone"]), path);
    expect(derived(field)).not.toContain(PHONE.slice(1));
  });

  const statesHub = async (): Promise<MemoryHub> => {
    const hub = await openMemoryHub({ views: VIEWS });
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }, { statesOnly: true }));
    const [nairobi, juba] = [hub.device("nairobi"), hub.device("juba")];
    await nairobi.write(registered(1, "Kampala"));
    await nairobi.write(registered(2, "Kampala"));
    await nairobi.write(updated(1, { phone: PHONE, status: "idp" }));
    await juba.write(updated(1, { phone: OTHER, status: "host" }), { sees: {} });
    await hub.seal();
    return hub;
  };

  it("shows of a state that the hub has packed what it may see, and names the rest; no byte of that stands in its files", async () => {
    const hub = await statesHub();
    using all = open(hub);
    using field = open(hub, withholding(["phone"]));
    for (const each of [all, field]) await pulling(hub).pull(each);
    expect(all.query("people", { order: "id" })).toMatchObject([
      { conflicts: 2, _withheld: [] },
      { phone: null, _withheld: [] },
    ]);
    expect(field.query("people", { order: "id" })).toMatchObject([
      { given_name: "Amina 1", district: "Kampala", phone: null, call: null, conflicts: 1, _withheld: ["phone", "call"] },
      { given_name: "Amina 2", phone: null, call: "no phone", _withheld: [] },
    ]);
    expect(bytesAt(field)).not.toMatch(new RegExp(`${PHONE.slice(1)}|${OTHER.slice(1)}`));
    expect(bytesAt(all)).toContain(PHONE);
    const replica = replicaOf(field);
    const there = replica.withheld("people", KAMPALA);
    expect(Object.fromEntries(there)).toEqual({ [number(1)]: { withheld: ["phone", "call"] } });
    expect(replica.rowsHash("people", KAMPALA)).toBe(hub.rowsHash("people", KAMPALA, there));
    // What it writes itself, having read the entity, stands on top.
    await field.append(updated(1, { status: "returnee" }));
    expect(field.query("people", { where: { id: number(1) } })).toMatchObject([
      { status: "returnee", phone: null, conflicts: 0 },
    ]);
  });

  it("whose opener does not say which members it withholds, shows of such a state only that the entity is there", async () => {
    const hub = await statesHub();
    const { rights, open: opens } = withholding(["phone"]);
    using field = open(hub, { rights, open: opens });
    await pulling(hub).pull(field);
    const rows = field.query("people", { order: "id" });
    expect(rows.map(({ id, given_name, status }) => [id, given_name, status])).toEqual([
      [number(1), null, null],
      [number(2), null, null],
    ]);
    expect(rows[0]?._withheld).toEqual(expect.arrayContaining(["given_name", "district", "village", "phone", "status", "call"]));
    expect(bytesAt(field)).not.toContain(PHONE.slice(1));
    const replica = replicaOf(field);
    const there = replica.withheld("people", KAMPALA);
    expect(replica.rowsHash("people", KAMPALA)).toBe(hub.rowsHash("people", KAMPALA, there));
  });

  it("shows who enters a bucket at once, around what it may not see, and the same when the events have come", async () => {
    const hub = await hubOf();
    using field = open(hub, withholding(["phone"]));
    const { step, pull } = pulling(hub);
    for (let pages = 0; field.query("people").length < 3 && pages < 20; pages++) await step(field, {}, pages > 0);
    expect(
      replicaOf(field)
        .buckets()
        .some(({ phase }) => phase === "states" || phase === "events"),
    ).toBe(true);
    const before = field.query("people", { order: "id" });
    expect(before.map(({ _withheld }) => _withheld)).toEqual([["phone", "call"], ["phone", "call"], []]);
    await pull(field);
    const shown = (rows: typeof before) =>
      rows.map(({ given_name, village, status, phone, call }) => [given_name, village, status, phone, call]);
    expect(shown(field.query("people", { order: "id" }))).toEqual(shown(before));
  });

  it("puts nobody into a bucket by a value that it may not see", async () => {
    const hub = await hubOf();
    const noDistrict = hub.device("yei");
    await noDistrict.write(registered(4, "Gulu"));
    await noDistrict.write(updated(4, { district: null }));
    await hub.seal();
    using field = open(hub, withholding(["district"]));
    const { step, pull } = pulling(hub);
    await pull(field);
    expect(field.query("people").map(({ district, _withheld }) => [district, _withheld.includes("district")])).toEqual(
      [1, 2, 3].map(() => [null, true]),
    );
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: ["Kampala", null] }));
    await hub.seal();
    await step(field, {}, false);
    const held = () =>
      replicaOf(field)
        .buckets()
        .flatMap(({ values, entities }) => (values.length === 1 ? [[values[0], entities]] : []));
    expect(held()).toEqual(
      expect.arrayContaining([
        ["Kampala", 3],
        [null, 0],
      ]),
    );
    await pull(field);
    expect(held()).toEqual(
      expect.arrayContaining([
        ["Kampala", 3],
        [null, 1],
      ]),
    );
  });

  it("opens a database that was made before fields could be withheld, with its rows as they were", async () => {
    const hub = await hubOf();
    const path = join(tempDir(), "f.db");
    {
      using field = open(hub, undefined, path);
      await pulling(hub).pull(field);
      field.store.db.exec("ALTER TABLE view_people DROP COLUMN _withheld");
    }
    using field = open(hub, undefined, path);
    expect(field.query("people", { where: { phone: PHONE } })).toMatchObject([{ id: number(1), _withheld: [] }]);
  });
});
