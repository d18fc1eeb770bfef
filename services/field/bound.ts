/** The hub signs answers to others too, and whoever carries them may keep them: each answer is checked for the batch that it is about. */
import {
  isJsonObject,
  type OriginId,
  type Receipt,
  type Refusal,
  type Reply,
  replySchema,
  type Seq,
  TributaryError,
} from "../core/index.ts";
import { unprovenHub } from "./keys.ts";
import { away, isAway, strange } from "./way.ts";

/** The batch that was sent: its key (`batchKey` of the frame), its origin, and to whom, in words. */
export interface Sent {
  readonly key: string;
  readonly origin: OriginId;
  readonly where: string;
}

/** A receipt that is believed, as the answer to this batch. Throws `hub-unproven` for any other. */
export function receiptOf(json: unknown, { key, origin, where }: Sent): Receipt {
  const reply = replySchema.safeParse(json);
  if (!reply.success) throw strange("the batch");
  const { kind, batch, origin: of } = reply.data;
  if (kind !== "receipt" || batch !== key || of !== origin) throw unprovenHub(where, "its answer is about another batch");
  return reply.data;
}

/**
 * A refusal that is believed, as the answer to this batch. A refusal that does not name the batch ends the sync in the hub's words, and no event is set
 * aside because of it. Only a batch that is too large was not read to its end, and so cannot be named.
 */
export function refusalOf(said: Refusal, sent: Pick<Sent, "key" | "origin">): Reply {
  const { batch, code, message, hint } = said;
  const error = new TributaryError(code, message, hint);
  if (isAway(error)) throw away("the hub did not take the batch", error);
  if (batch === sent.key) return said;
  if (batch === null && code === "batch-too-large") return unsigned(error, sent);
  throw error;
}

/** A refusal in nobody's name: the hub's key is not known, or something on the way refuses. `json`: what came with it. */
export function unsigned(
  { code, message, hint }: TributaryError,
  { key, origin }: Pick<Sent, "key" | "origin">,
  json: unknown = null,
): Refusal {
  const through = isJsonObject(json) && Number.isSafeInteger(json.through) ? (json.through as Seq) : null;
  return { kind: "refusal", batch: key, origin, firstSeq: null, code, message, hint, through };
}
