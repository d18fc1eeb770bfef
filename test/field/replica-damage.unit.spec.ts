import { join } from "node:path";
import { DatabaseSync, StatementSync } from "node:sqlite";
import { describe, expect, it, vi } from "vitest";
import { type Field, openField } from "../../services/field/index.ts";
import { defineProjection, map, set, text } from "../../services/merge/index.ts";
import { closeWhole, pagesOf, spoilPage } from "../support/damage.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, number, openAt, policyOf, registered, updated, VIEWS } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

const KAMPALA_ONLY = policyOf("kampala", ["kampala"], { district: "Kampala" });
const label = (n: number): string => `village-${String(n).padStart(4, "0")}`;
const EVENTS = 120;

/** A device's file with many own events, of which a page is damaged. Returns the numbers of those that stood there. */
async function spoilt(hub: Awaited<ReturnType<typeof hubWith>>, path: string): Promise<readonly number[]> {
  {
    using field = openField({ path, name: { org: "relief", site: "kampala", device: "t1" }, schemas: hub.gate, now: hub.now });
    await field.append(registered(1, "Kampala"));
    await field.appendMany(Array.from({ length: EVENTS }, (_, n) => updated(1 + (n % 3), { village: label(n) })));
    closeWhole(field);
  }
  const [page, gone] = [...pagesOf(path, label, EVENTS)].find(([, there]) => !there.includes(0) && !there.includes(EVENTS - 1))!;
  spoilPage(path, page);
  return gone;
}

describe("a device whose file is damaged where its own events stand", () => {
  it("opens with its replica, shows what can be read, pulls, and writes on", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    await juba.write(registered(9, "Kampala"));
    await hub.seal();
    const path = join(tempDir(), "f.db");
    const gone = await spoilt(hub, path);
    expect(gone.length).toBeGreaterThan(2);
    using field = openAt(hub, "kampala", { path });
    expect(field.replica).not.toBeNull();
    expect(field.query("people").map(({ id, village, _own }) => [id, village, _own])).toEqual(
      [0, 1, 2].map((n) => [number(1 + n), label(EVENTS - 3 + n), "pending"]),
    );
    expect(field.history({ type: "beneficiary", id: number(1) }).length).toBeLessThan(1 + EVENTS / 3);
    await pulling(hub).pull(field);
    expect(field.query("people", { where: { id: number(9) } })).toHaveLength(1);
    await field.append(updated(9, { village: "Katwe" }));
    expect(field.query("people", { where: { village: "Katwe" } })).toMatchObject([{ id: number(9), _own: "pending" }]);
  });

  it("pulls on when what is to be deleted stands beside the damage, and confirms nothing of it", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const path = join(tempDir(), "f.db");
    const pulls = pulling(hub);
    {
      using field = openAt(hub, "kampala", { path });
      await field.append(registered(1, "Kampala"));
      await field.appendMany(Array.from({ length: EVENTS }, (_, n) => updated(1, { village: label(n) })));
      await pushToMemory(hub, field);
      await hub.seal();
      await pulls.pull(field);
      closeWhole(field);
    }
    const pages = [...pagesOf(path, label, EVENTS)].filter(([, there]) => there.length > 2);
    spoilPage(path, pages[Math.floor(pages.length / 2)]![0]);
    const juba = hub.device("juba");
    await juba.write(updated(1, { district: "Gulu" }));
    await juba.write(registered(9, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala", { path });
    await pulls.pull(field);
    expect(field.query("people").map(({ id }) => id)).toContain(number(9));
    expect(field.status().replica?.unconfirmed).toBe(1);
    const left = field.store.db.prepare("SELECT count(*) AS n FROM replica_own").get();
    expect(Number(left?.n)).toBeLessThan(EVENTS);
    expect(Number(left?.n)).toBeGreaterThan(0);
  });

  it("pulls on when an own event cannot be emptied, since SQLite meets a damaged page beside it", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const pulls = pulling(hub);
    using field = openAt(hub, "kampala");
    await field.append(registered(1, "Kampala"));
    await field.appendMany(Array.from({ length: 5 }, (_, n) => updated(1, { village: label(n) })));
    await pushToMemory(hub, field);
    await hub.seal();
    await pulls.pull(field);
    const juba = hub.device("juba");
    await juba.write(updated(1, { district: "Gulu" }));
    await juba.write(registered(9, "Kampala"));
    await hub.seal();
    const { run } = StatementSync.prototype;
    const beside = vi.spyOn(StatementSync.prototype, "run").mockImplementation(function (this: StatementSync, ...given) {
      if (this.sourceSQL.startsWith("UPDATE event SET head") && given.at(-1) === 3)
        throw Object.assign(new Error("database disk image is malformed"), { errcode: 11 });
      return run.apply(this, given as never);
    });
    try {
      await pulls.pull(field);
    } finally {
      beside.mockRestore();
    }
    expect(field.query("people").map(({ id }) => id)).toContain(number(9));
    expect(field.status().replica?.unconfirmed).toBe(1);
    expect(field.store.db.prepare("SELECT seq FROM event WHERE origin = 1 AND data <> ''").all()).toEqual([{ seq: 3 }]);
  });

  it("writes and reads on without its replica where that is what is damaged, and says so", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const path = join(tempDir(), "f.db");
    {
      using field = openAt(hub, "kampala", { path });
      await field.append(registered(1, "Kampala"));
      closeWhole(field);
    }
    spoilPage(path, rootOf(path, "replica_bucket"));
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    try {
      using field = openAt(hub, "kampala", { path });
      expect(warn.mock.calls.map(([message]) => String(message))).toEqual([
        expect.stringMatching(/what the hub sent to .* damaged/),
      ]);
      expect(field.replica).toBeNull();
      await field.append(updated(1, { village: "Katwe" }));
      expect([...field.events()].map(({ seq }) => seq)).toEqual([0, 1]);
      expect(() => field.query("people")).toThrow(/cannot be read: the file is damaged/);
      await expect(field.pull({ url: "nats://127.0.0.1:1" })).rejects.toThrow(/cannot be read: the file is damaged/);
    } finally {
      warn.mockRestore();
    }
  });
});

