import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { covers } from "../../services/core/index.ts";
import { carve } from "../../services/field/carve.ts";
import { type Field, openField, type Salvaged, salvage } from "../../services/field/index.ts";
import { closeWhole, force, pagesOf, spoilPage, spoilText } from "../support/damage.ts";
import { openDoor, type TestDoor } from "../support/device-hub.ts";
import { gate, number, update } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

let door: TestDoor;
beforeAll(async () => {
  door = await openDoor();
});
afterAll(() => door?.close());

const at = async (site: string) => ({ url: door.natsUrl, token: await door.token(site) });
const labelsOf = async (site: string): Promise<string[]> =>
  (await door.entries())
    .filter(({ head }) => head.origin.startsWith(`relief.${site}.`))
    .map(({ content }) => String(content.kind === "accepted" ? content.data.village : content.kind));
const label = (n: number): string => `village-${String(n).padStart(4, "0")}`;
const fill = (field: Field, count: number, from = 0) =>
  field.appendMany(Array.from({ length: count }, (_, i) => update(number(i % 7), { village: label(from + i) })));
const labels = (count: number, except: readonly number[] = []): string[] =>
  Array.from({ length: count }, (_, n) => n)
    .filter((n) => !except.includes(n))
    .map(label);
const reopen = ({ store: { path } }: Field, site: string): Field =>
  openField({ path, name: { org: "relief", site, device: "t1" }, schemas: gate });

