/** What organisations' own cases (`write/claims-of-orgs.ts`) are once a build is live. Builds do without them: whose an entity is, only the live fold notes. */
import type { Position } from "../core/index.ts";
import { entityViews, type View } from "../merge/engine.ts";
import type { Generation } from "./catalog.ts";
import type { Db } from "./connect.ts";
import { holdShards } from "./lock.ts";
import { LIVE } from "./names.ts";
import { commonPosition } from "./shard-positions.ts";
import { positionOf } from "./shards.ts";
import { writeCases } from "./write/cases.ts";
import { casesOfOrgs } from "./write/claims-of-orgs.ts";

/** A build that has become live, and the one whose place it takes. */
interface Moved {
  readonly build: Pick<Generation, "view" | "generation">;
  readonly old: Pick<Generation, "generation"> | undefined;
}

/**
 * Gives a build that has just become live the cases of organisations: those of the build before, so that they keep the position and the time at which they were opened, and then what its own claims say.
 * Inside the transaction that swaps, after the tables have moved. `through`: how far the build is folded.
 */
export async function carryOrgCases(
  db: Db,
  { build, old }: Moved,
  views: readonly View[],
  through: Position | null,
): Promise<void> {
  await db.query("DELETE FROM tributary.case_row WHERE of IS NOT NULL AND view = $1 AND generation = $2", [
    build.view,
    build.generation,
  ]);
  if (old !== undefined)
    await db.query(
      `INSERT INTO tributary.case_row (generation, view, id, kind, entity_type, subject, rule, says, about, mark, opened_position, opened_at, changed_position, closed_position, org, of)
       SELECT $3, view, id, kind, entity_type, subject, rule, says, about, mark, opened_position, opened_at, changed_position,
         CASE WHEN closed_position <= $4 THEN closed_position END, org, of
       FROM tributary.case_row WHERE of IS NOT NULL AND view = $1 AND generation = $2 AND changed_position <= $4`,
      [build.view, old.generation, build.generation, through ?? 0n],
    );
  await settle(db, build, views, through);
}

/** Gives live builds of earlier versions the cases of organisations. Inside the caller's transaction. */
export async function openOrgCases(db: Db, views: readonly View[]): Promise<void> {
  const lacking = (): Promise<{ readonly rows: Pick<Generation, "view" | "generation">[] }> =>
    db.query("SELECT view, generation FROM tributary.generation WHERE state = 'live' AND kind = 'entity' AND NOT has_org_cases");
  if ((await lacking()).rows.length === 0) return;
  // Another process may do the same; and nobody writes claims meanwhile.
  await holdShards(db);
  for (const build of (await lacking()).rows) await settle(db, build, views, await commonPosition(db));
}

async function settle(
  db: Db,
  { view, generation }: Pick<Generation, "view" | "generation">,
  views: readonly View[],
  through: Position | null,
): Promise<void> {
  const projection = entityViews(views).find(({ name }) => name === view);
  const { rows } = await db.query<{ isThere: boolean }>(
    `SELECT to_regclass(format('%I.%I', $1::text, $2::text)) IS NOT NULL AS "isThere"`,
    [LIVE, `${view}_claims`],
  );
  if (projection !== undefined && rows[0]?.isThere)
    await writeCases(db, await casesOfOrgs(db, { projection, generation, namespace: LIVE }, null, through ?? positionOf("0")));
  await db.query("UPDATE tributary.generation SET has_org_cases = true WHERE view = $1 AND generation = $2", [view, generation]);
}
