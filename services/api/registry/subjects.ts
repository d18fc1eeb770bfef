import type { Registered, Registry } from "../../gate/index.ts";
import { type Route, route } from "../../http/index.ts";
import {
  answers,
  DELETED,
  described,
  FORMAT,
  type GivenSchema,
  NORMALIZE,
  normalizes,
  ok,
  PAGE,
  pageOf,
  type RegistryDeps,
  referencedBy,
  schemaBody,
  shownBy,
  textIn,
  versionNumber,
  versionOf,
  versionsOf,
  writableSubject,
} from "./common.ts";
import { messageOfFinding } from "./compatibility.ts";
import { ApiError, CODES } from "./refusal.ts";

export const SUBJECT_PREFIX = { subjectPrefix: "What their names begin with." } as const;
/** Subjects whose names begin with `given`. Clients write a context before the prefix: `:.:` is the only context here, `:*:` stands for all. */
export const withPrefix = (subjects: readonly string[], given = ""): readonly string[] => {
  const prefix = given.replace(/^:[.*]?:/, "");
  return subjects.filter((subject) => subject.startsWith(prefix));
};

const PERMANENT = { permanent: "`true` is refused: a version can be hidden, not erased." } as const;

export const subjectRoutes = (deps: RegistryDeps): Route[] => [
  list(deps),
  lookUp(deps),
  latestWith(deps),
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
    query: {
      deleted: "`true`: subjects that are deleted as well.",
      deletedOnly: "`true`: subjects that are deleted only.",
      ...SUBJECT_PREFIX,
      ...PAGE,
    },
    answers: answers("Names of subjects."),
    handle({ query }) {
      const shown = shownBy(query);
      const isShown = (subject: string): boolean => {
        const isLive = registry.registered(subject).length > 0;
        return shown === "all" || isLive === (shown === "live");
      };
      return ok(pageOf(withPrefix(registry.subjects(), query.subjectPrefix).filter(isShown), query));
    },
  });

/** The one POST that only reads. */
const lookUp = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "POST", path: "/subjects/{subject}", name: "findSchema", words: "Looks for a schema in a subject.", who },
    body: schemaBody,
    query: { ...NORMALIZE, ...FORMAT, deleted: DELETED.deleted },
    answers: answers("The version that is this schema."),
    handle({ params: { subject }, body, query }) {
      const shown = shownBy(query);
      versionsOf(registry, subject, shown);
      const normalize = normalizes(registry, subject, query);
      const found = registry.find(subject, body, { normalize, withDeleted: shown === "all" });
      if (found === undefined) throw new ApiError(CODES.schema, "Schema not found");
      return ok(described(found, query));
    },
  });

/** No schema here has metadata, so only a question that names none has an answer. */
const latestWith = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/metadata", name: "readLatestWithMetadata", who },
    words: "Reads the latest version that has some metadata. Schemas have none here.",
    query: { key: "A name that the metadata have.", value: "What it says.", deleted: DELETED.deleted },
    answers: answers("Subject, version, id and schema."),
    handle({ params: { subject }, query: { key, value, ...query } }) {
      const latest = versionOf(registry, subject, "latest", shownBy(query));
      if (key !== undefined && value !== undefined) throw new ApiError(CODES.schema, "Schema not found");
      return ok(described(latest));
    },
  });

const removeSubject = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "DELETE", path: "/subjects/{subject}", name: "hideSubject", words: "Hides all versions of a subject.", who },
    query: PERMANENT,
    answers: answers("The versions that were hidden."),
    async handle({ params: { subject }, query: { permanent }, who: { actor } }) {
      refusePermanent(permanent);
      const all = versionsOf(registry, subject, "all").filter(({ deleted }) => !deleted);
      if (all.length === 0) throw new ApiError(CODES.deleted, `Subject '${subject}' was soft deleted.`);
      for (const version of all) refuseReferred(registry, version, subject);
      for (const { schema } of all) await registry.setDeleted(subject, schema.version, true, actor);
      return ok(all.map(({ schema }) => schema.version));
    },
  });

const versions = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions", name: "listVersions", words: "Lists a subject's versions.", who },
    query: { ...DELETED, deletedAsNegative: "`true`: deleted versions as well, as numbers below 0.", ...PAGE },
    answers: answers("Their numbers."),
    handle({ params: { subject }, query: { deletedAsNegative, ...query } }) {
      const marks = deletedAsNegative === "true";
      const versions = versionsOf(registry, subject, marks ? "all" : shownBy(query));
      return ok(pageOf(versions, query).map(({ schema, deleted }) => (marks && deleted ? -schema.version : schema.version)));
    },
  });

