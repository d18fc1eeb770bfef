import type { Client } from "pg";
import { HUB_SITE, nameOf, siteRights, TributaryError } from "../core/index.ts";
import { siteLogin } from "../core/node.ts";
import { createGate, loadSchemas } from "../gate/index.ts";
import { issueToken } from "../ingress/index.ts";
import { admitSite } from "../local/index.ts";
import { writeAtDesk } from "./desk.ts";
import { type HubState, hubKey, SCHEMAS_DIR } from "./places.ts";

export interface NewSite {
  readonly site: string;
  /** Whose site it is, where that is not the hub's own organisation. */
  readonly org?: string;
  readonly title?: string;
  readonly device?: string;
  readonly days: number;
  readonly actor: string;
}

export interface RegisteredSite {
  readonly org: string;
  readonly site: string;
  readonly token: string;
  readonly expiresAt: string;
  /** What the token logs in with at a broker, and what it must be allowed there: for whoever keeps the logins of a broker that is not the hub's own. */
  readonly login: { readonly user: string; readonly pass: string };
  readonly rights: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
}

/**
 * Registers a site: an event of the hub's own origin, which goes the way of every other event, and a token for the site's devices.
 */
export async function addSite(
  dir: string,
  state: HubState,
  { site, org: given, title, device, days, actor }: NewSite,
): Promise<RegisteredSite> {
  const org = nameOf("organisation", given ?? state.org);
  nameOf("site", site);
  if (site === HUB_SITE) {
    throw new TributaryError(
      "usage",
      `${site} is the hub's own site, whose people settle what is in quarantine`,
      "Choose another name for a site in the field.",
    );
  }
  const nowMs = Date.now();
  const key = await hubKey(dir);
  const lifetimeS = days * 86_400;
  const expiresAt = new Date(Math.floor(nowMs / 1000) * 1000 + lifetimeS * 1000).toISOString();
  const event = {
    type: "site.registered",
    entity: { type: "site", id: `${org}.${site}` },
    data: { org, site, ...(title === undefined ? {} : { title }), token_expires_at: expiresAt },
    actor,
  };
  await writeAtDesk(dir, state, createGate(loadSchemas(SCHEMAS_DIR)), [event]);
  const token = await issueToken(key, { org, site, lifetimeS, nowMs, ...(device === undefined ? {} : { device }) });
  const login = siteLogin(token, org, site);
  await admitSite(dir, {
    kind: "password",
    ...{ org, site, device: device ?? null, expiresAtMs: nowMs + lifetimeS * 1000 },
    ...login,
  });
  return { org, site, token, expiresAt, login, rights: siteRights(org, site, device ?? null) };
}

/** A site's standing at the hub. */
export interface SiteStatus {
  readonly site: string;
  readonly title: string | null;
  readonly devices: number;
  readonly events: number;
  /** Events that are held back now. */
  readonly quarantined: number;
  readonly clockWrong: number;
  readonly lastRecordedAt: string | null;
  readonly position: string | null;
}

/** All sites that were registered or have sent anything. */
export async function listSites(db: Client): Promise<SiteStatus[]> {
  const { rows } = await db.query<SiteStatus>(`
    SELECT coalesce(v.site, o.site) AS site, v.title, coalesce(o.devices, 0)::int AS devices, coalesce(o.events, 0)::float8 AS events,
      coalesce(q.held, 0)::float8 AS quarantined, coalesce(o.clock_wrong, 0)::float8 AS "clockWrong",
      to_char(o.last AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "lastRecordedAt", o.position::text AS position
    FROM views.sites v FULL JOIN (
      SELECT org, site, count(DISTINCT device) AS devices, sum(events) AS events, sum(clock_wrong) AS clock_wrong,
        max(last_recorded_at) AS last, max(position) AS position
      FROM tributary.origin GROUP BY org, site) o ON o.org = v.org AND o.site = v.site
    LEFT JOIN (SELECT site, count(*) AS held FROM tributary.quarantine WHERE state = 'held' GROUP BY site) q ON q.site = coalesce(v.site, o.site)
    ORDER BY 1`);
  return rows;
}
