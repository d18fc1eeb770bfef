/**
 * Which rows PostgreSQL itself shows to whom: row-level security. Whoever reads for people does so as one of two roles that own nothing and may write nothing.
 *
 *   tributary_reader      sees the rows of the organisations that the transaction names (`tributary.orgs`, see `read/viewer.ts`); where it names none, nothing
 *   tributary_overseer    sees all rows of whatever the hub shows to anybody
 *
 * A team's own logins, for reports or an audit, are members of a third role, which grants nothing: of tables that they were granted, `tributary_all_rows` shows all rows.
 *
 * The hub's own user owns the tables, and policies do not hold for an owner. They are not forced on it: PostgreSQL refuses COPY FROM to whoever a policy holds for, and COPY is
 * how the projector writes. Whose an entity is stands in `tributary.owner`.
 */
import { TributaryError } from "../core/index.ts";
import { type Db, inSavepoint } from "./connect.ts";
import { LACKS_A_RIGHT, sqlState } from "./failures.ts";
import { ALL_ROWS, ORGS, OVERSEER, READER } from "./names.ts";

/** Both policies of a table; others on it are somebody's own. */
export const POLICIES: readonly string[] = ["tributary_seen", "tributary_overseen"];

/** The organisations that the transaction names. As a subquery it is looked up once in a statement, not once a row. */
const SEEN = `(SELECT string_to_array(nullif(current_setting('${ORGS}', true), ''), ','))::text[]`;

/** The condition that an organisation's rows may be seen. `org`: SQL. */
export const isSeen = (org: string): string => `${org} = ANY (${SEEN})`;

/** The condition that the rows of an entity's owner may be seen. `type`, `id`: SQL; columns of the table that the policy is on carry its name. */
export const ownerIsSeen = (type: string, id: string): string =>
  `EXISTS (SELECT FROM tributary.owner o WHERE o.entity_type = ${type} AND o.entity_id = ${id} AND ${isSeen("o.org")})`;

/** Lets the roles see what they may of a table. `seen`: the condition for the reader; `null`: such rows are of several organisations, and only the overseer sees them. */
export async function protect(db: Db, table: string, seen: string | null): Promise<void> {
  await db.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
  await db.query(`DROP POLICY IF EXISTS tributary_overseen ON ${table}; DROP POLICY IF EXISTS tributary_seen ON ${table}`);
  await db.query(`CREATE POLICY tributary_overseen ON ${table} FOR SELECT TO ${OVERSEER}, ${ALL_ROWS} USING (true)`);
  await db.query(`GRANT SELECT ON ${table} TO ${OVERSEER}`);
  if (seen === null) return;
  await db.query(`CREATE POLICY tributary_seen ON ${table} FOR SELECT TO ${READER} USING (${seen})`);
  await db.query(`GRANT SELECT ON ${table} TO ${READER}`);
}

/** Lets both roles see what belongs to no organisation, or SQL views to the overseer. */
export async function grantTo(db: Db, table: string, ...roles: readonly (typeof READER | typeof OVERSEER)[]): Promise<void> {
  await db.query(`GRANT SELECT ON ${table} TO ${roles.join(", ")}`);
}

/**
 * Makes the roles where the server does not have them, and lets the hub's user take those that it reads as. They belong to the server, so other hubs of it share them. Throws `usage` where this user
 * may not do that: then somebody who may does it once. Inside the caller's transaction.
 */
export async function ensureRoles(db: Db): Promise<void> {
  const { rows } = await db.query<{ name: string; isMember: boolean | null }>(
    `SELECT r.name, CASE WHEN p.oid IS NULL THEN NULL ELSE pg_has_role(p.oid, 'MEMBER') END AS "isMember"
     FROM unnest($1::text[]) AS r (name) LEFT JOIN pg_roles p ON p.rolname = r.name WHERE p.oid IS NULL OR r.name <> $2 AND NOT pg_has_role(p.oid, 'MEMBER')`,
    [[READER, OVERSEER, ALL_ROWS], ALL_ROWS],
  );
  for (const { name, isMember } of rows) {
    try {
      await inSavepoint(db, async () => {
        // Another hub on the same server may be making it at this moment.
        if (isMember === null)
          await db.query(
            `DO $$ BEGIN CREATE ROLE ${name} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`,
          );
        if (name !== ALL_ROWS) await db.query(`GRANT ${name} TO CURRENT_USER`);
      });
    } catch (error) {
      if (sqlState(error) !== LACKS_A_RIGHT) throw error;
      const { rows: user } = await db.query<{ name: string }>("SELECT current_user AS name");
      throw new TributaryError(
        "usage",
        `the hub's PostgreSQL user may not make or take the role ${name}, through which people read`,
        `Have an administrator of the server run once, leaving out roles that there are: ${[READER, OVERSEER, ALL_ROWS].map((each) => `CREATE ROLE ${each} NOLOGIN`).join("; ")}; GRANT ${READER}, ${OVERSEER} TO ${user[0]!.name};`,
        { cause: error },
      );
    }
  }
}
