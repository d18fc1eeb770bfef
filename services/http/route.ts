import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
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
  /** The path without the query. */
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
  /** If a parameter is given twice, the first counts. */
  readonly query: Readonly<Partial<Record<Query, string>>>;
  readonly headers: Readonly<Partial<Record<Header, string>>>;
  readonly body: Body;
  readonly who: Who;
}

export interface Answer {
  readonly status: number;
  /** The media type; default: `application/json`. */
  readonly type?: string;
  /** Bytes go out as they are, pieces of text one after the other as they are asked for, anything else as JSON; `undefined` with a status that has no body. */
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Who may ask. This is decided before a body is read, so that a stranger's body is not. */
export interface Admission<Who> {
  /** `optional`: what is asked may prove itself in another way. */
  readonly token: "none" | "optional" | "required";
  /** What a token must allow: one of these. */
  readonly scopes: readonly string[];
  /** Returns who asks. Throws for somebody who may not. */
  admit(asking: Asking): Who | Promise<Who>;
}

export const anyone: Admission<null> = { token: "none", scopes: [], admit: () => null };

/** A body: how large it may be, and how it is read. Clients are told its media type; the one that a request names is ignored, unless the route declares the header `content-type` and looks at it. */
export interface BodyKind<Body> {
  readonly maxBytes: number;
  readonly types: readonly string[];
  /** A JSON Schema of it; absent: bytes. */
  readonly schema?: JsonObject;
  read(bytes: Uint8Array): Body;
  /** What the sender of a larger one is told. */
  tooLarge(): Error;
}

/** For a route without a body. If one comes nevertheless, it is not read. */
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
  // What is left out has the type that its parameter has then: `null`, or no names.
  const rest = { who: anyone, body: noBody, query: {}, headers: {} } as unknown as Pick<
    Route<Path, Body, Query, Header, Who>,
    "who" | "body" | "query" | "headers"
  >;
  return { ...rest, ...declared };
}

/** Routes that belong together, and how they refuse. */
/** Where a connection becomes a socket. */
export interface Upgrade {
  readonly path: string;
  /** Takes over the connection. The server has looked where the page comes from that asks. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends all of its sockets. */
  close(): Promise<void>;
}

export interface Surface {
  readonly name: string;
  /** Sockets beside its routes. */
  readonly upgrade?: Upgrade;
  readonly routes: readonly Route[];
  /** First parts of paths. All paths under them belong to this surface, even those without a route; `""` is the path `/`. */
  readonly roots: readonly string[];
  /** Its refusals, in the document that describes the routes; default: problem documents. */
  readonly refusals?: AnswerWords;
  /** The answer to a failure; `null`: the server's own answer. */
  failed?(error: unknown, asking: Asking): Answer | null | Promise<Answer | null>;
  /** The answer to a path under its roots that is not a route, or not with this method (`allowed`: those that it has); `null`: the server's own answer. */
  unknown?(asking: Asking, allowed: readonly string[]): Answer | null | Promise<Answer | null>;
}
