import type { Client } from "pg";
import { HUB_SITE, nameOf, TributaryError } from "../core/index.ts";
import { createGate, loadSchemas } from "../gate/index.ts";
import { writeAtDesk } from "./desk.ts";
import { issueCode, withKeyBook } from "./hub-keys.ts";
import { type HubState, issueHubToken, SCHEMAS_DIR } from "./places.ts";

export interface NewSite {
  readonly site: string;
  /** Whose site it is, where that is not the hub's own organisation. */
  readonly org?: string;
  readonly title?: string;
  readonly device?: string;
  readonly days: number;
  /** How long the one-time code is good. */
  readonly codeDays?: number;
  readonly actor: string;
}

export interface RegisteredSite {
  readonly org: string;
  readonly site: string;
  readonly token: string;
  readonly expiresAt: string;
  /** Enrols the key of one device, once. */
  readonly code: string;
  readonly codeExpiresAt: string;
}

const DEFAULT_CODE_DAYS = 7;

/**
 * Registers a site: an event of the hub's own origin, which goes the way of every other event, and a token for the site's devices.
 */
export async function addSite(
  dir: string,
  state: HubState,
  { site, org: given, title, device, days, codeDays = DEFAULT_CODE_DAYS, actor }: NewSite,
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
  const lifetimeS = days * 86_400;
  const expiresAt = new Date(Math.floor(nowMs / 1000) * 1000 + lifetimeS * 1000).toISOString();
  const event = {
    type: "site.registered",
    entity: { type: "site", id: `${org}.${site}` },
    data: { org, site, ...(title === undefined ? {} : { title }), token_expires_at: expiresAt },
    actor,
  };
  await writeAtDesk(dir, state, createGate(loadSchemas(SCHEMAS_DIR)), [event]);
  return withKeyBook(dir, state, async (book, ring) => {
    // After a revocation of the site: later than that, also within the same second.
    const issuedAfterS = book.record.revocationOf(`${org}.${site}`)?.issuedThroughS ?? 0;
    const token = await issueHubToken(dir, { org, site, lifetimeS, issuedAfterS, ...(device === undefined ? {} : { device }) });
    const named = device === undefined ? {} : { device: nameOf("device", device) };
    const { code, expiresAt: codeExpiresAt } = await issueCode(book, ring, { org, site, ...named, days: codeDays, actor });
    return { org, site, token, expiresAt, code, codeExpiresAt };
  });
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
