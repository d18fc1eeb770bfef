import { isJsonObject, isTributaryError, messageOf } from "../core/index.ts";
import {
  type Finding,
  LEVELS,
  type Level,
  MODES,
  type Mode,
  type Reference,
  type Registered,
  type Registry,
  type SchemaText,
} from "../gate/index.ts";

/**
 * The routes of Confluent Schema Registry, for the tools and serializers that speak them: subjects, versions, schemas by id, compatibility,
 * config and mode, for Avro and JSON Schema. Differences are in docs/schemas.md.
 * Source: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
 */

export interface ApiRequest {
  readonly method: string;
  readonly url: URL;
  readonly authorization: string | undefined;
  /** The body as text; read only when a route needs it. */
  body(): Promise<string>;
}

export interface ApiAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: unknown;
}

/** Answers a request, or `null` for a path that is none of the registry's. */
export type RegistryApi = (request: ApiRequest) => Promise<ApiAnswer | null>;

/** Says who asks; throws `token-…` for somebody who may not. `writes`: whether it takes the right to write schemas, or only to read them. */
export type Authorize = (authorization: string | undefined, writes: boolean) => Promise<{ readonly actor: string }>;

const MEDIA_TYPE = "application/vnd.schemaregistry.v1+json";
const ROOTS = ["", "subjects", "schemas", "config", "mode", "compatibility", "contexts"];
/** What tools ask to see whether they have found a registry. */
const METADATA: Readonly<Record<string, unknown>> = {
  "/v1/metadata/id": { scope: { path: [], clusters: { "schema-registry-cluster": "tributary" } }, id: "" },
  "/v1/metadata/version": { version: "7.0.0", commitId: "" },
};

/** Their error codes: an HTTP status with two digits more. */
const CODES = {
  subject: 40401,
  version: 40402,
  schema: 40403,
  deleted: 40404,
  config: 40408,
  mode: 40409,
  incompatible: 409,
  invalidSchema: 42201,
  invalidVersion: 42202,
  invalidLevel: 42203,
  invalidMode: 42204,
  readonly: 42205,
  notPossible: 42206,
} as const;

class ApiError extends Error {
  readonly code: number;
  readonly more: Record<string, unknown>;
  constructor(code: number, message: string, more: Record<string, unknown> = {}) {
    super(message);
    this.code = code;
    this.more = more;
  }
}

export function registryApi(registry: Registry, authorize: Authorize): RegistryApi {
  return async (request) => {
    const parts = request.url.pathname
      .split("/")
      .slice(1)
      .filter((part) => part !== "")
      .map(decode);
    if (!ROOTS.includes(parts[0] ?? "") && METADATA[request.url.pathname] === undefined) return null;
    try {
      const { actor } = await authorize(request.authorization, writes(request.method, parts));
      const body = await route(registry, request, parts, actor);
      return { status: 200, type: MEDIA_TYPE, body };
    } catch (error) {
      return failure(error);
    }
  };
}

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

/** A look-up is the one POST that only reads. Comparing writes nothing, but makes the hub work: it is for those who may register. */
const writes = (method: string, parts: readonly string[]): boolean =>
  method !== "GET" && !(method === "POST" && parts[0] === "subjects" && parts.length === 2);

function failure(error: unknown): ApiAnswer {
  if (error instanceof ApiError) {
    const status = error.code < 1_000 ? error.code : Math.floor(error.code / 100);
    return { status, type: MEDIA_TYPE, body: { error_code: error.code, message: error.message, ...error.more } };
  }
  if (!isTributaryError(error)) throw error;
  const code =
    error.code === "schema-malformed"
      ? CODES.invalidSchema
      : error.code === "schema-readonly"
        ? CODES.readonly
        : error.code === "schema-conflict"
          ? CODES.incompatible
          : error.status * 100 + 1;
  const status = code < 1_000 ? code : Math.floor(code / 100);
  return { status, type: MEDIA_TYPE, body: { error_code: code, message: `${error.message}. ${error.hint}` } };
}