describe("a device whose outbox holds what cannot be sent", () => {
  it("sends 100 of 110 events past six that were damaged on disk and four that no hub takes, and says which stay (I18)", async () => {
    const field = door.field("mixed");
    const bad = { long: '{"village":"entity"}', large: JSON.stringify({ village: "x".repeat(1_100_000) }) };
    await fill(field, 40);
    force(field, [{ data: bad.large }, { data: bad.long, over: { entity: { type: "beneficiary", id: "x".repeat(300) } } }]);
    await fill(field, 40, 40);
    force(field, [{ data: bad.long, over: { type: "no type at all" as never } }, { data: bad.large }]);
    await fill(field, 26, 80);
    const { db } = field.store;
    db.exec("UPDATE event SET data = replace(data, 'village-0007', 'village-9999') WHERE seq = 7");
    db.exec("UPDATE event SET head = substr(head, 1, 60) WHERE seq = 20");
    db.exec("UPDATE event SET data = '{\"village\":' WHERE seq = 21");
    db.exec("DELETE FROM event WHERE seq = 60");
    db.exec('UPDATE event SET head = replace(head, \'"actor":"tester"\', \'"actor":"nobody"\') WHERE seq = 95');
    db.exec("UPDATE event SET data = 'null' WHERE seq = 109");
    // The village of the event at seq 95, after four that were forced in between.
    const gone = [7, 20, 21, 58, 91, 105];
    const result = await field.sync(await at("mixed"));
    expect(result).toMatchObject({ confirmed: 100, pending: 0 });
    expect((await labelsOf("mixed")).sort()).toEqual(labels(106, gone));
    expect(result.setAside.map(({ code }) => code).sort()).toEqual([
      "batch-undecodable",
      "batch-undecodable",
      ...Array(6).fill("data-corrupt"),
      "event-too-large",
      "event-too-large",
    ]);
    const status = field.status();
    expect(status).toMatchObject({ events: 110, levels: { LOCAL: 0, QUEUED: 0, SYNCED: 100 } });
    expect(status.aside).toHaveLength(10);
    for (const { reason } of status.aside) expect(reason).toMatch(/\w+ \w+/);
    // The events that were sent build on what their author had seen, and on nothing that stayed.
    const entries = (await door.entries()).filter(({ head }) => head.origin.startsWith("relief.mixed."));
    for (const [i, later] of entries.entries()) {
      for (const earlier of entries.slice(0, i)) {
        if (earlier.head.entity.id === later.head.entity.id && earlier.head.entity.id !== "FORCED")
          expect(covers(later.head.basis, earlier.head)).toBe(true);
      }
    }
    await field.append(update(number(1), { village: "after" }));
    expect(await field.sync(await at("mixed"))).toMatchObject({ confirmed: 1, setAside: [], moved: 0 });
  });

  it("does the same over HTTP", async () => {
    const field = door.field("mixed-http");
    await fill(field, 20);
    force(field, [{ data: JSON.stringify({ village: "x".repeat(1_100_000) }) }]);
    await fill(field, 20, 20);
    const result = await field.sync({ url: door.httpUrl, token: await door.token("mixed-http") });
    expect(result).toMatchObject({ confirmed: 40, pending: 0, setAside: [{ seq: 20, code: "event-too-large" }] });
    expect(await labelsOf("mixed-http")).toEqual(labels(40));
  });

  it("sends once more what the hub refused, when it is asked to send all again", async () => {
    const field = door.field("again");
    await fill(field, 3);
    force(field, [{ data: '{"village":"taken later"}', over: { entity: { type: "beneficiary", id: "x".repeat(300) } } }]);
    await fill(field, 2, 3);
    expect(await field.sync(await at("again"))).toMatchObject({ confirmed: 5, setAside: [{ seq: 3 }] });
    // The hub of tomorrow takes it.
    field.store.db.exec(`UPDATE event SET head = replace(head, '${"x".repeat(300)}', 'X') WHERE origin = 1 AND seq = 3`);
    expect(await field.sync({ ...(await at("again")), again: true })).toMatchObject({ confirmed: 1, setAside: [], pending: 0 });
    expect(await labelsOf("again")).toContain("taken later");
    expect(field.status()).toMatchObject({ events: 6, aside: [], levels: { SYNCED: 6 } });
  });

  it("corrects a damaged hash if the content proves it, and sets nothing aside", async () => {
    const field = door.field("hash");
    await fill(field, 10);
    field.store.db.exec(`UPDATE event SET hash = '${"a".repeat(64)}' WHERE seq IN (4)`);
    expect(await field.sync({ ...(await at("hash")), batchEvents: 5 })).toMatchObject({ confirmed: 10, setAside: [] });
    expect(await labelsOf("hash")).toEqual(labels(10));
  });

  it("does not take a damaged row for a twin's event: what the hub has confirmed is not written again", async () => {
    const field = door.field("not-a-twin");
    await fill(field, 10);
    await field.sync(await at("not-a-twin"));
    field.store.db.exec("UPDATE event SET data = 'null' WHERE seq = 5; DELETE FROM event WHERE seq = 9");
    await fill(field, 5, 10);
    expect(await field.sync(await at("not-a-twin"))).toMatchObject({ confirmed: 5, moved: 0, renamedTo: null });
    expect(await labelsOf("not-a-twin")).toEqual(labels(15));
    expect(await field.sync({ ...(await at("not-a-twin")), again: true })).toMatchObject({ moved: 0, setAside: [] });
    expect(await labelsOf("not-a-twin")).toEqual(labels(15));
  });

  it("sends nothing twice that was sent but not confirmed when an event after it is set aside", async () => {
    const field = door.field("unconfirmed");
    await fill(field, 10);
    // All ten events are queued while no hub takes them, and one is damaged before the hub is back.
    await door.stopIngress();
    await expect(field.sync({ ...(await at("unconfirmed")), maxTries: 1 })).rejects.toMatchObject({
      code: "sync-gave-up",
      message: expect.stringContaining("10 events are queued"),
    });
    field.store.db.exec("UPDATE event SET data = 'null' WHERE seq = 4");
    await door.startIngress();
    await field.sync(await at("unconfirmed"));
    expect((await labelsOf("unconfirmed")).sort()).toEqual(labels(10));
  });

  it("reads around a page of the disk that was lost, and sends the rest", async () => {
    let field = door.field("page");
    await fill(field, 300);
    closeWhole(field);
    const pages = pagesOf(field.store.path, label, 300);
    // A page in the middle, not the last: new events are written there.
    const [page, lost] = [...pages].find(([, seqs]) => seqs.some((n) => n > 100) && seqs.every((n) => n < 200))!;
    expect(lost.length).toBeGreaterThan(2);
    spoilPage(field.store.path, page);
    field = reopen(field, "page");
    const result = await field.sync(await at("page"));
    expect(result.pending).toBe(0);
    const sent = await labelsOf("page");
    expect(new Set(sent).size).toBe(sent.length);
    expect(sent.sort()).toEqual(labels(300, lost));
    expect(result.setAside.map(({ seq }) => Number(seq)).sort((a, b) => a - b)).toEqual(lost);
    expect(field.status()).toMatchObject({ events: 300, levels: { LOCAL: 0 } });
    field.close();
  });
});

/** The numbers of the pages that hold events, in their order. */
function eventPages(path: string): readonly number[] {
  const bytes = readFileSync(path);
  const pages = Array.from({ length: Math.floor(bytes.length / 4096) }, (_, i) => i + 1);
  return pages.filter((page) => bytes.subarray((page - 1) * 4096, page * 4096).includes('{"type":"'));
}

