import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CasesTold, Live, RowsTold } from "../../services/api/index.ts";
import { EVERYBODY, QUARANTINE_ENTITY, RELEASED, type Viewer } from "../../services/core/index.ts";
import { defineProjection, defineSql, manual, set, text } from "../../services/merge/index.ts";
import { rebuild, reconcile } from "../../services/projector/index.ts";
import { askRefold } from "../../services/views/index.ts";
import { update } from "../support/hub.ts";
import { copyOf, goneIn, HEALTH, heard, idOf, type LiveHub, openLiveHub, RELIEF, readView, rowsIn } from "../support/live.ts";
import { eventually } from "../support/temp.ts";

const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text({ index: true }), given_name: text() },
  resolve: { phone: manual },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  invariants: { not_zero: { problem: ({ phone }) => (phone === "+254700000000" ? "it is not a number" : null) } },
});
const names = defineSql({ name: "names", sql: "SELECT id, given_name FROM views.beneficiaries", needs: ["beneficiaries"] });

/** Who was registered: nothing that is changed later is in it. */
const firsts = defineProjection({
  name: "firsts",
  entity: "beneficiary",
  columns: { given_name: text() },
  events: { "beneficiary.registered": set() },
});

let on: LiveHub;
let live: Live;
beforeAll(async () => {
  on = await openLiveHub([phones, names, firsts]);
  live = on.open({ limits: { askEveryMs: 100 } });
});
afterAll(() => on?.close());

const view = "beneficiaries";
let writes = 0;
const village = (): string => `w${++writes}`;
const as = (viewer: Viewer) => ({ viewer: async () => viewer });
const begun = async (of: { readonly told: readonly unknown[] }): Promise<void> => {
  await eventually("the beginning", async () => of.told.length > 0);
};
const follows = async (viewer: Viewer, more: { readonly view?: string; readonly from?: string } = {}) => {
  const found = heard(live.changes({ view, ...as(viewer), ...more }));
  await begun(found);
  return found;
};
const idsIn = (told: readonly RowsTold[]): readonly string[] => [...rowsIn(told).map(({ id }) => id), ...goneIn(told)];
const kindsIn = (told: readonly { readonly kind: string }[]): readonly string[] => told.map(({ kind }) => kind);
const resumeOf = (told: readonly { readonly resume: string }[]): string => told.at(-1)?.resume ?? "";
/** Something that all who follow are told, once what came before has been told. */
const mark = async (of: readonly { readonly told: readonly RowsTold[] }[], org: "relief" | "health"): Promise<void> => {
  const value = village();
  await on.send(org, [update(idOf(org, 19), { village: value })]);
  for (const { told } of of)
    await eventually("the mark", async () => rowsIn(told).some(({ values }) => values.village === value));
};

