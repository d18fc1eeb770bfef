import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Projection, View } from "../../services/merge/engine.ts";
import { defineProjection, defineSql, map, set, text } from "../../services/merge/index.ts";
import { type RebuildOptions, type Rebuilt, rebuild } from "../../services/projector/index.ts";
import { alone, connectViews } from "../../services/views/index.ts";
import { expectBalanced } from "../support/books.ts";
import { number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { oldWriter } from "../support/oldlog.ts";
import { eventually, sleep } from "../support/temp.ts";

/** More than what is fetched at a time. */
const PEOPLE = 600;
const VILLAGES = 25;
/** Of a build that takes several batches. */
const BATCH_EVENTS = 250;

type Data = Readonly<Record<string, string | null>>;
/** A view in which each row says by which rule it was made. */
const people = (rule: (data: Data) => string): Projection =>
  defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { rule: text({ index: true }), village: text() },
    events: {
      "beneficiary.registered": map(({ data }) => ({
        rule: rule(data as Data),
        village: (data.village ?? null) as string | null,
      })),
      "beneficiary.updated": set("village"),
    },
    // The rule's text is part of the declaration, so a change of it is noticed.
    derive: { made_by: { column: text(), of: RULES.get(rule)! as never } },
  });
const old = (): string => "old";
const renewed = (): string => "new";
const partly = ({ village }: Data): string => (village === "V7" ? "other" : "new");
const RULES = new Map<unknown, (...row: unknown[]) => string>([
  [old, () => "anybody"],
  [renewed, (_row) => "anybody"],
  [partly, (_row, _nothing) => "anybody"],
]);

let hub: TestHub;
let shipped: readonly View[];
const declared = (rule: (data: Data) => string): readonly View[] => [...shipped, people(rule)];
/** The hub's views as they are declared from now on. */
const declare = (views: readonly View[]): void => void Object.assign(hub, { projections: views });

beforeAll(async () => {
  hub = await openTestHub();
  shipped = hub.projections;
  const field = hub.field("base");
  await field.appendMany(Array.from({ length: PEOPLE }, (_, i) => registration(number(i), { village: `V${i % VILLAGES}` })));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("base") });
  await hub.projector.close();
  declare(declared(old));
  hub.projector = await hub.startProjector(hub.projections);
  await hub.projected();
});
afterAll(() => hub?.close());

const build = async (
  views: readonly View[],
  options: RebuildOptions,
  how: { readonly unattended?: AbortSignal; readonly before?: string } = {},
): Promise<Rebuilt> => {
  const [db, reader] = [
    await connectViews(hub.backends.postgres.url, "test"),
    await connectViews(hub.backends.postgres.url, "test"),
  ];
  try {
    const { before, ...unattended } = how;
    if (before !== undefined) await db.query(before);
    return await alone(db, true, () => rebuild({ db, reader, log: hub.log, gate: hub.gate, views, ...unattended }, options));
  } finally {
    await Promise.all([db.end(), reader.end()]);
  }
};
/** Stops a rebuild after its first batch. */
const interrupted = async (views: readonly View[], options: RebuildOptions): Promise<void> => {
  const stop = new AbortController();
  const running = build(views, {
    ...options,
    batchEvents: BATCH_EVENTS,
    signal: stop.signal,
    onProgress: () => stop.abort(new Error("stopped")),
  });
  await expect(running).rejects.toThrow("stopped");
};
const rules = async (): Promise<Record<string, number>> => {
  const { rows } = await hub.db.query<{ rule: string; n: number }>(
    "SELECT rule, count(*)::int AS n FROM views.people GROUP BY 1 ORDER BY 1",
  );
  return Object.fromEntries(rows.map(({ rule, n }) => [rule, n]));
};
let added = PEOPLE;
const addOne = async (): Promise<void> => {
  const field = hub.field("base");
  await field.append(registration(number(added++), { village: "V1" }));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("base") });
  field.close();
};

