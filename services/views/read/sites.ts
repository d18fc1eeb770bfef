import type { Db } from "../connect.ts";
import { seconds } from "./sql.ts";

/** A site's standing at the hub. */
export interface SiteStatus {
  readonly site: string;
  readonly title: string | null;
  readonly devices: number;
  readonly events: number;
  /** How many events are held in quarantine now. */
  readonly quarantined: number;
  readonly clockWrong: number;
  readonly lastRecordedAt: string | null;
  readonly position: string | null;
}

/** All sites that were registered or have sent anything. */
export async function sites(db: Db): Promise<SiteStatus[]> {
  const { rows } = await db.query<SiteStatus & Record<string, unknown>>(
    `SELECT coalesce(v.site, o.site) AS site, v.title, coalesce(o.devices, 0)::int AS devices, coalesce(o.events, 0)::float8 AS events,
       coalesce(q.held, 0)::float8 AS quarantined, coalesce(o.clock_wrong, 0)::float8 AS "clockWrong",
       ${seconds("o.last")} AS "lastRecordedAt", o.position::text AS position
     FROM views.sites v
     FULL JOIN (
       SELECT org, site, count(DISTINCT device) AS devices, sum(events) AS events, sum(clock_wrong) AS clock_wrong,
         max(last_recorded_at) AS last, max(position) AS position
       FROM tributary.origin GROUP BY org, site) o ON o.org = v.org AND o.site = v.site
     LEFT JOIN (
       SELECT site, count(*) AS held FROM tributary.quarantine WHERE state = 'held' GROUP BY site) q ON q.site = coalesce(v.site, o.site)
     ORDER BY 1`,
  );
  return rows;
}
