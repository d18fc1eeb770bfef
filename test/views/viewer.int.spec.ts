import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { EVERYBODY, NOBODY, type Viewer } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { defineProjection, defineSql, manual, set, text } from "../../services/merge/index.ts";
import { rebuild } from "../../services/projector/index.ts";
import {
  asViewer,
  cases,
  connectViews,
  type Db,
  decisionsOn,
  inTransaction,
  migrate,
  quarantine,
  rehearse,
  rolesOf,
  rows,
  writeCanary,
} from "../../services/views/index.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { openPostgres } from "../support/postgres.ts";
import { eventually } from "../support/temp.ts";

/** Words that stand in what each organisation writes of its own, and in what a guest of the other writes there. */
const [AMBER, BRICK, GUEST] = ["amberword", "brickword", "guestword"];
const RELIEF: Viewer = { orgs: ["relief"] };
const HEALTH: Viewer = { orgs: ["health"] };

/** Tables without a row of any organisation. */
const OPEN = new Set(
  ["migration", "generation", "shard", "incarnation", "projector", "seal", "told", "feed_scope", "feed_shut", "change_head"].map(
    (name) => `tributary.${name}`,
  ),
);
/** Views of the hub's own that show what belongs to nobody, or that their reader sees only what the tables under them show. */
const OPEN_VIEWS = new Set(["tributary.view", "tributary.checkpoint"]);

const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text({ index: true }), given_name: text() },
  resolve: { phone: manual },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  invariants: {
    phone_once: { atMost: 1, key: ({ phone }) => phone, says: "one phone stands at two people" },
    not_zero: { problem: ({ phone }) => (phone === "+254700000000" ? "it is no number" : null) },
  },
});
const names = defineSql({ name: "names", sql: "SELECT id, given_name FROM views.beneficiaries", needs: ["beneficiaries"] });

let hub: TestHub;
let db: Db;
const fields: Field[] = [];

const device = (org: string): Field => {
  const field = openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate });
  fields.push(field);
  return field;
};
const send = async (field: Field, org: string, events: readonly NewEvent[]): Promise<void> => {
  for (const event of events) await field.append(event);
  const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3600, nowMs: Date.now() });
  await field.sync({ url: hub.backends.nats.url, token });
  await hub.projected();
};

beforeAll(async () => {
  hub = await openTestHub({ views: [phones, names] });
  db = await connectViews(hub.backends.postgres.url, "test-viewer");
  const [relief, health] = [device("relief"), device("health")];
  await send(relief, "relief", [
    registration(number(1), { given_name: AMBER, phone: "+254700000001" }),
    registration(number(2), { given_name: AMBER, phone: "+254700000077" }),
    registration(number(3), { given_name: AMBER, phone: "+254700000000" }),
  ]);
  await send(health, "health", [
    registration(number(11), { given_name: BRICK, phone: "+254700000001" }),
    registration(number(12), { given_name: BRICK, phone: "+254700000088" }),
    registration(number(13), { given_name: BRICK, phone: "+254700000088" }),
  ]);
  // Each writes of the other's entity, which makes a conflict there.
  await send(relief, "relief", [update(number(11), { phone: "+254700000002", village: GUEST })]);
  await send(health, "health", [update(number(1), { phone: "+254700000002", village: GUEST })]);
});
afterAll(async () => {
  for (const field of fields) field.close();
  await db?.end();
  await hub?.close();
});

/** Tables and views that there are, with what PostgreSQL knows of each. */
async function relations(): Promise<
  {
    readonly name: string;
    readonly kind: string;
    readonly guarded: boolean;
    readonly invoker: boolean;
    readonly shown: boolean;
  }[]
> {
  const { rows } = await hub.db.query(
    `SELECT format('%s.%s', n.nspname, c.relname) AS name, c.relkind AS kind, c.relrowsecurity AS guarded,
       coalesce('security_invoker=true' = ANY (c.reloptions), false) AS invoker, has_table_privilege($1, c.oid, 'SELECT')
         AND has_schema_privilege($1, n.oid, 'USAGE') AS shown
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'v', 'm', 'p') AND (n.nspname IN ('tributary', 'views') OR n.nspname LIKE 'tributary\\_g%') ORDER BY 1`,
    [(await rolesOf(hub.db)).reader],
  );
  return rows;
}

