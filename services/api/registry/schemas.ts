import type { Registered, Registry } from "../../gate/index.ts";
import { type Route, route } from "../../http/index.ts";
import {
  answers,
  contentOf,
  DELETED,
  described,
  FORMAT,
  ok,
  PAGE,
  pageOf,
  type RegistryDeps,
  type Shown,
  shownBy,
  shownOf,
  textIn,
} from "./common.ts";
import { ApiError, CODES } from "./refusal.ts";
import { SUBJECT_PREFIX, withPrefix } from "./subjects.ts";

/** Schemas by their id, which is the same in all subjects, or by their UUID, which is the same in all registries. */
export const schemaRoutes = (deps: RegistryDeps): Route[] => [
  list(deps),
  types(deps),
  ...byIdRoutes(deps),
  ...byGuidRoutes(deps),
];

const list = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/schemas", name: "listSchemas", words: "Lists all versions of all subjects.", who },
    query: { ...DELETED, ...PAGE, ...SUBJECT_PREFIX, latestOnly: "`true`: the last version of each subject." },
    answers: answers("Versions with their schemas."),
    handle: ({ query }) => {
      const all = withPrefix(registry.subjects(), query.subjectPrefix).flatMap((subject) => {
        const versions = shownOf(registry, subject, shownBy(query));
        return query.latestOnly === "true" ? versions.slice(-1) : versions;
      });
      return ok(pageOf(all, query).map((version) => described(version)));
    },
  });

const types = ({ reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/schemas/types", name: "listSchemaTypes", words: "What schemas may be written in.", who },
    answers: answers("AVRO and JSON."),
    handle: () => ok(["AVRO", "JSON"]),
  });

const OF_SUBJECT = { subject: "One subject's only." } as const;
const HIDDEN = { deleted: DELETED.deleted } as const;

const byIdRoutes = ({ registry, reader: who }: RegistryDeps): Route[] => [
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}", name: "readSchema", words: "Reads a schema.", who },
    query: { ...FORMAT, fetchMaxId: "`true`: the highest id that there is as well, as `maxId`." },
    answers: answers("The schema, with its type and references."),
    handle: ({ params: { id }, query }) =>
      ok({
        ...contentOf(byId(registry, id)[0], query),
        ...(query.fetchMaxId === "true" ? { maxId: registry.maxId() } : {}),
      }),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/schema", name: "readSchemaText", words: "Reads a schema alone.", who },
    query: FORMAT,
    answers: answers("The schema, as JSON."),
    handle: ({ params: { id }, query }) => ok(JSON.parse(textIn(byId(registry, id)[0], query))),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/subjects", name: "listSchemaSubjects", words: "Lists its subjects.", who },
    query: { ...HIDDEN, ...OF_SUBJECT, ...PAGE },
    answers: answers("Names of subjects, each once."),
    handle: ({ params: { id }, query }) => {
      const subjects = usesOf(byId(registry, id), shownBy(query), query.subject).map(({ schema }) => schema.subject);
      return ok(pageOf([...new Set(subjects)], query));
    },
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/versions", name: "listSchemaVersions", words: "Lists its versions.", who },
    query: { ...HIDDEN, ...OF_SUBJECT, ...PAGE },
    answers: answers("Subjects and versions."),
    handle: ({ params: { id }, query }) => {
      const uses = usesOf(byId(registry, id), shownBy(query), query.subject);
      return ok(pageOf(uses, query).map(({ schema }) => ({ subject: schema.subject, version: schema.version })));
    },
  }),
];

const byGuidRoutes = ({ registry, reader: who }: RegistryDeps): Route[] => [
  route({
    ...{ method: "GET", path: "/schemas/guids/{guid}", name: "readSchemaByGuid", words: "Reads a schema by its UUID.", who },
    query: FORMAT,
    answers: answers("The schema, with its type and references."),
    handle: ({ params: { guid }, query }) =>
      ok({ guid: byGuid(registry, guid).guid, ...contentOf(byGuid(registry, guid), query) }),
  }),
  route({
    ...{ method: "GET", path: "/schemas/guids/{guid}/ids", name: "listSchemaIds", words: "Lists the ids of a UUID.", who },
    answers: answers("Contexts and ids: one of each."),
    handle: ({ params: { guid } }) => ok([{ context: ".", id: byGuid(registry, guid).id }]),
  }),
];

function usesOf(versions: readonly Registered[], shown: Shown, subject: string | undefined): readonly Registered[] {
  const ofSubject = ({ schema: a }: Registered, { schema: b }: Registered): number =>
    a.subject === b.subject ? a.version - b.version : a.subject < b.subject ? -1 : 1;
  return versions
    .toSorted(ofSubject)
    .filter(
      ({ deleted, schema }) =>
        (shown === "all" || !deleted) && (subject === undefined || subject === "" || schema.subject === subject),
    );
}

/** All versions of one text, hidden ones as well: data written with a hidden version can still be read. */
function byId(registry: Registry, given: string): readonly [Registered, ...Registered[]] {
  const [first, ...others] = /^\d{1,9}$/.test(given) ? registry.byId(Number(given)) : [];
  if (first === undefined) throw new ApiError(CODES.schema, `Schema ${given} not found`);
  return [first, ...others];
}

function byGuid(registry: Registry, given: string): Registered {
  const guid = given.toLowerCase();
  for (const subject of registry.subjects()) {
    const found = registry.registered(subject, { withDeleted: true }).find((version) => version.guid === guid);
    if (found !== undefined) return found;
  }
  throw new ApiError(CODES.schema, `Schema ${given} not found`);
}
