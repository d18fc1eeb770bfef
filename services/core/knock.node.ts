/** Finds out what kind of server listens at an address, by the first bytes that it sends. A driver that speaks to a server of another kind would only wait. */
import { connect, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import { messageOf, type TributaryError } from "./errors.ts";

/** The kinds that are told apart, with what people call them, the likeliest first where a server speaks several. */
export const SERVER_KINDS = {
  nats: "a NATS server",
  postgres: "a PostgreSQL server",
  ssh: "an SSH server",
  tls: "a server that speaks TLS, as https does",
  http: "a server that speaks HTTP",
  http2: "a server that speaks HTTP/2, as an event store does",
} as const;
export type ServerKind = keyof typeof SERVER_KINDS;

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** Whether a port can be dialled: the system refuses other numbers at once, by an exception. */
const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;

/** What is said of an address that refuses connections. */
export const NOTHING_LISTENS = "nothing listens there";

/** A server on this machine answers at once or not at all; one behind a slow link is given time. */
export const HERE_TIMEOUT_MS = 1_200;
export const FAR_TIMEOUT_MS = 5_000;
const HERE = /^(?:127\.|\[?::1\]?(?::|$)|localhost(?::|$))/;
/** How long a server at this host, `host` or `host:port`, may take to answer. */
export const timeoutFor = (host: string): number => (HERE.test(host) ? HERE_TIMEOUT_MS : FAR_TIMEOUT_MS);

/** What makes a server of each kind answer; a NATS server and an SSH server speak first. */
const GREETINGS = {
  http: Buffer.from("GET / HTTP/1.1\r\nHost: tributary\r\nConnection: close\r\n\r\n"),
  // SSLRequest: answered with one letter, also while PostgreSQL recovers.
  postgres: Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]),
  // The preface and an empty SETTINGS frame.
  http2: Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]),
} as const;
type Greeting = keyof typeof GREETINGS | "none";

const SETTINGS_FRAME = 4;
const TLS_RECORDS = [0x15, 0x16];

/** The kind of server that these first bytes come from; `null`: none that is known. */
export function kindOf(bytes: Uint8Array, asked: Greeting): ServerKind | null {
  const text = Buffer.from(bytes.subarray(0, 16)).toString("latin1");
  if (text.startsWith("INFO ")) return "nats";
  if (text.startsWith("SSH-")) return "ssh";
  if (text.startsWith("HTTP/1.")) return "http";
  if (asked === "postgres" && /^[SN]$/.test(text)) return "postgres";
  if (TLS_RECORDS.includes(bytes[0] ?? 0) && bytes[1] === 3) return "tls";
  return bytes.length >= 9 && bytes[0] === 0 && bytes[3] === SETTINGS_FRAME ? "http2" : null;
}

/** How a server answered one greeting: its first bytes, or why there were none. */
export type Answer = { readonly kind: "bytes"; readonly bytes: Uint8Array } | { readonly kind: "none"; readonly why: string };

/** Greets a server, and waits for its first bytes. With `none` nothing is sent. */
export function greet({ host, port }: ServerAddress, greeting: Greeting, timeoutMs: number = timeoutFor(host)): Promise<Answer> {
  if (!isPort(port)) return Promise.resolve({ kind: "none", why: `there is no port ${port}` });
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const none = (why: string): void => end({ kind: "none", why });
    const timer = setTimeout(() => none(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
    socket.on("error", (error: NodeJS.ErrnoException) => none(reasonOf(error)));
    socket.on("close", () => none("it closes the connection"));
    socket.on("connect", () => {
      if (greeting !== "none") socket.write(GREETINGS[greeting]);
    });
    socket.on("data", (bytes) => end({ kind: "bytes", bytes }));
  });
}

/** Why there is no link to an address; `null`: there is one. */
export function linkProblem({ host, port }: ServerAddress): Promise<string | null> {
  if (!isPort(port)) return Promise.resolve(`there is no port ${port}`);
  const timeoutMs = timeoutFor(host);
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (problem: string | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => end(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
    socket.on("error", (error: NodeJS.ErrnoException) => end(reasonOf(error)));
    socket.on("close", () => end("it closes the connection"));
    socket.on("connect", () => end(null));
  });
}

const reasonOf = (error: NodeJS.ErrnoException): string =>
  error.code === "ECONNREFUSED" ? NOTHING_LISTENS : messageOf(error) || (error.code ?? "no link");