describe("a disk that fails while a device opens its database", () => {
  it.each([
    ["cannot be read", 10, "the disk failed"],
    ["is full", 13, "the disk is full"],
  ])("is said to be at fault where it %s, and not the file: the device opens when it works again", async (_, errcode, words) => {
    const hub = await hubWith(KAMPALA_ONLY);
    const path = join(tempDir(), "f.db");
    let fails = true;
    const gate = {
      ...hub.gate,
      pins() {
        if (fails) throw Object.assign(new Error("disk I/O error"), { errcode });
        return hub.gate.pins();
      },
    };
    const opened = () =>
      openField({ path, name: { org: "relief", site: "kampala", device: "t1" }, schemas: gate, now: hub.now, views: VIEWS });
    expect(opened).toThrow(
      expect.objectContaining({
        code: "disk-full",
        message: expect.stringContaining(words),
        hint: expect.stringContaining("try again"),
      }),
    );
    fails = false;
    using field = opened();
    expect(field.replica).not.toBeNull();
  });
});

function rootOf(path: string, table: string): number {
  using db = new DatabaseSync(path);
  return Number(db.prepare("SELECT rootpage FROM sqlite_master WHERE name = ?").get(table)?.rootpage);
}

/** Lets the next page fail when all of it but its end is written. */
async function failingOnce(field: Field, work: () => Promise<unknown>): Promise<void> {
  const { db } = field.store;
  db.exec(
    "CREATE TEMP TRIGGER fails BEFORE INSERT ON meta WHEN new.key = 'replica_seal' BEGIN SELECT RAISE(ABORT, 'no room'); END",
  );
  await expect(work()).rejects.toThrow("no room");
  db.exec("DROP TRIGGER fails");
}

const described = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text({ index: true }), preferred_language: text() },
  scopeBy: ["district"],
  events: { "beneficiary.registered": set("given_name", "district", "preferred_language") },
});

