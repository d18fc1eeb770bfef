import type { Client } from "pg";
import { entitySchema, HUB_ENTITIES, HUB_SITE, nameOf, siteRights, TributaryError } from "../core/index.ts";
import { codeHash, readCode, siteLogin } from "../core/node.ts";
import { createGate } from "../gate/index.ts";
import { writeAtDesk } from "./desk.ts";
import { foldersOf, loadForms } from "./folders.ts";
import { issueCode, withKeyBook } from "./hub-keys.ts";
import { admitNew, rightOfToken } from "./logins.ts";
import { type HubState, issueHubToken } from "./places.ts";

export interface NewSite {
  readonly site: string;
  /** Whose site it is, where that is not the hub's own organisation. */
  readonly org?: string;
  readonly title?: string;
  readonly device?: string;
  /** The entity types that the site may write; default: all but the hub's own. */
  readonly types?: readonly string[];
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
  /** What the token logs in with at a broker, and what it must be allowed there: for whoever keeps the logins of a broker that is not the hub's own. */
  readonly login: { readonly user: string; readonly pass: string };
  readonly rights: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
  /** Enrols the key of one device, once. */
  readonly code: string;
  readonly codeExpiresAt: string;
  /** The entity types that it may write; `null`: all but the hub's own. */
  readonly types: readonly string[] | null;
  /** Of those, types that no schema in `schemas/` is about. */
  readonly typesWithoutSchema: readonly string[];
}

/** A list of entity types as people write it: with commas, spaces or both. */
export function entityTypes(given: string): readonly string[] {
  const types = [...new Set(given.split(/[\s,]+/).filter((type) => type !== ""))];
  for (const type of types) {
    if (HUB_ENTITIES.includes(type))
      throw new TributaryError("usage", `only the hub's own people write about a ${type}`, "Leave it out of --types.");
    if (!entitySchema.safeParse({ type, id: "x" }).success)
      throw new TributaryError(
        "usage",
        `${JSON.stringify(type)} is no entity type`,
        "Write them like --types beneficiary,distribution.",
      );
  }
  if (types.length === 0)
    throw new TributaryError("usage", "--types names no entity type", "Leave it out for a site that may write all.");
  return types;
}

const DEFAULT_CODE_DAYS = 7;

/**
 * Registers a site: an event of the hub's own origin, which goes the way of every other event, and a token for the site's devices.
 */
export async function addSite(
  dir: string,
  state: HubState,
  { site, org: given, title, device, types, days, codeDays = DEFAULT_CODE_DAYS, actor }: NewSite,
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
  const gate = createGate(loadForms(foldersOf(dir)));
  await writeAtDesk(dir, state, gate, [event]);
  const known = new Set(gate.store.subjects().map((subject) => gate.store.versions(subject).at(-1)?.annotations.entity));
  return withKeyBook(dir, state, async (book, ring) => {
    // After a revocation of the site: later than that, also within the same second.
    const issuedAfterS = book.record.revocationOf(`${org}.${site}`)?.issuedThroughS ?? 0;
    const bound = {
      ...(device === undefined ? {} : { device: nameOf("device", device) }),
      ...(types === undefined ? {} : { types }),
    };
    const token = await issueHubToken(dir, { org, site, lifetimeS, issuedAfterS, ...bound });
    const { code, expiresAt: codeExpiresAt } = await issueCode(book, ring, { org, site, ...bound, days: codeDays, actor });
    const login = siteLogin(token, org, site);
    await admitNew(
      dir,
      book.record,
      [
        { ...login, expiresAtMs: Date.parse(expiresAt), right: rightOfToken(token) },
        { ...siteLogin(readCode(code)!, org, site), expiresAtMs: Date.parse(codeExpiresAt), right: { code: codeHash(code) } },
      ].map((each) => ({ kind: "password", org, site, device: device ?? null, ...each })),
    );
    const typesWithoutSchema = (types ?? []).filter((type) => !known.has(type));
    const rights = siteRights(org, site, device ?? null);
    return { org, site, token, expiresAt, login, rights, code, codeExpiresAt, types: types ?? null, typesWithoutSchema };
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