async function route(registry: Registry, request: ApiRequest, parts: readonly string[], actor: string): Promise<unknown> {
  const [root, a, b, c, d] = parts;
  const { method, url } = request;
  const is = (wanted: string, length: number): boolean => method === wanted && parts.length === length;
  const withDeleted = url.searchParams.get("deleted") === "true" || url.searchParams.get("deletedOnly") === "true";
  const none = (): never => {
    throw new ApiError(404, `there is no ${method} ${url.pathname}`);
  };

  switch (root) {
    case undefined:
      return {};
    case "v1":
      return METADATA[url.pathname];
    case "contexts":
      return ["."];
    case "subjects":
      if (is("GET", 1)) return subjects(registry, url);
      if (is("POST", 2)) return lookUp(registry, a!, await textOf(request));
      if (is("DELETE", 2)) return deleteSubject(registry, a!, url, actor);
      if (b !== "versions") return none();
      if (is("GET", 3)) return versionsOf(registry, a!, withDeleted).map(({ schema }) => schema.version);
      if (is("POST", 3)) return register(registry, a!, await textOf(request), actor);
      if (is("GET", 4)) return described(versionOf(registry, a!, c!, withDeleted));
      if (is("DELETE", 4)) return deleteVersion(registry, a!, c!, url, actor);
      if (is("GET", 5) && d === "schema") return JSON.parse(versionOf(registry, a!, c!, withDeleted).schema.text);
      if (is("GET", 5) && d === "referencedby") return referencedBy(registry, versionOf(registry, a!, c!, true));
      return none();
    case "schemas":
      if (is("GET", 1))
        return registry
          .subjects()
          .flatMap((subject) => registry.registered(subject, { withDeleted }))
          .map(described);
      if (is("GET", 2) && a === "types") return ["AVRO", "JSON"];
      if (a !== "ids") return none();
      if (is("GET", 3)) return contentOf(byId(registry, b!)[0]!);
      if (is("GET", 4) && c === "schema") return JSON.parse(byId(registry, b!)[0]!.schema.text);
      if (is("GET", 4) && c === "subjects") return byId(registry, b!).map(({ schema }) => schema.subject);
      if (is("GET", 4) && c === "versions")
        return byId(registry, b!).map(({ schema }) => ({ subject: schema.subject, version: schema.version }));
      return none();
    case "compatibility":
      if (a !== "subjects" || c !== "versions") return none();
      if (is("POST", 4)) return compatible(registry, b!, null, request, actor);
      if (is("POST", 5)) return compatible(registry, b!, d!, request, actor);
      return none();
    case "config":
      if (parts.length > 2) return none();
      return setting(config(registry), a ?? null, request, actor);
    case "mode":
      if (parts.length > 2) return none();
      return setting(mode(registry), a ?? null, request, actor);
    default:
      return none();
  }
}

function subjects(registry: Registry, url: URL): string[] {
  const withDeleted = url.searchParams.get("deleted") === "true";
  const prefix = url.searchParams.get("subjectPrefix") ?? "";
  return registry
    .subjects()
    .filter((subject) => subject.startsWith(prefix) && registry.registered(subject, { withDeleted }).length > 0);
}

function versionsOf(registry: Registry, subject: string, withDeleted = false): readonly Registered[] {
  const found = registry.registered(subject, { withDeleted });
  if (found.length > 0) return found;
  const all = registry.registered(subject, { withDeleted: true });
  throw all.length > 0
    ? new ApiError(CODES.deleted, `Subject '${subject}' was soft deleted.`)
    : new ApiError(CODES.subject, `Subject '${subject}' not found.`);
}

function versionOf(registry: Registry, subject: string, given: string, withDeleted = false): Registered {
  const versions = versionsOf(registry, subject, withDeleted);
  if (given === "latest" || given === "-1") return versions.at(-1)!;
  if (!/^[1-9]\d{0,8}$/.test(given))
    throw new ApiError(CODES.invalidVersion, `The specified version '${given}' is not a valid version id.`);
  const found = versions.find(({ schema }) => schema.version === Number(given));
  if (found === undefined) throw new ApiError(CODES.version, `Version ${given} not found.`);
  return found;
}

