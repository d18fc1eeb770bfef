import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LogEntry, position } from "../../services/core/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import {
  addBuilds,
  cases,
  type Db,
  decisionsStanding,
  generationsOf,
  inTransaction,
  migrate,
  rows,
  SHARDS,
  swap,
  trail,
} from "../../services/views/index.ts";
import { copyAudit } from "../../services/views/write/audit.ts";
import { writeQuarantine } from "../../services/views/write/quarantine.ts";
import { openPostgres } from "../support/postgres.ts";
import { HEAD } from "../support/ranges.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text() },
  events: { "person.registered": set() },
});
const PERSON = { type: "person", id: "p1" };
const at = (n: number) => position(BigInt(n));

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
const everywhere = (n: number | null): Promise<unknown> => db.query("UPDATE tributary.shard SET position = $1", [n]);
/** One shard is behind all others. */
const oneBehind = async (behind: number, others: number): Promise<void> => {
  await everywhere(others);
  await db.query("UPDATE tributary.shard SET position = $1 WHERE shard = 7", [behind]);
};

function entry(n: number, more: Partial<LogEntry> = {}): LogEntry {
  const hash = String(n).padStart(64, "0");
  const id = `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
  const head = { ...HEAD, entity: PERSON, seq: n, hash, prev: hash, id } as unknown as LogEntry["head"];
  return { head, content: { kind: "accepted", data: {} }, clock: null, position: at(n), recordedAtMs: n, ...more };
}

beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
  await addBuilds(db, [{ view: people, readers: {} }], "building", []);
  const build = (await generationsOf(db, "building")).get("people");
  if (build === undefined) throw new Error("no build");
  const positions = Array.from({ length: SHARDS }, () => at(1));
  await everywhere(1);
  await inTransaction(db, () => swap(db, { builds: [build], retired: [], views: [people], leaves: false }, positions));
  const reason = { code: "schema-mismatch", message: "no", path: null };
  const held = entry(20, { content: { kind: "quarantined", reason, text: "{}" } });
  await copyAudit(db, { entries: [entry(10), held, entry(30), entry(50)], projectionErrors: new Map() });
  await writeQuarantine(db, [held]);
  await db.query(
    "UPDATE tributary.quarantine SET state = 'rejected', settled_position = 45, settled_by = 'maria', settled_at = now(), settled_note = 'twice'",
  );
  await db.query(
    `INSERT INTO tributary.decision_row (view, generation, entity_id, register, position, rule, rule_version, reason, value, winner, losers, settled_position)
     SELECT 'people', $1, 'p1', 'name', p, 'latest', 1, 'stamp', '"x"', '{}', '[]', s FROM (VALUES (10, 30), (30, 50), (50, NULL)) AS v (p, s)`,
    [build.generation],
  );
  await db.query(
    `INSERT INTO tributary.case_row (view, generation, id, kind, entity_type, subject, rule, says, about, mark, opened_position, opened_at, changed_position)
     VALUES ('people', $1, 'c1', 'register', 'person', 'p1', 'name', '', '{}', 'm', 50, now(), 50)`,
    [build.generation],
  );
});
afterAll(() => postgres?.close());

const shown = async () => {
  const found = await trail(db, PERSON);
  return (
    found && {
      through: found.through,
      events: found.events.map((event) => [Number(event.position), event.settled?.state ?? null]),
      decisions: found.decisions.map((each) => [Number(each.position), each.settledPosition && Number(each.settledPosition)]),
    }
  );
};

describe("while shards stand at different positions", () => {
  it("a trail shows events, settlements and decisions as they were known at the position that all shards have reached, and names it", async () => {
    await oneBehind(40, 60);
    expect(await shown()).toEqual({
      through: 40n,
      events: [
        [10, null],
        [20, "held"],
        [30, null],
      ],
      decisions: [
        [10, 30],
        [30, null],
      ],
    });
    const quarantined = (await trail(db, PERSON))?.events.find(({ seq }) => seq === 20);
    expect(quarantined?.settled).toEqual({ state: "held", by: null, at: null, position: null, note: null, data: null });
    await everywhere(60);
    expect(await shown()).toEqual({
      through: 60n,
      events: [
        [10, null],
        [20, "rejected"],
        [30, null],
        [50, null],
      ],
      decisions: [
        [10, 30],
        [30, 50],
        [50, null],
      ],
    });
  });

  it("an entity has no trail until all shards have come to its first event", async () => {
    await oneBehind(5, 60);
    expect(await trail(db, PERSON)).toBeNull();
    await everywhere(60);
    await db.query("UPDATE tributary.shard SET position = NULL WHERE shard = 7");
    expect(await trail(db, PERSON)).toBeNull();
  });

  it("one decision on a register is shown as standing: the one that stood at the position that all shards have reached", async () => {
    for (const [behind, standing] of [
      [5, []],
      [10, [10]],
      [40, [30]],
      [50, [50]],
    ] as const) {
      await oneBehind(behind, 60);
      expect((await decisionsStanding(db)).map((each) => Number(each.position))).toEqual(standing);
    }
  });

  it("cases and rows are shown as they are now, and say up to which position they are complete", async () => {
    await oneBehind(40, 60);
    expect(await cases(db, {})).toMatchObject({ through: 40n, cases: [{ id: "c1" }] });
    expect(await rows(db, { view: "people", page: { limit: 1 } })).toMatchObject({ through: 40n });
    expect(await rows(db, { view: "people", asOf: { position: at(30) }, page: { limit: 1 } })).toMatchObject({ through: 30n });
    expect(await rows(db, { view: "people", asOf: { position: at(60) }, page: { limit: 1 } })).toMatchObject({ through: 40n });
    await db.query("UPDATE tributary.shard SET position = NULL WHERE shard = 7");
    const past = await rows(db, { view: "people", asOf: { position: at(60) }, page: { limit: 1 } });
    expect(past).toMatchObject({ through: null, rows: [] });
    expect(await cases(db, {})).toMatchObject({ through: null });
  });
});
