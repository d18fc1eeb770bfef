import { beforeAll, describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { type OriginId, publicKeySchema } from "../../services/core/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { askRefold, connectViews, copyAudit, rolesOf, SHARDS, shardOf } from "../../services/views/index.ts";
import { FETCH_BYTES, openCursor } from "../../services/views/read/cursor.ts";
import { number, registration } from "../support/hub.ts";
import { change, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

import { ALTERATIONS } from "./alterations.ts";
import {
  bad,
  check,
  entriesOf,
  GIVEN,
  hub,
  PERSON,
  put,
  repairViews,
  rewritten,
  SEED,
  signed,
  tampered,
  unsigned,
  useVerifiedHub,
  withHashes,
} from "./verified-hub.ts";

useVerifiedHub();

it(`all of it agrees, and each part has its verdict in words (seed ${SEED})`, async () => {
  const report = await check();
  expect(report.problems).toEqual([]);
  expect(report.summary).toBe("All of it agrees.");
  for (const part of ["log", "audit", "views", "totals", "parked"] as const)
    expect(report.verdicts[part], part).toMatchObject({ state: "good", problems: 0, todo: [] });
  expect(report.verdicts.anchor.state).toBe("left-out");
  expect(report.verdicts.log.says).toMatch(/^\d+ events of \d+ origins stand in order/);
  expect(report.verdicts.totals.says).not.toContain("0 totals");
  expect(report.signatures.runs).toBeGreaterThan(1);
});

it("events of the log that are not folded yet are counted, and are not a problem", async () => {
  await hub.projector.close();
  const late = hub.field("late");
  await late.append(registration(number(9_990)));
  await late.sync({ url: hub.backends.nats.url, token: await hub.token("late") });
  expect((await check()).verdicts.audit).toMatchObject({
    state: "good",
    says: expect.stringContaining("; 1 event of the log is not folded yet"),
  });
  hub.projector = await hub.startProjector();
  await hub.projected();
  expect((await check()).verdicts.audit.says).not.toContain("not folded");
});

describe("what somebody has altered in the database is named, with its part and what to do (I25)", () => {
  it.each(ALTERATIONS)("%s", async (_, part, table, sql, expected) => {
    const report = await tampered(table, sql, check);
    const { where, what, todo } = expected();
    expect(report.problems).toMatchObject([
      {
        part,
        where: expect.stringContaining(where),
        what: expect.stringContaining(what),
        todo: expect.stringContaining(todo),
      },
    ]);
    expect(bad(report)).toEqual([part]);
    expect(report.verdicts[part]).toMatchObject({ state: "bad", problems: 1, todo: [expect.any(String)] });
    expect(report.summary).toBe(`1 problem: ${part} 1.`);
    expect((await check()).problems).toEqual([]);
  });
});

describe("a parked entity", () => {
  const STOPPED = number(910);
  let stopped: OriginId;
  beforeAll(async () => {
    const writer = oldWriter(hub.log, "parked");
    stopped = writer.origin;
    await writer.append(
      person(STOPPED, { phone: "+1" }),
      change(STOPPED, { given_name: "A\0b" }),
      change(STOPPED, { phone: "+2" }),
    );
    await hub.projected();
    await eventually("the fold", async () => (await hub.db.query("SELECT 1 FROM tributary.refold")).rows.length === 0);
  });
  /** Somebody says that an entity is parked. */
  const parking = <T>(entity: string, event: string, work: () => Promise<T>): Promise<T> => {
    const [, origin, seq] = /^(.*)\/(\d+)$/.exec(event)!;
    return tampered(
      "tributary.parked",
      `INSERT INTO tributary.parked (view, generation, entity_id, position, origin, seq, type, error, stack)
       SELECT view, generation, '${entity}', 1, '${origin}', ${seq}, 'x', 'PostgreSQL cannot hold it: why', '' FROM tributary.generation
       WHERE view = 'beneficiaries' AND state = 'live'`,
      work,
    );
  };

  it("is listed, and is not a problem if the log shows why", async () => {
    const report = await check();
    expect(report.verdicts.parked).toMatchObject({ state: "good", says: expect.stringContaining("1 entity is parked") });
    expect(report).toMatchObject({
      problems: [],
      summary: "All that was compared agrees.",
      parked: [{ entity: STOPPED, event: `${stopped}/1` }],
    });
  });

  it("hides no altered row: what it showed before it stopped is known", async () => {
    for (const change of ["phone = '+9'", "state = replace(state, '+1', '+9')", "last_position = last_position + 1"])
      expect(
        (await tampered("views.beneficiaries", `UPDATE views.beneficiaries SET ${change} WHERE id = '${STOPPED}'`, check))
          .problems,
        change,
      ).toMatchObject([
        { part: "views", where: `beneficiaries/${STOPPED}`, what: expect.stringContaining(`parked at ${stopped}/1`) },
      ]);
    expect(
      (await tampered("views.beneficiaries", `DELETE FROM views.beneficiaries WHERE id = '${STOPPED}'`, check)).problems,
    ).toMatchObject([{ part: "views", what: expect.stringContaining("lacks a row") }]);
    const past = "views.beneficiaries_history";
    expect(
      (await tampered(past, `UPDATE ${past} SET values = replace(values::text, '+1', '+9')::json WHERE id = '${STOPPED}'`, check))
        .problems,
    ).toMatchObject([{ part: "views", what: expect.stringContaining("its kept version as of") }]);
  });

  it("is a problem if somebody has invented the mark, and the row that it was meant to hide is reported", async () => {
    const where = `beneficiaries/${PERSON}`;
    expect((await parking(PERSON, `${signed}/2`, check)).problems).toMatchObject([
      { part: "parked", where, what: expect.stringContaining("for no reason that the log or the database shows") },
    ]);
    const altered = await tampered(
      "views.beneficiaries",
      `UPDATE views.beneficiaries SET village = 'elsewhere' WHERE id = '${PERSON}'`,
      () => parking(PERSON, `${signed}/3`, check),
    );
    expect(altered.problems).toMatchObject([
      { part: "views", where, what: expect.stringContaining("village") },
      { part: "parked", where, what: expect.stringContaining("for no reason") },
    ]);
    // Parked at an event about something else, at an event that does not exist, and for an entity that the log does not know.
    expect((await parking(PERSON, `${signed}/1`, check)).problems).toMatchObject([
      { part: "parked", where, what: expect.stringContaining("the log has no such event of this entity") },
    ]);
    expect((await parking(PERSON, `${signed}/9999`, check)).problems).toMatchObject([
      { part: "parked", where, what: expect.stringContaining("the log has no such event of this entity") },
    ]);
    expect((await parking("NOBODY", `${signed}/1`, check)).problems).toMatchObject([
      { part: "parked", where: "beneficiaries/NOBODY", what: expect.stringContaining("the log has no event of it") },
    ]);
    // Nothing that was tried has stayed.
    expect((await check()).problems).toEqual([]);
  });

  it("is a problem even if somebody makes it wait to be folded again, except for what a projector would take up just now", async () => {
    await hub.projector.close();
    const asking = (shard: number, at: string) =>
      parking(PERSON, `${signed}/3`, () =>
        tampered(
          "tributary.refold",
          `INSERT INTO tributary.refold (view, entity_id, shard, asked_at) VALUES ('beneficiaries', '${PERSON}', ${shard}, now() + '${at}')`,
          check,
        ),
      );
    const shard = shardOf({ type: "beneficiary", id: PERSON });
    for (const [of, at] of [
      [9999, "0 s"],
      [(shard + 1) % SHARDS, "0 s"],
      [shard, "1 hour"],
      [shard, "-61 s"],
    ] as const)
      expect((await asking(of, at)).problems, `${of} ${at}`).toMatchObject([
        { part: "parked", where: `beneficiaries/${PERSON}`, what: expect.stringContaining("no projector does it") },
      ]);
    const waiting = await asking(shard, "0 s");
    expect(waiting.problems).toEqual([]);
    expect(waiting.verdicts.parked).toMatchObject({
      state: "good",
      says: expect.stringContaining("1 of them would no longer be parked"),
    });
    hub.projector = await hub.startProjector();
    expect((await check()).problems).toEqual([]);
  });

  it("is not a problem while the database refuses what the log gives, and is one when nothing refuses it any more", async () => {
    await hub.db.query(`CREATE FUNCTION public.refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.phone = '+13' THEN RAISE EXCEPTION 'not that one'; END IF; RETURN NEW; END $$`);
    await hub.db.query(
      "CREATE TRIGGER refuses BEFORE INSERT OR UPDATE ON views.beneficiaries FOR EACH ROW EXECUTE FUNCTION public.refuses()",
    );
    const writer = oldWriter(hub.log, "refused");
    await writer.append(person(number(911)), change(number(911), { phone: "+13" }));
    await hub.projected();
    const refused = await check();
    expect(refused.problems).toEqual([]);
    expect(refused.parked).toMatchObject([
      { entity: STOPPED },
      { entity: number(911), error: "PostgreSQL cannot hold it: not that one" },
    ]);
    await hub.db.query("DROP FUNCTION public.refuses() CASCADE");
    expect((await check()).problems).toMatchObject([
      { part: "parked", where: `beneficiaries/${number(911)}`, todo: expect.stringContaining("tributary parked retry") },
    ]);
    await askRefold(hub.db, "beneficiaries", [{ type: "beneficiary", id: number(911) }]);
    await eventually("the retry", async () => (await hub.db.query("SELECT 1 FROM tributary.refold")).rows.length === 0);
    expect(await check()).toMatchObject({ problems: [], parked: [{ entity: STOPPED }] });
  });
});

describe("an audit row with placeholders", () => {
  const blank = (
    id: string,
    note: string,
  ): string => `UPDATE tributary.audit SET (id, type, entity_type, entity_id, actor, occurred_at, hlc, schema_subject, schema_version,
      basis, clipped, data, prev, hash, held_otherwise, projection_error) = ('00000000-0000-0000-0000-000000000000', U&'\\FFFD', U&'\\FFFD', U&'\\FFFD', U&'\\FFFD',
      recorded_at, U&'\\FFFD', U&'\\FFFD', 0, '{}', NULL, NULL, U&'\\FFFD', U&'\\FFFD', '{}', ${note}) WHERE entity_id = '${id}'`;
  const NOTE = "'audit: the table took nothing of what the event says; the log has it'";

  it("that somebody has blanked is reported: the table would hold what the event says", async () => {
    for (const [note, what] of [
      [NOTE, "it says nothing of the event, which the table would hold"],
      ["NULL", "no note of why"],
    ] as const)
      expect((await tampered("tributary.audit", blank(GIVEN, note), check)).problems, note).toMatchObject([
        { part: "audit", where: `${signed}/1`, what: expect.stringContaining(what) },
      ]);
    expect((await check()).problems).toEqual([]);
  });

  it("that somebody has blanked cannot be tried by a role that may not write there, or while something is in the way: the verdict says so", async () => {
    await hub.db.query(`CREATE ROLE reads LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA tributary, views TO reads;
      GRANT SELECT ON ALL TABLES IN SCHEMA tributary, views TO reads; GRANT "${(await rolesOf(hub.db)).all_rows}" TO reads`);
    const url = Object.assign(new URL(hub.backends.postgres.url), { username: "reads", password: "x" }).href;
    const reader = await connectViews(url, "reads");
    const says = async (db: typeof reader) => {
      const { problems, summary, verdicts } = await tampered("tributary.audit", blank(GIVEN, NOTE), () =>
        verify({ log: hub.log, views: { db, gate: hub.gate, projections: hub.projections } }),
      );
      expect(problems).toEqual([]);
      expect(summary).toBe("All that was compared agrees.");
      return verdicts.audit.says;
    };
    const untried = "1 of them holds nothing of the event; whether the table still refuses 1 of them could not be tried";
    try {
      expect(await says(reader)).toContain(untried);
      // With all rights to write except one.
      await hub.db.query("GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA tributary TO reads");
      expect(await says(reader)).toContain(untried);
    } finally {
      await reader.end();
      await hub.db.query("DROP OWNED BY reads; DROP ROLE reads");
    }
    await hub.db.query(
      `CREATE FUNCTION public.stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'nothing goes'; END $$`,
    );
    await hub.db.query(
      "CREATE TRIGGER stays BEFORE DELETE ON tributary.audit FOR EACH ROW WHEN (OLD.held_otherwise IS NOT NULL) EXECUTE FUNCTION public.stays()",
    );
    const undo = async () => void (await hub.db.query("DROP FUNCTION IF EXISTS public.stays() CASCADE"));
    try {
      expect(await tampered("tributary.audit", blank(GIVEN, NOTE), async () => check().finally(undo))).toMatchObject({
        problems: [],
        verdicts: { audit: { says: expect.stringContaining(untried) } },
      });
    } finally {
      await undo();
    }
    expect((await check()).problems).toEqual([]);
  });

  it("may hold nothing of its event only while the table refuses to hold more", async () => {
    await hub.db.query(`CREATE FUNCTION public.mutes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF position('MUTE-1' IN row_to_json(NEW)::text) > 0 THEN RAISE EXCEPTION 'not that one'; END IF; RETURN NEW; END $$`);
    await hub.db.query("CREATE TRIGGER mutes BEFORE INSERT ON tributary.audit FOR EACH ROW EXECUTE FUNCTION public.mutes()");
    const writer = oldWriter(hub.log, "mute");
    await writer.append(person("MUTE-1"));
    await hub.projected();
    const { rows } = await hub.db.query("SELECT held_otherwise FROM tributary.audit WHERE origin = $1", [writer.origin]);
    expect(rows).toEqual([{ held_otherwise: {} }]);
    const refused = await check();
    expect(refused.problems).toEqual([]);
    expect(refused.verdicts.audit.says).toContain(
      "1 of them holds nothing of the event: tried again, the table still refuses it",
    );
    await hub.db.query("DROP FUNCTION public.mutes() CASCADE");
    expect((await check()).problems).toMatchObject([{ part: "audit", where: `${writer.origin}/0` }]);
    await hub.db.query("DELETE FROM tributary.audit WHERE origin = $1", [writer.origin]);
    await copyAudit(hub.db, { entries: await entriesOf(writer.origin), projectionErrors: new Map() });
    expect((await check()).problems).toEqual([]);
  });
});

it("views that are left out are named: those built by another declaration, their totals, and those that are not declared", async () => {
  const otherwise = defineProjection({
    name: "distributions",
    entity: "distribution",
    columns: { item: text() },
    events: { "distribution.recorded": set() },
  });
  const projections = [
    ...hub.projections.filter(({ name }) => name !== "distributions" && name !== "beneficiaries" && name !== "handouts"),
    otherwise,
  ];
  const report = await verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections } });
  expect(report.problems).toEqual([]);
  expect(report.notCompared).toEqual(expect.arrayContaining(["beneficiaries", "distribution_summary", "distributions"]));
  expect(report.notCompared).not.toContain("assessments");
  expect(report.verdicts.views.says).toContain(`not declared at all: ${report.notCompared.join(", ")}`);
  expect(report.summary).toBe("All that was compared agrees.");
});