describe("a page that fails while its views are made anew", () => {
  it("leaves them to be made by the next one", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    let version = 1;
    const gate = { ...hub.gate, pins: () => ({ ...hub.gate.pins(), beneficiary: version }) };
    using field = openField({
      path: ":memory:",
      ...{ name: { org: "relief", site: "kampala", device: "t1" }, schemas: gate, now: hub.now, views: [described] },
    });
    await field.append(registered(1, "Kampala", { preferred_language: "lg" }));
    const pulls = pulling(hub);
    await pulls.pull(field);
    const language = (): unknown => field.query("people", { where: { id: number(1) } })[0]?.preferred_language;
    expect(language()).toBeNull();
    await hub.device("juba").write(registered(2, "Kampala"));
    await hub.seal();
    // The device has learnt a schema, by which its views read from now on.
    version = 2;
    await failingOnce(field, () => pulls.pull(field));
    expect(language()).toBeNull();
    await field.append(updated(1, { village: "Katwe" }));
    await pulls.pull(field);
    expect(language()).toBe("lg");
    expect(field.query("people")).toHaveLength(2);
  });

  it("keeps questions quick that had an index before", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    using field = openAt(hub, "kampala");
    const many = Array.from({ length: 600 }, (_, n) => registered(n, n % 2 === 0 ? "Kampala" : "Gulu", { village: label(n) }));
    await field.appendMany(many);
    const ask = () => field.query("people", { where: { village: label(7) } });
    const indexes = () =>
      field.store.db.prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'view_people: %village%'").all();
    expect(ask()).toHaveLength(1);
    expect(indexes()).toHaveLength(1);
    field.store.db.exec(`DROP INDEX "${String(indexes()[0]!.name)}"`);
    expect(ask()).toHaveLength(1);
    expect(indexes()).toHaveLength(1);
  });
});

describe("a view with a column called n", () => {
  const numbered = defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { n: text({ index: true }), district: text(), placed: text(), shown: text() },
    scopeBy: ["district"],
    events: {
      "beneficiary.registered": map(({ data }) => ({ n: data.given_name, district: data.district, placed: "p", shown: "s" })),
      "beneficiary.updated": map(({ data }) => ({ n: data.village })),
    },
  });

  it("is shown, asked and changed as any other", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    using field = openAt(hub, "kampala", { views: [numbered] });
    await field.append(registered(1, "Kampala"));
    await field.append(registered(2, "Kampala"));
    await field.append(updated(2, { village: "Katwe" }));
    const shown = { placed: "p", shown: "s", district: "Kampala", _own: "pending" };
    expect(field.query("people", { where: { n: "Katwe" } })).toMatchObject([{ id: number(2), n: "Katwe", ...shown }]);
    expect(field.query("people", { order: "n", limit: 5 }).map(({ n }) => n)).toEqual(["Amina 1", "Katwe"]);
    await pushToMemory(hub, field);
    await hub.seal();
    await pulling(hub).pull(field);
    expect(field.query("people", { where: { n: "Katwe" } })).toMatchObject([{ id: number(2), _own: "confirmed" }]);
  });

  it("is in a database of an earlier program with all that was in it", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (const n of [1, 2, 3]) await juba.write(registered(n, "Kampala"));
    await hub.seal();
    const path = join(tempDir(), "f.db");
    const pulls = pulling(hub);
    {
      using field = openAt(hub, "kampala", { path });
      await pulls.pull(field);
      // As the program before had it.
      field.store.db.exec("ALTER TABLE view_people RENAME COLUMN _n TO n; PRAGMA user_version = 6");
    }
    using field = openAt(hub, "kampala", { path });
    expect(expectSame(hub, field, "beneficiary")).toBe(3);
    expect(replicaOf(field).views()).toEqual([{ view: "people", rows: 3, olderRules: false }]);
    expect(field.store.db.prepare("SELECT count(_n) AS n FROM view_people").get()).toEqual({ n: 3 });
  });
});
