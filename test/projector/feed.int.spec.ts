import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatHlc, type JsonObject, type OriginId, type Position } from "../../services/core/index.ts";
import type { Projection, View } from "../../services/merge/engine.ts";
import { defineProjection, manual, map, remove, set, text } from "../../services/merge/index.ts";
import { type RebuildOptions, rebuild } from "../../services/projector/index.ts";
import {
  alone,
  askRefold,
  clearFeedBeyond,
  commonPosition,
  connectViews,
  inTransaction,
  lockFeed,
  placeCaseNotes,
} from "../../services/views/index.ts";
import { expectFeedWhole, followed, linesIn, linesOf, membersIn } from "../support/feed.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";
import { change, type OldEvent, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

/** Something outside the declaration below, on which it depends: the fix changes it. */
const world = { isBroken: true };

/** Where households are. One that moves to `boom` stops the fold until the view is mended. */
const households = (scopeBy: readonly string[]): Projection =>
  defineProjection({
    name: "households",
    entity: "beneficiary",
    columns: { given_name: text(), phone: text(), district: text(), village: text() },
    resolve: { phone: manual },
    scopeBy,
    events: {
      "beneficiary.registered": set(),
      "beneficiary.updated": map(({ data }) => {
        if (data.village === "boom" && world.isBroken) throw new Error("no such village");
        return data as never;
      }),
      "beneficiary.removed": remove(),
    },
  });

let hub: TestHub;
let shipped: readonly View[];
beforeAll(async () => {
  hub = await openTestHub();
  // One view of a type says where its entities are.
  shipped = hub.projections.filter(({ name }) => name !== "beneficiaries" && name !== "handouts");
  await declare(households(["district"]));
});
afterAll(() => hub?.close());

/** Starts the projector anew, with these views beside the project's others. */
async function declare(...views: readonly View[]): Promise<void> {
  await hub.projector.close();
  Object.assign(hub, { projections: [...shipped, ...views] });
  hub.projector = await hub.startProjector(hub.projections);
  await hub.projected();
}
let writers = 0;
let nowMs = Date.UTC(2026, 4, 3);
/** A new origin. Its clock goes on from the others'. */
function writer(site = `site${++writers}`) {
  const { origin, append } = oldWriter(hub.log, site);
  const stamped = (event: OldEvent): OldEvent => ({ hlc: formatHlc({ wallMs: ++nowMs, counter: 0 }), ...event });
  return { origin, append: (...events: readonly OldEvent[]) => append(...events.map(stamped)) };
}
const write = async (...events: readonly OldEvent[]): Promise<void> => {
  await writer().append(...events);
  await hub.projected();
};
const lines = (id: string, type = "beneficiary"): Promise<string[]> => linesOf(hub.db, type, id);
const one = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown> | undefined> =>
  (await hub.db.query(sql, values)).rows[0];
/** Waits until all lines are sealed. */
const sealed = () =>
  eventually("the sealing of all lines", async () => {
    const left = await one(
      "SELECT (SELECT count(*) FROM tributary.feed WHERE seal IS NULL) + (SELECT count(*) FROM tributary.feed_note) AS n",
    );
    return left?.n === "0";
  });
/** What readers may have seen. */
const seen = async (): Promise<string[]> =>
  (await hub.db.query("SELECT * FROM tributary.feed WHERE seal IS NOT NULL ORDER BY position, ordinal")).rows.map((row) =>
    JSON.stringify(row),
  );
const rebuilt = async (options: RebuildOptions, views: readonly View[] = hub.projections): Promise<void> => {
  const db = await connectViews(hub.backends.postgres.url, "tributary-test-rebuild");
  try {
    await alone(db, true, () => rebuild({ db, reader: hub.db, log: hub.log, gate: hub.gate, views }, options));
  } finally {
    await db.end();
  }
  await hub.projected();
};
const note = (id: string, text: string): OldEvent => ({ type: "case.commented", entity: { type: "case", id }, data: { text } });
const word = (type: string, of: { origin: OriginId; seq: number; hash: string }, data: JsonObject): OldEvent => ({
  type,
  entity: { type: "quarantine", id: `${of.origin}/${of.seq}` },
  data: { ...of, ...data },
});

describe("the feed of a district", () => {
  it("says that a household has come, what became of it, and that it has moved away; a deleted one stays where it was", async () => {
    await write(
      person("H-1", { district: "Kampala", village: "Bwaise" }),
      change("H-1", { phone: "+254700000001" }),
      change("H-1", { district: "Gulu" }),
      { type: "beneficiary.removed", entity: { type: "beneficiary", id: "H-1" }, data: { reason: "duplicate" } },
      person("H-2"),
    );
    expect(await lines("H-1")).toEqual([
      "Kampala: enter 0",
      "Kampala: event 1",
      "Kampala: exit -",
      "Gulu: enter 2",
      "Gulu: event 3",
    ]);
    expect(await lines("H-2")).toEqual(["-: enter 4"]);
    await expectFeedWhole(hub);
  });

  it("has an event that was held back only once it is released, together with the release; until then it is in its site's quarantine", async () => {
    const site = writer("kitgum");
    const desk = writer("hub");
    await site.append(
      person("Q-1", { district: "Gulu" }, { quarantined: "invalid" }),
      person("Q-2", {}, { quarantined: "invalid" }),
    );
    await hub.projected();
    expect([await lines("Q-1"), await lines(`${site.origin}/0`, "quarantine")]).toEqual([[], ["relief.kitgum: enter 0"]]);
    const hashes = new Map<number, string>();
    for await (const { head } of hub.log.readOrigin(site.origin)) hashes.set(head.seq, head.hash);
    const held = (seq: number) => ({ origin: site.origin, seq, hash: hashes.get(seq) ?? "" });
    await desk.append(
      word("quarantine.released", held(0), {
        type: "beneficiary.registered",
        entity: { type: "beneficiary", id: "Q-1" },
        schema: { subject: "beneficiary", version: 1 },
        data: person("Q-1", { district: "Kampala" }).data,
      }),
      word("quarantine.rejected", held(1), { reason: "made up" }),
      // It is settled already, so this says nothing.
      word("quarantine.rejected", held(0), { reason: "made up" }),
    );
    await hub.projected();
    expect(await lines("Q-1")).toEqual(["Kampala: enter 0", "Kampala: event 0"]);
    for (const seq of [0, 1])
      expect(await lines(`${site.origin}/${seq}`, "quarantine")).toEqual([
        `relief.kitgum: enter ${seq}`,
        "relief.kitgum: exit -",
      ]);
    const events = followed(await linesIn(hub.db)).events.get("beneficiary/Q-1");
    expect(events).toEqual([`${site.origin}/0`, `${desk.origin}/0`]);
    await expectFeedWhole(hub);
  });

  it("has the notes on a household's case, in the district where it was when they were written; notes on other cases are in no feed", async () => {
    await write(person("C-1", { district: "Kampala", phone: "+254700000001" }));
    await write(person("C-1", { district: "Kampala", phone: "+254700000002" }));
    const opened = await one("SELECT id FROM tributary.case WHERE view = 'households' AND rule = 'phone' AND subject = 'C-1'");
    // Nothing is sealed meanwhile, so the note gets its line when the household has moved already.
    await inTransaction(hub.db, async () => {
      await lockFeed(hub.db);
      await writer("hub").append(note(String(opened?.id), "which of the two?"), note("0123456789ab", "what is this?"));
      await write(change("C-1", { district: "Gulu" }));
      expect(await lines("C-1")).toEqual(["Kampala: enter 0", "Kampala: event 0", "Kampala: exit -", "Gulu: enter 0"]);
      const common = (await commonPosition(hub.db)) as Position;
      expect([await placeCaseNotes(hub.db, common), await placeCaseNotes(hub.db, common)]).toEqual([1, 0]);
    });
    expect(await lines("C-1")).toEqual([
      "Kampala: enter 0",
      "Kampala: event 0",
      "Kampala: event 0",
      "Kampala: exit -",
      "Gulu: enter 0",
    ]);
    expect((await linesIn(hub.db)).filter(({ event }) => event?.startsWith("relief.hub.")).map(({ entity }) => entity)).toContain(
      "beneficiary/C-1",
    );
    await expectFeedWhole(hub);
  });

  it("has the events of a household that the fold stopped at, and says where it is once it is folded again", async () => {
    await write(person("P-1", { district: "Kampala" }), change("P-1", { district: "Gulu", village: "boom" }));
    await write(change("P-1", { phone: "+254700000003" }));
    expect(await lines("P-1")).toEqual(["Kampala: enter 0", "Kampala: event 1", "Kampala: event 0"]);
    const tried = () => eventually("the retry", async () => (await one("SELECT 1 FROM tributary.refold")) === undefined);
    // The page's event had it tried once more.
    await tried();
    world.isBroken = false;
    await askRefold(hub.db, "households", [{ type: "beneficiary", id: "P-1" }]);
    await tried();
    world.isBroken = true;
    expect((await lines("P-1")).slice(3)).toEqual(["Kampala: exit -", "Gulu: enter -"]);
    await write(change("P-1", { given_name: "Nyibol" }));
    expect((await lines("P-1")).slice(5)).toEqual(["Gulu: event 0"]);
    await expectFeedWhole(hub);
  });
});

describe("the feeds", () => {
  it("have no new line after a rebuild that changes nothing, and lines for each household that is elsewhere after one that does", async () => {
    const before = await linesIn(hub.db);
    world.isBroken = false;
    await rebuilt({ names: ["households", "distributions"] });
    await sealed();
    const told = await seen();
    expect((await linesIn(hub.db)).map(({ seal: _, ...line }) => line)).toEqual(before.map(({ seal: _, ...line }) => line));
    await declare(households(["district", "village"]));
    expect((await lines("H-1")).slice(5)).toEqual(["Gulu: exit -", "Gulu+Bwaise: enter -"]);
    await sealed();
    expect((await seen()).filter((line) => told.includes(line))).toEqual(told);
    await write(change("H-1", { village: "Laroo" }));
    expect((await lines("H-1")).slice(7)).toEqual(["Gulu+Bwaise: exit -", "Gulu+Laroo: enter 0"]);
    await expectFeedWhole(hub);
    await declare(households(["district"]));
    expect((await lines("H-1")).slice(9)).toEqual(["Gulu+Laroo: exit -", "Gulu: enter -"]);
    await expectFeedWhole(hub);
  });

  it("are left as they are by a process that lacks the view by which they were made", async () => {
    const before = await membersIn(hub.db);
    await rebuilt({ names: ["distributions"] }, shipped);
    expect(await membersIn(hub.db)).toEqual(before);
    await hub.projected();
    await expectFeedWhole(hub);
  });

  it("let an entity go when no view shows its type any more, and have what it missed when one does again", async () => {
    const made = (score: number): OldEvent => ({
      type: "assessment.submitted",
      entity: { type: "assessment", id: "A-1" },
      data: {
        assessment_no: "A-1",
        settlement: "Bidi",
        assessed_on: "2026-01-05",
        households: score,
        severity: "low",
        note: null,
      },
      schema: { subject: "assessment", version: 1 },
    });
    const without = shipped.filter(({ name }) => name !== "assessments");
    const all = shipped;
    await write(made(1));
    expect(await lines("A-1", "assessment")).toEqual(["*: enter 0"]);
    shipped = without;
    await declare(households(["district"]));
    expect(await lines("A-1", "assessment")).toEqual(["*: enter 0", "*: exit -"]);
    await write(made(2));
    await write(made(3));
    await expectFeedWhole(hub);
    shipped = all;
    await declare(households(["district"]));
    expect((await lines("A-1", "assessment")).slice(2)).toEqual(["*: enter 0", "*: event 0"]);
    await expectFeedWhole(hub);
  });

  it("are made from what was folded, in a database of an earlier version: each household is where it was, with all its events", async () => {
    const before = await membersIn(hub.db);
    await hub.projector.close();
    for (const table of ["feed", "member", "bucket", "feed_scope", "feed_note", "held", "segment", "seal"])
      await hub.db.query(`DELETE FROM tributary.${table}`);
    hub.projector = await hub.startProjector(hub.projections);
    expect(await membersIn(hub.db)).toEqual(before);
    await expectFeedWhole(hub);
    expect(await lines("H-1")).toEqual(["Gulu: enter 0", ...[1, 2, 3, 0].map((seq) => `Gulu: event ${seq}`)]);
    await sealed();
    expect((await lines("C-1")).slice(-1)).toEqual(["Gulu: event 0"]);
    const made = await linesIn(hub.db);
    await hub.projector.close();
    hub.projector = await hub.startProjector(hub.projections);
    await write(change("H-1", { district: "Kampala" }));
    expect((await linesIn(hub.db)).slice(made.length).map(({ kind }) => kind)).toEqual(["exit", "enter"]);
    await expectFeedWhole(hub);
  });

  it("are made anew when the log ends before what they say, and seals keep their numbers", async () => {
    const before = await membersIn(hub.db);
    await sealed();
    const through = (await commonPosition(hub.db)) as Position;
    const count = async (table: string) => Number((await one(`SELECT count(*) AS n FROM tributary.${table}`))?.n);
    const seals = await count("seal");
    const bound = await one("SELECT max(through) AS through FROM tributary.seal");
    expect(seals).toBeGreaterThan(0);
    await hub.projector.close();
    await inTransaction(hub.db, () => clearFeedBeyond(hub.db, through));
    expect(await membersIn(hub.db)).toEqual(before);
    await inTransaction(hub.db, () => clearFeedBeyond(hub.db, (BigInt(String(bound?.through)) - 1n) as Position));
    expect([await count("segment"), await count("feed"), await count("seal")]).toEqual([0, 0, seals]);
    hub.projector = await hub.startProjector(hub.projections);
    expect(await membersIn(hub.db)).toEqual(before);
    await sealed();
    expect(await count("seal")).toBeGreaterThan(seals);
    await expectFeedWhole(hub);
  });

  it("are the same whoever folds: several projectors write each household's lines once and in order", async () => {
    const second = await hub.startProjector(hub.projections);
    await eventually("both to have shards", async () => second.shards().length === 8 && hub.projector.shards().length === 8);
    const desk = writer("hub");
    const opened = await one("SELECT id FROM tributary.case WHERE view = 'households' AND rule = 'phone' AND subject = 'C-1'");
    const districts = ["Kampala", "Gulu", "Lira"];
    for (let day = 0; day < 6; day++) {
      const site = writer();
      await site.append(
        ...Array.from({ length: 40 }, (_, i) => person(`S-${(i * 7 + day) % 60}`, { district: districts[(i + day) % 3]! })),
      );
      await desk.append(note(String(opened?.id), `day ${day}`));
      await site.append(
        ...Array.from({ length: 20 }, (_, i) => change(`S-${(i * 3 + day) % 60}`, { district: districts[(i * day) % 3]! })),
      );
      if (day % 2 === 1) await sealed();
    }
    await hub.projected();
    await expectFeedWhole(hub);
    await second.close();
    await sealed();
    expect((await lines("C-1")).filter((line) => line.includes("event"))).toHaveLength(9);
    await expectFeedWhole(hub);
  });
});