it("rows of a view are fetched by their bytes, so that a few large rows do not fill the memory", async () => {
  const taken: number[] = [];
  const db = Object.create(hub.db, {
    query: {
      value: async (sql: string) => {
        const found = await hub.db.query<{ text?: string }>(sql);
        if (/^FETCH/.test(sql) && !sql.endsWith("_sizes"))
          taken.push(found.rows.reduce((sum, { text }) => sum + (text?.length ?? 0), 0));
        return found;
      },
    },
  }) as typeof hub.db;
  await hub.db.query("BEGIN");
  try {
    const cursor = await openCursor<{ n: number; text: string }>(
      db,
      "SELECT n, repeat('x', CASE WHEN n = 700 THEN 5000000 WHEN n BETWEEN 600 AND 620 THEN 700000 ELSE 10 END) AS text FROM generate_series(1, 1200) n ORDER BY n",
    );
    const read: number[] = [];
    for (let row = await cursor.next(); row !== null; row = await cursor.next()) read.push(row.n);
    await cursor.close();
    expect(read).toEqual(Array.from({ length: 1_200 }, (_, i) => i + 1));
  } finally {
    await hub.db.query("ROLLBACK");
  }
  // The row that is larger than the bound is fetched alone.
  expect(taken.filter((bytes) => bytes > FETCH_BYTES)).toEqual([5_000_000]);
  expect(taken.length).toBeGreaterThan(10);
});

