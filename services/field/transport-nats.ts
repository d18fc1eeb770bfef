import { randomUUID } from "node:crypto";
import { headers, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import {
  HEADER_TOKEN,
  inboxPrefix,
  MAX_FRAME_BYTES,
  type Refusal,
  type Reply,
  replySchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey, messageAuthorization } from "../core/node.ts";
import type { PullQuestion } from "../exchange/protocol/index.ts";
import { askForProof } from "./answers.ts";
import { brokerFailure, connectField } from "./broker.ts";
import { unprovenHub } from "./keys.ts";
import { mustServePulls, PULL_PATIENCE_MS, pageOf, pullAnswerOf } from "./paging.ts";
import {
  ANSWER_TIMEOUT_MS,
  away,
  brokerFull,
  helloOutcome,
  inTheHubsTime,
  jsonOf,
  NEWS_TIMEOUT_MS,
  type Transport,
  type TransportOptions,
} from "./way.ts";

const WINDOW = 4;

/** JetStream's own refusals (`err_code`) which say that there is no room. */
const NO_ROOM: readonly (number | undefined)[] = [10_023, 10_028, 10_047, 10_077];

/** A cluster takes up to 9 s to choose a new leader for a stream; what is handed over meanwhile is lost. */
const PUBLISH_TRIES = 6;
const ACK_PATIENCE_MS = 2_000;
/** A hello is small, and is sent so many times within its time: one that was lost because a hub or broker restarted must not cost all of the time. */
const HELLO_TRIES = 2;
/** The slowest link that a page is waited for on, in bytes a millisecond. */
const SLOWEST_BYTES_MS = 1;

// Long because all parts of a transport share the link's state (who waits for which receipt, whether the login may receive any, what was sent); each part is short.
/** The way over NATS. A link that was lost stays lost: the sync opens another, and first asks what has arrived. */
export async function natsTransport(options: TransportOptions): Promise<Transport> {
  const { token, identity, name, replyTimeoutMs } = options;
  const nc = await connectField(options);
  const sender = `${name.org}.${name.site}.${name.device}`;
  const waiting = new Map<string, (reply: Reply | null) => void>();
  /** Set when the broker does not let this login receive its receipts: sending is useless then. */
  let deaf: TributaryError | null = null;
  // Anybody who may publish there can send anything, so messages that do not answer a frame of ours are ignored.
  nc.subscribe(`${SUBJECTS.receipt}.${sender}`, {
    callback: (error, message) => {
      if (error !== null) {
        deaf = brokerFailure("the broker does not bring receipts", error);
        for (const resolve of waiting.values()) resolve(null);
        return;
      }
      const raw = jsonOf(message.data);
      const reply = replySchema.safeParse(raw);
      if (!reply.success || reply.data.batch === null || !waiting.has(reply.data.batch)) return;
      if (identity.believes(raw)) waiting.get(reply.data.batch)?.(reply.data);
    },
  });
  const lost = nc.closed().then((error): never => {
    for (const resolve of waiting.values()) resolve(null);
    throw away("the link was lost", error instanceof Error ? error : new Error("the connection was closed"));
  });
  lost.catch(() => {});
  const forbidden = forbiddenPublishes(nc);
  const about = (message: Uint8Array): MsgHdrs => {
    const h = headers();
    if (token !== undefined) h.set(HEADER_TOKEN, messageAuthorization(token, message));
    return h;
  };
  const headerBytes = about(new Uint8Array()).toString().length;
  const inbox = inboxPrefix(name.org, name.site);
  let sentBytes = 0;
  const question = (asked: object, timeoutMs: number, believes: (answer: unknown) => boolean): Promise<unknown> => {
    const body = new TextEncoder().encode(JSON.stringify(asked));
    sentBytes += body.length + headerBytes;
    const read = (data: Uint8Array): { readonly answer: unknown } | null => {
      const answer = jsonOf(data);
      return believes(answer) ? { answer } : null;
    };
    const subject = `${SUBJECTS.hello}.${sender}`;
    const how = { inbox, headers: about(body), timeoutMs, read };
    return Promise.race([askForProof(nc, subject, body, how), lost, forbidden(subject)]);
  };
  const pull = async (question: PullQuestion, timeoutMs: number): Promise<Uint8Array> => {
    const before = identity.unproven;
    const subject = `${SUBJECTS.pull}.${sender}`;
    try {
      const answer = await again(() =>
        inTheHubsTime(
          identity,
          () => identity.pulls(question),
          (asked) => {
            const body = new TextEncoder().encode(JSON.stringify(asked));
            sentBytes += body.length + headerBytes;
            const read = (data: Uint8Array): { readonly answer: Uint8Array | Refusal } | null => {
              const answer = pullAnswerOf(data, asked.nonce, identity);
              return answer === null ? null : { answer };
            };
            const how = { inbox, headers: about(body), timeoutMs, carryMs: question.maxBytes / SLOWEST_BYTES_MS, read };
            return Promise.race([askForProof(nc, subject, body, how), lost, forbidden(subject)]);
          },
        ),
      );
      return pageOf(answer);
    } catch (error) {
      if (error instanceof TributaryError) throw error;
      if (identity.unproven > before) throw unprovenHub("what answers on the hub's broker", null);
      throw brokerFailure("the hub does not answer the pull", error);
    }
  };

  return {
    identity,
    window: WINDOW,
    tellsArrival: true,
    maxFrameBytes: Math.min(MAX_FRAME_BYTES, (nc.info?.max_payload ?? Number.POSITIVE_INFINITY) - headerBytes),
    get isOpen() {
      return !nc.isClosed();
    },
    async hello(request) {
      const isNews = request.have !== undefined || request.proposes !== undefined;
      const timeout = isNews ? NEWS_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
      try {
        return await again(async (isFirst) => {
          // The hub takes each signed question once, so a question that is asked again is signed again.
          const nonce = isFirst ? (request.nonce ?? randomUUID()) : randomUUID();
          const answer = await inTheHubsTime(
            identity,
            () => identity.asked({ ...request, nonce }),
            (asked) => question(asked, timeout / HELLO_TRIES, (said) => identity.believes(said, asked.nonce)),
          );
          const outcome = helloOutcome(answer, identity);
          if (outcome.kind === "away" || outcome.hello.nonce !== nonce || request.nonce === undefined) return outcome;
          return { ...outcome, hello: { ...outcome.hello, nonce: request.nonce } };
        });
      } catch (error) {
        if (error instanceof TributaryError) throw error;
        // 503: nobody listens. The broker is there, so batches can be queued all the same.
        if (error instanceof NatsError && (error.code === "503" || error.code === "TIMEOUT")) {
          return { kind: "away", because: null };
        }
        throw brokerFailure("the hub does not answer", error);
      }
    },
    ask: (asked, believes) =>
      question(asked, ANSWER_TIMEOUT_MS, believes).catch((error: unknown) => {
        throw error instanceof TributaryError ? error : brokerFailure("the hub does not answer", error);
      }),
    send(frame, _, carryMs = 0) {
      if (deaf !== null) throw deaf;
      const key = batchKey(frame);
      const replied = Promise.withResolvers<Reply | null>();
      waiting.set(key, replied.resolve);
      sentBytes += frame.length + headerBytes;
      const taken = Promise.race([
        publish(nc, {
          subject: `${SUBJECTS.ingress}.${sender}`,
          frame,
          headers: about(frame),
          timeout: ANSWER_TIMEOUT_MS + carryMs,
        }),
        lost,
      ]);
      // The hub's time to answer begins when it has the batch, however long that took.
      let timer: NodeJS.Timeout | undefined;
      taken.then(
        () => {
          timer = setTimeout(() => replied.resolve(null), replyTimeoutMs);
        },
        () => replied.resolve(null),
      );
      void replied.promise.finally(() => {
        clearTimeout(timer);
        if (waiting.get(key) === replied.resolve) waiting.delete(key);
      });
      return { taken, reply: replied.promise };
    },
    async pull(question, patienceMs = PULL_PATIENCE_MS) {
      mustServePulls(identity);
      return pull(question, patienceMs);
    },
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return nc.stats().inBytes;
    },
    async close() {
      await nc.close();
    },
  };
}