/** Whether a server agrees to speak TLS, whatever its certificate. Nothing is sent to it but the greeting. */
function speaksTls({ host, port }: ServerAddress, timeoutMs: number): Promise<boolean> {
  if (!isPort(port)) return Promise.resolve(false);
  return new Promise((resolve) => {
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = connectTls({ host, port, rejectUnauthorized: false, ...name });
    const end = (speaks: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(speaks);
    };
    const timer = setTimeout(() => end(false), timeoutMs);
    socket.on("secureConnect", () => end(true));
    // A server that refuses this client says so in TLS.
    socket.on("error", (error: NodeJS.ErrnoException) => end(/ALERT/.test(error.code ?? "")));
    socket.on("close", () => end(false));
  });
}

/** What is said of a server that accepts connections and sends nothing. */
export const SAYS_NOTHING = "it accepts connections, but does not answer";

/** A server that is asked what it is has shown that it accepts connections: a busy one is given time. */
const KNOCK_TIMEOUT_MS = 3_000;

/** The kinds of server that answer at an address, after a few seconds at most; none where nothing is known to answer. */
export async function kindsAt(address: ServerAddress): Promise<ReadonlySet<ServerKind>> {
  const timeoutMs = Math.max(timeoutFor(address.host), KNOCK_TIMEOUT_MS);
  const greeted = (["http", "postgres", "http2"] as const).map(async (greeting) => {
    const answer = await greet(address, greeting, timeoutMs);
    return answer.kind === "bytes" ? kindOf(answer.bytes, greeting) : null;
  });
  const found = await Promise.all([
    ...greeted,
    speaksTls(address, timeoutMs).then((speaks) => (speaks ? ("tls" as const) : null)),
  ]);
  return new Set(found.filter((kind) => kind !== null));
}

/** The kind of server that answers at an address where one of the kind `wanted` should; `null`: that kind answers, or nothing that is known. */
export async function otherKindAt(address: ServerAddress, wanted: ServerKind): Promise<ServerKind | null> {
  // A NATS server speaks first: over a slow link nothing more need be asked.
  if (wanted === "nats") {
    const said = await greet(address, "none");
    if (said.kind === "bytes") {
      const kind = kindOf(said.bytes, "none");
      return kind === wanted ? null : kind;
    }
    if (said.why === NOTHING_LISTENS) return null;
  }
  const kinds = await kindsAt(address);
  // A port of https answers plain HTTP with a refusal.
  if (wanted === "http" && kinds.has("tls")) return "tls";
  if (kinds.has(wanted)) return null;
  return (Object.keys(SERVER_KINDS) as ServerKind[]).find((kind) => kinds.has(kind)) ?? null;
}

/** How to find out whether a driver speaks to a server of another kind. */
export interface Asking {
  /** The error where it does; `null`: it does not, or nothing is known. */
  readonly ask: () => Promise<TributaryError | null>;
  /** Whether a failure shows that the server is of the right kind. */
  readonly isAnswer: (error: unknown) => boolean;
  /** After this time the driver may be waiting for a server of another kind. */
  readonly lateMs?: number;
}

/** Closes what an attempt has opened after nobody waited for it any more. */
export type CloseLate<T> = (opened: T) => unknown;

/**
 * What a driver's attempt to connect gives. Where the attempt fails or takes long, and `ask` finds a server of another kind, the error of `ask` comes in its place, at once.
 */
export async function unlessOtherKind<T>(
  attempt: Promise<T>,
  { ask, isAnswer, lateMs = HERE_TIMEOUT_MS }: Asking,
  closeLate: CloseLate<T> = () => {},
): Promise<T> {
  let asked: Promise<TributaryError | null> | null = null;
  const askOnce = (): Promise<TributaryError | null> => {
    // What is asked besides must not take the place of the driver's own error.
    asked ??= ask().catch(() => null);
    return asked;
  };
  const late = Promise.withResolvers<never>();
  let isGivenUp = false;
  const timer = setTimeout(() => {
    askOnce().then((other) => {
      if (other === null) return;
      isGivenUp = true;
      late.reject(other);
    });
  }, lateMs);
  attempt
    .then(async (opened) => {
      if (isGivenUp) await closeLate(opened);
    })
    .catch(() => {});
  try {
    return await Promise.race([attempt, late.promise]);
  } catch (error) {
    throw (isAnswer(error) ? null : await askOnce()) ?? error;
  } finally {
    clearTimeout(timer);
    late.promise.catch(() => {});
  }
}
