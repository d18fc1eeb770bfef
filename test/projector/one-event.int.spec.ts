import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { explainEntity, verify } from "../../services/audit/index.ts";
import type { JsonObject } from "../../services/core/index.ts";
import type { Column, View } from "../../services/merge/engine.ts";
import { date, defineProjection, map, set, text } from "../../services/merge/index.ts";
import { projectorHealth, rebuild, reconcile } from "../../services/projector/index.ts";
import { alone, askRefold, connectViews } from "../../services/views/index.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";
import { change, type OldEvent, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const rowsOf = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown>[]> =>
  (await hub.db.query(sql, values)).rows;
const one = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown> | undefined> =>
  (await rowsOf(sql, ...values))[0];
const parked = (id: string) =>
  rowsOf(
    "SELECT p.view, p.error FROM tributary.parked p JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live' AND entity_id = $1 ORDER BY 1",
    id,
  );
const given = async (id: string): Promise<unknown> =>
  (await one("SELECT given_name FROM views.beneficiaries WHERE id = $1", id))?.given_name;
const report = () => verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
const handout = (id: string, data: JsonObject = {}, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "distribution.recorded",
  entity: { type: "distribution", id },
  data: {
    distribution_no: id,
    registration_no: id,
    item: "RICE",
    quantity: 10,
    unit: "KG",
    distributed_on: "2026-02-03",
    voucher_no: null,
    ...data,
  },
  schema: { subject: "distribution", version: 2 },
  ...more,
});
/** Expects that every event of the log has its audit row, and that the projector has not tried the same thing for ever. */
const expectAudited = async (): Promise<void> => {
  const { problems, events } = await report();
  expect(problems).toEqual([]);
  expect(await one("SELECT count(*)::int AS n FROM tributary.audit")).toEqual({ n: events });
};

/** Makes a table refuse rows that contain `word` (anywhere, or in `of`), until the returned function is called. */
async function refusing(
  table: string,
  word: string,
  { deferred = false, of = "row_to_json(NEW)::text" } = {},
): Promise<() => Promise<void>> {
  const name = `public.refuse_${table.split(".")[1]}`;
  await hub.db.query(`CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF position('${word}' IN ${of}) > 0 THEN RAISE EXCEPTION '% does not take ${word}', TG_TABLE_NAME; END IF; RETURN NEW; END $$`);
  await hub.db.query(
    deferred
      ? `CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ${name}()`
      : `CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${name}()`,
  );
  const away = async (): Promise<void> => void (await hub.db.query(`DROP TRIGGER IF EXISTS refuse ON ${table}`));
  onTestFinished(away);
  return away;
}

let cases = 0;
type Writer = ReturnType<typeof oldWriter>;

describe("one event that a table of the views refuses", () => {
  it.each([
    ["views.beneficiaries", {}],
    ["views.beneficiaries", { deferred: true }],
    ["views.beneficiaries_history", {}],
    ["tributary.decision_row", {}],
    ["views.distributions", {}],
    ["views.distributions_claims", {}],
    ["views.distribution_summary", {}],
    ["tributary.case_row", {}],
  ] as const)(
    "parks its own entity there and stops nobody, and the entity is shown once %s takes it (%o)",
    async (table, options) => {
      const bad = `bad${++cases}`;
      const away = await refusing(table, bad, options);
      const [here, there, bads] = [`here${cases}`, `there${cases}`, bad].map((site) => oldWriter(hub.log, site)) as [
        Writer,
        Writer,
        Writer,
      ];
      const people = Array.from({ length: 30 }, (_, i) => person(`fine${cases}-${i}`));
      const voucher = { voucher_no: `${bad}-voucher` };
      await here.append(
        ...people.slice(0, 10),
        person(`${bad}-a`),
        ...people.slice(10, 20),
        person(`${bad}-b`, { phone: "+1" }),
        handout(`fine${cases}-h`),
        ...people.slice(20),
      );
      await bads.append(handout(`${bad}-a`, voucher), handout(`${bad}-b`, voucher));
      // Neither had seen the other's write: the rule must decide.
      await there.append(person(`${bad}-b`, { phone: "+2" }), person(`fine${cases}-last`));
      await hub.projected();
      expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries WHERE id LIKE $1", `fine${cases}-%`)).toEqual({
        n: 31,
      });
      expect(await one("SELECT count(*)::int AS n FROM views.distributions WHERE id LIKE $1", `fine${cases}-%`)).toEqual({
        n: 1,
      });
      const stopped = await rowsOf("SELECT DISTINCT entity_id, view FROM tributary.parked WHERE entity_id LIKE $1", `${bad}%`);
      expect(stopped.length).toBeGreaterThan(0);
      const [{ error }] = (await rowsOf("SELECT error FROM tributary.parked WHERE entity_id LIKE $1", `${bad}%`)) as [
        { error: string },
      ];
      expect(error).toContain(`${table.split(".")[1]} does not take ${bad}`);
      await expectAudited();
      expect(await projectorHealth(hub.db, hub.log, Date.now())).toMatchObject({
        parked: { [String(stopped[0]!.view)]: expect.any(Number) },
        lag: { seconds: 0 },
      });

      await away();
      for (const { entity_id, view } of stopped)
        await askRefold(hub.db, String(view), [
          { type: view === "beneficiaries" ? "beneficiary" : "distribution", id: String(entity_id) },
        ]);
      await eventually("the retry", async () => (await parked(`${bad}-a`)).length + (await parked(`${bad}-b`)).length === 0);
      expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries WHERE id LIKE $1", `${bad}%`)).toEqual({ n: 2 });
      expect(await one("SELECT count(*)::int AS n FROM views.distributions WHERE id LIKE $1", `${bad}%`)).toEqual({ n: 2 });
      expect(await one("SELECT state FROM tributary.case WHERE subject LIKE $1", `%${bad}-voucher%`)).toEqual({ state: "open" });
      const { parked: left, problems } = await report();
      expect({ left, problems }).toEqual({ left: [], problems: [] });
    },
  );
});

