/** What changes at a hub, as it comes. In come a document that follows something and a token; out comes an async iterable that goes on by itself after a link was lost, without missing or repeating anything. */
import type { Case } from "./answers.ts";
import { HubError } from "./error.ts";
import type { Tokens } from "./request.ts";

/** What everybody who follows is told: where they stand, or that not all that changed is known (`reset`): read again what you follow, then go on. */
export interface Stood {
  readonly kind: "standing" | "reset";
  /** Given as `from`, it goes on from here. */
  readonly resume: string;
}
/** Rows of a view that changed and match, as they are now, and ids of those that do not match or are there no more. `changed`: a view of totals or of SQL may show other rows. */
export type RowsTold<R> =
  | Stood
  | { readonly kind: "rows"; readonly resume: string; readonly rows: readonly R[]; readonly gone: readonly string[] }
  | { readonly kind: "changed"; readonly resume: string };
export type CasesTold = Stood | { readonly kind: "cases"; readonly resume: string; readonly cases: readonly Case[] };
/** A device's events, all of which the views show up to one of them. */
export interface Synced {
  readonly origin: string;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  readonly through: number;
  readonly position: string;
}
export type SyncsTold = Stood | { readonly kind: "syncs"; readonly resume: string; readonly syncs: readonly Synced[] };

export interface FollowOptions {
  /** The last `resume` that came; default: from now on. */
  readonly from?: string | undefined;
  /** Ends it: the iterable is over. */
  readonly signal?: AbortSignal | undefined;
}

/** A document that follows something as its field `told`, from its variable `from` on. */
export interface Followed {
  readonly document: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

const PROTOCOL = "graphql-transport-ws";
/** A hub that is away is asked again after this long, then twice as long, and so on. */
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** What came and was not taken yet: beyond this many, the socket is let go, and opened again once all of them were taken. */
const MAX_UNTAKEN = 100;
/** Closed by a hub that does not know or does not let in who asks. */
const NOT_LET_IN = [4401, 4403];
/** Closed by a hub that could not read what it was sent: asking again would be the same. */
const MISREAD = [1002, 1003, 1007, 1009, 4400, 4406, 4409, 4429];

/** What one socket has to say: things told, and in the end why it is over. */
type Said = { readonly told: object } | { readonly over: HubError; readonly isPassing: boolean; readonly isNotLetIn: boolean };

/** Follows for as long as somebody takes what comes. Throws `HubError` for what the hub refuses; a link that is lost is made again. */
export async function* follow<W extends { readonly resume: string }>(
  endpoint: string,
  tokens: Tokens,
  { document, variables }: Followed,
  { from, signal }: FollowOptions,
): AsyncGenerator<W, void, undefined> {
  let resume = from;
  let pauseMs = FIRST_PAUSE_MS;
  let refused: string | null = null;
  while (!isAborted(signal)) {
    const token: string = refused === null ? await tokens.current() : await tokens.instead(refused);
    if (token === refused) throw notLetIn();
    const socket = openSocket(endpoint, token, { document, variables: { ...variables, from: resume } });
    const stop = (): void => socket.close();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      for (;;) {
        const said = await socket.next();
        if ("told" in said) {
          // Taken on trust from here: the hub answers what its schema says of the document.
          const told = said.told as W;
          yield told;
          resume = told.resume;
          pauseMs = FIRST_PAUSE_MS;
          refused = null;
          continue;
        }
        if (isAborted(signal)) return;
        if (said.isNotLetIn && refused === null) {
          refused = token;
          break;
        }
        if (!said.isPassing) throw said.over;
        await pause(pauseMs, signal);
        pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
        break;
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      socket.close();
    }
  }
}

const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

const notLetIn = (): HubError =>
  new HubError("token-invalid", "the hub does not let this token in, or not any more", "Sign in again, or ask for a new token.", {
    status: 403,
  });

/** One socket, which follows one thing. */
function openSocket(endpoint: string, token: string, payload: { readonly document: string; readonly variables: object }) {
  const waiting: Said[] = [];
  let wake: () => void = () => {};
  let isOver = false;
  const say = (said: Said): void => {
    if (isOver) return;
    isOver = "over" in said;
    waiting.push(said);
    wake();
  };
  const passing = (message: string): void =>
    say({ over: new HubError("backend-unreachable", message, "It is tried again."), isPassing: true, isNotLetIn: false });
  const socket = new WebSocket(endpoint.replace(/^http/, "ws"), PROTOCOL);
  const send = (message: object): void => socket.send(JSON.stringify(message));
  socket.addEventListener("open", () => send({ type: "connection_init", payload: { authorization: `Bearer ${token}` } }));
  socket.addEventListener("message", ({ data }) => {
    const message = messageIn(data);
    if (message?.type === "ping") send({ type: "pong" });
    else if (message?.type === "connection_ack")
      send({ type: "subscribe", id: "1", payload: { query: payload.document, variables: payload.variables } });
    else if (message?.type === "next") {
      const error = errorIn(message.payload?.errors);
      const told = message.payload?.data?.told;
      if (error !== null) say({ over: error, isPassing: isPassing(error), isNotLetIn: false });
      else if (typeof told === "object" && told !== null) say({ told });
      // It is opened again from where the last one that is taken stood.
      if (waiting.length >= MAX_UNTAKEN) {
        passing("what came was not taken fast enough");
        socket.close();
      }
    } else if (message?.type === "error") {
      const error =
        errorIn(message.payload) ?? new HubError("internal", "the hub refused without a word", "Look at the hub's log.");
      say({ over: error, isPassing: isPassing(error), isNotLetIn: false });
    } else if (message?.type === "complete") passing("the hub has ended it");
  });
  socket.addEventListener("error", () => passing("the hub was not reached"));
  socket.addEventListener("close", ({ code, reason }) =>
    say({
      over: NOT_LET_IN.includes(code)
        ? notLetIn()
        : new HubError(
            MISREAD.includes(code) ? "protocol-unsupported" : "backend-unreachable",
            `the socket was closed (${code} ${reason})`,
            "Look at the hub's log.",
          ),
      isPassing: !NOT_LET_IN.includes(code) && !MISREAD.includes(code),
      isNotLetIn: NOT_LET_IN.includes(code),
    }),
  );
  return {
    async next(): Promise<Said> {
      for (;;) {
        const said = waiting.shift();
        if (said !== undefined) return said;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    close(): void {
      passing("it was left");
      socket.close(1000);
    },
  };
}

/** What may be over soon; whoever was too slow goes on from where they were. */
const isPassing = ({ code }: HubError): boolean =>
  ["backend-unreachable", "backend-failed", "too-many-requests", "too-slow"].includes(code);

interface Message {
  readonly type?: unknown;
  readonly payload?: { readonly data?: { readonly told?: unknown } | null; readonly errors?: unknown } | undefined;
}
function messageIn(data: unknown): Message | null {
  try {
    const read: unknown = JSON.parse(String(data));
    return typeof read === "object" && read !== null ? read : null;
  } catch {
    return null;
  }
}

/** The first of the errors of an answer; `null`: there are none. */
function errorIn(errors: unknown): HubError | null {
  const [first] = Array.isArray(errors)
    ? (errors as readonly { readonly message?: unknown; readonly extensions?: Readonly<Record<string, unknown>> }[])
    : [];
  if (first === undefined) return null;
  const { code, hint } = first.extensions ?? {};
  return new HubError(typeof code === "string" ? code : "internal", String(first.message), typeof hint === "string" ? hint : "", {
    status: 200,
  });
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
