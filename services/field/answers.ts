import { createInbox, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import { isJsonObject } from "../core/index.ts";
import { type Identity, unprovenHub } from "./keys.ts";
import { jsonOf } from "./way.ts";

/**
 * Asks over the broker, and returns the first answer that is believed: whoever may publish to this inbox can be faster than the hub, and is passed over.
 * Fails as a request of the client does: `503` where nobody listens, `TIMEOUT` where no answer came that counts.
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
    /** Below this the hub answers, and this device's login may listen: see `siteRights`. */
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

/**
 * What an HTTP answer says for the hub: the body of a success, or the signed refusal inside a problem. Throws `hub-unproven` where the hub's key is known and
 * has not signed it: then nothing that it says is acted on.
 */
export function wordOf(
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
  // Something on the way is down, or says that the hub is: that may be anybody's word, and is no more than a reason to come again.
  if (status >= 500) return null;
  // Something on the way that carries no large bodies: smaller ones are tried, whoever says so.
  if (status === 413 && !(isJsonObject(json) && "refusal" in json)) return null;
  const refusal = isJsonObject(json) ? json.refusal : undefined;
  if (!identity.isPinned) return refusal ?? null;
  if (identity.believes(refusal, nonce)) return refusal;
  const said = isJsonObject(json) && typeof json.detail === "string" ? json.detail.slice(0, 200) : null;
  throw unprovenHub(where, said ?? `status ${status}`);
}
