import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Position, position } from "../../services/core/index.ts";
import type { Projection } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import {
  addBuilds,
  commonPosition,
  type Db,
  generationsOf,
  type HistoryRow,
  inTransaction,
  migrate,
  replaceEntity,
  rows,
  SHARDS,
  swap,
  type ViewChanges,
  writeViews,
} from "../../services/views/index.ts";
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
  await migrate(db);
});
afterAll(() => postgres?.close());

const at = (n: number): Position => position(BigInt(n));
const everywhere = (n: number): Promise<unknown> => db.query("UPDATE tributary.shard SET position = $1", [n]);

/** What folding an entity gives: a version of its row for each of these names, by position. */
const changesOf = (
  target: { generation: number; place: string },
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
    settled: [],
    claims: [],
    checks: [],
    additions: new Map(),
    parked: [],
    waiting: [],
    passedOver: [],
    through: last.position,
    eventsOf: () => [],
  };
};

/** Builds the view and has it take the place of the live one, where all shards stand at a position. */
async function built(names: Readonly<Record<number, string>>, swappedAt: number): Promise<void> {
  await addBuilds(db, [{ view: people, readers: {} }], "building", []);
  const build = (await generationsOf(db, "building")).get("people");
  if (build === undefined) throw new Error("no build");
  await writeViews(db, [changesOf(build, "p1", names)], { tells: false, alone: true });
  await everywhere(swappedAt);
  const positions = Array.from({ length: SHARDS }, () => at(swappedAt));
  await inTransaction(db, () => swap(db, { builds: [build], retired: [], views: [people], leaves: false }, positions));
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
const versions = async (): Promise<number> =>
  (await db.query<{ n: number }>("SELECT count(*)::int AS n FROM views.people_history")).rows[0]?.n ?? 0;

describe("what was known of a row at a position", () => {
  it("stays answerable after the entity is folded anew: its replaced versions are kept, and those that are the same are kept once", async () => {
    await built({ 10: "Amina", 20: "Amina D." }, 100);
    await refolded({ 10: "Amina", 20: "Amina Deng", 60: "Amina Deng Lual" }, 200);
    expect([await knownAt(15), await knownAt(50), await knownAt(150), await knownAt(199)]).toEqual([
      "Amina",
      "Amina D.",
      "Amina D.",
      "Amina D.",
    ]);
    expect(await knownAt(200)).toBe("Amina Deng Lual");
    expect(await versions()).toBe(4);
    // Folded anew once more at the same position: what was never known at any is not kept.
    await refolded({ 10: "Amina", 20: "Amina Deng", 60: "A. D. Lual" }, 200);
    expect(await knownAt(200)).toBe("A. D. Lual");
    expect(await versions()).toBe(4);
  });

  it("stays answerable after the view is built anew by other rules", async () => {
    await built({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL" }, 300);
    expect(await knownAt(50)).toBe("Amina D.");
    expect(await knownAt(299)).toBe("A. D. Lual");
    expect(await knownAt(300)).toBe("AMINA LUAL");
    // Built anew by the same rules: nothing is superseded.
    const before = await versions();
    await built({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL" }, 400);
    expect(await versions()).toBe(before);
    expect([await knownAt(299), await knownAt(300)]).toEqual(["A. D. Lual", "AMINA LUAL"]);
  });

  it("is asked for only up to where all shards have come", async () => {
    await refolded({ 10: "AMINA", 20: "AMINA DENG", 60: "AMINA LUAL", 450: "Nobody yet" }, 500);
    await db.query("UPDATE tributary.shard SET position = 420 WHERE shard = 7");
    expect(await commonPosition(db)).toBe(420n);
    const found = await rows(db, { view: "people", asOf: { position: at(500) }, page: { limit: 10 } });
    expect(found).toMatchObject({ through: "420", rows: [{ name: "AMINA LUAL" }] });
    await everywhere(500);
    expect(await knownAt(500)).toBe("Nobody yet");
  });
});
