import type { Registry } from "../../gate/index.ts";
import { type Admission, MAY_READ_SCHEMAS, type Route, route, SCOPE_SCHEMAS, type Surface } from "../../http/index.ts";
import { type Actor, answers, ok, type RegistryDeps } from "./common.ts";
import { compatibilityRoutes } from "./compatibility.ts";
import { ApiError, MEDIA_TYPE, refusalOf } from "./refusal.ts";
import { schemaRoutes } from "./schemas.ts";
import { settingRoutes } from "./settings.ts";
import { subjectRoutes } from "./subjects.ts";

/** Returns who asks. `writes`: whether the right to write schemas is needed, or only the right to read them. Throws `token-…` for somebody who lacks it. */
export type Authorize = (authorization: string | undefined, writes: boolean) => Promise<Actor>;

/**
 * The routes of Confluent Schema Registry, for the tools and serializers that use them: subjects, versions, schemas by id, compatibility,
 * config and mode, for Avro and JSON Schema. Differences are in docs/schemas.md.
 * Source: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
 */
export function registrySurface(registry: Registry, authorize: Authorize): Surface {
  const admission = (writes: boolean): Admission<Actor> => ({
    token: "required",
    scopes: writes ? [SCOPE_SCHEMAS] : MAY_READ_SCHEMAS,
    admit: ({ authorization }) => authorize(authorization, writes),
  });
  const deps: RegistryDeps = { registry, reader: admission(false), writer: admission(true) };
  return {
    name: "schema registry",
    roots: ["", "subjects", "schemas", "config", "mode", "compatibility", "contexts"],
    refusals: { words: "A refusal, as Confluent's registry tells it.", type: MEDIA_TYPE },
    routes: [
      ...aboutRoutes(deps),
      ...subjectRoutes(deps),
      ...schemaRoutes(deps),
      ...compatibilityRoutes(deps),
      ...settingRoutes(deps),
    ],
    failed: refusalOf,
    async unknown({ authorization, method, path }, allowed) {
      await authorize(authorization, method !== "GET" && method !== "HEAD");
      const allow = allowed.join(", ");
      if (allow === "") return refusalOf(new ApiError(404, `there is no ${path}`));
      const refusal = refusalOf(new ApiError(405, `${path} does not take ${method}. Use ${allow}.`));
      return refusal === null ? null : { ...refusal, headers: { allow } };
    },
  };
}

/** Tools ask for this to see whether they have found a registry. */
const aboutRoutes = ({ reader: who }: RegistryDeps): Route[] => {
  const about = (path: string, name: string, body: unknown): Route =>
    route({
      ...{ method: "GET", path, name, who, words: "Says that this is a registry.", answers: answers("What tools look for.") },
      handle: () => ok(body),
    });
  return [
    about("/", "registryRoot", {}),
    about("/contexts", "registryContexts", ["."]),
    about("/v1/metadata/id", "registryId", { scope: { path: [], clusters: { "schema-registry-cluster": "tributary" } }, id: "" }),
    about("/v1/metadata/version", "registryVersion", { version: "7.0.0", commitId: "" }),
  ];
};