describe("one event that a table of the hub's own refuses", () => {
  it.each([
    ["tributary.audit", "its audit row stands with placeholders, and says what was refused"],
    ["tributary.origin", "its origin's count is noted to be short"],
  ])("%s: %s, and all that it says is in the views", async (table) => {
    const bad = `bad${++cases}`;
    const away = await refusing(table, bad, table.endsWith("audit") ? { of: "NEW.entity_id" } : {});
    const writer = oldWriter(hub.log, table.endsWith("origin") ? bad : `here${cases}`);
    await writer.append(
      person(`fine${cases}`),
      person(`${bad}-a`),
      person(`fine${cases}-2`),
      change(`${bad}-a`, { given_name: "Nyibol" }),
    );
    await hub.projected();
    expect([await given(`fine${cases}`), await given(`${bad}-a`), await given(`fine${cases}-2`)]).toEqual([
      "Awɛŋ",
      "Nyibol",
      "Awɛŋ",
    ]);
    const noted = await rowsOf(
      "SELECT seq::int, projection_error FROM tributary.audit WHERE origin = $1 AND projection_error IS NOT NULL",
      writer.origin,
    );
    expect(noted.length).toBeGreaterThanOrEqual(2);
    for (const { projection_error } of noted) expect(projection_error).toContain(`does not take ${bad}`);
    await away();
    await expectAudited();
    // An event with placeholders in the audit is still found by its entity's name.
    expect(await explainEntity({ ...hub, db: hub.db }, `beneficiary/${bad}-a`, "given_name")).toMatchObject([
      { registers: [{ steps: [{ value: "Awɛŋ" }, { value: "Nyibol" }] }] },
    ]);
    await askRefold(hub.db, "beneficiaries", [{ type: "beneficiary", id: `${bad}-a` }]);
    await eventually("the retry", async () => (await one("SELECT 1 FROM tributary.refold")) === undefined);
    expect(await given(`${bad}-a`)).toBe("Nyibol");
  });

  it("a note on a case, a settlement and a quarantined event that are refused stand in the audit with a note, and stop nobody", async () => {
    const bad = `bad${++cases}`;
    const tables = ["tributary.case_note", "tributary.quarantine"];
    const away = [await refusing(tables[0]!, bad), await refusing(tables[1]!, bad, { of: "NEW.entity_id" })];
    const [site, desk] = [oldWriter(hub.log, `here${cases}`), oldWriter(hub.log, "hub")];
    const held = (id: string) => person(id, {}, { quarantined: "invalid" });
    await site.append(held(`${bad}-a`), person(`fine${cases}`), held(`fine${cases}-q`));
    await desk.append(
      { type: "case.commented", entity: { type: "case", id: "0123456789ab" }, data: { text: `about ${bad}` } },
      { type: "case.commented", entity: { type: "case", id: "0123456789ab" }, data: { text: "fine" } },
    );
    await oldWriter(hub.log, `there${cases}`).append(person(`fine${cases}-2`));
    await hub.projected();
    expect([await given(`fine${cases}`), await given(`fine${cases}-2`)]).toEqual(["Awɛŋ", "Awɛŋ"]);
    expect(await rowsOf("SELECT text FROM tributary.case_note WHERE case_id = '0123456789ab'")).toEqual([{ text: "fine" }]);
    // The quarantined event is listed all the same: its row has placeholders.
    expect(await rowsOf("SELECT seq::int, code FROM tributary.quarantine WHERE origin = $1 ORDER BY seq", site.origin)).toEqual([
      { seq: 0, code: "invalid" },
      { seq: 2, code: "invalid" },
    ]);
    const notes = await rowsOf(
      "SELECT projection_error AS note FROM tributary.audit WHERE origin = ANY($1) AND projection_error IS NOT NULL ORDER BY position",
      [site.origin, desk.origin],
    );
    expect(notes).toMatchObject([
      { note: expect.stringContaining("quarantine does not take") },
      { note: expect.stringContaining("case_note does not take") },
    ]);
    for (const each of away) await each();
    await expectAudited();
  });

  it("a notice that is refused parks its entity, and people are told once when it is taken", async () => {
    const told = defineProjection({
      name: "told",
      entity: "beneficiary",
      columns: { phone: text() },
      events: { "beneficiary.registered": set() },
      notify: { phone: ["desk"] },
    });
    await hub.projector.close();
    hub.projector = await hub.startProjector([...hub.projections, told]);
    const bad = `bad${++cases}`;
    const away = await refusing("tributary.notification", bad);
    for (const site of ["t1", "t2"])
      await oldWriter(hub.log, site).append(person(`${bad}-a`, { phone: site }), person(`fine${cases}`, { phone: site }));
    await hub.projected();
    expect(await parked(`${bad}-a`)).toMatchObject([
      { view: "told", error: expect.stringContaining("notification does not take") },
    ]);
    const count = async (id: string): Promise<unknown> =>
      (await one("SELECT count(*)::int AS n FROM tributary.notification WHERE subject LIKE $1", `%${id}%`))!.n;
    expect([await count(`fine${cases}`), await count(bad)]).toEqual([1, 0]);
    await away();
    for (let tries = 0; tries < 2; tries++) {
      await askRefold(hub.db, "told", [{ type: "beneficiary", id: `${bad}-a` }]);
      await eventually("the retry", async () => (await one("SELECT 1 FROM tributary.refold")) === undefined);
      expect([await parked(`${bad}-a`), await count(bad)]).toEqual([[], 1]);
    }
    await hub.projector.close();
    hub.projector = await hub.startProjector();
  });

  it("a trigger that raises PostgreSQL's own codes of operation does not stop other events either", async () => {
    const bad = `bad${++cases}`;
    await hub.db.query(`CREATE FUNCTION public.lies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.id LIKE '${bad}%' THEN RAISE EXCEPTION 'no luck' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$`);
    await hub.db.query("CREATE TRIGGER lies BEFORE INSERT ON views.beneficiaries FOR EACH ROW EXECUTE FUNCTION public.lies()");
    await oldWriter(hub.log, "liar").append(person(`fine${cases}`), person(`${bad}-a`), person(`fine${cases}-2`));
    await hub.projected();
    expect([await given(`fine${cases}`), await given(`fine${cases}-2`)]).toEqual(["Awɛŋ", "Awɛŋ"]);
    expect(await parked(`${bad}-a`)).toEqual([{ view: "beneficiaries", error: "PostgreSQL cannot hold it: no luck" }]);
    // Such a code does not show whether the row would be refused again: the report says so, and it is not a problem.
    expect((await report()).verdicts.parked).toMatchObject({
      state: "good",
      says: expect.stringContaining("1 of them would be parked again could not be tried"),
    });
    await hub.db.query("DROP FUNCTION public.lies() CASCADE");
    expect((await report()).problems).toMatchObject([{ part: "parked", where: `beneficiaries/${bad}-a` }]);
    await askRefold(hub.db, "beneficiaries", [{ type: "beneficiary", id: `${bad}-a` }]);
    await eventually("the retry", async () => (await parked(`${bad}-a`)).length === 0);
  });
});

