import { rolesIn } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { seconds } from "./sql.ts";

/** A site's standing at the hub. */
export interface SiteStatus {
  readonly org: string;
  readonly site: string;
  readonly title: string | null;
  /** The roles that the hub's people gave it, by which policies may give it entities. */
  readonly roles: readonly string[];
  readonly devices: number;
  readonly events: number;
  /** How many events are held in quarantine now. */
  readonly quarantined: number;
  readonly clockWrong: number;
  readonly lastRecordedAt: string | null;
  readonly position: string | null;
}

/** A view that was built before sites had roles has no such column. */
const ROLES = "to_jsonb(v) -> 'roles'";

/** The roles of the sites that were registered, by `org.site`; a site without roles has none. */
export async function siteRoles(db: Db): Promise<ReadonlyMap<string, readonly string[]>> {
  const { rows } = await db.query<{ id: string; roles: unknown }>(
    `SELECT id, ${ROLES} AS roles FROM views.sites v WHERE NOT deleted`,
  );
  return new Map(rows.map(({ id, roles }) => [id, rolesIn(roles)]));
}

/** All sites that were registered or have sent anything. */
export async function sites(db: Db): Promise<SiteStatus[]> {
  const { rows } = await db.query<SiteStatus & Record<string, unknown>>(
    `SELECT coalesce(v.org, o.org) AS org, coalesce(v.site, o.site) AS site, v.title, ${ROLES} AS roles, coalesce(o.devices, 0)::int AS devices, coalesce(o.events, 0)::float8 AS events,
       coalesce(q.held, 0)::float8 AS quarantined, coalesce(o.clock_wrong, 0)::float8 AS "clockWrong",
       ${seconds("o.last")} AS "lastRecordedAt", o.position::text AS position
     FROM views.sites v
     FULL JOIN (
       SELECT org, site, count(DISTINCT device) AS devices, sum(events) AS events, sum(clock_wrong) AS clock_wrong,
         max(last_recorded_at) AS last, max(position) AS position
       FROM tributary.origin GROUP BY org, site) o ON o.org = v.org AND o.site = v.site
     LEFT JOIN (
       SELECT split_part(origin, '.', 1) AS org, site, count(*) AS held
       FROM tributary.quarantine WHERE state = 'held' GROUP BY 1, 2) q ON q.org = coalesce(v.org, o.org) AND q.site = coalesce(v.site, o.site)
     ORDER BY 2, 1`,
  );
  return rows.map((row) => ({ ...row, roles: rolesIn(row.roles) }));
}
