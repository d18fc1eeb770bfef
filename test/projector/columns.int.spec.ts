import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Member, RANGES, type Range } from "../../services/core/index.ts";
import { type Db, migrate } from "../../services/views/index.ts";
import { HELD_COLUMNS } from "../../services/views/write/audit-row.ts";
import { openPostgres } from "../support/postgres.ts";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
});
afterAll(() => postgres?.close());

const rows = async <T extends object>(sql: string): Promise<T[]> => (await db.query<T>(sql)).rows;

describe("each column of the hub's tables", () => {
  /** Which member each column keeps. Values beyond a range that the wire can carry are kept as well, as part of quarantined events. */
  const KEEPS: Readonly<Record<string, Member>> = {
    origin: "origin",
    seq: "seq",
    through: "seq",
    type: "type",
    entity_type: "entity.type",
    entity_id: "entity.id",
    org: "org",
    site: "org",
    device: "org",
    actor: "actor",
    occurred_at: "occurredAt",
    hlc: "entity.id",
    schema_subject: "schema.subject",
    schema_version: "schema.version",
    correlation_id: "correlationId",
    causation_id: "causationId",
    case_id: "entity.id",
    settled_by: "actor",
    released_subject: "schema.subject",
  };
  const MAX_INDEX_ENTRY_BYTES = 2_704;

  const holds = (type: string, range: Range): boolean => {
    switch (range.kind) {
      case "text":
        return type === "text";
      case "instant":
        return type === "timestamp with time zone";
      case "integer": {
        const limits: Record<string, number> = {
          integer: 2 ** 31 - 1,
          bigint: Number.MAX_SAFE_INTEGER,
          "double precision": Number.MAX_SAFE_INTEGER,
        };
        return (limits[type] ?? 0) >= range.carries.max;
      }
    }
  };

  it("can hold all that the wire carries of its member", async () => {
    const columns = await rows<{ table: string; column: string; type: string }>(
      `SELECT table_name AS table, column_name AS column, data_type AS type FROM information_schema.columns
       WHERE table_schema = 'tributary' AND table_name IN ('audit', 'quarantine', 'origin', 'parked', 'case_note')`,
    );
    const kept = columns.filter(({ column }) => KEEPS[column] !== undefined);
    expect(new Set(kept.map(({ column }) => column))).toEqual(new Set(Object.keys(KEEPS)));
    for (const { table, column, type } of kept)
      expect(`${table}.${column} ${type} ${holds(type, RANGES[KEEPS[column]!])}`).toBe(`${table}.${column} ${type} true`);
    // A column that keeps a member of the envelope and is not named above would not be tested.
    const others = columns.filter(({ column }) => KEEPS[column] === undefined).map(({ column }) => column);
    expect([...new Set(others)].sort()).toEqual(
      [
        ...[
          "assignee",
          "basis",
          "clipped",
          "clock_offset_ms",
          "clock_wrong",
          "code",
          "data",
          "error",
          "events",
          "first_recorded_at",
          "generation",
        ],
        ...[
          "hash",
          "held_otherwise",
          "id",
          "kind",
          "last_recorded_at",
          "mark",
          "parked_at",
          "path",
          "position",
          "prev",
          "projection_error",
          "quarantine_code",
        ],
        ...["quarantined", "raw", "reason", "recorded_at", "released_data", "released_version", "settled_at", "settled_note"],
        ...["settled_position", "stack", "state", "taken_at", "taken_by", "text", "view"],
      ].sort(),
    );
  });

  it("there is one for each member, so that nothing of an event is left out of the audit", () => {
    // The stamp and what the author had seen are kept in one column each.
    const whole: readonly Member[] = ["hlc.wallMs", "hlc.counter", "basis.seq", "basis.origins"];
    expect(new Set([...Object.values(KEEPS), ...whole])).toEqual(new Set(Object.keys(RANGES)));
  });

  it("of the audit is written, and kept where the log was set back", async () => {
    const columnsOf = async (table: string): Promise<string[]> => {
      const found = await rows<{ column: string }>(
        `SELECT column_name AS column FROM information_schema.columns WHERE table_schema = 'tributary' AND table_name = '${table}'`,
      );
      return found.map(({ column }) => column).sort();
    };
    expect(await columnsOf("audit")).toEqual([...HELD_COLUMNS].sort());
    expect(await columnsOf("audit_beyond")).toEqual([...HELD_COLUMNS, "incarnation", "noticed_at"].sort());
  });

  it("that is indexed has entries that fit an index", async () => {
    const indexes = await rows<{ name: string; columns: string[] }>(
      `SELECT c.relname AS name, array_agg(a.attname::text) AS columns FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
       JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey)
       WHERE n.nspname = 'tributary' GROUP BY 1`,
    );
    expect(indexes.length).toBeGreaterThan(8);
    for (const { name, columns } of indexes) {
      const bytes = columns.map((column) => {
        const range: Range | undefined = KEEPS[column] === undefined ? undefined : RANGES[KEEPS[column]!];
        return range?.kind === "text" ? 3 * range.maxChars : 64;
      });
      expect(`${name} ${bytes.reduce((a, b) => a + b, 0) <= MAX_INDEX_ENTRY_BYTES}`).toBe(`${name} true`);
    }
  });
});