describe("a log that somebody has rewritten is found out, whatever the database holds", () => {
  it("an event that was altered, with its hash as it was", async () => {
    const entries = await entriesOf(unsigned);
    const report = await rewritten((files) => put(files, entries[1]!.position, [["+254711111111", "+254722222222"]]), check);
    expect(report.problems.filter(({ part }) => part === "log")).toMatchObject([
      {
        where: `${unsigned}/1`,
        what: expect.stringContaining("it was altered"),
        todo: expect.stringContaining("nothing repairs a log"),
      },
      { where: `${unsigned}/1`, what: expect.stringContaining("the audit has other values (data)") },
    ]);
    expect(bad(report)).toEqual(["log", "views"]);
  });

  it("an event that was altered, with all hashes made again, and the views repaired after that", async () => {
    const entries = await entriesOf(unsigned);
    const report = await rewritten(
      (files) => withHashes(files, entries, 1, "+254711111111", "+254722222222"),
      async () => {
        await repairViews();
        const { rows } = await hub.db.query("SELECT phone FROM views.beneficiaries WHERE id = $1", [number(901)]);
        expect(rows).toEqual([{ phone: "+254722222222" }]);
        return check();
      },
    );
    expect(report.chainsIntact).toBe(true);
    expect(report.problems).toMatchObject([
      {
        part: "log",
        where: `${unsigned}/1–2`,
        what: expect.stringContaining("rewritten after it was folded, or else the audit was"),
      },
    ]);
    expect(bad(report)).toEqual(["log"]);
    await repairViews();
    expect((await check()).problems).toEqual([]);
  });

  it("the same with a device's signatures, which show that it is the log that was rewritten", async () => {
    const entries = await entriesOf(signed);
    const report = await rewritten(
      (files) => withHashes(files, entries, 2, "+254700000001", "+254799999999"),
      async () => {
        await repairViews();
        return check();
      },
    );
    expect(report.chainsIntact).toBe(true);
    expect(bad(report)).toEqual(["log"]);
    expect(report.problems).toMatchObject(
      expect.arrayContaining([
        expect.objectContaining({ where: `${signed}/3`, what: expect.stringContaining("not what the device signed") }),
        expect.objectContaining({ what: expect.stringContaining("the log has") }),
      ]),
    );
    await repairViews();
    expect((await check()).problems).toEqual([]);
  });

  it("what the hub noted beside an event's hash (I37)", async () => {
    const { noted, position } = (await entriesOf(signed)).findLast((entry) => entry.noted !== undefined)!;
    const hubKeys = [publicKeySchema.parse(hub.key)];
    expect((await verify({ log: hub.log, hubKeys })).problems).toEqual([]);
    const report = await rewritten(
      (files) => put(files, position, [[noted!.hub, "a".repeat(noted!.hub.length)]]),
      () => verify({ log: hub.log, hubKeys }),
    );
    expect(report.problems).toMatchObject([
      { part: "log", what: expect.stringContaining("what the hub noted of these events is not what it signed") },
    ]);
  });

  it("an event that was removed from the end", async () => {
    const last = (await entriesOf(unsigned)).at(-1)!;
    await hub.projector.close();
    const report = await rewritten((files) => {
      files.prepare("DELETE FROM event WHERE position = ?").run(Number(last.position));
      files.prepare("UPDATE stream SET last = last - 1 WHERE name = ?").run(`origin-${unsigned}`);
    }, check);
    expect(report.problems.filter(({ part }) => part === "log")).toMatchObject([
      { where: `${unsigned}/2`, what: expect.stringContaining("from its end, or the log was set back") },
    ]);
    hub.projector = await hub.startProjector();
    expect((await check()).problems).toEqual([]);
  });
});