describe("an old log's event", () => {
  it("that columns of the audit cannot hold is shown, found and proved; what it said stands beside the placeholders", async () => {
    const writer = oldWriter(hub.log, "old");
    await writer.append(
      person("OLD-1"),
      person("OLD-2", {}, { occurredAt: "0000-01-01T00:00:00.000Z" }),
      person("OLD-3", {}, { schema: { subject: "beneficiary", version: 3_000_000_000 } }),
      person("OLD-4", {}, { actor: "de\0ng", clockOffsetMs: 1e300 }),
      person("OLD-5\0", {}),
      person("OLD-6"),
    );
    await hub.projected();
    for (const id of ["OLD-1", "OLD-2", "OLD-3", "OLD-4", "OLD-6"]) expect(await given(id), id).toBe("Awɛŋ");
    await expectAudited();
    const held = await rowsOf(
      "SELECT seq::int, held_otherwise FROM tributary.audit WHERE origin = $1 AND held_otherwise IS NOT NULL ORDER BY seq",
      writer.origin,
    );
    expect(held).toEqual([{ seq: 3, held_otherwise: { clock_offset_ms: "1e+300" } }]);
    const [told] = await explainEntity({ ...hub, db: hub.db }, "beneficiary/OLD-2", "given_name");
    expect(told!.registers[0]!.steps[0]).toMatchObject({ occurredAt: "0000-01-01T00:00:00.000Z" });
    expect((await report()).parked.map(({ entity }) => entity)).toEqual(expect.arrayContaining(["OLD-5\uFFFD"]));
  });

  it("with a value that its column cannot hold is mended by a later event that corrects it, and the newer values are shown", async () => {
    const writer = oldWriter(hub.log, "nul");
    await writer.append(person("NUL-1", { phone: "+1" }), change("NUL-1", { given_name: "Ay\0en" }));
    await hub.projected();
    expect(await parked("NUL-1")).toMatchObject([{ view: "beneficiaries" }]);
    expect(await explainEntity({ ...hub, db: hub.db }, "beneficiary/NUL-1", "given_name")).toMatchObject([
      { parked: { event: `${writer.origin}/1` }, registers: [{ steps: [{ value: "Awɛŋ" }, { value: "Ay\0en" }] }] },
    ]);
    expect(await report()).toMatchObject({
      problems: [],
      parked: expect.arrayContaining([expect.objectContaining({ entity: "NUL-1" })]),
    });
    await writer.append(change("NUL-1", { phone: "+2" }), person("NUL-2"));
    await hub.projected();
    // Not mended yet: the name would still be shown.
    await eventually("the fold", async () => (await one("SELECT 1 FROM tributary.refold")) === undefined);
    expect(await parked("NUL-1")).toHaveLength(1);
    await writer.append(change("NUL-1", { given_name: "Ayen", phone: "+9" }));
    await hub.projected();
    await eventually("the mending", async () => (await parked("NUL-1")).length === 0);
    expect(await one("SELECT given_name, phone FROM views.beneficiaries WHERE id = 'NUL-1'")).toEqual({
      given_name: "Ayen",
      phone: "+9",
    });
    // Versions that showed it are left out, with a note.
    expect(
      await rowsOf(
        "SELECT values ->> 'given_name' AS name FROM views.beneficiaries_history WHERE id = 'NUL-1' ORDER BY position",
      ),
    ).toEqual([{ name: "Awɛŋ" }, { name: "Ayen" }]);
    expect(await one("SELECT projection_error FROM tributary.audit WHERE origin = $1 AND seq = 2", writer.origin)).toMatchObject({
      projection_error: expect.stringContaining("no version of the row is kept"),
    });
    await writer.append(change("NUL-1", { phone: "+10" }));
    await hub.projected();
    expect(await one("SELECT phone FROM views.beneficiaries WHERE id = 'NUL-1'")).toEqual({ phone: "+10" });
    expect((await report()).parked.map(({ entity }) => entity)).not.toContain("NUL-1");
    await expectAudited();
  });

  it("that comes with its correction in one page parks no entity", async () => {
    await oldWriter(hub.log, "both").append(
      person("BOTH-1"),
      change("BOTH-1", { given_name: "\0" }),
      change("BOTH-1", { given_name: "Deng", phone: "+3" }),
    );
    await hub.projected();
    await eventually("the mending", async () => (await parked("BOTH-1")).length === 0);
    expect(await one("SELECT given_name, phone FROM views.beneficiaries WHERE id = 'BOTH-1'")).toEqual({
      given_name: "Deng",
      phone: "+3",
    });
  });
});

