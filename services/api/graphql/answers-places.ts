import { EVERYBODY, type JsonValue, maySee, TributaryError } from "../../core/index.ts";
import {
  absentHolders,
  previewPolicies,
  policies as readPolicies,
  readPolicy,
  replicas as readReplicas,
  registerSite,
  removePolicy,
  rolesFor,
  setPolicy,
} from "../../desk/index.ts";
import { sites as readSites, siteRoles } from "../../views/index.ts";
import { liveViews } from "./answers-views.ts";
import { atDesk, byOf, siteMeant } from "./desk.ts";
import { type Answers, type Asking, given } from "./hub.ts";

const sites = (_: object, { hub, principal }: Asking) => hub.reading.read(principal.viewer, (db) => readSites(db));

const policies = (_: object, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) =>
    (await readPolicies({ db })).map(({ policy, setBy, setAt }) => ({ ...policy, setBy, setAt })),
  );

interface PreviewArgs {
  readonly org?: string | null;
  readonly site: string;
  readonly roles?: readonly string[] | null;
  readonly instead?: readonly JsonValue[] | null;
}

/** Sizes are of what the person who asks is shown. */
function preview({ org: of, site: name, roles: wanted, instead }: PreviewArgs, asking: Asking) {
  const { hub, principal } = asking;
  const { org, site } = siteMeant(asking, name, of);
  const projections = liveViews(hub);
  const policiesInstead = (instead ?? []).map(readPolicy);
  return hub.reading.read(principal.viewer, async (db) => {
    const roles = wanted == null ? ((await siteRoles(db)).get(`${org}.${site}`) ?? []) : rolesFor(wanted);
    const found = await previewPolicies({ db, org: hub.org, projections }, { kind: "site", org, site, roles }, policiesInstead);
    return { ...found, grants: found.grants.map(({ grant, ...size }) => ({ ...grant, ...size })) };
  });
}

/** What a device owes belongs to the organisation that its name begins with; the database has no rule of its own for it, so it is read as the hub. */
const replicas = ({ unconfirmedDays }: { readonly unconfirmedDays?: number | null }, { hub, principal }: Asking) => {
  const projections = liveViews(hub);
  return hub.reading.read(EVERYBODY, async (db) =>
    (await readReplicas({ db, projections }, unconfirmedDays ?? null)).filter(({ device }) =>
      maySee(principal.viewer, device.slice(0, Math.max(0, device.indexOf(".")))),
    ),
  );
};

export const placeAnswers = { sites, policies, previewPolicies: preview, replicas } satisfies Answers;

interface NewSiteArgs {
  readonly org?: string | null;
  readonly site: string;
  readonly title?: string | null;
  readonly device?: string | null;
  readonly types?: readonly string[] | null;
  readonly roles?: readonly string[] | null;
  readonly days: number;
  readonly codeDays: number;
}
const MAX_DAYS = 3_650;

function newSite({ org: of, site: name, days, codeDays, ...rest }: NewSiteArgs, asking: Asking) {
  const { hub, principal } = asking;
  const { org, site } = siteMeant(asking, name, of);
  for (const [member, value] of Object.entries({ days, codeDays }))
    if (value < 1 || value > MAX_DAYS)
      throw new TributaryError("usage", `${member} is ${value}`, `Give a number of days from 1 to ${MAX_DAYS}.`);
  return registerSite(hub, { org, site, days, codeDays, actor: principal.subject, ...given(rest) }, hub.admit);
}

async function revoked(
  { org: of, site: name, reason }: { readonly org?: string | null; readonly site: string; readonly reason?: string | null },
  asking: Asking,
) {
  const { org, site } = siteMeant(asking, name, of);
  const full = `${org}.${site}`;
  return { site: full, devices: await asking.hub.revokeSite(full, { actor: asking.principal.subject, ...given({ reason }) }) };
}

const setOne = ({ policy: asked }: { readonly policy: JsonValue }, asking: Asking) =>
  atDesk(asking, async (desk) => {
    const policy = await setPolicy(desk, asked, byOf(asking));
    const absent = await absentHolders(desk, policy);
    return { ...policy, absentSites: absent.sites, absentRoles: absent.roles };
  });

const removeOne = ({ name, note }: { readonly name: string; readonly note?: string | null }, asking: Asking) =>
  atDesk(asking, async (desk) => {
    await removePolicy(desk, name, byOf(asking, note));
    return name;
  });

export const placeDecisions = {
  registerSite: newSite,
  revokeSite: revoked,
  setPolicy: setOne,
  removePolicy: removeOne,
} satisfies Answers;
