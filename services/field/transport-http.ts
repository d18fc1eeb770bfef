import {
  type HelloRequest,
  isJsonObject,
  isTributaryError,
  MAX_FRAME_BYTES,
  MAX_PAGE_BYTES,
  MEDIA_TYPE_BATCH,
  type OriginId,
  type Refusal,
  type Reply,
  refusalSchema,
  TributaryError,
} from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import type { PullQuestion } from "../exchange/protocol/index.ts";
import { isPage } from "../exchange/protocol/index.ts";
import { receiptOf, refusalOf, unsigned } from "./bound.ts";
import { type Identity, unprovenHub } from "./keys.ts";
import { mustServePulls, PULL_PATIENCE_MS, pageOf, pullAnswerOf, pullRefusalOf, pullTooLarge } from "./paging.ts";
import {
  ANSWER_TIMEOUT_MS,
  away,
  type HelloOutcome,
  helloOutcome,
  inTheHubsTime,
  isAway,
  jsonOf,
  NEWS_TIMEOUT_MS,
  otherServer,
  problemOf,
  strange,
  type Transport,
  type TransportOptions,
  whatIsThere,
} from "./way.ts";

/** About the bytes that a request line and headers take. */
const REQUEST_BYTES = 200;
const STATUS_LINE_BYTES = 17;
/** The slowest link that a page is waited for on, in bytes a millisecond. */
const SLOWEST_BYTES_MS = 1;

interface Answer {
  readonly status: number;
  /** `undefined`: it is longer than any answer of a hub. */
  readonly bytes: Uint8Array | undefined;
  /** `undefined`: it is not JSON. */
  readonly json: unknown;
}

/** How long an answer may take: to begin to come, and between two parts of it; and all of it together so much more. */
interface Patience {
  readonly quietMs: number;
  readonly carryMs?: number;
}

