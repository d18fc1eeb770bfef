import { headers, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import { HEADER_TOKEN, MAX_FRAME_BYTES, type Reply, replySchema, SUBJECTS, TributaryError } from "../core/index.ts";
import { batchKey, messageAuthorization } from "../core/node.ts";
import { brokerFailure, connectField } from "./broker.ts";
import {
  ANSWER_TIMEOUT_MS,
  away,
  brokerFull,
  helloOutcome,
  jsonOf,
  NEWS_TIMEOUT_MS,
  type Transport,
  type TransportOptions,
} from "./way.ts";

const WINDOW = 4;

/** JetStream's own refusals (`err_code`) that say that there is no room. */
const NO_ROOM: readonly (number | undefined)[] = [10_023, 10_028, 10_047, 10_077];

/** A cluster takes up to 9 s to choose a new leader for a stream; what is handed over meanwhile is lost. */
const PUBLISH_TRIES = 6;
const ACK_PATIENCE_MS = 2_000;
/** A hello is small, and asked again this often meanwhile: one that a hub or broker just lost while it starts anew must not cost the whole time. */
const HELLO_TRIES = 2;

/** The way over NATS. A link that was lost stays so: the sync opens another, and asks first what has arrived. */
export async function natsTransport({ url, token, name, nats = {}, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  const nc = await connectField(url, nats, token, name);
  const place = `${name.org}.${name.site}.${name.device}`;
  const waiting = new Map<string, (reply: Reply | null) => void>();
  /** Set when the broker does not let this login hear its receipts: no use in sending. */
  let deaf: TributaryError | null = null;
  // Anybody who may publish there can send anything: what is no reply to a frame of ours is not looked at.
  nc.subscribe(`${SUBJECTS.receipt}.${place}`, {
    callback: (error, message) => {
      if (error !== null) {
        deaf = brokerFailure("the broker does not bring receipts", error);
        for (const resolve of waiting.values()) resolve(null);
        return;
      }
      const reply = replySchema.safeParse(jsonOf(message.data));
      if (reply.success && reply.data.batch !== null) waiting.get(reply.data.batch)?.(reply.data);
    },
  });
  const lost = nc.closed().then((error): never => {
    for (const resolve of waiting.values()) resolve(null);
    throw away("the link was lost", error instanceof Error ? error : new Error("the connection was closed"));
  });
  lost.catch(() => {});
  const about = (message: Uint8Array): MsgHdrs => {
    const h = headers();
    h.set(HEADER_TOKEN, messageAuthorization(token, message));
    return h;
  };
  const headerBytes = about(new Uint8Array()).toString().length;
  let sentBytes = 0;

  return {
    window: WINDOW,
    tellsArrival: true,
    maxFrameBytes: Math.min(MAX_FRAME_BYTES, (nc.info?.max_payload ?? Number.POSITIVE_INFINITY) - headerBytes),
    get isOpen() {
      return !nc.isClosed();
    },
    async hello(request) {
      const body = new TextEncoder().encode(JSON.stringify(request));
      sentBytes += body.length + headerBytes;
      const isNews = request.have !== undefined || request.proposes !== undefined;
      const timeout = isNews ? NEWS_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
      try {
        const answer = await Promise.race([asked(nc, `${SUBJECTS.hello}.${place}`, body, about(body), timeout), lost]);
        return helloOutcome(jsonOf(answer.data));
      } catch (error) {
        if (error instanceof TributaryError) throw error;
        // 503: nobody listens. The broker is there, so batches can be queued all the same.
        if (error instanceof NatsError && (error.code === "503" || error.code === "TIMEOUT")) {
          return { kind: "away", because: null };
        }
        throw brokerFailure("the hub does not answer", error);
      }
    },
    send(frame, _, carryMs = 0) {
      if (deaf !== null) throw deaf;
      const key = batchKey(frame);
      const replied = Promise.withResolvers<Reply | null>();
      waiting.set(key, replied.resolve);
      sentBytes += frame.length + headerBytes;
      const taken = Promise.race([
        publish(nc, `${SUBJECTS.ingress}.${place}`, frame, about(frame), ANSWER_TIMEOUT_MS + carryMs),
        lost,
      ]);
      // The hub's time begins when it has the batch, however long that took.
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
    get sentBytes() {
      return sentBytes;
    },
    async close() {
      await nc.close();
    },
  };
}

/**
 * Hands a frame to the stream. A stream whose leader has just died forgets what it was given: once the server has the whole frame, on a slow link later, and no
 * acknowledgement has come for ACK_PATIENCE_MS, the frame is handed over again. A frame that is there twice does no harm.
 */
async function publish(nc: NatsConnection, subject: string, frame: Uint8Array, about: MsgHdrs, timeout: number): Promise<void> {
  try {
    for (let tries = 1; ; tries++) {
      const isLast = tries >= PUBLISH_TRIES;
      const acked = nc.jetstream().publish(subject, frame, { headers: about, timeout: isLast ? ACK_PATIENCE_MS : timeout });
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
  // Whichever is not waited for any more may fail unheard.
  for (const promise of [acked, late]) promise.catch(() => {});
  try {
    return await Promise.race([acked, late.catch(() => acked)]);
  } finally {
    clearTimeout(timer);
  }
}

/** A request that is sent again until it has an answer. Throws as the last try did. */
async function asked(nc: NatsConnection, subject: string, question: Uint8Array, about: MsgHdrs, timeout: number) {
  for (let tries = 1; ; tries++) {
    try {
      return await nc.request(subject, question, { headers: about, timeout: timeout / HELLO_TRIES });
    } catch (error) {
      if (!(error instanceof NatsError) || error.code !== "TIMEOUT" || tries >= HELLO_TRIES || nc.isClosed()) throw error;
    }
  }
}
