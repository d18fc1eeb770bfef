import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { viewsSurface } from "../../services/api/index.ts";
import { EVERYBODY, isJsonObject, type JsonObject, QUARANTINE_ENTITY, RELEASED, type Viewer } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { defineProjection, manual, set, text } from "../../services/merge/index.ts";
import { rebuild } from "../../services/projector/index.ts";
import {
  askRefold,
  asViewer,
  type CaseRow,
  caseById,
  caseNotes,
  cases,
  casesOf,
  checkFollowed,
  connectViews,
  type Db,
  followedView,
  presentOf,
  rolesOf,
  rows,
} from "../../services/views/index.ts";
import { overallIdOf } from "../../services/views/write/case-of.ts";
import { openApi, type TestApi, type Who } from "../support/api.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

const RELIEF: Viewer = { orgs: ["relief"] };
const HEALTH: Viewer = { orgs: ["health"] };
const COORDINATOR: Who = { org: "health", roles: ["coordinator"] };
const ADMIN: Who = { org: "relief", roles: ["admin"] };

const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text({ index: true }), given_name: text() },
  resolve: { phone: manual },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  invariants: { phone_once: { atMost: 1, key: ({ phone }) => phone, says: "one phone stands at several people" } },
  notify: { phone_once: ["desk"] },
});

let hub: TestHub;
let api: TestApi;
let db: Db;
const fields = new Map<string, Field>();

const fieldOf = (org: string): Field => {
  const known = fields.get(org);
  if (known !== undefined) return known;
  const made = openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate });
  fields.set(org, made);
  return made;
};
const send = async (org: string, events: readonly NewEvent[], kept: readonly NewEvent[] = []): Promise<void> => {
  for (const event of events) await fieldOf(org).append(event);
  for (const event of kept) await fieldOf(org).append(event, { onInvalid: "keep" });
  const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3600, nowMs: Date.now() });
  await fieldOf(org).sync({ url: hub.backends.nats.url, token });
  await hub.projected();
};
const note = async (type: string, id: string, data: JsonObject): Promise<void> => {
  await hub.settle([{ type, entity: { type: "case", id }, actor: "operator", data }]);
  await hub.projected();
};
const rebuilt = async (): Promise<void> => {
  await rebuild(
    { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections },
    { names: ["beneficiaries", "phones"], fresh: true },
  );
  await hub.projected();
};
const page = async (path: string, who: Who): Promise<{ readonly status: number; readonly body: JsonObject }> => {
  const answer = await api.get(path, who);
  const body: unknown = await answer.json();
  if (!isJsonObject(body)) throw new Error("no object");
  return { status: answer.status, body };
};

beforeAll(async () => {
  hub = await openTestHub({ views: [phones] });
  db = await connectViews(hub.backends.postgres.url, "test-viewer-cases");
  api = await openApi(hub, ({ gate, reading }) => [
    viewsSurface({ gate, reading: reading("pages"), files: reading("files"), views: () => hub.projections }),
  ]);
});
afterAll(async () => {
  for (const field of fields.values()) field.close();
  await api?.[Symbol.asyncDispose]();
  await db?.end();
  await hub?.close();
});

const [SHARED, OWN, ACROSS] = ["+254711111111", "+254722222222", "+254733333333"];

/** The cases of a phone number that somebody is shown. */
const about = async (viewer: Viewer, phone: string): Promise<readonly CaseRow[]> =>
  (await asViewer(db, viewer, () => cases(db, { rule: "phone_once" }))).cases.filter(
    ({ subject }) => subject === JSON.stringify(phone),
  );
const one = async (viewer: Viewer, phone: string): Promise<CaseRow> => {
  const [found, ...others] = await about(viewer, phone);
  expect(others).toEqual([]);
  if (found === undefined) throw new Error(`no case of ${phone}`);
  return found;
};
const members = ({ about }: CaseRow): readonly string[] => (about.members ?? []).map(({ entity }) => entity);
/** All that the table has of organisations' cases of the live build, as it is kept. */
const ofOrgs = async () =>
  (
    await hub.db.query(
      `SELECT id, view, org, subject, says, about, mark, opened_position, opened_at, changed_position, closed_position IS NULL AS open
       FROM tributary.case_row JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live' AND org IS NOT NULL ORDER BY id`,
    )
  ).rows;