/**
 * Hands a frame to the stream. A stream whose leader has just died forgets what it was given. So when the server has had all of the frame (on a slow link that
 * takes longer) for ACK_PATIENCE_MS without an acknowledgement, the frame is handed over again. A frame that arrives twice does no harm.
 */
async function publish(
  nc: NatsConnection,
  {
    subject,
    frame,
    headers,
    timeout,
  }: { readonly subject: string; readonly frame: Uint8Array; readonly headers: MsgHdrs; readonly timeout: number },
): Promise<void> {
  try {
    for (let tries = 1; ; tries++) {
      const isLast = tries >= PUBLISH_TRIES;
      const acked = nc.jetstream().publish(subject, frame, { headers, timeout: isLast ? ACK_PATIENCE_MS : timeout });
      if (isLast) return void (await acked);
      if ((await inTime(nc, acked)) !== "late") return;
    }
  } catch (error) {
    const refusal = error instanceof NatsError ? error.jsError() : null;
    if (refusal !== null && NO_ROOM.includes(refusal.err_code)) throw brokerFull(refusal.description, error);
    throw brokerFailure("the broker did not take the batch", error);
  }
}

/** An acknowledgement, or `late` when the server has had all that was sent for ACK_PATIENCE_MS without one. */
async function inTime<T>(nc: NatsConnection, acked: Promise<T>): Promise<T | "late"> {
  let timer: NodeJS.Timeout | undefined;
  const late = nc.flush().then(
    () =>
      new Promise<"late">((resolve) => {
        timer = setTimeout(() => resolve("late"), ACK_PATIENCE_MS);
      }),
  );
  // A promise that nobody waits for any longer may fail silently.
  for (const promise of [acked, late]) promise.catch(() => {});
  try {
    return await Promise.race([acked, late.catch(() => acked)]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * For each subject a promise that fails if the broker says that this login may not publish there. Otherwise a question would simply get no answer. A login that
 * may not pull may send all the same.
 */
function forbiddenPublishes(nc: NatsConnection): (subject: string) => Promise<never> {
  const bySubject = new Map<string, PromiseWithResolvers<never>>();
  const of = (subject: string): PromiseWithResolvers<never> => {
    const known = bySubject.get(subject) ?? Promise.withResolvers<never>();
    known.promise.catch(() => {});
    bySubject.set(subject, known);
    return known;
  };
  const watch = async (): Promise<void> => {
    for await (const { type, data, permissionContext } of nc.status()) {
      if (type !== "error" || data !== "PERMISSIONS_VIOLATION" || permissionContext?.operation !== "publish") continue;
      const { subject } = permissionContext;
      const words = `Permissions Violation for Publish to "${subject}"`;
      of(subject).reject(brokerFailure("the hub does not answer", new NatsError(words, "PERMISSIONS_VIOLATION")));
    }
  };
  void watch().catch(() => {});
  return (subject) => of(subject).promise;
}

/** Asks again whatever got no answer in time. Throws what the last try threw. */
async function again<T>(ask: (isFirst: boolean) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask(tries === 1);
    } catch (error) {
      if (!(error instanceof NatsError) || error.code !== "TIMEOUT" || tries >= HELLO_TRIES) throw error;
    }
  }
}