describe("a view that is rebuilt", () => {
  it("shows every reader the old rows or the new, all of them, while others write; grants stay, and the old projector ends and says why (I21)", async () => {
    await hub.db.query(
      "CREATE ROLE analyst; GRANT SELECT ON views.people TO analyst; GRANT SELECT (id, position) ON views.people_history TO analyst",
    );
    const seen: { readonly n: number; readonly rules: readonly string[] }[] = [];
    const during = new AbortController();
    const reading = (async () => {
      const reader = await connectViews(hub.backends.postgres.url, "test-reader");
      while (!during.signal.aborted) {
        const { rows } = await reader.query("SELECT count(*)::int AS n, array_agg(DISTINCT rule) AS rules FROM views.people");
        seen.push(rows[0]);
      }
      await reader.end();
    })();
    const writing = (async () => {
      while (!during.signal.aborted) await addOne();
    })();
    const views = declared(renewed);
    await sleep(300);
    const built = await build(views, { names: ["people"], compare: true, batchEvents: BATCH_EVENTS });
    expect(built).toMatchObject({ views: ["people"], swapped: true, resumedAt: 0, parked: 0 });
    expect(built.comparisons[0]!.differing).toBeGreaterThanOrEqual(PEOPLE);
    await expect(hub.projector.done).rejects.toMatchObject({
      code: "projection-malformed",
      message: expect.stringContaining("people"),
    });
    await sleep(200);
    during.abort();
    await Promise.all([reading, writing]);
    expect(seen.filter(({ n, rules }) => n < PEOPLE || rules.length !== 1)).toEqual([]);
    expect(seen.map(({ rules }) => rules[0]).filter((rule, i, all) => rule !== all[i - 1])).toEqual(["old", "new"]);
    declare(views);
    hub.projector = await hub.startProjector(views);
    await hub.projected();
    await expectBalanced(hub);
    expect(await rules()).toEqual({ new: added });
    const { rows } = await hub.db.query(
      `SELECT has_table_privilege('analyst', 'views.people', 'SELECT') AS whole, has_column_privilege('analyst', 'views.people_history', 'id', 'SELECT') AS part,
         has_table_privilege('analyst', 'views.people_history', 'SELECT') AS more`,
    );
    expect(rows).toEqual([{ whole: true, part: true, more: false }]);
  });

  it("compares row by row with the live one, and leaves that as it is with --no-swap", async () => {
    const compared = await build(declared(partly), { names: ["people"], compareOnly: true });
    expect(compared).toMatchObject({ swapped: false });
    const expected = Array.from({ length: PEOPLE / VILLAGES }, (_, i) => number(i * VILLAGES + 7));
    expect(compared.comparisons).toMatchObject([
      {
        view: "people",
        differing: expected.length,
        onlyLive: 0,
        onlyBuilt: 0,
        named: expected.slice(0, 20),
        equal: added - expected.length,
      },
    ]);
    expect(await rules()).toEqual({ new: added });
    await addOne();
    await hub.projected();
    await expectBalanced(hub);
  });

  it("goes on where it was interrupted, and begins at the start with --fresh", async () => {
    await interrupted(hub.projections, { names: ["people"], fresh: true });
    const resumed = await build(hub.projections, { names: ["people"], compareOnly: true });
    expect(resumed).toMatchObject({ resumedAt: BATCH_EVENTS, events: added });
    expect(resumed.comparisons).toMatchObject([{ equal: added, differing: 0, onlyLive: 0, onlyBuilt: 0 }]);
    expect(await build(hub.projections, { names: ["people"], compareOnly: true, fresh: true })).toMatchObject({
      resumedAt: 0,
      events: added,
    });
  });

  it("is complete although two views were begun together and only one of them was continued", async () => {
    await interrupted(hub.projections, { names: ["people", "beneficiaries"], fresh: true });
    await build(hub.projections, { names: ["people"], compareOnly: true });
    const both = await build(hub.projections, { names: ["people", "beneficiaries"] });
    expect(both).toMatchObject({ swapped: true });
    expect(await rules()).toEqual({ new: added });
    await hub.projected();
    await expectBalanced(hub);
  });

  it("spares the hub with a throttle, and a projector that restarts meanwhile goes on at once", async () => {
    const [names, stop] = [["people"], new AbortController()];
    // An event a second: this one does not end before it is stopped.
    const endless = { names, fresh: true, compareOnly: true, maxEventsPerSecond: 1, signal: stop.signal };
    let isOver = false;
    const building = build(hub.projections, endless).finally(() => {
      isOver = true;
    });
    building.catch(() => {});
    await hub.projector.close();
    hub.projector = await hub.startProjector(hub.projections);
    await addOne();
    await hub.projected();
    expect(isOver).toBe(false);
    stop.abort(new Error("stopped"));
    await expect(building).rejects.toThrow("stopped");

    const startedMs = performance.now();
    await build(hub.projections, { names, fresh: true, compareOnly: true, maxEventsPerSecond: 300 });
    expect(performance.now() - startedMs).toBeGreaterThan((added / 300) * 1_000 * 0.9);
  });

  it("makes room for the build before it with --rollback, brought up to date, even if that is interrupted on the way", async () => {
    const before = hub.projections;
    await hub.projector.close();
    const views = declared(partly);
    await build(views, { names: ["people"] });
    hub.projector = await hub.startProjector(views);
    await addOne();
    await hub.projected();
    expect((await rules()).other).toBe(PEOPLE / VILLAGES);
    await hub.projector.close();
    await interrupted(before, { names: ["people"], rollback: true });
    await build(before, { names: ["people"], rollback: true });
    expect(await rules()).toEqual({ new: added });
    declare(before);
    hub.projector = await hub.startProjector(before);
    await addOne();
    await hub.projected();
    await expectBalanced(hub);
    await expect(build(declared(old), { names: ["people"], rollback: true })).rejects.toMatchObject({
      code: "projection-malformed",
    });
  });

  it("goes back together with another view only if both were live together", async () => {
    await build(hub.projections, { names: ["people"] });
    await addOne();
    await hub.projected();
    await build(hub.projections, { names: ["beneficiaries"] });
    await expect(build(hub.projections, { names: ["people", "beneficiaries"], rollback: true })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("people"),
    });
    await build(hub.projections, { names: ["people"], rollback: true });
    await build(hub.projections, { names: ["beneficiaries"], rollback: true });
    await hub.projected();
    await expectBalanced(hub);
    // Built at different times, replaced at the same moment: these go back together.
    await build(hub.projections, { names: ["people", "beneficiaries"] });
    await addOne();
    await hub.projected();
    await interrupted(hub.projections, { names: ["people", "beneficiaries"], rollback: true });
    await addOne();
    await build(hub.projections, { names: ["people", "beneficiaries"], rollback: true });
    await hub.projected();
    await expectBalanced(hub);
  });
});