describe("a case of a key that entities of several organisations share (I42)", () => {
  it("is shown to an organisation as if the others' entities were not there, whether they are or not", async () => {
    await send(
      "health",
      [61, 62].map((n) => registration(number(n), { phone: SHARED })),
    );
    const alone = await one(HEALTH, SHARED);
    const before = await ofOrgs();
    expect(members(alone)).toEqual([number(61), number(62)]);
    expect(alone.says).toBe(`one phone stands at several people: 2 for "${SHARED}"`);
    expect(await about(RELIEF, SHARED)).toEqual([]);
    // Somebody of relief has the same number, and later another one: health is shown the same, to the letter.
    await send("relief", [registration(number(60), { phone: SHARED })]);
    expect(await one(HEALTH, SHARED)).toEqual(alone);
    expect(await ofOrgs()).toEqual(before);
    expect(await about(RELIEF, SHARED)).toEqual([]);
    expect(members(await one(EVERYBODY, SHARED))).toEqual([60, 61, 62].map(number));
    await send("relief", [update(number(60), { phone: "+254744444444" })]);
    expect(await one(HEALTH, SHARED)).toEqual(alone);
    expect(await ofOrgs()).toEqual(before);
    await send("relief", [update(number(60), { phone: SHARED })]);
  });

  it("is shown to none of them, where none breaks the rule alone, and once to whoever sees everything", async () => {
    await send("relief", [registration(number(50), { phone: ACROSS })]);
    await send("health", [registration(number(51), { phone: ACROSS })]);
    expect([await about(RELIEF, ACROSS), await about(HEALTH, ACROSS)]).toEqual([[], []]);
    expect(members(await one(EVERYBODY, ACROSS))).toEqual([50, 51].map(number));
    const entity = { type: "beneficiary", id: number(51) };
    expect(await asViewer(db, HEALTH, () => casesOf(db, entity))).toEqual([]);
  });

  it("is not taken for the case of an entity whose id is spelt as the key is", async () => {
    const id = JSON.stringify(ACROSS);
    await send("health", [update(id, { village: "probe" })]);
    expect(
      await asViewer(db, HEALTH, () =>
        caseById(db, overallIdOf({ view: "phones", kind: "invariant", rule: "phone_once", subject: id })),
      ),
    ).toBeNull();
    expect(
      (await asViewer(db, HEALTH, () => db.query("SELECT FROM tributary.owner WHERE entity_id = $1", [id]))).rows,
    ).toHaveLength(1);
    expect(await about(HEALTH, ACROSS)).toEqual([]);
  });

  it("is one case for an organisation, and one for whoever sees everything, where all of its entities are of that organisation", async () => {
    await send(
      "health",
      [63, 64].map((n) => registration(number(n), { phone: OWN })),
    );
    const [own, overall] = [await one(HEALTH, OWN), await one(EVERYBODY, OWN)];
    expect(own.about).toEqual(overall.about);
    expect(await about(RELIEF, OWN)).toEqual([]);
    // Whoever sees everything finds an organisation's case by its id, and an organisation does not find the other one.
    expect(await asViewer(db, EVERYBODY, () => caseById(db, own.id))).toMatchObject({ id: own.id });
    expect(await asViewer(db, HEALTH, () => caseById(db, overall.id))).toBeNull();
    expect(await asViewer(db, RELIEF, () => caseById(db, own.id))).toBeNull();
    const { rows } = await hub.db.query(
      "SELECT body ->> 'case' AS id FROM tributary.notification WHERE body ->> 'view' = 'phones'",
    );
    expect(rows.filter(({ id }) => id === overall.id)).toHaveLength(1);
    expect(rows.filter(({ id }) => id === own.id)).toEqual([]);
  });

  it("has notes of its own, and an acceptance that says nothing of the others", async () => {
    const [own, overall] = [await one(HEALTH, SHARED), await one(EVERYBODY, SHARED)];
    await note("case.assigned", overall.id, { assignee: "relief-amina" });
    await note("case.commented", own.id, { text: "they are sisters" });
    expect(await asViewer(db, HEALTH, () => db.query("SELECT case_id, assignee, text FROM tributary.case_note"))).toMatchObject({
      rows: [{ case_id: own.id, assignee: null, text: "they are sisters" }],
    });
    expect((await one(HEALTH, SHARED)).assignee).toBeNull();
    expect((await one(EVERYBODY, SHARED)).assignee).toBe("relief-amina");
    expect(await asViewer(db, HEALTH, () => caseNotes(db, overall.id))).toEqual([]);
    // An organisation accepts what it sees: across all, somebody of the other still has the number.
    await note("case.accepted", own.id, { mark: own.mark });
    expect(await one(HEALTH, SHARED)).toMatchObject({
      state: "accepted",
      acceptedBy: "operator",
      acceptedAt: expect.any(String),
    });
    expect((await one(EVERYBODY, SHARED)).state).toBe("open");
    // Nobody decides the same twice: where there are no others, it is accepted for whoever sees everything.
    const same = await one(HEALTH, OWN);
    const { from } = (await hub.db.query("SELECT number AS from FROM tributary.change_head")).rows[0];
    await note("case.accepted", same.id, { mark: same.mark });
    const across = await one(EVERYBODY, OWN);
    expect(across.state).toBe("accepted");
    // Those who follow what changes are told of both.
    const { rows: told } = await hub.db.query("SELECT id FROM tributary.change WHERE kind = 'case' AND number > $1", [from]);
    expect(told.map(({ id }) => id).sort()).toEqual([same.id, across.id].sort());
    // What is accepted across all would tell an organisation what the others have.
    await note("case.accepted", (await one(EVERYBODY, ACROSS)).id, { mark: (await one(EVERYBODY, ACROSS)).mark });
    expect(await about(HEALTH, ACROSS)).toEqual([]);
    await send("relief", [registration(number(65), { phone: OWN })]);
    expect([(await one(HEALTH, OWN)).state, (await one(EVERYBODY, OWN)).state]).toEqual(["accepted", "open"]);
  });

  it("is the same after a build was swapped in, and after a hub of an earlier version was brought up to date", async () => {
    const [before, shown] = [await ofOrgs(), await one(HEALTH, SHARED)];
    expect(before).toHaveLength(2);
    await rebuilt();
    expect(await ofOrgs()).toEqual(before);
    expect(await one(HEALTH, SHARED)).toEqual(shown);
    // As such a hub has it.
    await hub.projector.close();
    await hub.db.query(
      "DELETE FROM tributary.case_row WHERE org IS NOT NULL; UPDATE tributary.generation SET has_org_cases = false",
    );
    hub.projector = await hub.startProjector();
    const timeless = (rows: readonly Record<string, unknown>[]) =>
      rows.map(({ id, org, says, about, mark, open }) => ({ id, org, says, about, mark, open }));
    expect(timeless(await ofOrgs())).toEqual(timeless(before));
    // The build that was live before lacks what has happened since, and what was open there may not be.
    await send("health", [update(number(64), { phone: "+254755555555" })]);
    await rebuild(
      { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections },
      { names: ["beneficiaries", "phones"], rollback: true },
    );
    await hub.projected();
    expect((await one(HEALTH, OWN)).state).toBe("closed");
    expect((await one(HEALTH, SHARED)).state).toBe("accepted");
  });

  it("is opened too by an event that is written alone, since another view's table refuses it", async () => {
    await hub.db.query(`CREATE FUNCTION public.refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.village = 'Nowhere' THEN RAISE EXCEPTION 'not that one'; END IF; RETURN NEW; END $$`);
    await hub.db.query(
      "CREATE TRIGGER refuses BEFORE INSERT OR UPDATE ON views.beneficiaries FOR EACH ROW EXECUTE FUNCTION public.refuses()",
    );
    const [n, phone] = [70, "+254777777777"];
    await send("health", [registration(number(n), { phone }), registration(number(n + 1), { phone, village: "Nowhere" })]);
    await hub.db.query("DROP FUNCTION public.refuses() CASCADE");
    expect(hub.said.some(({ event }) => event === "event-narrowed")).toBe(true);
    expect(members(await one(HEALTH, phone))).toEqual([number(n), number(n + 1)]);
  });

  it("is closed and opened again by what its own entities do", async () => {
    await send("health", [update(number(64), { phone: OWN })]);
    expect((await one(HEALTH, OWN)).state).not.toBe("closed");
    await send("health", [update(number(62), { phone: "+254766666666" })]);
    expect((await one(HEALTH, SHARED)).state).toBe("closed");
    expect((await one(EVERYBODY, SHARED)).state).toBe("open");
  });

  it("counts an entity for the organisation that it turns out to belong to, once it is folded again", async () => {
    expect((await one(HEALTH, OWN)).state).not.toBe("closed");
    await hub.db.query("UPDATE tributary.owner SET org = 'relief' WHERE entity_id = $1", [number(64)]);
    await askRefold(hub.db, "phones", [{ type: "beneficiary", id: number(64) }]);
    await eventually("the case's end", async () => (await one(HEALTH, OWN)).state === "closed");
    expect(members(await one(RELIEF, OWN))).toEqual([64, 65].map(number));
    await hub.db.query("UPDATE tributary.owner SET org = 'health' WHERE entity_id = $1", [number(64)]);
  });
});