/** All that somebody is shown, as text, by table or view. */
async function shownTo(viewer: Viewer): Promise<ReadonlyMap<string, string>> {
  const out = new Map<string, string>();
  for (const { name, shown } of await relations()) {
    if (!shown) continue;
    const [namespace, table] = name.split(".");
    const found = await asViewer(db, viewer, () => db.query(`SELECT t::text AS row FROM "${namespace}"."${table}" t`));
    out.set(name, found.rows.map(({ row }) => String(row)).join("\n"));
  }
  return out;
}

describe.each(["as they were folded", "after a build was swapped in"])("rows, %s (I42),", (when) => {
  beforeAll(async () => {
    if (when === "as they were folded") return;
    await rebuild(
      { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections },
      { names: ["beneficiaries", "phones"], fresh: true },
    );
    await hub.projected();
  });

  it("are shown to whom they belong, in every table and view that people may read, and to nobody else", async () => {
    const [relief, health] = [await shownTo(RELIEF), await shownTo(HEALTH)];
    for (const [name, text] of relief) expect(text, name).not.toContain(BRICK);
    for (const [name, text] of health) expect(text, name).not.toContain(AMBER);
    for (const name of ["views.beneficiaries", "views.beneficiaries_history", "tributary.audit"]) {
      expect(relief.get(name)).toContain(AMBER);
      expect(health.get(name)).toContain(BRICK);
    }
    expect(health.get("views.phones_claims")).toContain(number(12));
    expect(health.get("views.phones_claims")).not.toContain(number(1));
    // What a guest wrote is shown to whom the entity belongs.
    expect(health.get("views.beneficiaries")).toContain(GUEST);
  });

  it("are shown to nobody who has no organisation, and all of them to whoever sees everything", async () => {
    for (const [name, text] of await shownTo(NOBODY)) if (!OPEN.has(name) && !OPEN_VIEWS.has(name)) expect(text, name).toBe("");
    const { rows: found } = await asViewer(db, EVERYBODY, () => db.query("SELECT given_name FROM views.names"));
    expect(new Set(found.map(({ given_name }) => given_name))).toEqual(new Set([AMBER, BRICK]));
  });

  it("are counted, sorted and filtered among those that are shown", async () => {
    const ask = (viewer: Viewer, where: readonly string[]) =>
      asViewer(db, viewer, () => rows(db, { view: "beneficiaries", where, page: {} }));
    expect((await ask(HEALTH, [])).total).toBe(3);
    expect((await ask(HEALTH, [`given_name=${AMBER}`])).total).toBe(0);
    expect((await ask(RELIEF, [`given_name=${AMBER}`])).total).toBe(3);
    expect((await ask(EVERYBODY, [])).total).toBe(6);
    const past = await asViewer(db, HEALTH, () =>
      rows(db, { view: "beneficiaries", asOf: { time: new Date().toISOString() }, page: {} }),
    );
    expect(past.total).toBe(3);
  });

  it("decisions belong to the entity's owner, cases to whoever may see all that they are about", async () => {
    const entity = { type: "beneficiary", id: number(11) };
    const end = await hub.log.end();
    expect(await asViewer(db, RELIEF, () => decisionsOn(db, entity, end))).toEqual([]);
    expect(await asViewer(db, HEALTH, () => decisionsOn(db, entity, end))).not.toEqual([]);
    const about = (viewer: Viewer) =>
      asViewer(db, viewer, async () => (await cases(db, {})).cases.map(({ rule, subject }) => `${rule} ${subject}`).sort());
    // One phone stands at people of both: only who sees both is shown that.
    const [relief, health, all] = [await about(RELIEF), await about(HEALTH), await about(EVERYBODY)];
    expect(relief).toContain(`not_zero ${number(3)}`);
    expect(relief).toContain(`phone ${number(1)}`);
    expect(health).toContain('phone_once "+254700000088"');
    expect(health).toContain(`phone ${number(11)}`);
    for (const name of [...relief, ...health]) expect(all).toContain(name);
    expect(relief.filter((name) => health.includes(name))).toEqual([]);
    expect(all.length).toBeGreaterThan(relief.length + health.length);
  });
});

