/** GraphQL over HTTP: `POST /graphql`, and `GET /graphql` for questions that only read. In come requests whose sender is known; out come answers. */
import { type GraphQLSchema, getOperationAST } from "graphql";
import { createYoga, type Plugin } from "graphql-yoga";
import { isTributaryError, type JsonObject, TributaryError } from "../../core/index.ts";
import {
  type Answer,
  type Asked,
  type BodyKind,
  type Gatekeeper,
  type Principal,
  route,
  type Surface,
} from "../../http/index.ts";
import type { View } from "../../merge/engine.ts";
import { anybodyKnown } from "../me.ts";
import { describedBy } from "./descriptions.ts";
import { refused, toldError, toldErrors } from "./errors.ts";
import type { ApiHub, Asking } from "./hub.ts";
import { GRAPHQL_LIMITS, type GraphqlLimits, mustAskFreely, parseWithin, refuseTooMuch } from "./limits.ts";
import { makeSchema } from "./schema.ts";
import { openSockets } from "./sockets.ts";

export const GRAPHQL_PATH = "/graphql";
const MEDIA_TYPE = "application/graphql-response+json";

interface Served {
  readonly asking: Asking;
}

const REQUEST: JsonObject = {
  type: "object",
  required: ["query"],
  properties: {
    query: { type: "string", description: "A document of the GraphQL language." },
    operationName: { type: ["string", "null"], description: "Which operation of the document is meant." },
    variables: { type: ["object", "null"], description: "Values of its variables, by name." },
    extensions: { type: ["object", "null"] },
  },
};
const RESPONSE: JsonObject = {
  type: "object",
  properties: {
    data: { type: ["object", "null"] },
    errors: {
      type: "array",
      items: {
        type: "object",
        required: ["message"],
        properties: {
          message: { type: "string" },
          path: { type: "array" },
          extensions: {
            type: "object",
            properties: { code: { type: "string", description: "One of docs/errors.md." }, hint: { type: "string" } },
          },
        },
      },
    },
  },
};

/** The routes of GraphQL, for whoever has a token that the hub believes. */
export function graphqlSurface(hub: ApiHub, gate: Gatekeeper): Surface {
  const limits = { ...GRAPHQL_LIMITS, ...hub.limits };
  const schema = currentSchema(hub);
  const yoga = createYoga<Served, Asking>({
    graphqlEndpoint: GRAPHQL_PATH,
    schema,
    context: ({ asking }: Served) => asking,
    plugins: [bounded(limits), told(hub)],
    maskedErrors: { maskError: (error) => toldError(error, hub.say) },
    maxRequestBodySize: limits.maxBodyBytes,
    // Answers are never given to another page: there is no cookie, and other origins have no right to read them.
    ...{ cors: false, graphiql: false, landingPage: false, multipart: false, batching: false, logging: false },
  });
  const ask = async (who: Principal, request: Request): Promise<Answer> => {
    const response = await yoga.fetch(request, { asking: { principal: who, hub } });
    const type = response.headers.get("content-type") ?? "application/json";
    const allow = response.headers.get("allow");
    const bytes = new Uint8Array(await response.arrayBuffer());
    return {
      status: response.status,
      // Of a request in a form that it does not take, the library says nothing.
      ...(bytes.length === 0
        ? { type: MEDIA_TYPE, body: refusal("this is not a form in which questions are taken", FORMS) }
        : { type, body: bytes }),
      headers: { "cache-control": "no-store", ...(allow === null ? {} : { allow }) },
    };
  };
  const sockets = openSockets({ hub, gate, schema, limits });
  return {
    name: "GraphQL",
    roots: ["graphql"],
    routes: routesOf(limits, anybodyKnown(gate), ask),
    upgrade: { path: GRAPHQL_PATH, ...sockets },
  };
}

const HEADERS = { accept: `What the answer may be: ${MEDIA_TYPE} or application/json.`, "content-type": "application/json." };
const answers = { 200: { words: "What was asked for, and the errors of single fields.", type: MEDIA_TYPE, schema: RESPONSE } };