// Long because the address, the token, and the count of bytes sent are shared by the three kinds of call that a transport makes; each is short.
/** The way over HTTP, for sites where NATS is blocked: one request for each batch, one at a time. */
export async function httpTransport({ url, token, identity, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  const base = url.endsWith("/") ? url.slice(0, -1) : url;
  const authorized: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const headBytes = (authorized.authorization?.length ?? 0) + REQUEST_BYTES;
  const where = `the server at ${base}`;
  const waitS = Math.max(1, Math.floor(replyTimeoutMs / 1000));
  let sentBytes = 0;
  let receivedBytes = 0;
  let asked: Promise<TributaryError | null> | null = null;
  const other = (): Promise<TributaryError | null> => {
    asked ??= otherThan(base);
    return asked;
  };
  const call = async (what: string, path: string, init: RequestInit, { quietMs, carryMs = 0 }: Patience): Promise<Answer> => {
    const quiet = new AbortController();
    const timer = setTimeout(() => quiet.abort(new DOMException(`nothing came in ${quietMs} ms`, "TimeoutError")), quietMs);
    try {
      // A redirect does not come from a hub, but from a sign-in page on the way to it.
      const signal = AbortSignal.any([quiet.signal, AbortSignal.timeout(Math.ceil(quietMs + carryMs))]);
      const response = await fetch(base + path, { ...init, redirect: "manual", signal });
      receivedBytes += headBytesOf(response.headers);
      const bytes = await boundedBytes(response, (chunk) => {
        receivedBytes += chunk;
        timer.refresh();
      });
      const answer = { status: response.status, bytes, json: bytes === undefined || isPage(bytes) ? undefined : jsonOf(bytes) };
      // A server that speaks https answers so to a request without it.
      const stranger = answer.status === 400 && answer.json === undefined ? await other() : null;
      if (stranger !== null) throw stranger;
      return answer;
    } catch (error) {
      if (isTributaryError(error)) throw error;
      const { cause } = error as { cause?: unknown };
      if (isBadPort(cause)) throw badPort(base);
      throw (isSilence(error) ? null : await other()) ?? away(`${what}: the hub at ${base} does not answer`, cause ?? error);
    } finally {
      clearTimeout(timer);
    }
  };
  const question = (what: string, path: string, asked: object, patience: Patience): Promise<Answer> => {
    const body = JSON.stringify(asked);
    sentBytes += body.length + headBytes;
    const headers = { ...authorized, "content-type": "application/json" };
    return call(what, path, { method: "POST", headers, body }, patience);
  };
  const hello = async (request: HelloRequest): Promise<HelloOutcome> => {
    const { origin, since, schemas } = request;
    const query = new URLSearchParams({ origin, since: since === null ? "" : String(since) });
    if (schemas !== undefined) query.set("schemas", schemas);
    const isNews = request.have !== undefined || request.proposes !== undefined;
    let last: Answer = { status: 0, bytes: undefined, json: null };
    const patience = { quietMs: isNews ? NEWS_TIMEOUT_MS : ANSWER_TIMEOUT_MS };
    const sign = (nonce = request.nonce) => identity.asked(nonce === undefined ? request : { ...request, nonce });
    // The query holds what a hub of version 1 reads; the body is the complete request, as it was signed.
    const word = await inTheHubsTime(identity, sign, async (asked) => {
      last = await question("the hello", `/v1/ingress/hello?${query}`, asked, patience);
      return wordOf(identity, where, last, asked.nonce);
    });
    const { status, json } = last;
    if (status === 200) return helloOutcome(word, identity);
    const said = signedRefusal(word);
    if (said !== null) return helloOutcome(said, identity);
    const problem = problemOf(json) ?? refusedBy(status);
    if (problem !== null && problemOf(json) !== null && isAway(problem)) return { kind: "away", because: problem };
    if (identity.isPinned) throw nobodysWord("the hello", problem);
    throw problem ?? strange("the hello");
  };
  /** The refusal that counts when the hub's key is known: anybody may have written what is around it. */
  const signedRefusal = (word: unknown): Refusal | null => {
    if (!identity.isPinned || word === null) return null;
    const refusal = refusalSchema.safeParse(word);
    if (!refusal.success) throw unprovenHub(where, null);
    return refusal.data;
  };
  /** The error for an answer that nobody has signed, which does not end the sync. */
  const nobodysWord = (what: string, problem: TributaryError | null): TributaryError =>
    away(`${what} was not taken`, problem ?? strange(what));
  const post = async (frame: Uint8Array, origin: OriginId, carryMs: number, wantsReply: boolean): Promise<Reply | null> => {
    sentBytes += frame.length + headBytes;
    const { status, json } = await call(
      "the batch",
      "/v1/ingress",
      {
        method: "POST",
        body: frame as Uint8Array<ArrayBuffer>,
        headers: { ...authorized, "content-type": MEDIA_TYPE_BATCH, prefer: `wait=${wantsReply ? waitS : 0}` },
      },
      { quietMs: (wantsReply ? replyTimeoutMs : 0) + ANSWER_TIMEOUT_MS + carryMs },
    );
    const word = wordOf(identity, where, { status, json });
    const sent = { key: batchKey(frame), origin, where };
    if (status === 200) return receiptOf(json, sent);
    if (status === 202 && isJsonObject(json) && json.kind === "queued") return null;
    const signed = signedRefusal(word);
    if (signed !== null) return refusalOf(signed, sent);
    const error = problemOf(json) ?? refusedBy(status);
    if (error === null) throw strange("the batch");
    if (error.status === 503 || error.status === 507) {
      throw error.code === "backend-unreachable" ? error : away("the hub did not take the batch", error);
    }
    // The hub's key is known and this is not signed. Smaller frames are tried, whoever asks for them; anything else is only a reason to try again.
    if (!identity.isPinned) return unsigned(error, sent, json);
    if (status === 413) return unsigned(refusedBy(status)!, sent);
    throw nobodysWord("the batch", error);
  };

  const pull = (asked: PullQuestion, quietMs: number): Promise<Uint8Array | Refusal> =>
    inTheHubsTime(
      identity,
      () => identity.pulls(asked),
      async (signed) => {
        const patience = { quietMs, carryMs: asked.maxBytes / SLOWEST_BYTES_MS };
        const { status, bytes, json } = await question("the pull", "/v1/exchange/pull", signed, patience);
        const said = isJsonObject(json) ? json.refusal : undefined;
        const problem = problemOf(json) ?? refusedBy(status);
        // What nobody has signed says at most that something on the way is down, or does not carry a question of this size.
        if (said === undefined && status === 413) throw pullTooLarge();
        if (said === undefined && status >= 500) throw nobodysWord("the pull", problem);
        const word =
          status === 200 && bytes !== undefined
            ? pullAnswerOf(bytes, signed.nonce, identity)
            : pullRefusalOf(said, signed.nonce, identity);
        if (word !== null) return word;
        // The hub has not read such a question, and so cannot name it.
        if (status === 413) throw pullTooLarge();
        if (identity.isPinned) throw unprovenHub(where, problem?.message ?? null);
        throw problem ?? strange("the pull");
      },
    );

  return {
    window: 1,
    tellsArrival: false,
    maxFrameBytes: MAX_FRAME_BYTES,
    isOpen: true,
    hello,
    identity,
    async ask(asked, believes) {
      const { status, json } = await question("the hello", "/v1/ingress/hello", asked, { quietMs: ANSWER_TIMEOUT_MS });
      const word = status === 200 ? json : isJsonObject(json) ? json.refusal : null;
      if (believes(word)) return word;
      const problem = problemOf(json);
      if (identity.isPinned && status < 500) throw unprovenHub(where, problem?.message ?? `status ${status}`);
      if (identity.isPinned) throw nobodysWord("the question", problem ?? refusedBy(status));
      throw problem ?? refusedBy(status) ?? strange("the question");
    },
    send(frame, origin, carryMs = 0, wantsReply = true) {
      const replied = post(frame, origin, carryMs, wantsReply);
      return {
        taken: replied.then(() => {}),
        reply: replied.catch(() => null),
      };
    },
    async pull(asked, patienceMs = PULL_PATIENCE_MS) {
      mustServePulls(identity);
      return pageOf(await pull(asked, patienceMs));
    },
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    async close() {},
  };
}

/** The error where a server of another kind listens at the address; `null`: nothing of the kind. */
async function otherThan(base: string): Promise<TributaryError | null> {
  const { protocol, hostname, port } = new URL(base);
  const isTls = protocol === "https:";
  return otherServer(`${hostname}:${port === "" ? (isTls ? 443 : 80) : port}`, isTls ? "tls" : "http");
}

const isBadPort = (cause: unknown): boolean => cause instanceof Error && cause.message === "bad port";

const badPort = (base: string): TributaryError =>
  new TributaryError(
    "usage",
    `no program sends HTTP to the port of ${base}: it is kept for another kind of server`,
    "Check the address. A hub listens on another port with `tributary hub --listen`.",
  );

/** Nothing came in time, or nothing listens: there is no server to ask what it is. */
const isSilence = (error: unknown): boolean =>
  error instanceof Error && (error.name === "TimeoutError" || whatIsThere(error) === "nothing");

/** About what an answer's first line and headers take. */
const headBytesOf = (headers: Headers): number =>
  [...headers].reduce((sum, [name, value]) => sum + name.length + value.length + 4, STATUS_LINE_BYTES);

/** Reads an answer to its end, or until it is longer than any hub's. `came` is told of each part's length. */
async function boundedBytes(response: Response, came: (bytes: number) => void): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    came(chunk.length);
    bytes += chunk.length;
    if (bytes > MAX_PAGE_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What a status says if no problem document of ours came with it, because something on the way answered. */
function refusedBy(status: number): TributaryError | null {
  if (status === 401 || status === 403)
    return new TributaryError("token-invalid", `the hub refuses the token (${status})`, "Ask for a new one.");
  if (status === 413)
    return new TributaryError(
      "batch-too-large",
      "something on the way to the hub refuses batches of this size",
      "Send fewer events at a time.",
    );
  return status >= 500 ? new TributaryError("backend-unreachable", `the hub answers ${status}`, "Sync again later.") : null;
}

/**
 * The hub's words in an HTTP answer: the body of a success, or the signed refusal inside a problem. Throws `hub-unproven` if the hub's key is known and has
 * not signed them: then nothing that they say is acted on.
 */
function wordOf(
  identity: Identity,
  where: string,
  { status, json }: { readonly status: number; readonly json: unknown },
  nonce?: string,
): unknown {
  if (status === 202) return json;
  if (status >= 200 && status < 300) {
    if (identity.believes(json, nonce)) return json;
    throw unprovenHub(where, null);
  }
  // Something on the way is down, or says that the hub is. That may be anybody's word, and is only a reason to try again.
  if (status >= 500) return null;
  // Something on the way does not carry large bodies: smaller ones are tried, whoever says so.
  if (status === 413 && !(isJsonObject(json) && "refusal" in json)) return null;
  const refusal = isJsonObject(json) ? json.refusal : undefined;
  if (!identity.isPinned) return refusal ?? null;
  if (identity.believes(refusal, nonce)) return refusal;
  const said = isJsonObject(json) && typeof json.detail === "string" ? json.detail.slice(0, 200) : null;
  throw unprovenHub(where, said ?? `status ${status}`);
}
