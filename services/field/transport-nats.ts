import { connect, headers, type JetStreamClient, type NatsConnection, NatsError } from "nats";
import { HEADER_TOKEN, MAX_FRAME_BYTES, type Reply, replySchema, SUBJECTS, TributaryError } from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import { askForProof } from "./answers.ts";
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

/** A satellite's round trip, several times over: TCP, TLS and the broker's own greeting. */
const CONNECT_TIMEOUT_MS = 15_000;
const WINDOW = 4;

/** JetStream's own refusals (`err_code`) that say that there is no room. */
const NO_ROOM: readonly (number | undefined)[] = [10_023, 10_028, 10_047, 10_077];

/** The way over NATS. A link that was lost stays so: the sync opens another, and asks first what has arrived. */
export async function natsTransport({ url, token, identity, name, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  let nc: NatsConnection;
  try {
    nc = await connect({ servers: url, name: "tributary-field", timeout: CONNECT_TIMEOUT_MS, reconnect: false });
  } catch (error) {
    throw away(`the hub's broker at ${new URL(url).host} does not answer`, error);
  }
  const place = `${name.org}.${name.site}.${name.device}`;
  const waiting = new Map<string, (reply: Reply | null) => void>();
  // Anybody who may publish there can send anything: what is no reply to a frame of ours is not looked at.
  nc.subscribe(`${SUBJECTS.receipt}.${place}`, {
    callback: (error, message) => {
      if (error !== null) return;
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
  const js = nc.jetstream();
  const about = (): ReturnType<typeof headers> => {
    const h = headers();
    if (token !== undefined) h.set(HEADER_TOKEN, `Bearer ${token}`);
    return h;
  };
  const headerBytes = about().toString().length;
  let sentBytes = 0;
  const question = (asked: object, timeoutMs: number, believes: (answer: unknown) => boolean): Promise<unknown> => {
    const body = new TextEncoder().encode(JSON.stringify(asked));
    sentBytes += body.length + headerBytes;
    return Promise.race([askForProof(nc, `${SUBJECTS.hello}.${place}`, body, { headers: about(), timeoutMs, believes }), lost]);
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
        const answer = await inTheHubsTime(identity, request, (asked) =>
          question(asked, timeout, (answer) => identity.believes(answer, asked.nonce)),
        );
        return helloOutcome(answer, identity);
      } catch (error) {
        if (error instanceof TributaryError) throw error;
        // 503: nobody listens. The broker is there, so batches can be queued all the same.
        if (error instanceof NatsError && (error.code === "503" || error.code === "TIMEOUT")) {
          return { kind: "away", because: null };
        }
        throw away("the hub does not answer", error);
      }
    },
    ask: (asked, believes) =>
      question(asked, ANSWER_TIMEOUT_MS, believes).catch((error: unknown) => {
        throw error instanceof TributaryError ? error : away("the hub does not answer", error);
      }),
    send(frame, _, carryMs = 0) {
      const key = batchKey(frame);
      const replied = Promise.withResolvers<Reply | null>();
      waiting.set(key, replied.resolve);
      sentBytes += frame.length + headerBytes;
      const taken = Promise.race([
        publish(js, `${SUBJECTS.ingress}.${place}`, frame, about(), ANSWER_TIMEOUT_MS + carryMs),
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

async function publish(
  js: JetStreamClient,
  subject: string,
  frame: Uint8Array,
  about: ReturnType<typeof headers>,
  timeout: number,
): Promise<void> {
  try {
    await js.publish(subject, frame, { headers: about, timeout });
  } catch (error) {
    const refusal = error instanceof NatsError ? error.jsError() : null;
    if (refusal !== null && NO_ROOM.includes(refusal.err_code)) throw brokerFull(refusal.description, error);
    throw away("the broker did not take the batch", error);
  }
}
