import type { Registered, Registry } from "../../gate/index.ts";
import { type Route, route } from "../../http/index.ts";
import { answers, contentOf, DELETED, described, ok, type RegistryDeps, withDeleted } from "./common.ts";
import { ApiError, CODES } from "./refusal.ts";

/** Schemas by their id, which is one through all subjects. */
export const schemaRoutes = ({ registry, reader: who }: RegistryDeps): Route[] => [
  route({
    ...{ method: "GET", path: "/schemas", name: "listSchemas", words: "Lists all versions of all subjects.", who },
    query: DELETED,
    answers: answers("Versions with their schemas."),
    handle: ({ query }) =>
      ok(
        registry
          .subjects()
          .flatMap((subject) => registry.registered(subject, { withDeleted: withDeleted(query) }))
          .map(described),
      ),
  }),
  route({
    ...{ method: "GET", path: "/schemas/types", name: "listSchemaTypes", words: "What schemas may be written in.", who },
    answers: answers("AVRO and JSON."),
    handle: () => ok(["AVRO", "JSON"]),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}", name: "readSchema", words: "Reads a schema.", who },
    answers: answers("The schema, with its type and references."),
    handle: ({ params: { id } }) => ok(contentOf(byId(registry, id)[0])),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/schema", name: "readSchemaText", words: "Reads a schema alone.", who },
    answers: answers("The schema, as JSON."),
    handle: ({ params: { id } }) => ok(JSON.parse(byId(registry, id)[0].schema.text)),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/subjects", name: "listSchemaSubjects", words: "Lists its subjects.", who },
    answers: answers("Names of subjects."),
    handle: ({ params: { id } }) => ok(byId(registry, id).map(({ schema }) => schema.subject)),
  }),
  route({
    ...{ method: "GET", path: "/schemas/ids/{id}/versions", name: "listSchemaVersions", words: "Lists its versions.", who },
    answers: answers("Subjects and versions."),
    handle: ({ params: { id } }) =>
      ok(byId(registry, id).map(({ schema }) => ({ subject: schema.subject, version: schema.version }))),
  }),
];

function byId(registry: Registry, given: string): readonly [Registered, ...Registered[]] {
  const [first, ...others] = /^\d{1,9}$/.test(given) ? registry.byId(Number(given)) : [];
  if (first === undefined) throw new ApiError(CODES.schema, `Schema ${given} not found`);
  return [first, ...others];
}
