import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Hlc, type OriginId, type Position, position, type Seq } from "../../services/core/index.ts";
import type { Decision, Projection, Sibling } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import {
  addBuilds,
  commonPosition,
  type Db,
  decisionsOn,
  decisionsSuperseded,
  type Generation,
  generationsOf,
  type HistoryRow,
  inTransaction,
  migrate,
  prepareSwap,
  replaceEntity,
  rows,
  SHARDS,
  swap,
  type ViewChanges,
  writeViews,
} from "../../services/views/index.ts";
import { carryDecisions } from "../../services/views/past-decisions.ts";
import { openPostgres } from "../support/postgres.ts";

const people: Projection = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text() },
  events: { "person.registered": set() },
});

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
});
afterAll(() => postgres?.close());

const at = (n: number): Position => position(BigInt(n));
const everywhere = (n: number): Promise<unknown> => db.query("UPDATE tributary.shard SET position = $1", [n]);

/** What folding an entity gives: a version of its row for each of these names, by position. */
const changesOf = (
  target: { generation: number; namespace: string },
  id: string,
  names: Readonly<Record<number, string>>,
): ViewChanges => {
  const history = Object.entries(names).map(
    ([n, name]): HistoryRow => ({
      id,
      position: at(Number(n)),
      recordedAtMs: Number(n),
      row: { values: { name }, deleted: false, conflicts: 0, tables: {} },
    }),
  );
  const last = history.at(-1);
  if (last === undefined) throw new Error("no version");
  return {
    target: { projection: people, totals: [], ...target },
    rows: [{ id, isNew: true, row: last.row, waitingFor: null, firstPosition: at(1), lastPosition: last.position, state: "{}" }],
    history,
    decisions: [],
    ended: [],
    claims: [],
    checks: [],
    additions: new Map(),
    parked: [],
    waiting: [],
    passedOver: [],
    through: last.position,
    events: new Map(),
  };
};

/** Builds the view and swaps it in for the live one, with all shards at one position; `between` runs after the swap was prepared. */
async function built(
  names: Readonly<Record<number, string>>,
  swappedAt: number,
  {
    isPrepared,
    between = async () => {},
  }: { readonly isPrepared: boolean; readonly between?: (build: Generation) => Promise<void> },
): Promise<void> {
  await addBuilds(db, [{ view: people, readers: {} }], "building", []);
  const build = (await generationsOf(db, "building")).get("people");
  if (build === undefined) throw new Error("no build");
  await writeViews(db, [changesOf(build, "p1", names)], { tells: false, alone: true });
  const through = at(Math.max(...Object.keys(names).map(Number)));
  const preparedAt = isPrepared ? await prepareSwap(db, [build], through) : null;
  await between(build);
  await everywhere(swappedAt);
  const positions = Array.from({ length: SHARDS }, () => at(swappedAt));
  const change = { builds: [build], retired: [], views: [people], preparedAt, leaves: false };
  await inTransaction(db, () => swap(db, change, positions));
}

const refolded = async (names: Readonly<Record<number, string>>, upTo: number): Promise<void> => {
  const live = (await generationsOf(db, "live")).get("people");
  if (live === undefined) throw new Error("no view");
  await inTransaction(db, () =>
    replaceEntity(db, "p1", { changes: changesOf(live, "p1", names), parked: null }, { upTo: at(upTo), isLive: true }),
  );
  await everywhere(upTo);
};

const knownAt = async (n: number): Promise<unknown> => {
  const found = await rows(db, { view: "people", asOf: { position: at(n) }, page: { limit: 10 } });
  return found.rows[0]?.name ?? null;
};
const versionsOf = async (n: number): Promise<{ name: string; known_from: string | null; superseded_at: string }[]> =>
  (
    await db.query<{ name: string; known_from: string | null; superseded_at: string }>(
      "SELECT values ->> 'name' AS name, known_from, superseded_at FROM views.people_history WHERE position = $1 ORDER BY superseded_at",
      [n],
    )
  ).rows;
const versions = async (): Promise<number> =>
  (await db.query<{ n: number }>("SELECT count(*)::int AS n FROM views.people_history")).rows[0]?.n ?? 0;

