/**
 * Cases of keys that entities share, for each organisation alone: as they would be if the entities of others were not there. A case across organisations would tell one of them, by being there or by staying
 * away, what the others have; so only who sees everything is shown that.
 */
import type { JsonObject, Position } from "../../core/index.ts";
import { isBroken } from "../../merge/engine.ts";
import type { ViewBuild } from "../changes.ts";
import type { Db } from "../connect.ts";
import { at } from "../names.ts";
import { type CaseNow, MAX_MEMBERS, overallIdOf } from "./case-of.ts";

/** Who claims a key for an invariant: all entities, or those of one organisation. */
export interface ClaimedKey {
  readonly invariant: string;
  readonly key: string;
  readonly org?: string;
  readonly count: number;
  readonly members: readonly JsonObject[];
}

type Build = Pick<ViewBuild, "projection" | "generation" | "namespace">;

/** The case of a key, which nobody is told of. */
export function caseOfKey(
  { projection, generation }: Pick<Build, "projection" | "generation">,
  { invariant, key, org, count, members }: ClaimedKey,
  position: Position,
): CaseNow {
  const rule = projection.invariants[invariant];
  const broken = rule !== undefined && isBroken(rule, count);
  return {
    ...{ view: projection.name, generation, kind: "invariant", entityType: projection.entity, subject: key, rule: invariant },
    ...(org === undefined ? {} : { org }),
    about: broken ? { count, members: members.slice(0, MAX_MEMBERS) } : null,
    says: broken && "says" in rule ? `${rule.says}: ${count} for ${key}` : "",
    position,
    targets: [],
  };
}

/** The cases of organisations for keys of a live build: those that are open, and those that are to be closed. `keys`: with all that claim them; `null`: all keys. */
export async function casesOfOrgs(
  db: Db,
  build: Build,
  keys: readonly ClaimedKey[] | null,
  position: Position,
): Promise<CaseNow[]> {
  const { projection } = build;
  // Where all together do not break a rule, no organisation alone does.
  const broken = keys?.filter((each) => caseOfKey(build, each, position).about !== null) ?? null;
  const found = broken?.length === 0 ? [] : await brokenByOrgs(db, build, broken);
  const still = new Set(found.map(({ invariant, key, org }) => JSON.stringify([invariant, key, org])));
  const of = keys?.map((each) => overallIdOf(caseOfKey(build, each, position))) ?? null;
  const { rows } = await db.query<{ invariant: string; key: string; org: string }>(
    `SELECT rule AS invariant, subject AS key, org FROM tributary.case_row
     WHERE of IS NOT NULL AND ($1::text[] IS NULL OR of = ANY ($1)) AND view = $2 AND generation = $3 AND closed_position IS NULL`,
    [of, projection.name, build.generation],
  );
  const ended = rows.filter(({ invariant, key, org }) => !still.has(JSON.stringify([invariant, key, org])));
  return [
    ...found.map((each) => caseOfKey(build, each, position)),
    ...ended.map((each) => caseOfKey(build, { ...each, count: 0, members: [] }, position)),
  ];
}

/** The organisations that break a rule by their own entities, with these. */
async function brokenByOrgs(
  db: Db,
  { projection, namespace }: Build,
  keys: readonly ClaimedKey[] | null,
): Promise<readonly (ClaimedKey & { readonly org: string })[]> {
  const rules = Object.entries(projection.invariants).flatMap(([name, rule]) =>
    "atMost" in rule ? [{ name, most: rule.atMost }] : [],
  );
  if (rules.length === 0) return [];
  const table = at(namespace, `${projection.name}_claims`);
  const wanted =
    keys === null
      ? `SELECT c.invariant, c.key, r.most FROM ${table} c JOIN rules r USING (invariant) GROUP BY c.invariant, c.key, r.most HAVING count(*) > r.most`
      : "SELECT x.invariant, x.key, r.most FROM unnest($4::text[], $5::text[]) AS x (invariant, key) JOIN rules r USING (invariant)";
  const { rows } = await db.query<ClaimedKey & { readonly org: string; readonly [column: string]: unknown }>(
    `WITH rules AS (SELECT * FROM unnest($1::text[], $2::float8[]) AS r (invariant, most)), wanted AS (${wanted})
     SELECT c.invariant, c.key, o.org, count(*)::int AS count,
       json_agg(json_build_object('entity', c.entity_id, 'events', c.events) ORDER BY c.entity_id COLLATE "C") AS members
     FROM wanted w JOIN ${table} c ON c.invariant = w.invariant AND c.key = w.key JOIN tributary.owner o ON o.entity_type = $3 AND o.entity_id = c.entity_id
     GROUP BY c.invariant, c.key, o.org, w.most HAVING count(*) > w.most`,
    [
      rules.map(({ name }) => name),
      rules.map(({ most }) => most),
      projection.entity,
      ...(keys === null ? [] : [keys.map(({ invariant }) => invariant), keys.map(({ key }) => key)]),
    ],
  );
  return rows;
}