describe("a view of SQL", () => {
  it("that PostgreSQL refuses is refused by name, and the live views stay as they are", async () => {
    const broken = defineSql({ name: "nonsense", needs: ["people"], sql: "SELECT no_such_column FROM views.people" });
    await expect(build([...hub.projections, broken], { names: ["nonsense"] })).rejects.toMatchObject({
      code: "projection-malformed",
      message: expect.stringContaining("nonsense"),
    });
    await hub.projector.close();
    await expect(hub.startProjector([...hub.projections, broken])).rejects.toMatchObject({
      message: expect.stringContaining("nonsense"),
    });
    expect((await hub.db.query("SELECT count(*)::int AS n FROM views.handouts")).rows).toEqual([{ n: 0 }]);
    hub.projector = await hub.startProjector(hub.projections);
    await addOne();
    await hub.projected();
    await expectBalanced(hub);
  });

  it("of somebody's own over views reads the new builds and keeps what was granted; one that cannot is named", async () => {
    await hub.db.query(
      `CREATE SCHEMA own; CREATE VIEW own.villages AS SELECT village, count(*) AS n FROM views.people GROUP BY 1;
       CREATE VIEW own.given AS SELECT given_name FROM views.handouts; GRANT SELECT ON own.villages TO PUBLIC`,
    );
    const before = (await hub.db.query("SELECT sum(n)::int AS n FROM own.villages")).rows[0].n as number;
    await build(hub.projections, { names: ["people"], fresh: true });
    await addOne();
    await hub.projected();
    expect((await hub.db.query("SELECT sum(n)::int AS n FROM own.villages")).rows[0].n).toBe(before + 1);
    await build(hub.projections, { names: ["people", "beneficiaries"], fresh: true });
    await addOne();
    await hub.projected();
    expect((await hub.db.query("SELECT sum(n)::int AS n FROM own.villages")).rows[0].n).toBe(before + 2);
    expect((await hub.db.query("SELECT given_name FROM own.given")).rows).toEqual([]);
    await hub.db.query("CREATE MATERIALIZED VIEW own.kept AS SELECT village FROM views.people");
    await expect(build(hub.projections, { names: ["people"], fresh: true })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("own.kept"),
    });
    await hub.db.query("DROP MATERIALIZED VIEW own.kept; CREATE TABLE own.cards (holder text REFERENCES views.people (id))");
    await expect(build(hub.projections, { names: ["people"], fresh: true })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("own.cards"),
    });
    await hub.db.query("DROP SCHEMA own CASCADE");
    await build(hub.projections, { names: ["people"] });
  });

  it("is told apart from other things that depend on a view, even if the server speaks German", async () => {
    // What a server with lc_messages = de_DE says, which few machines have: https://www.postgresql.org/docs/current/functions-info.html names the function.
    await hub.db.query(`CREATE SCHEMA german; CREATE FUNCTION german.pg_describe_object(c oid, o oid, s integer) RETURNS text LANGUAGE sql STABLE AS $$
      SELECT regexp_replace(regexp_replace(regexp_replace(pg_catalog.pg_describe_object(c, o, s), 'materialized view', 'materialisierte Sicht'), 'view', 'Sicht'),
        '^rule (.*) on ', 'Regel \\1 für ') $$`);
    const german = { before: "SET search_path = german, pg_catalog" };
    await hub.db.query("CREATE SCHEMA own; CREATE VIEW own.villages AS SELECT village FROM views.people");
    const all = { names: hub.projections.filter(({ kind }) => kind !== "sql").map(({ name }) => name), fresh: true };
    await build(hub.projections, all, german);
    await addOne();
    await hub.projected();
    expect((await hub.db.query("SELECT count(*)::int AS n FROM own.villages")).rows[0].n).toBe(added);
    // A rule on a view or a table is not a view that can be written again.
    for (const made of ["VIEW own.other AS SELECT 1 AS one", "TABLE own.other (one integer)"]) {
      await hub.db.query(`CREATE ${made}`);
      await hub.db.query("CREATE RULE adds AS ON INSERT TO own.other DO INSTEAD INSERT INTO views.people (id) VALUES ('x')");
      await expect(build(hub.projections, { names: ["people"], fresh: true }, german)).rejects.toMatchObject({
        code: "usage",
        message: expect.stringContaining("Regel adds für "),
      });
      await hub.db.query(`DROP ${made.split(" ")[0]} own.other`);
    }
    await hub.db.query("DROP SCHEMA own, german CASCADE");
    await build(hub.projections, { names: ["people"] });
  });

  it("that is materialized keeps only its own build: each build that was left is removed once it is let go, whichever others are kept", async () => {
    await hub.db.query("CREATE SCHEMA own");
    const left = async (): Promise<number> =>
      (await hub.db.query("SELECT count(*)::int AS n FROM tributary.generation WHERE state = 'left'")).rows[0].n;
    const again = () => build(hub.projections, { names: ["people"], fresh: true }, { unattended: new AbortController().signal });
    for (const name of ["first", "second"]) {
      await hub.db.query(`CREATE MATERIALIZED VIEW own.${name} AS SELECT village FROM views.people`);
      await again();
    }
    await again();
    expect(await left()).toBe(2);
    for (const [name, rest] of [
      ["first", 1],
      ["second", 0],
    ] as const) {
      await hub.db.query(`DROP MATERIALIZED VIEW own.${name}`);
      await eventually(`${rest} builds that are left`, async () => (await left()) === rest);
    }
    await hub.db.query("DROP SCHEMA own");
    await addOne();
    await hub.projected();
    await expectBalanced(hub);
  });

  it("of ours that others read stops a start, which names them, when its columns change or it is no longer declared, until they are dropped", async () => {
    const villages = (sql: string) =>
      defineSql({ name: "villages", needs: ["people"], sql: `SELECT ${sql} FROM views.people GROUP BY village` });
    const before = hub.projections;
    await build([...before, villages("village, count(*) AS n")], { names: ["villages"] });
    await hub.projector.close();
    await hub.db.query("CREATE SCHEMA own; CREATE MATERIALIZED VIEW own.kept AS SELECT n FROM views.villages");
    for (const views of [[...before, villages("village")], before]) {
      await expect(hub.startProjector(views)).rejects.toMatchObject({
        code: "usage",
        message: expect.stringContaining("own.kept"),
        hint: expect.stringContaining("Drop it"),
      });
      expect((await hub.db.query("SELECT sum(n)::int AS n FROM views.villages")).rows).toEqual([{ n: added }]);
    }
    await hub.db.query("DROP SCHEMA own CASCADE");
    hub.projector = await hub.startProjector(before);
    await hub.projected();
    expect((await hub.db.query("SELECT to_regclass('views.villages') AS v")).rows).toEqual([{ v: null }]);
  });

  it("and its tables keep the rules of who may see which rows, and the indexes that somebody made", async () => {
    await hub.db.query(
      `CREATE ROLE clerk_of_v1; GRANT USAGE ON SCHEMA views TO clerk_of_v1; GRANT SELECT ON views.people TO clerk_of_v1;
       ALTER TABLE views.people ENABLE ROW LEVEL SECURITY; CREATE POLICY own_village ON views.people FOR SELECT TO clerk_of_v1 USING (village = 'nowhere');
       CREATE INDEX mine ON views.people (lower(village))`,
    );
    const seen = async (): Promise<number> => {
      await hub.db.query("SET ROLE clerk_of_v1");
      try {
        return (await hub.db.query("SELECT count(*)::int AS n FROM views.people")).rows[0].n as number;
      } finally {
        await hub.db.query("RESET ROLE");
      }
    };
    expect(await seen()).toBe(0);
    await build(hub.projections, { names: ["people"], fresh: true });
    expect(await seen()).toBe(0);
    const { rows } = await hub.db.query("SELECT 1 FROM pg_indexes WHERE schemaname = 'views' AND indexname = 'mine'");
    expect(rows).toHaveLength(1);
    // What belongs to a table itself goes with its build, and stops nothing.
    await build(hub.projections, { names: ["people"], fresh: true });
    expect(await seen()).toBe(0);
    await hub.db.query("DROP POLICY own_village ON views.people; ALTER TABLE views.people DISABLE ROW LEVEL SECURITY");
    await hub.db.query("REVOKE ALL ON views.people FROM clerk_of_v1; REVOKE ALL ON SCHEMA views FROM clerk_of_v1");
  });
});

