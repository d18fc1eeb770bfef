import type { Registry } from "../../gate/index.ts";
import { type Route, route } from "../../http/index.ts";
import {
  answers,
  DELETED,
  described,
  ok,
  type RegistryDeps,
  referencedBy,
  schemaBody,
  versionOf,
  versionsOf,
  withDeleted,
} from "./common.ts";
import { messageOfFinding } from "./compatibility.ts";
import { ApiError, CODES } from "./refusal.ts";

const PERMANENT = { permanent: "`true` is refused: a version can be hidden, not erased." } as const;

export const subjectRoutes = (deps: RegistryDeps): Route[] => [
  list(deps),
  lookUp(deps),
  removeSubject(deps),
  versions(deps),
  register(deps),
  version(deps),
  removeVersion(deps),
  text(deps),
  referencing(deps),
];

const list = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects", name: "listSubjects", words: "Lists subjects.", who },
    query: { deleted: "`true`: subjects that are deleted as well.", subjectPrefix: "What their names begin with." },
    answers: answers("Names of subjects."),
    handle({ query: { deleted, subjectPrefix = "" } }) {
      const withDeleted = deleted === "true";
      const isShown = (subject: string): boolean =>
        subject.startsWith(subjectPrefix) && registry.registered(subject, { withDeleted }).length > 0;
      return ok(registry.subjects().filter(isShown));
    },
  });

/** The one POST that only reads. */
const lookUp = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "POST", path: "/subjects/{subject}", name: "findSchema", words: "Looks for a schema in a subject.", who },
    body: schemaBody,
    answers: answers("The version that is this schema."),
    handle({ params: { subject }, body }) {
      versionsOf(registry, subject);
      const found = registry.find(subject, body);
      if (found === undefined) throw new ApiError(CODES.schema, "Schema not found");
      return ok(described(found));
    },
  });

const removeSubject = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "DELETE", path: "/subjects/{subject}", name: "hideSubject", words: "Hides all versions of a subject.", who },
    query: PERMANENT,
    answers: answers("The versions that were hidden."),
    async handle({ params: { subject }, query: { permanent }, who: { actor } }) {
      refusePermanent(permanent);
      const numbers = versionsOf(registry, subject).map(({ schema }) => schema.version);
      for (const number of numbers) await hide(registry, subject, String(number), actor);
      return ok(numbers);
    },
  });

const versions = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions", name: "listVersions", words: "Lists a subject's versions.", who },
    query: DELETED,
    answers: answers("Their numbers."),
    handle: ({ params: { subject }, query }) =>
      ok(versionsOf(registry, subject, withDeleted(query)).map(({ schema }) => schema.version)),
  });

const register = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "POST", path: "/subjects/{subject}/versions", name: "registerSchema", words: "Registers a schema.", who },
    body: schemaBody,
    answers: answers("Its id and its version; those of before, where the same schema is registered already."),
    async handle({ params: { subject }, body, who: { actor } }) {
      const outcome = await registry.register(subject, body, { actor });
      if (outcome.kind === "registered") return ok({ id: outcome.version.id, version: outcome.version.schema.version });
      const { findings, level } = outcome;
      const [first] = findings;
      const more = findings.length > 1 ? ` (and ${findings.length - 1} more)` : "";
      throw new ApiError(
        CODES.incompatible,
        `Schema being registered is incompatible with an earlier schema for subject "${subject}": ${first === undefined ? "" : messageOfFinding(first)}${more}`,
        { compatibility: level, findings },
      );
    },
  });

const version = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions/{version}", name: "readVersion", words: "Reads a version.", who },
    query: DELETED,
    answers: answers("Subject, version, id and schema."),
    handle: ({ params, query }) => ok(described(versionOf(registry, params.subject, params.version, withDeleted(query)))),
  });

const removeVersion = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "DELETE", path: "/subjects/{subject}/versions/{version}", name: "hideVersion", words: "Hides a version.", who },
    query: PERMANENT,
    answers: answers("Its number."),
    async handle({ params, query: { permanent }, who: { actor } }) {
      refusePermanent(permanent);
      return ok(await hide(registry, params.subject, params.version, actor));
    },
  });

const text = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions/{version}/schema", name: "readVersionText", who },
    words: "Reads the schema of a version alone.",
    query: DELETED,
    answers: answers("The schema, as JSON."),
    handle: ({ params, query }) =>
      ok(JSON.parse(versionOf(registry, params.subject, params.version, withDeleted(query)).schema.text)),
  });

const referencing = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions/{version}/referencedby", name: "listReferencing", who },
    words: "Lists schemas that refer to a version.",
    answers: answers("Their ids."),
    handle: ({ params }) => ok(referencedBy(registry, versionOf(registry, params.subject, params.version, true))),
  });

function refusePermanent(permanent: string | undefined): void {
  if (permanent === "true")
    throw new ApiError(
      CODES.notPossible,
      "The log is append-only, and data written with the schema stays readable: a version can be hidden, not erased.",
    );
}

/** Hides a version that no schema refers to. */
async function hide(registry: Registry, subject: string, given: string, actor: string): Promise<number> {
  const version = versionOf(registry, subject, given);
  const [user] = referencedBy(registry, version);
  if (user !== undefined)
    throw new ApiError(CODES.notPossible, `One or more references exist to the schema: schema ${user} uses it.`);
  await registry.setDeleted(subject, version.schema.version, true, actor);
  return version.schema.version;
}
