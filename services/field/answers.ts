import { createInbox, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import { jsonOf } from "./way.ts";

/**
 * Asks over the broker, and returns the first answer that is believed: whoever may publish to this inbox can be faster than the hub, so other answers are
 * passed over. Fails as a request of the client does: with `503` if nobody listens, with `TIMEOUT` if no answer that counts came.
 */
export async function askForProof(
  nc: NatsConnection,
  subject: string,
  question: Uint8Array,
  {
    inbox,
    headers,
    timeoutMs,
    believes,
  }: {
    /** The prefix of the inboxes where the hub answers and this device's login may listen: see `siteRights`. */
    readonly inbox: string;
    readonly headers: MsgHdrs;
    readonly timeoutMs: number;
    readonly believes: (answer: unknown) => boolean;
  },
): Promise<unknown> {
  const reply = createInbox(inbox);
  const answers = nc.subscribe(reply);
  const timer = setTimeout(() => answers.unsubscribe(), timeoutMs);
  try {
    nc.publish(subject, question, { headers, reply });
    for await (const message of answers) {
      if (message.headers?.code === 503) throw new NatsError("503", "503");
      const answer = jsonOf(message.data);
      if (believes(answer)) return answer;
    }
    const why = nc.isClosed() ? "CONNECTION_CLOSED" : "TIMEOUT";
    throw new NatsError(why, why);
  } finally {
    clearTimeout(timer);
    answers.unsubscribe();
  }
}