it("a swap waits while somebody reads for a long time, and delays no other readers; a projector's swap ends with the projector, and leaves all as it was", async () => {
  const url = hub.backends.postgres.url;
  const [db, reader, long, quick] = [
    await connectViews(url, "test"),
    await connectViews(url, "test"),
    await connectViews(url, "test-long"),
    await connectViews(url, "test-quick"),
  ];
  const stop = new AbortController();
  try {
    await long.query("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE views.people IN ACCESS SHARE MODE");
    const live = async (): Promise<unknown> =>
      (await hub.db.query("SELECT generation FROM tributary.view WHERE name = 'people'")).rows[0].generation;
    const before = await live();
    let waits = 0;
    const deps = { db, reader, log: hub.log, gate: hub.gate, views: hub.projections, unattended: stop.signal };
    const say = ({ event }: Record<string, unknown>): void => {
      if (event === "swap-waits") waits++;
    };
    const building = alone(db, true, () => rebuild({ ...deps, say }, { names: ["people"], fresh: true }));
    building.catch(() => {});
    await eventually("a swap that is tried again and again", async () => {
      // Without a bound, this reader would wait as long as the other one holds its lock: to the end of this test.
      await quick.query("SELECT count(*) FROM views.people");
      return waits >= 3;
    });
    stop.abort(new Error("stopped"));
    await expect(building).rejects.toThrow("stopped");
    expect(await live()).toBe(before);
    await long.query("COMMIT");
    await build(hub.projections, { names: ["people"] });
    expect(await live()).not.toBe(before);
  } finally {
    await Promise.all([db, reader, long, quick].map((each) => each.end()));
  }
});