describe.each([
  ["prepared before the swap", true],
  ["carried over in the swap alone", false],
])("what was known of a row at a position, %s,", (_, isPrepared) => {
  const how = { isPrepared };
  beforeAll(async () => {
    await postgres.empty();
    await migrate(db);
  });

  it("stays answerable after the entity is folded again: versions that are replaced are kept, and those that are the same are kept once", async () => {
    await built({ 10: "Amina", 20: "Amina D." }, 100, how);
    await refolded({ 10: "Amina", 20: "Amina Deng", 60: "Amina Deng Lual" }, 200);
    expect([await knownAt(15), await knownAt(50), await knownAt(150), await knownAt(199)]).toEqual([
      "Amina",
      "Amina D.",
      "Amina D.",
      "Amina D.",
    ]);
    expect(await knownAt(200)).toBe("Amina Deng Lual");
    expect(await versions()).toBe(4);
    // Folded once more at the same position: a version that was never known at any position is not kept.
    await refolded({ 10: "Amina", 20: "Amina Deng", 60: "A. D. Lual" }, 200);
    expect(await knownAt(200)).toBe("A. D. Lual");
    expect(await versions()).toBe(4);
  });

  it("stays answerable after the view is rebuilt by other rules", async () => {
    await built({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL" }, 300, how);
    expect(await knownAt(50)).toBe("Amina D.");
    expect(await knownAt(299)).toBe("A. D. Lual");
    expect(await knownAt(300)).toBe("AMINA LUAL");
    // Rebuilt by the same rules: nothing is superseded.
    const before = await versions();
    await built({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL" }, 400, how);
    expect(await versions()).toBe(before);
    expect([await knownAt(299), await knownAt(300)]).toEqual(["A. D. Lual", "AMINA LUAL"]);
  });

  it("is answered only up to the position that all shards have reached", async () => {
    await refolded({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL", 450: "Nobody yet" }, 500);
    await db.query("UPDATE tributary.shard SET position = 420 WHERE shard = 7");
    expect(await commonPosition(db)).toBe(420n);
    const found = await rows(db, { view: "people", asOf: { position: at(500) }, page: { limit: 10 } });
    expect(found).toMatchObject({ through: 420n, rows: [{ name: "AMINA LUAL" }] });
    await everywhere(500);
    expect(await knownAt(500)).toBe("Nobody yet");
  });
});

describe("what moves after the swap was prepared", () => {
  beforeEach(async () => {
    await postgres.empty();
    await migrate(db);
    await built({ 10: "Amina", 20: "Amina D." }, 100, { isPrepared: false });
  });
  const known = async (...positions: readonly number[]): Promise<unknown[]> => {
    const names: unknown[] = [];
    for (const n of positions) names.push(await knownAt(n));
    return names;
  };

  it("in the live view is carried over as it was known: a version that was superseded meanwhile, and one that was added", async () => {
    await built({ 10: "AMINA", 20: "Amina D.", 60: "Amina L." }, 200, {
      isPrepared: true,
      between: () => refolded({ 10: "Amina", 20: "Amina Deng", 120: "Amina Deng Lual" }, 150),
    });
    expect(await known(15, 99, 149, 150, 199, 200)).toEqual([
      ...["Amina", "Amina D.", "Amina D."],
      ...["Amina Deng Lual", "Amina Deng Lual", "Amina L."],
    ]);
    // The build says what the live view said until 150, and no longer did at the swap: it is known again from there on.
    expect((await versionsOf(20)).filter(({ name }) => name === "Amina D.")).toEqual([
      { name: "Amina D.", known_from: null, superseded_at: "150" },
      { name: "Amina D.", known_from: "200", superseded_at: "9223372036854775807" },
    ]);
  });

  it("in the build is compared again, also where an entity that was parked there is folded from its first event", async () => {
    await built({ 10: "Amina" }, 200, {
      isPrepared: true,
      async between(build) {
        const changes = changesOf(build, "p1", { 10: "AMINA", 20: "AMINA DENG", 130: "AMINA LUAL" });
        await replaceEntity(db, "p1", { changes, parked: null }, { upTo: at(130), isLive: false });
      },
    });
    expect(await known(15, 199, 200)).toEqual(["Amina", "Amina D.", "AMINA LUAL"]);
    expect((await versionsOf(10)).map(({ name, known_from }) => [name, known_from])).toEqual([
      ["Amina", null],
      ["AMINA", "200"],
    ]);
  });
});

describe("a decision that is replaced when its entity is folded again", () => {
  beforeEach(async () => {
    await postgres.empty();
    await migrate(db);
    await built({ 10: "Amina" }, 100, { isPrepared: false });
  });
  const by = {
    origin: "ngo.juba.tablet.aaaaaaaaaaaa" as OriginId,
    seq: 0 as Seq,
    actor: "deng",
    hlc: "0" as Hlc,
    clockWrong: false,
  };
  const decided = (target: { generation: number; namespace: string }, shown: string): ViewChanges => {
    const decision: Decision = {
      ...{ register: "name", rule: "latest", ruleVersion: 1, reason: "later-stamp", value: shown, isOpen: false },
      winner: { by, value: shown } as Sibling, // the members that are kept
      losers: [],
    };
    const row = {
      view: "people",
      generation: target.generation,
      entityType: "person",
      entityId: "p1",
      position: at(10),
      decision,
      endedAt: null,
    };
    return { ...changesOf(target, "p1", { 10: shown }), decisions: [row] };
  };
  const refoldedWith = async (shown: string, upTo: number): Promise<void> => {
    const live = (await generationsOf(db, "live")).get("people");
    if (live === undefined) throw new Error("no view");
    const changes = decided(live, shown);
    await inTransaction(db, () => replaceEntity(db, "p1", { changes, parked: null }, { upTo: at(upTo), isLive: true }));
    await everywhere(upTo);
  };
  const current = async (): Promise<unknown[]> =>
    (await decisionsOn(db, { type: "person", id: "p1" }, await commonPosition(db))).map(({ value }) => value);
  const past = async (): Promise<unknown[]> =>
    (await decisionsSuperseded(db, { type: "person", id: "p1" }, await commonPosition(db))).map(
      ({ value, knownFrom, supersededAt }) => [value, knownFrom, supersededAt],
    );

  it("stays, marked with the position at which it was superseded, and readers are shown the one that stands", async () => {
    await refoldedWith("Amina", 200);
    await refoldedWith("Aminah", 300);
    expect(await current()).toEqual(["Aminah"]);
    expect(await past()).toEqual([["Amina", "200", "300"]]);
    // The same again, and another at the same position: neither leaves a trace.
    await refoldedWith("Aminah", 400);
    await refoldedWith("A.", 400);
    await refoldedWith("Aminah", 400);
    expect(await current()).toEqual(["Aminah"]);
    expect(await past()).toEqual([["Amina", "200", "300"]]);
  });

  it("stays known when the view is rebuilt, and so does a decision that the new rules no longer make", async () => {
    await refoldedWith("Amina", 200);
    await refoldedWith("Aminah", 300);
    await built({ 10: "AMINAH" }, 500, {
      isPrepared: true,
      between: async (build) => {
        await writeViews(db, [{ ...decided(build, "AMINAH"), rows: [], history: [] }], { tells: false, alone: true });
      },
    });
    expect(await current()).toEqual(["AMINAH"]);
    expect(await past()).toEqual([
      ["Amina", "200", "300"],
      ["Aminah", "300", "500"],
    ]);
  });

  it("is carried over without a look at all pairs, though the planner knows nothing of the new build", async () => {
    const copyOf = `INSERT INTO tributary.decision_row (view, generation, entity_id, register, position, rule, rule_version, reason, value, winner, losers, is_open)
      SELECT 'people', $1, 'p' || n, 'name', n, 'latest', 1, 'later-stamp', '"A"', '{}', '[]', false FROM generate_series(1, 500) n`;
    const plans: string[] = [];
    const seen: Db = Object.create(db, {
      query: {
        async value(text: string, values?: unknown[]) {
          if (values !== undefined) plans.push(JSON.stringify((await db.query(`EXPLAIN ${text}`, values)).rows));
          return db.query(text, values);
        },
      },
    });
    await db.query(copyOf, [7]);
    await db.query("ANALYZE tributary.decision_row");
    await db.query(copyOf, [8]);
    const positions = Array.from({ length: SHARDS }, () => at(1_000));
    await inTransaction(db, () => carryDecisions(seen, { view: "people", from: 7, to: 8 }, positions));
    expect(plans.length).toBeGreaterThan(0);
    expect(plans.filter((plan) => plan.includes("Nested Loop"))).toEqual([]);
    expect((await db.query("SHOW enable_nestloop")).rows).toEqual([{ enable_nestloop: "on" }]);
  });
});
