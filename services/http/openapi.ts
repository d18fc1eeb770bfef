import { type JsonObject, MEDIA_TYPE_PROBLEM } from "../core/index.ts";
import type { Admission, Answer, AnswerWords, Route, Surface } from "./route.ts";
import { anyone, route } from "./route.ts";

export const OPENAPI_PATH = "/v1/openapi.json";

export interface ApiInfo {
  readonly title: string;
  readonly version: string;
}

/** The OpenAPI 3.1 document of all routes, made of their own table. Source: https://spec.openapis.org/oas/v3.1.1 */
export function openApi(surfaces: readonly Surface[], { title, version }: ApiInfo): JsonObject {
  const paths: Record<string, Record<string, JsonObject>> = {};
  for (const { name, routes, refusals = PROBLEM } of surfaces)
    for (const each of routes)
      paths[each.path] = { ...paths[each.path], [each.method.toLowerCase()]: operation(each, name, refusals) };
  return {
    openapi: "3.1.1",
    info: { title, version },
    paths,
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        basic: { type: "http", scheme: "basic", description: "The token as password, under any name." },
      },
    },
  };
}

/** The document as a route of its own, which the document describes as well. */
export function openApiSurface(surfaces: readonly Surface[], info: ApiInfo): Surface {
  let answer: Answer | null = null;
  const own: Surface = {
    name: "description",
    roots: [],
    routes: [
      route({
        method: "GET",
        path: OPENAPI_PATH,
        name: "describe",
        words: "Describes all routes of this server.",
        who: anyone,
        answers: { 200: { words: "An OpenAPI 3.1 document.", schema: { type: "object" } } },
        handle() {
          answer ??= { status: 200, body: openApi([...surfaces, own], info) };
          return answer;
        },
      }),
    ],
  };
  return own;
}

const PROBLEM: AnswerWords = {
  words: "A refusal: a problem document (RFC 9457).",
  type: MEDIA_TYPE_PROBLEM,
  schema: {
    type: "object",
    required: ["type", "title", "status", "detail", "hint", "code"],
    properties: {
      type: { type: "string" },
      title: { type: "string" },
      status: { type: "integer" },
      detail: { type: "string", description: "What happened." },
      hint: { type: "string", description: "What to do." },
      code: { type: "string", description: "One of docs/errors.md." },
    },
  },
};

function operation(described: Route, tag: string, refusals: AnswerWords): JsonObject {
  const { name, words, path, who, body, query, headers, answers } = described;
  const named = (location: string, names: Readonly<Record<string, string>>): JsonObject[] =>
    Object.entries(names).map(([param, description]) => ({
      ...{ name: param, in: location, description, schema: { type: "string" } },
      ...(location === "path" ? { required: true } : {}),
    }));
  const inPath = Object.fromEntries([...path.matchAll(/\{(\w+)\}/g)].map(([, param]) => [param, `The ${param}.`]));
  const parameters = [...named("path", inPath), ...named("query", query), ...named("header", headers)];
  return {
    operationId: name,
    tags: [tag],
    summary: words,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body.types.length === 0
      ? {}
      : {
          requestBody: {
            required: true,
            description: `At most ${body.maxBytes} bytes.`,
            content: Object.fromEntries(body.types.map((type) => [type, contentOf(body.schema)])),
          },
        }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, each]) => [status, response(each)])),
      default: response(refusals),
    },
    security: securityOf(who),
  };
}

const contentOf = (schema: JsonObject | undefined): JsonObject => (schema === undefined ? {} : { schema });

const response = ({ words, type = "application/json", schema }: AnswerWords): JsonObject => ({
  description: words,
  content: { [type]: contentOf(schema) },
});

/** One of several is enough; an empty one means that none is needed. */
function securityOf({ token, scopes }: Admission<unknown>): JsonObject[] {
  if (token === "none") return [];
  const either: JsonObject[] = [{ bearer: [...scopes] }, { basic: [...scopes] }];
  return token === "optional" ? [...either, {}] : either;
}
