import type { JsonObject } from "../core/index.ts";

/**
 * Routes as plain data: what may be asked, by whom and with which body, and a function from what was asked to an answer. Nothing here knows of a server: whoever
 * offers routes writes plain functions, and the document that describes them is made of the same table.
 */
export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** The names in a path's braces: of `/subjects/{subject}/versions/{version}` they are `subject` and `version`. */
export type NamesIn<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}` ? Name | NamesIn<Rest> : never;

/** What is known of a request before its body is read. */
export interface Asking {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** The address as the request has it: problem documents name it. */
  readonly instance: string;
  readonly authorization: string | undefined;
  /** Where it came from; `undefined` once the connection is gone. */
  readonly address: string | undefined;
}

/** A request as its route declares it. What the route does not declare is not in it. */
export interface Asked<Path extends string, Body, Query extends string, Header extends string, Who> extends Asking {
  /** The parts of the path, decoded. */
  readonly params: Readonly<Record<NamesIn<Path>, string>>;
  /** Of a parameter that is given twice, the first. */
  readonly query: Readonly<Partial<Record<Query, string>>>;
  readonly headers: Readonly<Partial<Record<Header, string>>>;
  readonly body: Body;
  readonly who: Who;
}

export interface Answer {
  readonly status: number;
  /** The media type; default: `application/json`. */
  readonly type?: string;
  /** Written as JSON; `undefined` with a status that has no body. */
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Who may ask. It is settled before a body is read: a stranger's is not. */
export interface Admission<Who> {
  /** `optional`: what is asked may prove itself in another way. */
  readonly token: "none" | "optional" | "required";
  /** What a token must allow: one of these. */
  readonly scopes: readonly string[];
  /** Says who asks; throws for who may not. */
  admit(asking: Asking): Who | Promise<Who>;
}

export const anyone: Admission<null> = { token: "none", scopes: [], admit: () => null };

/** A body: how large it may be, and what it is read as. Its media type is what clients are told; whatever a request says of its own is not looked at. */
export interface BodyKind<Body> {
  readonly maxBytes: number;
  readonly types: readonly string[];
  /** A JSON Schema of it; absent: bytes. */
  readonly schema?: JsonObject;
  read(bytes: Uint8Array): Body;
  /** What is told to who sends more. */
  tooLarge(): Error;
}

/** Of a route without a body: what comes all the same is not read. */
export const noBody: BodyKind<null> = {
  maxBytes: 0,
  types: [],
  read: () => null,
  tooLarge: () => new Error("invariant broken: a body that is not read is too large"),
};

/** One kind of answer in the document that describes the routes. */
export interface AnswerWords {
  readonly words: string;
  readonly type?: string;
  readonly schema?: JsonObject;
}

export interface Route<
  Path extends string = string,
  Body = unknown,
  Query extends string = string,
  Header extends string = string,
  Who = unknown,
> {
  readonly method: Method;
  readonly path: Path;
  /** Unique among all routes. */
  readonly name: string;
  /** What it does, in one line. */
  readonly words: string;
  readonly who: Admission<Who>;
  readonly body: BodyKind<Body>;
  /** What each parameter of the query says. */
  readonly query: Readonly<Record<Query, string>>;
  /** What each header says. Names are in lower case. */
  readonly headers: Readonly<Record<Header, string>>;
  /** Its answers by status, besides refusals. */
  readonly answers: Readonly<Record<number, AnswerWords>>;
  // A method, so that routes of all kinds fit in one table: the server makes each request of what the same route declares.
  handle(asked: Asked<Path, Body, Query, Header, Who>): Answer | Promise<Answer>;
}

/** A route with what it need not say: no body, nothing in its query and headers, for anyone. */
export function route<
  const Path extends string,
  Body = null,
  Query extends string = never,
  Header extends string = never,
  Who = null,
>(
  declared: Omit<Route<Path, Body, Query, Header, Who>, "who" | "body" | "query" | "headers"> &
    Partial<Pick<Route<Path, Body, Query, Header, Who>, "who" | "body" | "query" | "headers">>,
): Route {
  // What is left out has the type that its parameter then has: `null`, or no names.
  const rest = { who: anyone, body: noBody, query: {}, headers: {} } as unknown as Pick<
    Route<Path, Body, Query, Header, Who>,
    "who" | "body" | "query" | "headers"
  >;
  return { ...rest, ...declared };
}

/** Routes that belong together, and how they refuse. */
export interface Surface {
  readonly name: string;
  readonly routes: readonly Route[];
  /** The first parts of paths that are all this surface's, also where there is no such route; `""` is the path `/`. */
  readonly roots: readonly string[];
  /** Its refusals, in the document that describes the routes; default: problem documents. */
  readonly refusals?: AnswerWords;
  /** What is told of a failure; `null`: what the server tells of any. */
  failed?(error: unknown, asking: Asking): Answer | null | Promise<Answer | null>;
  /** What is told of a path under its roots that is no route, or not with this method (`allowed` are those it has); `null`: what the server tells of any. */
  unknown?(asking: Asking, allowed: readonly string[]): Answer | null | Promise<Answer | null>;
}