function rootAnd(path: string, some: readonly number[]): readonly number[] {
  const [db, pages] = [new DatabaseSync(path, { readOnly: true }), eventPages(path)];
  const root = Number(db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'event'").get()?.rootpage);
  db.close();
  return [root, ...some.map((at) => pages[at]!)];
}

describe("tributary field salvage", () => {
  /** The command, as a person runs it. */
  const command = (db: string, out: string): { code: number | null; words: string; lines: Record<string, unknown>[] } => {
    const args = ["--disable-warning=ExperimentalWarning", MAIN, "field", "salvage", "--db", db, "--out", out];
    const run = spawnSync(process.execPath, args, { encoding: "utf8" });
    const lines = readFileSync(out, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    return { code: run.status, words: run.stdout + run.stderr, lines };
  };
  const read = (db: string): { salvaged: Salvaged; lines: Record<string, unknown>[] } => {
    const lines: Record<string, unknown>[] = [];
    const salvaged = salvage(db, (line) => lines.push(JSON.parse(JSON.stringify(line)) as Record<string, unknown>));
    return { salvaged, lines };
  };
  const villages = (lines: readonly Record<string, unknown>[]): string[] =>
    lines
      .filter(({ level }) => level !== "DAMAGED")
      .map(({ event }) => (event as { data: { village: string } }).data.village)
      .sort();
  const filled = async (count: number): Promise<string> => {
    const path = join(tempDir(), "f.db");
    const field = openField({ path, name: { org: "relief", site: "juba", device: "t1" }, schemas: gate });
    await fill(field, count);
    closeWhole(field);
    return path;
  };

  it("writes every event of an intact database, leaves it as it was, and ends with 0", async () => {
    const path = await filled(50);
    const before = readFileSync(path);
    const { code, words, lines } = command(path, `${path}.ndjson`);
    expect(code).toBe(0);
    expect(words).toContain("Wrote 50 whole events");
    expect(villages(lines)).toEqual(labels(50));
    expect(lines[0]).toMatchObject({ seq: 0, level: "LOCAL", event: { type: "beneficiary.updated", actor: "tester" } });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it("writes what is left of damaged events, says how many are lost, and does not end with 0", async () => {
    const path = await filled(50);
    expect(spoilText(path, label(30), "village-XXXX")).toBeGreaterThan(0);
    const { code, words, lines } = command(path, `${path}.ndjson`);
    expect(code).toBe(8);
    expect(words).toContain("1 damaged");
    expect(villages(lines)).toEqual(labels(50, [30]));
    expect(lines.find(({ level }) => level === "DAMAGED")).toMatchObject({
      seq: 30,
      damaged: "its hash does not follow from its content",
      data: '{"village":"village-XXXX"}',
    });
  });

  it.each([
    ["whose first page is gone", (path: string) => spoilPage(path, 1)],
    ["whose header is overwritten", (path: string) => spoilPage(path, 1, 100)],
    ["that was cut short", (path: string) => truncateSync(path, 4096 * eventPages(path)[27]! + 100)],
    // The root, by which SQLite finds the others, is among them.
    ["with three pages overwritten", (path: string) => rootAnd(path, [8, 17]).forEach((page) => void spoilPage(path, page))],
    // Nothing of the events themselves is lost: all are found.
    [
      "whose inner pages are overwritten",
      (path: string) => {
        const bytes = readFileSync(path);
        for (let page = 2; page <= bytes.length / 4096; page++) if (bytes[(page - 1) * 4096] === 0x02) spoilPage(path, page, 64);
      },
    ],
  ])("finds the events of a database %s by searching its pages", async (_, spoil) => {
    const path = await filled(300);
    spoil(path);
    const left = labels(300).filter((text) => readFileSync(path).includes(text));
    const { salvaged, lines } = read(path);
    expect(salvaged.searched).toBeGreaterThan(0);
    const found = villages(lines);
    expect(salvaged.whole).toBe(found.length);
    if (found.length < 300) expect(salvaged.problem !== null || salvaged.damaged + salvaged.lost.length > 0).toBe(true);
    // Every event whose text is still in the file, but for those whose envelope or hash went with a neighbouring page or cell.
    expect(left.length).toBeGreaterThan(60);
    const missing = left.filter((text) => !found.includes(text) && !JSON.stringify(lines).includes(text));
    expect(missing).toEqual([]);
    expect(found.length).toBeGreaterThanOrEqual(left.length - 6);
    expect(new Set(found).size).toBe(found.length);
  });

  it("finds events over many pages, and those that are only in the write-ahead log", async () => {
    const path = join(tempDir(), "f.db");
    const field = openField({ path, name: { org: "relief", site: "juba", device: "t1" }, schemas: gate });
    await field.append(update(number(1), { village: `${"large ".repeat(5_000)}end` }), { onInvalid: "keep" });
    await fill(field, 20);
    const copy = `${path}.copy`;
    copyFileSync(path, copy);
    copyFileSync(`${path}-wal`, `${copy}-wal`);
    field.close();
    const file = readFileSync(copy);
    writeFileSync(copy, Buffer.concat([Buffer.alloc(100, 7), file.subarray(100)]));
    const carved = new Set([...carve(copy)].map(({ data }) => (JSON.parse(data) as { village: string }).village));
    expect([...carved].sort()).toEqual([`${"large ".repeat(5_000)}end`, ...labels(20)].sort());
    expect(villages(read(copy).lines)).toEqual([...carved].sort());
  });

  it("overwrites nothing", async () => {
    const path = await filled(3);
    writeFileSync(`${path}.ndjson`, "somebody's\n");
    expect(() =>
      execFileSync(process.execPath, [MAIN, "field", "salvage", "--db", path, "--out", `${path}.ndjson`], { stdio: "pipe" }),
    ).toThrow(/exists already/);
    expect(readFileSync(`${path}.ndjson`, "utf8")).toBe("somebody's\n");
  });
});
