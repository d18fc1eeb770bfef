/**
 * Which rows PostgreSQL itself shows to whom: row-level security. Whoever reads for people does so as a role that owns nothing and may write nothing. Each database has three of its own, `NAME` being the database's name:
 *
 *   tributary_reader_NAME      sees the rows of the organisations that the transaction names (`tributary.orgs`, see `read/viewer.ts`); where it names none, nothing
 *   tributary_overseer_NAME    sees all rows of all tables; only the hub takes it
 *   tributary_all_rows_NAME    may read no table; whoever is a member and may read one sees all of its rows. For logins of a team's own
 *
 * The hub's own user owns the tables, and policies do not hold for an owner. They are not forced on it: PostgreSQL refuses COPY FROM to whoever a policy holds for, and COPY is
 * how the projector writes. Whose an entity is stands in `tributary.owner`. Policies are made where they are missing whenever tables are brought up to date: a copy of the database on another server has none.
 */
import { TributaryError } from "../core/index.ts";
import { type Db, inSavepoint } from "./connect.ts";
import { LACKS_A_RIGHT, sqlState } from "./failures.ts";
import { ORGS, q, ROLES, type RoleKind, roleSql } from "./names.ts";

/** The roles' names. In SQL they are quoted. */
export type Roles = Readonly<Record<RoleKind, string>>;

/** Both policies of a table; others on it are somebody's own. */
export const POLICIES: readonly string[] = ["tributary_seen", "tributary_overseen"];

/** The organisations that the transaction names. As a subquery it is looked up once in a statement, not once a row. */
const SEEN = `(SELECT string_to_array(nullif(current_setting('${ORGS}', true), ''), ','))::text[]`;

/** The condition that an organisation's rows may be seen. `org`: SQL. */
const isSeen = (org: string): string => `${org} = ANY (${SEEN})`;

/** The condition that the rows of an entity's owner may be seen. `type`, `id`: SQL; columns of the table that the policy is on carry its name. */
export const ownerIsSeen = (type: string, id: string): string =>
  `EXISTS (SELECT FROM tributary.owner o WHERE o.entity_type = ${type} AND o.entity_id = ${id} AND ${isSeen("o.org")})`;

const ofEntity = (table: string, id = "entity_id"): string => ownerIsSeen(`${table}.entity_type`, `${table}.${id}`);
const ofOrigin = isSeen("split_part(origin, '.', 1)");
const ofAudit = (table: string): string =>
  `${isSeen(`${table}.org`)} OR (${table}.quarantine_code IS NULL AND ${ofEntity(table)})`;
const ofNotedCase = (table: string): string =>
  `EXISTS (SELECT FROM tributary.case_row c WHERE c.id = ${table}.case_id) OR EXISTS (SELECT FROM tributary.fork_case f WHERE f.id = ${table}.case_id)`;