describe("an auditor", () => {
  const check = () => verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
  it("finds whose entity was noted otherwise than its first event says", async () => {
    expect((await check()).problems).toEqual([]);
    await hub.db.query("UPDATE tributary.owner SET org = 'relief' WHERE entity_id = $1", [number(12)]);
    await hub.db.query("INSERT INTO tributary.owner VALUES ('beneficiary', 'nobody', 'relief', 1)");
    await hub.db.query("DELETE FROM tributary.owner WHERE entity_id = $1", [number(2)]);
    const says = (await check()).problems.map(({ where, what }) => `${where}: ${what}`);
    expect(says).toEqual([
      `beneficiary/${number(2)}: it is not noted that it belongs to relief`,
      `beneficiary/${number(12)}: it is noted as belonging to relief, and its first event is of health`,
      "beneficiary/nobody: it is noted as belonging to relief, and the log has no event that says so",
    ]);
  });
});

describe("PostgreSQL", () => {
  it("guards every table that has rows of an organisation, and shows no view that would pass its tables' guard", async () => {
    const all = await relations();
    expect(all.length).toBeGreaterThan(40);
    for (const { name, kind, guarded, invoker, shown } of all) {
      if (kind === "r") expect([name, guarded || OPEN.has(name)]).toEqual([name, true]);
      else if (shown) expect([name, invoker || OPEN_VIEWS.has(name)]).toEqual([name, true]);
    }
    // Nobody sees rows of several organisations added up.
    expect(all.find(({ name }) => name === "views.distribution_summary")).toMatchObject({ guarded: true, shown: false });
    expect(all.find(({ name }) => name === "views.names")).toMatchObject({ shown: false });
  });

  it("lets whoever reads for people write nothing and take no other role", async () => {
    for (const sql of ["DELETE FROM tributary.audit", "UPDATE views.beneficiaries SET given_name = ''"])
      await expect(asViewer(db, HEALTH, () => db.query(sql))).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:42501|25006)$/),
      });
    expect(await asViewer(db, HEALTH, async () => (await quarantine(db, {})).length)).toBe(0);
  });

  it("tells a user who may see only some rows so, and does not show them as if they were all", async () => {
    await hub.db.query(
      `CREATE ROLE clerk LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA tributary, views TO clerk; GRANT SELECT ON views.beneficiaries TO clerk`,
    );
    const url = Object.assign(new URL(hub.backends.postgres.url), { username: "clerk", password: "x" }).href;
    const clerk = await connectViews(url, "clerk");
    try {
      await expect(clerk.query("SELECT count(*) FROM views.beneficiaries")).rejects.toMatchObject({ code: "42501" });
      // A setting of one's own makes nobody a member of a role.
      await clerk.query("SET tributary.orgs = 'relief'; SET row_security = on");
      expect((await clerk.query("SELECT count(*)::int AS n FROM views.beneficiaries")).rows).toEqual([{ n: 0 }]);
      const { all_rows } = await rolesOf(hub.db);
      await hub.db.query(`GRANT "${all_rows}" TO clerk`);
      expect((await clerk.query("SELECT count(*)::int AS n FROM views.beneficiaries")).rows).toEqual([{ n: 6 }]);
      // Of what it was not granted, the role shows nothing.
      for (const table of [
        "tributary.audit",
        "tributary.quarantine",
        "tributary.notification",
        'tributary."case"',
        "views.distributions",
      ])
        await expect(clerk.query(`SELECT FROM ${table}`), table).rejects.toMatchObject({ code: "42501" });
      await rebuild(
        { db: hub.db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections },
        { names: ["beneficiaries"], fresh: true },
      );
      const again = await connectViews(url, "clerk");
      expect((await again.query("SELECT count(*)::int AS n FROM views.beneficiaries")).rows).toEqual([{ n: 6 }]);
      await again.end();
      expect(
        (
          await clerk.query("SELECT count(*)::int AS n FROM pg_class c, aclexplode(relacl) a WHERE a.grantee = to_regrole($1)", [
            all_rows,
          ])
        ).rows,
      ).toEqual([{ n: 0 }]);
    } finally {
      await clerk.end();
      await hub.db.query("DROP OWNED BY clerk; DROP ROLE clerk");
    }
  });

  it("is told what to do where the hub's user may not make the roles, and a hub whose user is no superuser works", async () => {
    const postgres = await openPostgres();
    const name = `plain_${process.pid}`;
    const database = new URL(postgres.url).pathname.slice(1);
    try {
      await postgres.db.query(`CREATE ROLE ${name} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE "${database}" TO ${name}`);
      const url = Object.assign(new URL(postgres.url), { username: name, password: "x" }).href;
      const plain = await connectViews(url, "plain");
      try {
        const refused = (await migrate(plain).catch((error: unknown) => error)) as { code: string; hint: string };
        expect(refused.code).toBe("usage");
        // What it says can be run as it is, and is enough.
        await postgres.db.query(refused.hint.slice(refused.hint.indexOf(": ") + 2));
        await migrate(plain);
        expect((await asViewer(plain, HEALTH, () => plain.query("SELECT * FROM tributary.audit"))).rows).toEqual([]);
        // Why policies are not forced on the owner: PostgreSQL then takes no COPY from it.
        expect((await plain.query("SELECT row_security_active('tributary.audit') AS active")).rows).toEqual([{ active: false }]);
        await plain.query("ALTER TABLE tributary.audit FORCE ROW LEVEL SECURITY; SET row_security = on");
        await expect(writeCanary(plain)).rejects.toMatchObject({ code: "0A000" });
        await plain.query("ALTER TABLE tributary.audit NO FORCE ROW LEVEL SECURITY");
        await inTransaction(plain, () => rehearse(plain, () => writeCanary(plain)));
      } finally {
        await plain.end();
      }
    } finally {
      await postgres.db.query(`DROP OWNED BY ${name} CASCADE; DROP ROLE ${name}`).catch(() => {});
      await postgres.close();
    }
  });

  it("gives each database roles of its own, leaves others' tables alone, and makes again what a copy on another server lacks", async () => {
    const postgres = await openPostgres();
    try {
      const mine = await rolesOf(hub.db);
      await postgres.db.query("CREATE SCHEMA views; CREATE TABLE views.targets (n int); INSERT INTO views.targets VALUES (1)");
      await migrate(postgres.db);
      const roles = await rolesOf(postgres.db);
      expect([roles.reader, roles.overseer]).not.toContain(mine.reader);
      const may = async (role: string): Promise<unknown> =>
        (await postgres.db.query("SELECT has_schema_privilege($1, 'tributary', 'USAGE') AS may", [role])).rows[0].may;
      expect([await may(roles.reader), await may(mine.reader), await may(mine.overseer)]).toEqual([true, false, false]);
      const { rows } = await postgres.db.query(
        "SELECT relrowsecurity AS guarded FROM pg_class WHERE oid = 'views.targets'::regclass",
      );
      expect(rows).toEqual([{ guarded: false }]);
      // As pg_dump leaves it: no roles, hence no policies and no grants.
      await postgres.db.query(`DROP OWNED BY "${roles.reader}", "${roles.overseer}", "${roles.all_rows}"`);
      await postgres.db.query(`DROP ROLE "${roles.reader}", "${roles.overseer}", "${roles.all_rows}"`);
      await migrate(postgres.db);
      for (const viewer of [HEALTH, EVERYBODY])
        expect((await asViewer(postgres.db, viewer, () => postgres.db.query("SELECT * FROM tributary.audit"))).rows).toEqual([]);
    } finally {
      await postgres.close();
    }
  });

  it("brings tables up to date although others read them in another order meanwhile", async () => {
    const postgres = await openPostgres();
    const other = await connectViews(postgres.url, "reader");
    try {
      await migrate(postgres.db, { last: "020_looked_up.sql" });
      await other.query("BEGIN; SELECT FROM tributary.parked");
      const migrated = migrate(postgres.db);
      await eventually("it waits", async () => (await other.query("SELECT FROM pg_locks WHERE NOT granted")).rows.length > 0);
      // Now each waits for the other, and one of them is ended: whoever is, the tables come to be up to date.
      await other.query("SELECT FROM tributary.decision_row").catch(() => {});
      await other.query("ROLLBACK");
      await migrated;
      expect((await postgres.db.query("SELECT to_regclass('tributary.owner') IS NOT NULL AS has")).rows).toEqual([{ has: true }]);
    } finally {
      await other.end();
      await postgres.close();
    }
  });
});
