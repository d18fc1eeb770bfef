import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { StatementSync } from "node:sqlite";
import { describe, expect, it, vi } from "vitest";
import { entityDigest, GENESIS, type Hash } from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import type { Page, Section } from "../../services/exchange/protocol/index.ts";
import { type Field, salvage } from "../../services/field/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { bucketOf, expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, KAMPALA, number, openAt, type people, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

const KAMPALA_ONLY = policyOf("kampala", ["kampala"], { district: "Kampala" });
const person = (n: number) => ({ type: "beneficiary", id: number(n) });

/** All that a device's database holds of the replica and its views. */
function dumped({ store: { db } }: Field): unknown {
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'meta' ORDER BY name").all();
  return tables.map(({ name }) => [name, db.prepare(`SELECT * FROM "${String(name)}"`).all()]);
}

/** A device that has pulled `count` people, and of which the hub has more to tell: news, a move away and one who comes. */
async function withNews(count = 6) {
  const hub = await hubWith(KAMPALA_ONLY);
  const juba = hub.device("juba");
  for (let n = 1; n <= count; n++) await juba.write(registered(n, "Kampala"));
  await hub.seal();
  const field = openAt(hub, "kampala");
  const pulls = pulling(hub);
  await pulls.pull(field);
  await juba.write(updated(1, { village: "Katwe" }));
  await juba.write(updated(2, { district: "Gulu" }));
  await juba.write(registered(count + 1, "Kampala"));
  await hub.seal();
  await pulls.step(field, {}, false);
  return { hub, field, ...pulls };
}

const changedIn = (page: Page, change: (section: Extract<Section, { kind: "lines" }>) => Section): Page => ({
  ...page,
  sections: page.sections.map((section) => (section.kind === "lines" ? change(section) : section)),
});
type Lines = Extract<Section, { kind: "lines" }>;
const OTHER = "f".repeat(64) as Hash;
const FORGERIES: Record<string, (section: Lines) => Section> = {
  "an event with one letter changed": (section) => ({
    ...section,
    lines: section.lines.map((line) => ({
      ...line,
      events: line.events.map((event) => ({ ...event, text: event.text?.replace("Katwe", "Katwa") ?? null })),
    })),
  }),
  "an event that says another author": (section) => ({
    ...section,
    lines: section.lines.map((line) => ({
      ...line,
      events: line.events.map((event) => ({ ...event, head: { ...event.head, actor: "somebody" } })),
    })),
  }),
  "lines of which one is left out": (section) => ({ ...section, lines: section.lines.slice(1) }),
  "lines in another order": (section) => ({ ...section, lines: section.lines.toReversed() }),
  "another head": (section) => ({ ...section, to: { ...section.to, head: OTHER } }),
  "a line of another bucket's entity": (section) => ({
    ...section,
    lines: section.lines.map((line) => ({ ...line, entityId: number(99) })),
  }),
  "an exit with another history": (section) => ({
    ...section,
    lines: section.lines.map((line) => (line.kind === "exit" ? { ...line, digest: OTHER } : line)),
  }),
};

describe("what does not come out", () => {
  it.each(Object.keys(FORGERIES))("is refused and nothing of it is kept: %s", async (name) => {
    const { hub, field, ask, pull } = await withNews();
    using _ = field;
    const before = dumped(field);
    const page = changedIn(await ask(field, {}, true), FORGERIES[name]!);
    const taken = replicaOf(field).take(page);
    expect(taken).toMatchObject({ events: 0, entities: 0, purged: [], refused: [{ bucket: KAMPALA }] });
    const bare = (dump: unknown): string =>
      JSON.stringify(dump)
        .replaceAll('"phase":"follow"', '"phase":"compare"')
        .replaceAll(/"hub_end":"[0-9a-f]*"/g, "");
    expect(bare(dumped(field))).toBe(bare(before));
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(6);
  });

  it("is refused when it fills a bucket: a digest that no history gives", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    await hub.device("juba").write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    let forged = 0;
    await pull(field, {
      onPage: (page) => ({
        ...page,
        sections: page.sections.map((section) => {
          if (
            section.kind !== "members" ||
            section.bucket !== KAMPALA ||
            section.members.every(({ events }) => events.length === 0)
          )
            return section;
          if (forged++ > 0) return section;
          return { ...section, members: section.members.map((member) => ({ ...member, digest: OTHER })) };
        }),
      }),
    });
    expect(forged).toBeGreaterThan(1);
    expect(expectSame(hub, field, "beneficiary")).toBe(1);
  });
});

