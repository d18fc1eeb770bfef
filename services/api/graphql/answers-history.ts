import { entityTrail, explainEntity, rowAsOf } from "../../audit/index.ts";
import { type EntityRef, positionToText, rightWords, TributaryError } from "../../core/index.ts";
import { entityViews, type Projection } from "../../merge/engine.ts";
import {
  commonPosition,
  type Db,
  decisionsOn,
  decisionsSuperseded,
  incarnationOf,
  isShown,
  lag,
  positionAsked,
  versionsOf,
} from "../../views/index.ts";
import { liveViews } from "./answers-views.ts";
import { cursorIn, cursorOf, positionIn } from "./cursors.ts";
import type { Answers, ApiHub, Asking } from "./hub.ts";
import { GRAPHQL_LIMITS, type GraphqlLimits, pageRows } from "./limits.ts";

interface OfEntity {
  readonly entity: EntityRef;
}
interface OfView extends OfEntity {
  readonly view?: string | null;
}

const named = ({ type, id }: EntityRef): string => `${type}/${id}`;

/** Whoever is not shown an entity is told what they are told of one that there is not. */
async function mustBeShown(db: Db, entity: EntityRef): Promise<void> {
  if (await isShown(db, entity)) return;
  throw new TributaryError("not-found", `there is no ${named(entity)}`, "Check the spelling, and whether the site has synced.");
}

/** The view of an entity's type that is named, or the first. Throws `not-found`. */
function viewOf(hub: ApiHub, { type }: EntityRef, view: string | null): Projection {
  const views = entityViews(liveViews(hub)).filter(({ entity }) => entity === type);
  const found = view === null ? views[0] : views.find(({ name }) => name === view);
  if (found !== undefined) return found;
  throw new TributaryError(
    "not-found",
    view === null ? `no view is of entities of type ${type}` : `${view} is not a view of entities of type ${type}`,
    `There are: ${views.map(({ name }) => name).join(", ") || "none"}.`,
  );
}

function history({ entity, view, first, after }: OfView & { first?: number | null; after?: string | null }, asking: Asking) {
  const { hub, principal } = asking;
  const limit = pageRows(first, { ...GRAPHQL_LIMITS, ...hub.limits });
  const projection = viewOf(hub, entity, view ?? null);
  const of = `history ${projection.name}`;
  const [at = null] = after == null ? [] : cursorIn(after, of, 1);
  return hub.reading.read(principal.viewer, async (db) => {
    await mustBeShown(db, entity);
    const before = at === null ? null : positionIn(at);
    const found = await versionsOf(db, projection, { id: entity.id, before, limit: limit + 1 });
    const versions = found.slice(0, limit);
    const last = found.length > limit ? versions.at(-1) : undefined;
    return { view: projection.name, versions, next: last === undefined ? null : cursorOf(of, [last.position]) };
  });
}

const decisions = ({ entity }: OfEntity, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) => {
    await mustBeShown(db, entity);
    const through = await commonPosition(db);
    return {
      decisions: await decisionsOn(db, entity, through),
      superseded: await decisionsSuperseded(db, entity, through),
      through: through === null ? null : positionToText(through),
    };
  });

const explain = ({ entity, field, view }: OfView & { readonly field?: string | null }, { hub, principal }: Asking) => {
  const { gate } = hub;
  const projections = liveViews(hub);
  return hub.reading.read(principal.viewer, async (db) => {
    await mustBeShown(db, entity);
    return explainEntity({ db, gate, projections }, named(entity), field ?? null, view ?? null);
  });
};

const asOf = ({ entity, position: at, view }: OfView & { readonly position?: string | null }, { hub, principal }: Asking) => {
  const { gate } = hub;
  const projections = liveViews(hub);
  return hub.reading.read(principal.viewer, async (db) => {
    await mustBeShown(db, entity);
    return rowAsOf({ db, gate, projections }, named(entity), at == null ? null : await positionAsked(db, at), view ?? null);
  });
};

const trail = ({ entity }: OfEntity, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) => {
    const found = await entityTrail(db, named(entity));
    return { ...found, through: found.through === null ? null : positionToText(found.through) };
  });

const status = (_: object, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) => {
    const { position: through, shards } = await lag(db);
    const logEnd = await hub.logEnd();
    return {
      through: through === null ? null : positionToText(through),
      logEnd: logEnd === null ? null : positionToText(logEnd),
      incarnation: await incarnationOf(db),
      shards: [...shards].map(([projector, held]) => ({ projector, shards: held })),
    };
  });

const me = (_: object, { principal }: Asking) => {
  const { kind, issuer, subject, org, roles, rights, viewer, expiresAtMs } = principal;
  return {
    ...{ kind, issuer, subject, org, roles },
    rights: rights.map((right) => ({ right, words: rightWords(right) })),
    sees: viewer.orgs,
    expiresAt: new Date(expiresAtMs).toISOString(),
  };
};

const limits = (_: object, { hub }: Asking) => {
  const all: GraphqlLimits = { ...GRAPHQL_LIMITS, ...hub.limits };
  return Object.entries(all).map(([setting, value]) => ({ setting, value }));
};

/** Who asks, how entities came to be what they are, and how far the hub is. */
export const historyAnswers: Answers = { me, limits, history, decisions, explain, rowAsOf: asOf, trail, status };