describe("a view that is no longer declared", () => {
  it("is removed at the next start, and the other views go on", async () => {
    await hub.projector.close();
    declare(shipped);
    hub.projector = await hub.startProjector(shipped);
    await eventually(
      "the view to be gone",
      async () => (await hub.db.query("SELECT to_regclass('views.people') AS t")).rows[0].t === null,
    );
    const field = hub.field("base");
    await field.append(update(number(1), { village: "last", district: "D" }));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("base") });
    await hub.projected();
    await expectBalanced(hub);
  });
});

describe("a rebuild over events of a megabyte each", () => {
  it("holds no more events at a time than its bound of bytes allows, however many may be in a batch", async () => {
    const [count, noteBytes] = [22, 900_000];
    const writer = oldWriter(hub.log, "large");
    for (let i = 0; i < count; i++) {
      const assessed = { assessment_no: `L-${i}`, settlement: "S", assessed_on: "2026-05-03", households: 1, severity: "CRISIS" };
      const data = { ...assessed, note: "x".repeat(noteBytes) };
      const entity = { type: "assessment", id: `L-${i}` };
      await writer.append({ type: "assessment.submitted", entity, schema: { subject: "assessment", version: 1 }, data });
    }
    await hub.projected();
    const batches: number[] = [];
    let before = 0;
    const onProgress = ({ events }: { readonly events: number }): void => {
      batches.push(events - before);
      before = events;
    };
    const built = await build(shipped, {
      names: ["assessments"],
      fresh: true,
      compareOnly: true,
      batchEvents: 1_000,
      onProgress,
    });
    expect(built.events).toBe(count);
    // One more than fits: a batch ends with the event that exceeds the bound.
    expect(Math.max(...batches)).toBeLessThanOrEqual(Math.ceil((16 * 1_048_576) / noteBytes) + 1);
  });
});