describe("a page", () => {
  it("that names an entity twice is taken as two that name it once: what came last counts", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (let n = 1; n <= 3; n++) await juba.write(registered(n, "Kampala"));
    for (let n = 1; n <= 3; n++) await juba.write(updated(n, { village: "Katwe" }));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    let doubled = 0;
    await pull(field, {
      onPage: (page) => ({
        ...page,
        sections: page.sections.map((section) => {
          if (section.kind !== "members" || section.bucket !== KAMPALA) return section;
          const members = section.members.flatMap((member) => {
            const [first, ...rest] = member.events;
            if (first === undefined || rest.length === 0) return [member];
            doubled++;
            return [{ ...member, events: [first], digest: entityDigest(GENESIS, first.hash, sha256Hex) }, member];
          });
          return { ...section, members };
        }),
      }),
    });
    expect(doubled).toBe(3);
    expect(expectSame(hub, field, "beneficiary")).toBe(3);
    expect(field.history(person(1))).toHaveLength(2);
    expect(replicaOf(field).row("people", number(1))?.row.values.village).toBe("Katwe");
  });

  it("that comes twice changes nothing the second time", async () => {
    const { hub, field, ask, pull } = await withNews();
    using _ = field;
    const page = await ask(field, {}, true);
    replicaOf(field).take(page);
    const after = dumped(field);
    expect(replicaOf(field).take(page)).toMatchObject({ events: 0, entities: 0, purged: [], refused: [] });
    expect(dumped(field)).toEqual(after);
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(6);
  });

  it("is kept as a whole or not at all, wherever the device crashes", async () => {
    const { hub, field, ask, pull } = await withNews();
    using _ = field;
    const before = dumped(field);
    const run = StatementSync.prototype.run;
    let crashes = 0;
    for (let left = 0; ; left++) {
      const page = await ask(field, {}, true);
      let statements = left;
      const crashing = vi.spyOn(StatementSync.prototype, "run").mockImplementation(function (this: StatementSync, ...values) {
        if (statements-- === 0) throw new Error("crashed");
        return run.apply(this, values as never);
      });
      try {
        replicaOf(field).take(page);
        break;
      } catch (error) {
        expect(error).toMatchObject({ message: "crashed" });
        crashes++;
      } finally {
        crashing.mockRestore();
      }
      expect(dumped(field)).toEqual(before);
    }
    expect(crashes).toBeGreaterThan(20);
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(6);
  });

  it("may be as small as an event, and a history longer than a page comes in parts", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (let n = 1; n <= 5; n++) await juba.write(registered(n, "Kampala"));
    for (let i = 0; i < 12; i++) await juba.write(updated(3, { village: `Zone ${i}` }));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const { pull } = pulling(hub);
    await pull(field, { maxEvents: 3 });
    expect(expectSame(hub, field, "beneficiary")).toBe(5);
    expect(replicaOf(field).history(person(3))).toHaveLength(13);
    expect(field.store.db.prepare("SELECT count(*) AS n FROM replica_part").get()).toEqual({ n: 0 });
  });
});

/** The bytes of a device's files. */
const bytesAt = (path: string): string =>
  ["", "-wal", "-shm"]
    .map((end) => `${path}${end}`)
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, "latin1"))
    .join("");