it("a state that cannot be read parks only its entity, and the next event mends it", async () => {
  const writer = oldWriter(hub.log, "state");
  await writer.append(person("STATE-1"), person("STATE-2"));
  await hub.projected();
  await hub.projector.close();
  await hub.db.query("UPDATE views.beneficiaries SET state = 'no state' WHERE id = 'STATE-1'");
  await writer.append(change("STATE-1", { phone: "+1" }), change("STATE-2", { phone: "+2" }));
  hub.projector = await hub.startProjector();
  await hub.projected();
  expect(await one("SELECT phone FROM views.beneficiaries WHERE id = 'STATE-2'")).toEqual({ phone: "+2" });
  expect(await parked("STATE-1")).toMatchObject([{ view: "beneficiaries", error: expect.stringContaining("no state") }]);
  await writer.append(change("STATE-1", { village: "V" }));
  await hub.projected();
  await eventually("the mending", async () => (await parked("STATE-1")).length === 0);
  expect(await one("SELECT phone, village FROM views.beneficiaries WHERE id = 'STATE-1'")).toEqual({ phone: "+1", village: "V" });
  await expectAudited();
});

describe("a build", () => {
  // A column whose check lets through what PostgreSQL's type does not.
  const day: Column<string> = { ...date(), fits: () => true };
  const careless = defineProjection({
    name: "careless",
    entity: "beneficiary",
    columns: { day, phone: text() },
    events: {
      "beneficiary.registered": map(({ data }) => ({ day: data.village === "nowhere" ? "no day" : "2026-01-01" })),
      "beneficiary.updated": map(({ data }) => ({
        phone: (data.phone ?? null) as string | null,
        ...(data.village === "somewhere" ? { day: "2026-02-02" } : {}),
      })),
    },
  });
  const built = async <T>(work: (deps: Parameters<typeof rebuild>[0]) => Promise<T>, views: readonly View[]): Promise<T> => {
    const [db, reader] = [
      await connectViews(hub.backends.postgres.url, "test"),
      await connectViews(hub.backends.postgres.url, "test"),
    ];
    try {
      return await alone(db, true, () => work({ db, reader, log: hub.log, gate: hub.gate, views }));
    } finally {
      await Promise.all([db.end(), reader.end()]);
    }
  };

  it("parks the entities of events that the database refuses, mends those that were corrected, and ends well; so does balancing the books", async () => {
    const writer = oldWriter(hub.log, "careless");
    await writer.append(
      ...Array.from({ length: 40 }, (_, i) => person(`CAR-${i}`)),
      person("CAR-bad", { village: "nowhere" }),
      person("CAR-worse", { village: "nowhere" }),
      person("CAR-mended", { village: "nowhere" }),
      change("CAR-bad", { phone: "+1" }),
      change("CAR-1", { phone: "+2" }),
      change("CAR-mended", { village: "somewhere", phone: "+3" }),
    );
    await hub.projected();
    const views = [...hub.projections, careless];
    await hub.projector.close();
    hub.projector = await hub.startProjector(views);
    const expectShown = async (): Promise<void> => {
      expect(await one("SELECT count(*)::int AS n FROM views.careless WHERE id LIKE 'CAR-%'")).toEqual({ n: 41 });
      expect(await one("SELECT phone FROM views.careless WHERE id = 'CAR-1'")).toEqual({ phone: "+2" });
      expect(await one("SELECT day::text, phone FROM views.careless WHERE id = 'CAR-mended'")).toEqual({
        day: "2026-02-02",
        phone: "+3",
      });
      for (const id of ["CAR-bad", "CAR-worse"])
        expect(await parked(id)).toMatchObject([
          { view: "careless", error: expect.stringContaining("PostgreSQL cannot hold it") },
        ]);
      expect(await parked("CAR-mended")).toEqual([]);
    };
    await expectShown();
    const rebuilt = await built((deps) => rebuild(deps, { names: ["careless"], batchEvents: 7 }), views);
    expect(rebuilt).toMatchObject({ swapped: true, parked: expect.any(Number) });
    await expectShown();
    const [books] = await built((deps) => reconcile(deps, { names: ["careless"], repair: false }), views);
    expect(books).toMatchObject({ view: "careless", differing: 0, named: [] });
    await hub.projector.close();
    hub.projector = await hub.startProjector();
  });
});