describe("rows that change without an event of their own", () => {
  const damage = (id: string): Promise<unknown> =>
    on.hub.db.query("UPDATE views.beneficiaries SET village = 'wrong' WHERE id = $1", [id]);
  const mend = async (id: string): Promise<void> => {
    await askRefold(on.hub.db, view, [{ type: "beneficiary", id }]);
    await eventually("the fold", async () => (await on.hub.db.query("SELECT 1 FROM tributary.refold")).rows.length === 0);
  };

  it("are told once when they are folded again, also to who connects again, and only to whom they belong", async () => {
    const id = idOf("relief", 1);
    await on.send("relief", [update(id, { village: "right" })]);
    await on.hub.projected();
    const [relief, health] = [await follows(RELIEF), await follows(HEALTH)];
    const resume = resumeOf(relief.told);
    await damage(id);
    await mend(id);
    await mark([relief], "relief");
    await mark([health], "health");
    const later = await follows(RELIEF, { from: resume });
    await eventually("what was missed", async () => rowsIn(later.told).length > 0);
    for (const { told } of [relief, later])
      expect(rowsIn(told).filter((row) => row.id === id)).toMatchObject([{ values: { village: "right" } }]);
    expect(idsIn(health.told)).not.toContain(id);
  });

  it("are told as gone where folding them again leaves no row", async () => {
    const id = "NOBODY-1";
    await on.hub.db.query("INSERT INTO tributary.owner VALUES ('beneficiary', $1, 'relief', 1)", [id]);
    await on.hub.db.query(
      `INSERT INTO views.beneficiaries SELECT (jsonb_populate_record(b, jsonb_build_object('id', $1::text))).* FROM views.beneficiaries b WHERE id = $2`,
      [id, idOf("relief", 2)],
    );
    const [relief, health] = [await follows(RELIEF), await follows(HEALTH)];
    await on.hub.db.query("DELETE FROM views.beneficiaries WHERE id = $1", [id]);
    await mend(id);
    await mark([health], "health");
    await mark([relief], "relief");
    expect(goneIn(relief.told)).toEqual([id]);
    expect(idsIn(health.told)).not.toContain(id);
    await on.hub.db.query("DELETE FROM tributary.owner WHERE entity_id = $1", [id]);
  });

  it("are read again when another build is swapped in, and followed on from there", async () => {
    const copy = copyOf(() => live, { viewer: RELIEF, view });
    await copy.connect();
    const away = await follows(HEALTH);
    const { hub } = on;
    const all = { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    await rebuild(all, { names: [view], fresh: true });
    await eventually("the swap", async () => copy.told.some(({ kind }) => kind === "reset"));
    expect(kindsIn((await follows(HEALTH, { from: resumeOf(away.told.slice(0, 1)) })).told)).toEqual(["reset"]);
    await on.send("relief", [update(idOf("relief", 3), { village: village() })]);
    await eventually("the change", async () => rowsIn(copy.told).length > 0);
    await copy.abreast();
    expect(kindsIn(copy.told)).toEqual(["standing", "reset", "rows"]);
    expect(copy.twice).toEqual([]);
    await copy.disconnect();
  });

  it("are read again when books are balanced and wrong rows put right", async () => {
    const copy = copyOf(() => live, { viewer: RELIEF, view });
    await copy.connect();
    await damage(idOf("relief", 6));
    const { hub } = on;
    const all = { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    const books = await reconcile(all, { names: [view], repair: true });
    expect(books.find((each) => each.view === view)).toMatchObject({ repaired: true, named: [idOf("relief", 6)] });
    await eventually("the reading again", async () => kindsIn(copy.told).includes("reset"));
    await copy.abreast();
    await copy.disconnect();
  });

  it("are told once each where the database refuses one of a page, and that one when it takes it", async () => {
    const [refused, fine] = [idOf("relief", 10), idOf("relief", 11)];
    const found = await follows(RELIEF);
    await on.hub.db.query("ALTER TABLE views.beneficiaries ADD CONSTRAINT picky CHECK (village <> 'refused') NOT VALID");
    await on.send("relief", [update(refused, { village: "refused" }), update(fine, { village: village() })]);
    await on.hub.projected();
    await mark([found], "relief");
    expect(rowsIn(found.told).map(({ id }) => id)).toEqual([fine, idOf("relief", 19)]);
    await on.hub.db.query("ALTER TABLE views.beneficiaries DROP CONSTRAINT picky");
    await mend(refused);
    await eventually("the row", async () => rowsIn(found.told).length > 2);
    expect(rowsIn(found.told).slice(2)).toMatchObject([{ id: refused, values: { village: "refused" } }]);
  });

  it("are told to their owner when somebody else's event about them is released from quarantine", async () => {
    const id = idOf("health", 4);
    await on.send("relief", [update(id, { birth_date: "2019-02-30" })], true);
    await on.hub.projected();
    const { rows } = await on.hub.db.query("SELECT * FROM tributary.quarantine WHERE entity_id = $1", [id]);
    const [health, relief] = [await follows(HEALTH), await follows(RELIEF)];
    await on.hub.settle(
      rows.map((row) => ({
        type: RELEASED,
        entity: { type: QUARANTINE_ENTITY, id: `${row.origin}/${row.seq}` },
        actor: "operator",
        data: {
          ...{ origin: row.origin, seq: Number(row.seq), hash: row.hash, type: row.type },
          entity: { type: "beneficiary", id },
          schema: { subject: row.schema_subject, version: row.schema_version },
          data: { birth_date: "2019-02-28" },
        },
      })),
    );
    await on.hub.projected();
    await mark([health], "health");
    await mark([relief], "relief");
    expect(rowsIn(health.told).filter((row) => row.id === id)).toMatchObject([{ values: { birth_date: "2019-02-28" } }]);
    expect(idsIn(relief.told)).not.toContain(id);
  });
});

it("an event that is not for a view tells nothing of it", async () => {
  const [followed, others] = [await follows(RELIEF, { view: "firsts" }), await follows(RELIEF)];
  await mark([others], "relief");
  const later = await follows(RELIEF, { view: "firsts", from: resumeOf(followed.told) });
  expect(kindsIn(later.told)).toEqual(["standing"]);
  expect(kindsIn(followed.told)).toEqual(["standing"]);
});

describe("a resume position", () => {
  it("that is too far behind, of another life of the tables, or before notes that were deleted, makes its owner read again", async () => {
    const old = await follows(RELIEF);
    const resume = resumeOf(old.told);
    for (let i = 0; i < 5; i++) await on.send("relief", [update(idOf("relief", i), { village: village() })]);
    await on.hub.projected();
    const told = async (at: Live, from: string): Promise<string | undefined> => {
      const found = heard(at.changes({ view, ...as(RELIEF), from }));
      await begun(found);
      return kindsIn(found.told)[0];
    };
    expect(await told(live, resume)).toBe("rows");
    expect(await told(on.open({ limits: { eventsBehind: 3 } }), resume)).toBe("reset");
    expect(await told(on.open({ limits: { changedAtOnce: 3 } }), resume)).toBe("reset");
    const one = (await readView(live, { viewer: RELIEF, view })).resume;
    for (let i = 0; i < 5; i++) await on.send("relief", [update(idOf("relief", 1), { village: village() })]);
    await on.hub.projected();
    expect(await told(on.open({ limits: { eventsBehind: 3 } }), one)).toBe("reset");
    expect(await told(on.open({ limits: { eventsBehind: 5 } }), one)).toBe("rows");
    const [, ...rest] = resume.split(".");
    expect(await told(live, ["000000000000", ...rest].join("."))).toBe("reset");
    await on.hub.db.query("UPDATE tributary.change_head SET trimmed = number");
    const now = (await readView(live, { viewer: RELIEF, view })).resume;
    expect(await told(live, now)).toBe("standing");
    await on.hub.db.query("INSERT INTO tributary.incarnation (id, how) VALUES ('other', 'declared')");
    expect(await told(live, now)).toBe("reset");
    await on.hub.db.query("DELETE FROM tributary.incarnation WHERE id = 'other'");
    await on.hub.db.query("UPDATE tributary.change_head SET number = number + 1, trimmed = number + 1");
    expect(await told(live, now)).toBe("reset");
    await on.hub.db.query("UPDATE tributary.change_head SET trimmed = 0");
  });

  it("does not suffer from a condition that fails at some row: only who asks that is refused", async () => {
    await on.hub.db.query(`ALTER TABLE views.beneficiaries ADD COLUMN note json DEFAULT '"\\u0000"'`);
    const at = on.open();
    const [bad, fine] = [
      heard(at.changes({ view, ...as(RELIEF), where: [{ column: "note", operator: "=", value: "x" }] })),
      heard(at.changes({ view, ...as(RELIEF), where: [{ column: "village", operator: "!=", value: "x" }] })),
    ];
    for (const each of [bad, fine]) await begun(each);
    await mark([fine], "relief");
    expect(await bad.end).toMatchObject({ code: "input-malformed", message: expect.stringContaining("cannot be compared") });
    await on.hub.db.query("ALTER TABLE views.beneficiaries DROP COLUMN note");
  });

  it("that no hub has given, a view that there is not, and conditions that its columns cannot be asked are refused", async () => {
    const failure = async (more: object): Promise<unknown> => heard(live.changes({ view, ...as(RELIEF), ...more })).end;
    expect(await failure({ from: "then" })).toMatchObject({ code: "input-malformed" });
    expect(await failure({ view: "nothing" })).toMatchObject({ code: "not-found" });
    expect(await failure({ where: [{ column: "nothing", operator: "=", value: 1 }] })).toMatchObject({ code: "input-malformed" });
    expect(await failure({ where: [{ column: "registered_on", operator: "=", value: "soon" }] })).toMatchObject({
      code: "input-malformed",
    });
    expect(await failure({ view: "names", ...as(EVERYBODY), where: [{ column: "id", isNull: true }] })).toMatchObject({
      code: "usage",
    });
  });
});

describe("views that are made of others", () => {
  it("tell that they have changed, to who sees everything, when what they are made of has", async () => {
    const [all, totals] = [
      await follows(EVERYBODY, { view: "names" }),
      await follows(EVERYBODY, { view: "distribution_summary" }),
    ];
    await on.send("relief", [update(idOf("relief", 1), { village: village() })]);
    await eventually("the change", async () => kindsIn(all.told).includes("changed"));
    const standing = await follows(EVERYBODY, { view: "names", from: resumeOf(all.told) });
    expect(kindsIn(standing.told)).toEqual(["standing"]);
    expect(kindsIn(totals.told)).toEqual(["standing"]);
    expect(await heard(live.changes({ view: "names", ...as(RELIEF) })).end).toMatchObject({ code: "not-permitted" });
  });
});

describe("cases, conflicts and syncs", () => {
  const caseIds = (told: readonly CasesTold[]): readonly string[] =>
    told.flatMap((each) => (each.kind === "cases" ? each.cases.map(({ subject, state }) => `${subject} ${state}`) : []));

  it("are told to those who may see them", async () => {
    const [mine, theirs] = [heard(live.casesChanged(as(RELIEF))), heard(live.casesChanged(as(HEALTH)))];
    const [opened, syncs, theirSyncs] = [
      heard(live.conflictsOpened(as(RELIEF))),
      heard(live.syncsCompleted(as(RELIEF))),
      heard(live.syncsCompleted(as(HEALTH))),
    ];
    for (const each of [mine, theirs, opened, syncs, theirSyncs]) await begun(each);
    const id = idOf("relief", 7);
    await on.send("relief", [update(id, { phone: "+254700000000" })]);
    await eventually("the case", async () => caseIds(mine.told).length > 0);
    const resume = resumeOf(mine.told);
    await on.send("relief", [update(id, { phone: "+254700001007" })]);
    await eventually("its end", async () => caseIds(mine.told).length > 1);
    expect(caseIds(mine.told)).toEqual([`${id} open`, `${id} closed`]);
    expect(caseIds(opened.told)).toEqual([`${id} open`]);
    const again = heard(live.casesChanged({ ...as(RELIEF), from: resume }));
    await begun(again);
    expect(caseIds(again.told)).toEqual([`${id} closed`]);
    expect(caseIds(theirs.told)).toEqual([]);
    const { rows } = await on.hub.db.query(
      "SELECT max(seq)::int AS last FROM tributary.audit WHERE org = 'relief' AND site = 'base'",
    );
    await eventually("the sync", async () =>
      syncs.told.some((each) => each.kind === "syncs" && each.syncs.some(({ through }) => through === rows[0]?.last)),
    );
    expect(new Set(syncs.told.flatMap((each) => (each.kind === "syncs" ? each.syncs.map(({ site }) => site) : [])))).toEqual(
      new Set(["base"]),
    );
    // What a guest of theirs wrote does not show them how far the guest's devices are.
    await on.send("relief", [update(idOf("health", 3), { village: village() })]);
    // Each time further than before.
    const through = syncs.told.flatMap((each) => (each.kind === "syncs" ? each.syncs.map((one) => one.through) : []));
    expect(through).toEqual([...new Set(through)].sort((a, b) => a - b));
    await on.hub.projected();
    await on.send("health", [update(idOf("health", 3), { village: village() })]);
    const orgs = (): readonly string[] =>
      theirSyncs.told.flatMap((each) => (each.kind === "syncs" ? each.syncs.map(({ org }) => org) : []));
    await eventually("the sync", async () => orgs().length > 0);
    expect(new Set(orgs())).toEqual(new Set(["health"]));
  });
});

describe("whoever follows", () => {
  it("is cut off within seconds once they may not any more, and reads again when they may see others", async () => {
    let viewer: Viewer | null = RELIEF;
    const found = heard(live.changes({ view, viewer: async () => viewer }));
    await begun(found);
    viewer = { orgs: ["health"] };
    await eventually("the reading again", async () => kindsIn(found.told).includes("reset"));
    const before = idsIn(found.told).length;
    await on.send("relief", [update(idOf("relief", 8), { village: village() })]);
    await mark([found], "health");
    expect(idsIn(found.told).slice(before)).toEqual([idOf("health", 19)]);
    viewer = null;
    expect(await found.end).toMatchObject({ code: "not-permitted" });
  });

  it("and takes nothing for long is ended with a reason, and holds up nobody", async () => {
    const at = on.open({ limits: { untaken: 5 } });
    const slow = at.changes({ view, ...as(RELIEF) })[Symbol.asyncIterator]();
    const quick = heard(at.changes({ view, ...as(RELIEF) }));
    expect(await slow.next()).toMatchObject({ value: { kind: "standing" } });
    await begun(quick);
    for (let i = 0; i < 8; i++) {
      await on.send("relief", [update(idOf("relief", i), { village: village() })]);
      await eventually("what was sent", async () => rowsIn(quick.told).some(({ id }) => id === idOf("relief", i)));
    }
    await expect(slow.next()).rejects.toMatchObject({ code: "too-slow", message: expect.stringContaining("untaken") });
    expect(await slow.next()).toEqual({ done: true, value: undefined });
    expect(at.counts().followers).toBe(1);
    await at.close();
    expect(await quick.end).toMatchObject({ code: "backend-unreachable" });
  });

  it("shares what is read with others of the same rights and view, be they a thousand", async () => {
    const at = on.open();
    const CONDITIONS = 250;
    const followers = Array.from({ length: 1_000 }, (_, i) =>
      heard(
        at.changes({
          view,
          ...as(i % 2 === 0 ? RELIEF : HEALTH),
          where: [{ column: "village", operator: "!=", value: `none ${(i >> 1) % CONDITIONS}` }],
        }),
      ),
    );
    for (const each of followers) await begun(each);
    const before = at.counts();
    expect(before).toMatchObject({ followers: 1_000, groups: 2 });
    const value = village();
    await on.send("health", [update(idOf("health", 5), { village: value })]);
    const theirs = followers.filter((_, i) => i % 2 === 1);
    for (const { told } of theirs) await eventually("the row", async () => rowsIn(told).length > 0);
    for (const { told } of theirs) expect(rowsIn(told)).toMatchObject([{ id: idOf("health", 5), values: { village: value } }]);
    for (const { told } of followers.filter((_, i) => i % 2 === 0)) expect(kindsIn(told)).toEqual(["standing"]);
    // Two projectors may each tell of their part of the log.
    expect(at.counts().reads - before.reads).toBeLessThanOrEqual(4 * 2);
    await at.close();
    for (const { end } of followers) expect(await end).toMatchObject({ code: "backend-unreachable" });
    expect(at.counts().followers).toBe(0);
  });
});