describe("what a device may not hold any more", () => {
  it("is nowhere in the bytes of its files", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    const marked = (n: number): string => `Zanzibar-${n}-`;
    const count = 120;
    for (let n = 1; n <= count; n++) {
      await juba.write(registered(n, "Kampala", { given_name: marked(n) }));
      if (n % 3 === 0) await juba.write(updated(n, { village: `${marked(n)}${"v".repeat(n * 20)}` }));
    }
    await hub.seal();
    const path = join(tempDir(), "f.db");
    using field = openAt(hub, "kampala", { path });
    const { pull } = pulling(hub);
    await pull(field);
    // What this device wrote itself of them, too.
    for (let n = 1; n <= count; n += 5) await field.append(updated(n, { village: `${marked(n)}own` }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    const leaves = (n: number): boolean => n % 4 !== 0;
    for (let n = 1; n <= count; n++) if (leaves(n)) await juba.write(updated(n, { district: "Gulu" }));
    await hub.seal();
    expect(bytesAt(path)).toContain(marked(1));
    await pull(field);
    const bytes = bytesAt(path);
    for (let n = 1; n <= count; n++) {
      if (leaves(n)) expect(bytes.includes(marked(n)), marked(n)).toBe(false);
      if (leaves(n)) expect(bytes.includes(number(n)), number(n)).toBe(false);
      else expect(bytes.includes(marked(n)), marked(n)).toBe(true);
    }
    expect(expectSame(hub, field, "beneficiary")).toBe(count / 4);
  });

  it("stays as long as it has own events of it without a receipt, is deleted then, and only then confirmed", async () => {
    const { hub, field, pull } = await withNews();
    using _ = field;
    await field.append(updated(2, { village: "Unsent" }));
    await pull(field);
    expect(replicaOf(field).row("people", number(2))).toMatchObject({
      own: "pending",
      row: { values: { village: "Unsent", given_name: null } },
    });
    expect([...field.events()].map(({ type }) => type)).toEqual(["beneficiary.updated"]);
    await pushToMemory(hub, field);
    replicaOf(field).refresh();
    expect(replicaOf(field).row("people", number(2))).toBeNull();
    expect([...field.events()].map(({ type }) => type)).toEqual(["replica.purged"]);
    expect(field.seen(person(2))).toEqual({});
    expect(bytesAt(field.store.path)).not.toContain("Unsent");
    await field.append(updated(1, { village: "Later" }));
    await pushToMemory(hub, field);
    expect(field.status()).toMatchObject({ levels: { LOCAL: 0, QUEUED: 0, SYNCED: 3 }, aside: [] });
    const lines: unknown[] = [];
    expect(salvage(field.store.path, (line) => lines.push(line))).toMatchObject({ whole: 2, damaged: 0, purged: 1, lost: [] });
  });

  it("is deleted when a policy is taken back, and comes whole when it is given again", async () => {
    const { hub, field, pull } = await withNews();
    using _ = field;
    await field.append(updated(1, { village: "Own" }));
    await pushToMemory(hub, field);
    await hub.seal();
    await pull(field);
    await hub.removePolicy("kampala");
    await hub.seal();
    expect((await pull(field)).flatMap(({ purged }) => purged)).toMatchObject([
      { bucket: KAMPALA, entities: 6, reason: "withdrawn" },
    ]);
    expect(replicaOf(field).views()).toMatchObject([{ view: "people", rows: 0 }]);
    await hub.setPolicy(KAMPALA_ONLY);
    await hub.seal();
    await pull(field);
    expect(expectSame(hub, field, "beneficiary")).toBe(6);
    expect(replicaOf(field).row("people", number(1))?.row.values.village).toBe("Own");
  });
});

describe("a changed scope", () => {
  const byVillage = defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { given_name: text(), district: text({ index: true }), village: text(), phone: text() },
    scopeBy: ["district", "village"],
    events: {
      "beneficiary.registered": set("given_name", "district", "village"),
      "beneficiary.updated": set("district", "village", "phone"),
    },
  });

  const changed = async (hub: MemoryHub, path: string, views: readonly [typeof people]) => {
    await hub.setViews([byVillage]);
    await hub.seal();
    const field = openAt(hub, "kampala", { path, views });
    let events = 0;
    await pulling(hub).pull(field, {
      onPage: (page) => {
        for (const section of page.sections)
          if (section.kind === "members" && section.bucket !== bucketOf("policy"))
            for (const member of section.members) events += member.events.length;
        return page;
      },
    });
    return { field, events };
  };

  it("moves what is here into other buckets: nothing is fetched again", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (let n = 1; n <= 30; n++) await juba.write(registered(n, "Kampala", { village: `V${n % 3}` }));
    await hub.seal();
    const path = join(tempDir(), "f.db");
    {
      using field = openAt(hub, "kampala", { path });
      await pulling(hub).pull(field);
    }
    const { field, events } = await changed(hub, path, [byVillage]);
    using _ = field;
    expect(expectSame(hub, field, "beneficiary")).toBe(30);
    expect(events).toBe(0);
  });
});
