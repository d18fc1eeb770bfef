import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { openField, salvage } from "../../services/field/index.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "../../services/field/migrations.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { number as numberOf, SCHEMAS, update } from "../support/hub.ts";
import { openMemoryHub } from "../support/memory-hub.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { number, openAt, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

const DIR = join(import.meta.dirname, "versions");
const person = { type: "beneficiary", id: "JUB-000001" };
const origin = "relief.juba.t1.k3v9q2m7";

/** A file as a program of that time left it: three events, of which the hub has confirmed one and its broker taken two. */
function databaseOf(version: number): string {
  const path = join(tempDir(), "f.db");
  using db = new DatabaseSync(path);
  db.exec(readFileSync(join(DIR, `${version}.sql`), "utf8"));
  return path;
}

it("each version of the tables has its number, and its database here", () => {
  expect(MIGRATIONS.map(({ version }) => version)).toEqual(MIGRATIONS.map((_, i) => i + 1));
  expect(readdirSync(DIR).sort()).toEqual(MIGRATIONS.map(({ version }) => `${version}.sql`));
});

describe.each(MIGRATIONS.map(({ version }) => version))("a device's database of version %i", (version) => {
  it("opens with everything in it, and goes on where it was", async () => {
    const path = databaseOf(version);
    // The file has moved, so it may be a copy: it goes on under a new epoch, as any copy does.
    using field = openField({ path, schemas: SCHEMAS, randomEpoch: () => "zzzzzzzz" });
    expect(field.store.name).toEqual({ org: "relief", site: "juba", device: "t1" });
    const events = [...field.events()];
    expect(events.map(({ origin, seq, type, level }) => [origin, seq, type, level])).toEqual([
      [origin, 0, "beneficiary.registered", "SYNCED"],
      [origin, 1, "beneficiary.updated", "QUEUED"],
      [origin, 2, "beneficiary.updated", "LOCAL"],
    ]);
    expect(JSON.parse(events[2]!.data)).toEqual({ village: "Gumbo" });
    expect(field.seen(person)).toEqual({ [origin]: 2 });
    const status = field.status();
    expect(status.quarantined).toMatchObject([{ seq: 0, code: "invalid", entity: "beneficiary/JUB-000001" }]);
    expect(status.origins[0]).toMatchObject({ origin, events: 3, synced: 1, position: "4711" });
    expect(status.aside).toEqual([]);
    expect(field.store.origin(1)).toMatchObject({ offeredThrough: 1, keptThrough: null });
    expect(field.store.rows.importedLast("beneficiary.registered", "JUB-000001")).toBe("d".repeat(64));
    expect(field.store.rows.lastImport()).toBeNull();
    const next = await field.append(update(numberOf(1), { village: "Kator" }));
    expect(next).toMatchObject({ origin: "relief.juba.t1.zzzzzzzz", seq: 0 });
    expect(field.store.db.prepare("PRAGMA user_version").get()).toEqual({ user_version: SCHEMA_VERSION });
  });

  it("has the tables of a new one afterwards", () => {
    const tables = (path: string) => {
      using field = openField({ path, name: { org: "relief", site: "juba", device: "t1" }, schemas: SCHEMAS });
      const names = field.store.db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").all();
      return names.map(({ name }) => [name, field.store.db.prepare(`PRAGMA table_info(${String(name)})`).all()]);
    };
    expect(tables(databaseOf(version))).toEqual(tables(join(tempDir(), "new.db")));
  });

  it("can be salvaged completely, without being changed", () => {
    const path = databaseOf(version);
    const lines: unknown[] = [];
    expect(salvage(path, (line) => lines.push(line))).toEqual({ whole: 3, searched: 0, damaged: 0, lost: [], problem: null });
    expect(lines).toMatchObject([
      { origin, seq: 0, level: "SYNCED" },
      { seq: 1, level: "QUEUED" },
      { seq: 2, level: "LOCAL", event: { data: { village: "Gumbo" } } },
    ]);
    using db = new DatabaseSync(path, { readOnly: true });
    expect(db.prepare("PRAGMA user_version").get()).toEqual({ user_version: version });
  });
});

it("a device of version 6 that opens without a link has the rows that the hub gave as states only", async () => {
  const households = defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { given_name: text(), district: text({ index: true }), village: text() },
    scopeBy: ["district"],
    tables: { homes: { columns: { village: text() }, rows: ({ village }) => (village === null ? [] : [{ village }]) } },
    events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  });
  const views = [households];
  const hub = await openMemoryHub({ views });
  await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }, { statesOnly: true }));
  const juba = hub.device("juba");
  for (const n of [1, 2, 3]) await juba.write(registered(n, "Kampala", { village: `village ${n}` }));
  await hub.seal();
  const path = join(tempDir(), "f.db");
  {
    using field = openAt(hub, "kampala", { path, views });
    await pulling(hub).pull(field);
    // As a program of that time made the tables.
    field.store.db.exec(
      "ALTER TABLE view_people RENAME COLUMN _n TO n; ALTER TABLE view_people DROP COLUMN _withheld; PRAGMA user_version = 6",
    );
  }
  {
    using field = openAt(hub, "kampala", { path, views });
    expect(field.query("people", { where: { district: "Kampala" }, order: "id" })).toMatchObject(
      [1, 2, 3].map((n) => ({ id: number(n), given_name: `Amina ${n}`, _withheld: [] })),
    );
    expect(replicaOf(field).row("people", number(2))?.row.tables).toEqual({ homes: [{ village: "village 2" }] });
    expect(expectSame(hub, field, "beneficiary")).toBe(3);
    await field.append(updated(2, { village: "Katwe" }));
    expect(replicaOf(field).row("people", number(2))).toMatchObject({
      own: "pending",
      row: { values: { given_name: "Amina 2" }, tables: { homes: [{ village: "Katwe" }] } },
    });
  }
  const tables = (of: string) => {
    using db = new DatabaseSync(of);
    const names = ["view_people", "state_people", "view_people_homes"];
    return names.map((name) => db.prepare("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY name").all(name));
  };
  const fresh = join(tempDir(), "new.db");
  openAt(hub, "kampala", { path: fresh, views }).close();
  expect(tables(path)).toEqual(tables(fresh));
});