function byId(registry: Registry, given: string): readonly Registered[] {
  const found = /^\d{1,9}$/.test(given) ? registry.byId(Number(given)) : [];
  if (found.length === 0) throw new ApiError(CODES.schema, `Schema ${given} not found`);
  return found;
}

const typeOf = ({ kind }: { readonly kind: SchemaText["kind"] }): { schemaType?: "JSON" } =>
  kind === "json" ? { schemaType: "JSON" } : {};
const contentOf = ({ schema }: Registered): Record<string, unknown> => ({
  ...typeOf(schema),
  schema: schema.text,
  ...(schema.references.length === 0 ? {} : { references: schema.references }),
});
const described = (version: Registered): Record<string, unknown> => ({
  subject: version.schema.subject,
  version: version.schema.version,
  id: version.id,
  ...contentOf(version),
});

async function textOf(request: ApiRequest): Promise<SchemaText> {
  const body = await jsonOf(request);
  const { schema, schemaType = "AVRO", references = [] } = body;
  if (typeof schema !== "string") throw new ApiError(CODES.invalidSchema, "The member schema, a text, is missing.");
  if (schemaType !== "AVRO" && schemaType !== "JSON")
    throw new ApiError(
      CODES.invalidSchema,
      `Schemas of type ${JSON.stringify(schemaType)} are not kept here: only AVRO and JSON.`,
    );
  if (!Array.isArray(references) || !references.every(isReference))
    throw new ApiError(CODES.invalidSchema, "references is a list of {name, subject, version}.");
  return {
    kind: schemaType === "JSON" ? "json" : "avro",
    text: schema,
    references: references.map(({ name, subject, version }) => ({ name, subject, version })),
  };
}

const isReference = (value: unknown): value is Reference =>
  isJsonObject(value) && typeof value.name === "string" && typeof value.subject === "string" && Number.isInteger(value.version);

async function jsonOf(request: ApiRequest): Promise<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(await request.body());
    if (isJsonObject(parsed)) return parsed;
  } catch (error) {
    if (isTributaryError(error)) throw error;
    throw new ApiError(400, `the body is no JSON: ${messageOf(error)}`);
  }
  throw new ApiError(400, "the body is no JSON object");
}

async function register(registry: Registry, subject: string, given: SchemaText, actor: string): Promise<unknown> {
  const outcome = await registry.register(subject, given, { actor });
  if (outcome.kind === "incompatible") {
    const [first] = outcome.findings;
    throw new ApiError(
      CODES.incompatible,
      `Schema being registered is incompatible with an earlier schema for subject "${subject}": ${messageOfFinding(first!)}${outcome.findings.length > 1 ? ` (and ${outcome.findings.length - 1} more)` : ""}`,
      { compatibility: outcome.level, findings: outcome.findings },
    );
  }
  return { id: outcome.version.id, version: outcome.version.schema.version };
}

const messageOfFinding = ({ direction, against, rule, message, path, counterexample, hint }: Finding): string =>
  `${direction === "backward" ? `it cannot read what version ${against} writes` : `version ${against} cannot read what it writes`}: ${message} (${rule} at ${path || "/"})${
    counterexample === null ? "" : `; for example ${JSON.stringify(counterexample.document)}: ${counterexample.problem}`
  }. ${hint}`;

function lookUp(registry: Registry, subject: string, given: SchemaText): unknown {
  versionsOf(registry, subject);
  const found = registry.find(subject, given);
  if (found === undefined) throw new ApiError(CODES.schema, "Schema not found");
  return described(found);
}

function referencedBy(registry: Registry, { schema }: Registered): number[] {
  const ids = new Set<number>();
  for (const subject of registry.subjects()) {
    for (const version of registry.registered(subject))
      if (version.schema.references.some((each) => each.subject === schema.subject && each.version === schema.version))
        ids.add(version.id);
  }
  return [...ids];
}