/** The hub's own tables with rows of organisations, each with the condition for whom a row is shown; `null`: such rows are of several, or are read by the hub's own processes only. */
const GUARDS: Readonly<Record<string, string | null>> = {
  owner: isSeen("org"),
  origin: isSeen("org"),
  audit: ofAudit("audit"),
  audit_beyond: ofAudit("audit_beyond"),
  quarantine: ofOrigin,
  quarantine_beyond: ofOrigin,
  fork_case: ofOrigin,
  decision_row: ofEntity("decision_row"),
  parked: ofEntity("parked"),
  // A case of one entity is its owner's. One of a key that entities share has a `count`, and one of a total has `values`: these go by the entities of all, and nobody's organisation is shown them.
  case_row: `${isSeen("case_row.org")} OR (about -> 'count' IS NULL AND about -> 'values' IS NULL AND ${ownerIsSeen("case_row.entity_type", "case_row.subject")})`,
  case_note: ofNotedCase("case_note"),
  case_note_beyond: ofNotedCase("case_note_beyond"),
  feed: ofEntity("feed"),
  member: ofEntity("member"),
  held: ofEntity("held"),
  // What is noted of a whole view belongs to nobody, and is shown to whoever sees anything.
  change: `CASE WHEN kind = 'row' THEN ${ofEntity("change", "id")}
    WHEN kind IN ('opened', 'case') THEN EXISTS (SELECT FROM tributary.case_row c WHERE c.id = change.id) OR EXISTS (SELECT FROM tributary.fork_case f WHERE f.id = change.id)
    ELSE ${SEEN} IS NOT NULL END`,
  ...{
    bucket: null,
    segment: null,
    feed_note: null,
    debt: null,
    holding: null,
    notification: null,
    refold: null,
    reconciliation: null,
  },
};
/** What belongs to no organisation, and views that show what their reader may see. */
const OPEN = [
  "generation",
  "shard",
  "incarnation",
  "seal",
  "projector",
  "change_head",
  "view",
  "checkpoint",
  "decision",
  "decision_superseded",
  "case",
  "case_any",
];
/** What a reader may ask of the hub as a whole (023_cases_of_organisations.sql). */
const POSITION_AT = "tributary.position_at(timestamptz)";

/** A table, and for whom its rows are shown. `name`: as SQL. */
interface Guarded {
  readonly name: string;
  readonly seen: string | null;
}

/** The names of this database's roles. */
export async function rolesOf(db: Db): Promise<Roles> {
  const { rows } = await db.query<Record<RoleKind, string>>(
    `SELECT ${ROLES.map((kind) => `${roleSql(`'${kind}'`)} AS ${kind}`).join(", ")}`,
  );
  return rows[0]!;
}

/** Lets the roles see what they may of a table. */
export async function protect(db: Db, { name, seen }: Guarded, { reader, overseer, all_rows }: Roles): Promise<void> {
  await db.query(`ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY`);
  await db.query(`DROP POLICY IF EXISTS tributary_overseen ON ${name}; DROP POLICY IF EXISTS tributary_seen ON ${name}`);
  await db.query(`CREATE POLICY tributary_overseen ON ${name} FOR SELECT TO ${q(overseer)}, ${q(all_rows)} USING (true)`);
  await db.query(`GRANT SELECT ON ${name} TO ${q(overseer)}`);
  if (seen === null) return;
  await db.query(`CREATE POLICY tributary_seen ON ${name} FOR SELECT TO ${q(reader)} USING (${seen})`);
  await db.query(`GRANT SELECT ON ${name} TO ${q(reader)}`);
}

/** Whether a role may read a table or view already. Granting again what is granted makes two processes that do so at once fail. */
async function mayRead(db: Db, role: string, name: string): Promise<boolean> {
  const { rows } = await db.query<{ may: boolean }>("SELECT has_table_privilege($1, $2, 'SELECT') AS may", [role, name]);
  return rows[0]?.may === true;
}

/** Lets the overseer read a view that shows rows of all organisations. */
export async function showAll(db: Db, name: string): Promise<void> {
  const { overseer } = await rolesOf(db);
  if (!(await mayRead(db, overseer, name))) await db.query(`GRANT SELECT ON ${name} TO ${q(overseer)}`);
}

/** Which of these tables lack a policy or a grant for this database's roles. */
export async function unguarded(
  db: Db,
  tables: readonly Guarded[],
  { reader, overseer, all_rows }: Roles,
): Promise<readonly Guarded[]> {
  const { rows } = await db.query<{ name: string }>(
    `SELECT x.name FROM unnest($1::text[], $2::boolean[]) AS x (name, seen) JOIN pg_class c ON c.oid = to_regclass(x.name)
     WHERE NOT (c.relrowsecurity AND has_table_privilege($4, c.oid, 'SELECT')
       AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tributary_overseen' AND (SELECT oid FROM pg_roles WHERE rolname = $4) = ANY (p.polroles) AND (SELECT oid FROM pg_roles WHERE rolname = $5) = ANY (p.polroles))
       AND (NOT x.seen OR has_table_privilege($3, c.oid, 'SELECT')
         AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tributary_seen' AND (SELECT oid FROM pg_roles WHERE rolname = $3) = ANY (p.polroles))))`,
    [tables.map(({ name }) => name), tables.map(({ seen }) => seen !== null), reader, overseer, all_rows],
  );
  const names = new Set(rows.map(({ name }) => name));
  return tables.filter(({ name }) => names.has(name));
}

