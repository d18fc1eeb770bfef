import { createInbox, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import { pause } from "../core/node.ts";

/**
 * Asks over the broker, and returns the first answer that is believed: whoever may publish to this inbox can be faster than the hub, so other answers are
 * passed over. Fails as a request of the client does: with `503` if nobody listens, with `TIMEOUT` if no answer that counts came.
 */
export async function askForProof<Answer>(
  nc: NatsConnection,
  subject: string,
  question: Uint8Array,
  {
    inbox,
    headers,
    timeoutMs,
    carryMs = 0,
    read,
  }: {
    /** The prefix of the inboxes where the hub answers and this device's login may listen: see `siteRights`. */
    readonly inbox: string;
    readonly headers: MsgHdrs;
    readonly timeoutMs: number;
    /** How long an answer may take to arrive that has begun to come by then. */
    readonly carryMs?: number;
    /** An answer that is believed; `null`: it is passed over. */
    readonly read: (data: Uint8Array) => { readonly answer: Answer } | null;
  },
): Promise<Answer> {
  const reply = createInbox(inbox);
  const answers = nc.subscribe(reply);
  const ended = new AbortController();
  const timer = setTimeout(async () => {
    // The broker sends in order: when it answers a ping, all that it had begun to send has come.
    if (carryMs > 0) await Promise.race([nc.flush().catch(() => {}), pause(carryMs, ended.signal)]);
    answers.unsubscribe();
  }, timeoutMs);
  try {
    nc.publish(subject, question, { headers, reply });
    for await (const message of answers) {
      if (message.headers?.code === 503) throw new NatsError("503", "503");
      const believed = read(message.data);
      if (believed !== null) return believed.answer;
    }
    const why = nc.isClosed() ? "CONNECTION_CLOSED" : "TIMEOUT";
    throw new NatsError(why, why);
  } finally {
    clearTimeout(timer);
    ended.abort();
    answers.unsubscribe();
  }
}