const refusePermanent = (url: URL): void => {
  if (url.searchParams.get("permanent") === "true")
    throw new ApiError(
      CODES.notPossible,
      "The log is append-only, and data written with the schema stays readable: a version can be hidden, not erased.",
    );
};

async function deleteVersion(registry: Registry, subject: string, given: string, url: URL, actor: string): Promise<number> {
  refusePermanent(url);
  const version = versionOf(registry, subject, given);
  const [user] = referencedBy(registry, version);
  if (user !== undefined)
    throw new ApiError(CODES.notPossible, `One or more references exist to the schema: schema ${user} uses it.`);
  await registry.setDeleted(subject, version.schema.version, true, actor);
  return version.schema.version;
}

async function deleteSubject(registry: Registry, subject: string, url: URL, actor: string): Promise<number[]> {
  refusePermanent(url);
  const versions = versionsOf(registry, subject).map(({ schema }) => schema.version);
  for (const version of versions) await deleteVersion(registry, subject, String(version), url, actor);
  return versions;
}

async function compatible(
  registry: Registry,
  subject: string,
  given: string | null,
  request: ApiRequest,
  actor: string,
): Promise<unknown> {
  const text = await textOf(request);
  const against = given === null ? undefined : [versionOf(registry, subject, given).schema.version];
  const findings = await registry.check(subject, text, { actor, ...(against === undefined ? {} : { against }) });
  const verbose = request.url.searchParams.get("verbose") === "true";
  return { is_compatible: findings.length === 0, ...(verbose ? { messages: findings.map(messageOfFinding), findings } : {}) };
}

/** One of the two things that are set for all subjects, or for one. */
interface Setting<T extends string> {
  /** Its member in what is asked, and in answers. */
  readonly given: string;
  readonly told: string;
  readonly values: readonly T[];
  readonly words: string;
  readonly invalid: readonly [code: number, message: string];
  readonly missing: number;
  own(subject: string | null): T | null;
  inForce(subject: string | null): T;
  set(subject: string | null, value: T | null, actor: string): Promise<void>;
}

const config = (registry: Registry): Setting<Level> => ({
  given: "compatibility",
  told: "compatibilityLevel",
  values: LEVELS,
  words: "compatibility",
  invalid: [CODES.invalidLevel, "Invalid compatibility level"],
  missing: CODES.config,
  own: registry.ownLevel,
  inForce: registry.level,
  set: registry.setLevel,
});

const mode = (registry: Registry): Setting<Mode> => ({
  given: "mode",
  told: "mode",
  values: MODES,
  words: "mode",
  invalid: [CODES.invalidMode, "Invalid mode"],
  missing: CODES.mode,
  own: registry.ownMode,
  inForce: registry.mode,
  set: registry.setMode,
});

async function setting<T extends string>(
  of: Setting<T>,
  subject: string | null,
  request: ApiRequest,
  actor: string,
): Promise<unknown> {
  const own = of.own(subject);
  const isMissing = own === null && subject !== null;
  const missing = (): ApiError =>
    new ApiError(of.missing, `Subject '${subject}' does not have subject-level ${of.words} configured`);
  switch (request.method) {
    case "GET":
      if (isMissing && request.url.searchParams.get("defaultToGlobal") !== "true") throw missing();
      return { [of.told]: of.inForce(subject) };
    case "PUT": {
      const wanted = (await jsonOf(request))[of.given];
      const value = of.values.find((each) => each === wanted);
      if (value === undefined) throw new ApiError(of.invalid[0], `${of.invalid[1]}. Valid values are ${of.values.join(", ")}`);
      await of.set(subject, value, actor);
      return { [of.given]: value };
    }
    case "DELETE":
      if (isMissing) throw missing();
      await of.set(subject, null, actor);
      return { [of.told]: own ?? of.inForce(null) };
    default:
      throw new ApiError(405, "GET, PUT and DELETE are taken here");
  }
}