/** Makes the policies and grants of the hub's own tables where they are missing, inside the caller's transaction. Returns whether any was. */
export async function protectOwn(db: Db, roles: Roles): Promise<boolean> {
  const tables = Object.entries(GUARDS).map(([name, seen]): Guarded => ({ name: `tributary.${name}`, seen }));
  const missing = await unguarded(db, tables, roles);
  for (const table of missing) await protect(db, table, roles);
  const { rows } = await db.query<{ missing: boolean }>(
    `SELECT NOT (has_schema_privilege($1, 'tributary', 'USAGE') AND has_schema_privilege($1, 'views', 'USAGE') AND has_schema_privilege($2, 'tributary', 'USAGE')
       AND has_schema_privilege($2, 'views', 'USAGE') AND (SELECT bool_and(has_table_privilege($1, name, 'SELECT') AND has_table_privilege($2, name, 'SELECT')) FROM unnest($3::text[]) name)
       AND has_function_privilege($1, $4, 'EXECUTE') AND has_function_privilege($2, $4, 'EXECUTE')) AS missing`,
    [roles.reader, roles.overseer, OPEN.map((name) => `tributary.${q(name)}`), POSITION_AT],
  );
  if (rows[0]?.missing !== true) return missing.length > 0;
  await db.query(`GRANT USAGE ON SCHEMA tributary, views TO ${q(roles.reader)}, ${q(roles.overseer)}`);
  await db.query(
    `GRANT SELECT ON ${OPEN.map((name) => `tributary.${q(name)}`).join(", ")} TO ${q(roles.reader)}, ${q(roles.overseer)}`,
  );
  await db.query(`GRANT EXECUTE ON FUNCTION ${POSITION_AT} TO ${q(roles.reader)}, ${q(roles.overseer)}`);
  return true;
}

/**
 * Makes the roles where there are none yet, and lets the hub's user take those that it takes. Inside the caller's transaction. Throws `usage` where this user may not do that: then somebody who may does it once.
 */
export async function ensureRoles(db: Db): Promise<Roles> {
  const roles = await rolesOf(db);
  const { rows } = await db.query<{ name: string; isMember: boolean | null }>(
    `SELECT r.name, CASE WHEN p.oid IS NULL THEN NULL ELSE pg_has_role(p.oid, 'MEMBER') END AS "isMember"
     FROM unnest($1::text[]) AS r (name) LEFT JOIN pg_roles p ON p.rolname = r.name WHERE p.oid IS NULL OR NOT pg_has_role(p.oid, 'MEMBER')`,
    [ROLES.map((kind) => roles[kind])],
  );
  const { rows: users } = await db.query<{ name: string }>("SELECT quote_ident(current_user) AS name");
  const todo = rows.flatMap(({ name, isMember }) => [
    ...(isMember === null ? [`CREATE ROLE ${q(name)} NOLOGIN`] : []),
    `GRANT ${q(name)} TO ${users[0]!.name}`,
  ]);
  try {
    await inSavepoint(db, async () => {
      for (const sql of todo) await db.query(sql);
    });
  } catch (error) {
    if (sqlState(error) !== LACKS_A_RIGHT) throw error;
    throw new TributaryError(
      "usage",
      "the hub's PostgreSQL user may not make the roles through which people read",
      `Have an administrator of the server run once: ${todo.join("; ")};`,
      { cause: error },
    );
  }
  return roles;
}
