import { createHash } from "node:crypto";
import type { JsonObject } from "../../core/index.ts";
import type { Claim, ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import { at } from "../names.ts";
import type { CaseNow } from "./case-of.ts";
import { type ClaimedKey, caseOfKey, casesOfOrgs } from "./claims-of-orgs.ts";

const LOCK_CLASS = 7_401_104;

/**
 * Writes what a page changed in a view's claims. Returns the cases that follow. Keys are locked, in one order everywhere, so that two processes that
 * write the same key at once see each other's claims. `tells`: the build is live, so organisations have cases of their own; others get them with the swap.
 */
export async function writeInvariants(
  db: Db,
  changes: ViewChanges,
  { tells, alone }: { readonly tells: boolean; readonly alone: boolean },
): Promise<CaseNow[]> {
  const { target, claims, checks, through } = changes;
  const { projection, generation } = target;
  const base = { view: projection.name, generation, kind: "invariant", entityType: projection.entity } as const;
  const cases: CaseNow[] = [];
  for (const { invariant, entityId, problem } of checks) {
    cases.push({
      ...base,
      subject: entityId,
      rule: invariant,
      about:
        problem === null ? null : { problem, members: [{ entity: entityId, events: [...(changes.events.get(entityId) ?? [])] }] },
      says: problem ?? "",
      position: through,
      targets: projection.notified(invariant),
    });
  }
  if (claims.length > 0) {
    const moved = await moveClaims(db, changes, claims, alone);
    for (const claimed of moved)
      cases.push({ ...caseOfKey(target, claimed, through), targets: projection.notified(claimed.invariant) });
    if (tells) cases.push(...(await casesOfOrgs(db, target, moved, through)));
  }
  return cases;
}

async function moveClaims(
  db: Db,
  { target, events }: ViewChanges,
  claims: readonly Claim[],
  alone: boolean,
): Promise<ClaimedKey[]> {
  const table = at(target.namespace, `${target.projection.name}_claims`);
  const keys = new Map<string, { invariant: string; key: string }>();
  for (const { invariant, before, after } of claims)
    for (const key of [before, after]) if (key !== null) keys.set(`${invariant}\n${key}`, { invariant, key });
  if (!alone) {
    const locks = [...new Set([...keys.keys()].map((name) => lockOf(`${target.projection.name}\n${name}`)))].sort(
      (a, b) => a - b,
    );
    await db.query("SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::int[]) k", [LOCK_CLASS, locks]);
  }
  const gone = claims.filter(({ before }) => before !== null);
  if (gone.length > 0) {
    await db.query(
      `DELETE FROM ${table} c USING unnest($1::text[], $2::text[], $3::text[]) AS x (invariant, key, entity_id)
       WHERE c.invariant = x.invariant AND c.key = x.key AND c.entity_id = x.entity_id`,
      [gone.map(({ invariant }) => invariant), gone.map(({ before }) => before), gone.map(({ entityId }) => entityId)],
    );
  }
  const here = claims.filter(({ after }) => after !== null);
  if (here.length > 0) {
    await db.query(
      `INSERT INTO ${table} SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::json[])
       ON CONFLICT (invariant, key, entity_id) DO UPDATE SET events = excluded.events`,
      [
        here.map(({ invariant }) => invariant),
        here.map(({ after }) => after),
        here.map(({ entityId }) => entityId),
        here.map(({ entityId }) => JSON.stringify(events.get(entityId) ?? [])),
      ],
    );
  }
  const wanted = [...keys.values()];
  const { rows } = await db.query<{ invariant: string; key: string; count: number; members: JsonObject[] | null }>(
    `SELECT x.invariant, x.key, count(c.entity_id)::int AS count,
       CASE WHEN count(c.entity_id) > 1
         THEN json_agg(json_build_object('entity', c.entity_id, 'events', c.events) ORDER BY c.entity_id COLLATE "C") END AS members
     FROM unnest($1::text[], $2::text[]) AS x (invariant, key) LEFT JOIN ${table} c ON c.invariant = x.invariant AND c.key = x.key
     GROUP BY x.invariant, x.key`,
    [wanted.map(({ invariant }) => invariant), wanted.map(({ key }) => key)],
  );
  return rows.map(({ members, ...row }) => ({ ...row, members: members ?? [] }));
}

const lockOf = (name: string): number => createHash("sha256").update(name).digest().readInt32BE(0);