function routesOf(
  limits: GraphqlLimits,
  who: ReturnType<typeof anybodyKnown>,
  ask: (who: Principal, request: Request) => Promise<Answer>,
) {
  const body: BodyKind<Uint8Array> = {
    maxBytes: limits.maxBodyBytes,
    types: ["application/json"],
    schema: REQUEST,
    read: (bytes) => bytes,
    tooLarge: () =>
      new TributaryError(
        "batch-too-large",
        `a question has at most ${limits.maxBodyBytes} bytes (the setting maxBodyBytes)`,
        "Ask in several questions, or append fewer events at a time.",
      ),
  };
  return [
    route({
      ...{ method: "POST", path: GRAPHQL_PATH, name: "askGraphql", words: "Asks or writes by a document of GraphQL.", who, body },
      headers: HEADERS,
      answers,
      handle: ({ who: principal, body: bytes, headers }) =>
        notJson(bytes, headers["content-type"]) ??
        ask(principal, new Request(HERE, { method: "POST", headers: headersOf(headers), body: Uint8Array.from(bytes) })),
    }),
    route({
      ...{ method: "GET", path: GRAPHQL_PATH, name: "readGraphql", words: "Asks by a document of GraphQL that only reads.", who },
      headers: { accept: HEADERS.accept },
      query: {
        query: "A document of the GraphQL language.",
        operationName: "Which operation of the document is meant.",
        variables: "Values of its variables, as a JSON object.",
        extensions: "A JSON object.",
      },
      answers,
      handle: ({ who: principal, query, headers }) =>
        ask(principal, new Request(`${HERE}?${new URLSearchParams(present(query))}`, { headers: headersOf(headers) })),
    }),
  ];
}

/** The refusal of a body that is called JSON and is not; `null`: it is, or is called otherwise. To whoever accepts only plain JSON the library would tell that as a success. */
function notJson(bytes: Uint8Array, type: string | undefined): Answer | null {
  if (type?.split(";", 1)[0]?.trim().toLowerCase() !== "application/json") return null;
  try {
    JSON.parse(new TextDecoder().decode(bytes));
    return null;
  } catch {
    return { status: 400, type: MEDIA_TYPE, body: refusal("the body is not JSON", FORMS) };
  }
}

const FORMS = 'Send {"query": …} by POST as application/json, or ?query=… by GET.';
const refusal = (message: string, hint: string): JsonObject => ({
  errors: [{ message, extensions: { code: "input-malformed", hint } }],
});

/** The library asks for an address; it sees only the path of it. */
const HERE = `http://hub${GRAPHQL_PATH}`;

const present = (values: Readonly<Partial<Record<string, string>>>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));

/** Of the request only what the library needs: who asks is known already, and it is not told the token. */
const headersOf = ({ accept, ...rest }: Asked<string, unknown, string, string, unknown>["headers"]): Record<string, string> =>
  present({ accept: accept ?? MEDIA_TYPE, "content-type": rest["content-type"] });

/** The schema of the live views. It is made again when other views are live, or when the registry has other forms to describe their columns with. */
function currentSchema(hub: ApiHub): () => GraphQLSchema {
  let made: GraphQLSchema | null = null;
  let of: readonly View[] | null = null;
  hub.registry.onChange(() => {
    made = null;
  });
  const current = (): GraphQLSchema => {
    const views = hub.views();
    if (made === null || of !== views) made = makeSchema(views ?? [], describedBy(hub.gate));
    of = views;
    return made;
  };
  // Now, so that a field without a right stops the door when it opens.
  current();
  return current;
}

/** Sees to it that each error of an answer has a code and a hint. */
const told = ({ say }: ApiHub): Plugin<Asking> => ({
  onResultProcess({ result, setResult }) {
    if ("errors" in result && result.errors !== undefined) setResult({ ...result, errors: toldErrors(result.errors, say) });
  },
});

/** Holds questions to the limits, before any field is answered. */
function bounded(limits: GraphqlLimits): Plugin<Asking> {
  return {
    onParse({ setParseFn }) {
      setParseFn((source, options) => {
        try {
          return parseWithin(source, limits, options);
        } catch (error) {
          throw isTributaryError(error) ? refused(error) : error;
        }
      });
    },
    onExecute({ args, setResultAndStopExecution }) {
      try {
        const { schema, document, operationName, variableValues, contextValue } = args;
        const operation = getOperationAST(document, operationName);
        mustAskFreely(contextValue.principal);
        if (operation != null) refuseTooMuch(schema, document, operation, { variables: variableValues ?? {}, limits });
      } catch (error) {
        if (!isTributaryError(error)) throw error;
        setResultAndStopExecution({ errors: [refused(error)] });
      }
    },
  };
}