describe("rows as of a time", () => {
  const id = number(1);
  const asked = (who: Who, more = "") => page(`/v1/views/beneficiaries?where=id=${id}&columns=birth_date,village${more}`, who);
  it("have, for an organisation, what the hub released for it, also after a build was swapped in (I42)", async () => {
    await send("health", [registration(id, { village: "Old" })], [update(id, { birth_date: "2019-02-30" })]);
    const { rows: held } = await hub.db.query(
      "SELECT origin, seq::float8, hash, schema_subject, schema_version FROM tributary.quarantine",
    );
    const { origin, seq, hash, schema_subject: subject, schema_version: version } = held[0];
    await hub.settle([
      {
        ...{ type: RELEASED, entity: { type: QUARANTINE_ENTITY, id: `${origin}/${seq}` }, actor: "operator" },
        data: {
          ...{ origin, seq, hash, type: "beneficiary.updated", entity: { type: "beneficiary", id } },
          ...{ schema: { subject, version }, data: { birth_date: "2019-02-28" } },
        },
      },
    ]);
    await hub.projected();
    for (const when of ["folded", "swapped in"]) {
      if (when === "swapped in") await rebuilt();
      const later = `&as_of=${new Date(Date.now() + 60_000).toISOString()}`;
      const shown = { status: 200, body: { rows: [{ id, birth_date: "2019-02-28", village: "Old" }] } };
      expect(await asked(ADMIN, later), when).toMatchObject(shown);
      expect(await asked(COORDINATOR), when).toMatchObject(shown);
      expect(await asked(COORDINATOR, later), when).toMatchObject(shown);
    }
  });

  it("stand at the hub's position of that time, which only the hub's own roles may ask for", async () => {
    const asks = (viewer: Viewer) => asViewer(db, viewer, () => db.query("SELECT tributary.position_at(now()) AS at"));
    const { rows } = await hub.db.query("SELECT max(position) AS at FROM tributary.audit");
    expect([(await asks(HEALTH)).rows, (await asks(EVERYBODY)).rows]).toEqual([rows, rows]);
    const { rows: may } = await hub.db.query(
      `SELECT has_function_privilege($1, 'tributary.position_at(timestamptz)', 'EXECUTE') AS may,
         (SELECT proconfig FROM pg_proc WHERE proname = 'position_at') AS path`,
      [(await rolesOf(hub.db)).all_rows],
    );
    expect(may).toEqual([{ may: false, path: ["search_path=pg_catalog, pg_temp"] }]);
  });
});