const register = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "POST", path: "/subjects/{subject}/versions", name: "registerSchema", words: "Registers a schema.", who },
    body: schemaBody,
    query: NORMALIZE,
    answers: answers("Its id and its version; those of before, where the same schema is registered already."),
    async handle({ params: { subject }, body, query, who: { actor } }) {
      writableSubject(subject);
      const normalize = normalizes(registry, subject, query);
      refuseWanted(registry, subject, body, normalize);
      const { version } = body.wanted;
      const outcome = await registry.register(subject, body, { actor, normalize, ...(version === null ? {} : { version }) });
      if (outcome.kind === "registered")
        return ok({ id: outcome.version.id, version: outcome.version.schema.version, guid: outcome.version.guid });
      if (outcome.kind === "proposed")
        throw new ApiError(
          CODES.readonly,
          `The hub of ${outcome.authority} has the say over subject ${subject}: the schema is kept as a proposal to it, and counts once that hub registers it.`,
          { authority: outcome.authority },
        );
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
    query: { ...DELETED, ...FORMAT },
    answers: answers("Subject, version, id and schema."),
    handle: ({ params, query }) => ok(described(versionOf(registry, params.subject, params.version, shownBy(query)), query)),
  });

const removeVersion = ({ registry, writer: who }: RegistryDeps): Route =>
  route({
    ...{ method: "DELETE", path: "/subjects/{subject}/versions/{version}", name: "hideVersion", words: "Hides a version.", who },
    query: PERMANENT,
    answers: answers("Its number."),
    async handle({ params, query: { permanent }, who: { actor } }) {
      refusePermanent(permanent);
      const version = hideable(registry, params.subject, params.version);
      refuseReferred(registry, version);
      await registry.setDeleted(params.subject, version.schema.version, true, actor);
      return ok(version.schema.version);
    },
  });

const text = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions/{version}/schema", name: "readVersionText", who },
    words: "Reads the schema of a version alone.",
    query: { ...DELETED, ...FORMAT },
    answers: answers("The schema, as JSON."),
    handle: ({ params, query }) =>
      ok(JSON.parse(textIn(versionOf(registry, params.subject, params.version, shownBy(query)), query))),
  });

const referencing = ({ registry, reader: who }: RegistryDeps): Route =>
  route({
    ...{ method: "GET", path: "/subjects/{subject}/versions/{version}/referencedby", name: "listReferencing", who },
    words: "Lists schemas that refer to a version.",
    query: { deleted: "`true`: those of deleted versions as well.", ...PAGE },
    answers: answers("Their ids."),
    handle: ({ params, query }) =>
      ok(pageOf(referencedBy(registry, versionOf(registry, params.subject, params.version, "all"), shownBy(query)), query)),
  });

function refusePermanent(permanent: string | undefined): void {
  if (permanent === "true")
    throw new ApiError(
      CODES.notPossible,
      "The log is append-only, and data written with the schema stays readable: a version can be hidden, not erased.",
    );
}

/** The version that is to be hidden. Throws for a version that is hidden already. */
function hideable(registry: Registry, subject: string, given: string): Registered {
  const number = versionNumber(given);
  const version = versionOf(registry, subject, given, number === "latest" ? "live" : "all");
  if (!version.deleted) return version;
  throw new ApiError(CODES.versionDeleted, `Subject '${subject}' Version ${given} was soft deleted.`);
}

/** Throws for a version that another schema refers to; `within`: schemas of this subject are hidden with it, and do not count. */
function refuseReferred(registry: Registry, version: Registered, within: string | null = null): void {
  const [user] = referencedBy(registry, version).filter(
    (id) => within === null || registry.byId(id).some(({ schema, deleted }) => !deleted && schema.subject !== within),
  );
  if (user !== undefined)
    throw new ApiError(CODES.notPossible, `One or more references exist to the schema: schema ${user} uses it.`);
}

/** Throws where a client asks for a certain id: this registry counts its ids itself. Naming the id that the schema has already is not such a request. */
function refuseWanted(registry: Registry, subject: string, body: GivenSchema, normalize: boolean): void {
  const { id } = body.wanted;
  if (id === null || registry.find(subject, body, { normalize })?.id === id) return;
  throw new ApiError(
    CODES.readonly,
    `Subject ${subject} takes no id of a client's own (${id}): ids are counted here, in the order of the log. Leave the member id out; schemas of another registry are registered again here, and get other ids.`,
  );
}
