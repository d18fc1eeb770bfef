import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Db, migrate, migrations } from "../../services/views/index.ts";
import { openPostgres } from "../support/postgres.ts";
import { schemaOf } from "../support/schema.ts";

const DUMP = join(import.meta.dirname, "../../services/views/schema.sql");
const HEAD = `-- What the migrations make, as PostgreSQL describes it. Made by test/views/schema.int.spec.ts: after a new migration, run it with TRIBUTARY_UPDATE_SCHEMA=1.
`;

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
});
beforeEach(() => postgres.empty());
afterAll(() => postgres?.close());

const one = async (sql: string): Promise<Record<string, unknown> | undefined> => (await db.query(sql)).rows[0];

/** Rows that a hub of each version has, written after that version's migration and before the next one. */
const ROWS: Readonly<Record<string, string>> = {
  "001_tables.sql": `
    INSERT INTO tributary.checkpoint VALUES ('main', 4096);
    INSERT INTO tributary.view VALUES ('people', 'digest');
    CREATE TABLE views.people (id text PRIMARY KEY, name text);
    INSERT INTO tributary.audit VALUES ('ngo.juba.tablet.aaaaaaaaaaaa', 0, 4096, '01890000-0000-7000-8000-000000000000', 'person.registered', 'person', 'p1', 'ngo',
      'juba', 'tablet', 'amina', now(), now(), '0', NULL, 'person', 1, '{}', '{"name":"Amina"}', NULL, NULL, '', '', NULL, NULL);
    INSERT INTO tributary.decision VALUES ('people', 'p1', 'name', 4096, 'lww', 1, 'later', '{}', '[]', NULL);
    INSERT INTO tributary.quarantine VALUES ('ngo.juba.tablet.aaaaaaaaaaaa', 1, 4200, '01890000-0000-7000-8000-000000000001', 'person.registered', 'person', 'p2',
      'juba', 'amina', now(), 'person', 1, 'event-invalid', 'no name', NULL, '{}');
    INSERT INTO tributary.origin VALUES ('ngo.juba.tablet.aaaaaaaaaaaa', 'ngo', 'juba', 'tablet', 1, 4200, 2, 1, 0, now(), now());`,
  "003_notifications.sql": "INSERT INTO tributary.notification (key, target, subject, body) VALUES ('k', 'desk', 's', '{}');",
  "004_projections.sql": `
    INSERT INTO tributary.generation (view, generation, state, place, kind, shape, tables) VALUES
      ('visits', 1, 'live', 'views', 'entity', 'digest', '["visits", "visits_history"]'),
      ('visits', 2, 'building', 'tributary_g2', 'entity', 'digest', '["visits", "visits_history"]');
    CREATE SCHEMA tributary_g2;
    CREATE TABLE views.visits_history (id text NOT NULL, position bigint NOT NULL, recorded_at timestamptz NOT NULL, deleted boolean NOT NULL, values json NOT NULL,
      PRIMARY KEY (id, position));
    CREATE TABLE tributary_g2.visits_history (LIKE views.visits_history INCLUDING ALL);
    INSERT INTO views.visits_history VALUES ('v1', 10, now(), false, '{"place":"Juba"}');
    INSERT INTO tributary.refold (view, entity_id, shard) VALUES ('people', 'p1', 3);`,
};

describe("the database's schema", () => {
  it("is what its migrations make of an empty database, and the dump beside them shows it", async () => {
    await migrate(db);
    const made = HEAD + (await schemaOf(db, "tributary", "views"));
    if (process.env.TRIBUTARY_UPDATE_SCHEMA === "1") writeFileSync(DUMP, made);
    expect(made).toBe(readFileSync(DUMP, "utf8"));
  });

  it("is the same when each migration finds a database of the version before, with rows in it, and the rows are kept", async () => {
    for (const name of migrations()) {
      await migrate(db, { last: name });
      expect(await one("SELECT max(name) AS name FROM tributary.migration")).toEqual({ name });
      await db.query(ROWS[name] ?? "SELECT 1");
    }
    // The policies are made once all files have run.
    await migrate(db);
    expect(HEAD + (await schemaOf(db, "tributary"))).toBe(readFileSync(DUMP, "utf8"));
    expect(await one("SELECT position FROM tributary.checkpoint")).toEqual({ position: "4096" });
    expect(await one("SELECT entity_id, data ->> 'name' AS name, clipped, held_otherwise FROM tributary.audit")).toEqual({
      entity_id: "p1",
      name: "Amina",
      clipped: null,
      held_otherwise: null,
    });
    expect(await one("SELECT view, generation, is_open FROM tributary.decision")).toEqual({
      view: "people",
      generation: 0,
      is_open: false,
    });
    expect(await one("SELECT state, code FROM tributary.quarantine")).toEqual({ state: "held", code: "event-invalid" });
    expect(await one("SELECT events FROM tributary.origin")).toEqual({ events: "2" });
    expect(await one("SELECT key, state FROM tributary.notification")).toEqual({ key: "k", state: "waiting" });
    expect(await one("SELECT entity_id, asked_by FROM tributary.refold")).toEqual({ entity_id: "p1", asked_by: null });
  });

  it("lets the past of views that were built before versions could be superseded take superseded versions", async () => {
    for (const name of migrations()) {
      await migrate(db, { last: name });
      await db.query(ROWS[name] ?? "SELECT 1");
    }
    for (const namespace of ["views", "tributary_g2"])
      await db.query(
        `INSERT INTO ${namespace}.visits_history (id, position, recorded_at, deleted, values, superseded_at) VALUES ('v1', 10, now(), true, '{}', 20)`,
      );
    const { rows } = await db.query(
      "SELECT values ->> 'place' AS place, known_from, superseded_at FROM views.visits_history ORDER BY superseded_at",
    );
    expect(rows).toEqual([
      { place: null, known_from: null, superseded_at: "20" },
      { place: "Juba", known_from: null, superseded_at: "9223372036854775807" },
    ]);
  });

  it("keeps and shows the decisions that stood before decisions could be superseded, and takes superseded ones", async () => {
    for (const name of migrations()) {
      await migrate(db, { last: name });
      await db.query(ROWS[name] ?? "SELECT 1");
    }
    await db.query(
      `INSERT INTO tributary.decision_row (view, entity_id, register, position, rule, rule_version, reason, winner, losers, superseded_at)
       VALUES ('people', 'p1', 'name', 4096, 'first', 1, 'earlier', '{}', '[]', 5000)`,
    );
    expect((await db.query("SELECT rule FROM tributary.decision")).rows).toEqual([{ rule: "lww" }]);
    expect((await db.query("SELECT rule, known_from, superseded_at FROM tributary.decision_superseded")).rows).toEqual([
      { rule: "first", known_from: "4096", superseded_at: "5000" },
    ]);
  });

  it("is refused when it is of a newer version", async () => {
    await migrate(db);
    await db.query("INSERT INTO tributary.migration (name) VALUES ('999_later.sql')");
    await expect(migrate(db)).rejects.toMatchObject({ code: "data-corrupt" });
  });
});