describe("what a program may ask", () => {
  it.each([
    "columns=state",
    "columns=id,first_position",
    "where=state~a",
    `where=${encodeURIComponent("last_position>0")}`,
    "sort=first_position:desc",
    "format=csv&columns=state",
    "format=ndjson&where=state~a",
    "format=csv&sort=last_position",
  ])("does not go by the columns that only the fold uses: %s", async (query) => {
    const { status, body } = await page(`/v1/views/phones?${query}`, COORDINATOR);
    expect([status, body.code]).toEqual([400, "usage"]);
    expect(body.hint).not.toMatch(/state|position/);
    // People at the hub's own machine may.
    const inner = { view: "phones", columns: "state,first_position", page: { limit: 1 } };
    expect((await rows(db, inner)).columns).toEqual(["state", "first_position"]);
  });
});

describe("who follows a view", () => {
  it.each(["state", "first_position", "last_position"])("cannot ask by a column that only the fold uses: %s", async (column) => {
    const check = (of: string) =>
      asViewer(db, HEALTH, async () =>
        checkFollowed(db, followedView("phones", "beneficiary"), [{ column: of, isNull: false }], await presentOf(db)),
      );
    await check("phone");
    await expect(check(column)).rejects.toMatchObject({ code: "input-malformed", hint: expect.not.stringContaining(column) });
  });
});

describe("the audit", () => {
  it("shows an entity's owner nothing of what others wrote and nobody admitted", async () => {
    await send("relief", [update(number(1), { village: "Guest" })], [update(number(1), { birth_date: "2019-02-31" })]);
    const seen = async (viewer: Viewer) =>
      (
        await asViewer(db, viewer, () =>
          db.query("SELECT quarantine_code IS NULL AS admitted FROM tributary.audit WHERE org = 'relief' AND entity_id = $1", [
            number(1),
          ]),
        )
      ).rows.map(({ admitted }) => admitted);
    expect([await seen(HEALTH), (await seen(RELIEF)).sort()]).toEqual([[true], [false, true]]);
  });
});
