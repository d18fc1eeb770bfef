import { headers, type JsMsg, type MsgHdrs, type NatsConnection, NatsError, type StoredMsg } from "nats";
import {
  decodeBatch,
  HEADER_TOKEN,
  isJsonObject,
  isName,
  isTributaryError,
  messageOf,
  messageText,
  type PublicKey,
  partsOf,
  peekOrigin,
  type Reply,
  replySchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey, isSignedBy, messageAuthorization, zstd } from "../core/node.ts";
import { DEAD_STREAM, publishFailure } from "./broker.ts";
import { fromJson, headerOf } from "./reply.ts";

const CODE = "Tributary-Code";
const REASON = "Tributary-Reason";
const RECEIVED = "Tributary-Received";
/** Names the dead letter that a batch was. If the batch is refused again, it is not kept twice. */
const HEADER_RETRY = "Tributary-Dead-Letter";
const PUBLISH_TIMEOUT_MS = 5_000;
/** The length of a header's text, in characters. */
const MAX_REASON = 500;

/** Keeps a batch that cannot be taken, with the reason, for somebody to look at. */
export async function bury(nc: NatsConnection, message: JsMsg, sender: string, error: unknown): Promise<void> {
  if (headerOf(() => message.headers, HEADER_RETRY) !== undefined) return;
  const about = headers();
  about.set(CODE, isTributaryError(error) ? error.code : "internal");
  // Headers are lines of text, and the reason may quote what was refused.
  about.set(REASON, printable(messageOf(error)).slice(0, MAX_REASON));
  about.set(RECEIVED, new Date(message.info.timestampNanos / 1e6).toISOString());
  await nc.jetstream().publish(`${SUBJECTS.dead}.${sender}`, message.data, { headers: about, timeout: PUBLISH_TIMEOUT_MS });
}

const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Cs}]+/gu, " ");

/** A batch that was refused for good, as the broker keeps it. */
export interface DeadLetter {
  /** Its number in the stream `DEAD`. */
  readonly number: number;
  /** `org.site.device`, as the sender's subject said. */
  readonly sender: string;
  readonly code: string;
  readonly reason: string;
  readonly receivedAt: string;
  readonly bytes: number;
}

/** What can be read of a dead letter's frame. */
export type DeadContent =
  | {
      readonly kind: "batch";
      readonly origin: string;
      readonly firstSeq: number;
      readonly lastSeq: number;
      readonly sentAt: string;
      readonly events: readonly {
        readonly seq: number;
        readonly type: string;
        readonly entity: string;
        readonly occurredAt: string;
        readonly actor: string;
        readonly bytes: number;
      }[];
    }
  | { readonly kind: "unreadable"; readonly why: string };

/** Anybody may publish on `dead.…`, so what a letter lacks is said, not assumed. */
function letterOf(message: StoredMsg): DeadLetter {
  const { seq, subject, data, time } = message;
  const about = (): MsgHdrs => message.header;
  return {
    number: seq,
    sender: subject.slice(SUBJECTS.dead.length + 1),
    code: printable(headerOf(about, CODE) ?? "unknown"),
    reason: printable(headerOf(about, REASON) ?? "no reason is given"),
    receivedAt: printable(headerOf(about, RECEIVED) ?? time.toISOString()),
    bytes: data.length,
  };
}

/** The dead letters, oldest first, after number `after`, at most `limit`. */
export async function deadLetters(
  nc: NatsConnection,
  { after = 0, limit }: { readonly after?: number; readonly limit: number },
): Promise<{ readonly letters: DeadLetter[]; readonly total: number }> {
  const jsm = await nc.jetstreamManager();
  const state = await jsm.streams.info(DEAD_STREAM).then(
    (info) => info.state,
    (error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    },
  );
  const letters: DeadLetter[] = [];
  if (state === null || state.messages === 0) return { letters, total: 0 };
  for (let at = Math.max(after + 1, state.first_seq); at <= state.last_seq && letters.length < limit; ) {
    const next = await storedFrom(nc, at);
    if (next === null) break;
    letters.push(letterOf(next));
    at = next.seq + 1;
  }
  return { letters, total: state.messages };
}

/** The first message at or after a number. Letters that were removed leave gaps. */
async function storedFrom(nc: NatsConnection, seq: number): Promise<StoredMsg | null> {
  const jsm = await nc.jetstreamManager();
  try {
    // The server's "next by subject" takes a number and a filter together; the driver's type knows only one of them.
    return await jsm.streams.getMessage(DEAD_STREAM, { seq, next_by_subj: `${SUBJECTS.dead}.>` } as unknown as { seq: number });
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof NatsError && (error.api_error?.code === 404 || error.code === "404");

async function deadMessage(nc: NatsConnection, number: number): Promise<StoredMsg> {
  const jsm = await nc.jetstreamManager();
  try {
    return await jsm.streams.getMessage(DEAD_STREAM, { seq: number });
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new TributaryError("not-found", `there is no dead letter ${number}`, "`tributary dead list` shows which there are.", {
      cause: error,
    });
  }
}

/** One dead letter, and what can be read of it. Throws `not-found`. */
export async function deadLetter(nc: NatsConnection, number: number): Promise<DeadLetter & { readonly content: DeadContent }> {
  const message = await deadMessage(nc, number);
  return { ...letterOf(message), content: contentOf(message.data) };
}

function contentOf(frame: Uint8Array): DeadContent {
  try {
    const { origin, firstSeq, sentAtMs, events } = decodeBatch(frame, zstd);
    return {
      kind: "batch",
      origin,
      firstSeq,
      lastSeq: firstSeq + events.length - 1,
      sentAt: new Date(sentAtMs).toISOString(),
      events: events.map(({ head, payload }) => ({
        seq: head.seq,
        type: head.type,
        entity: `${head.entity.type}/${head.entity.id}`,
        occurredAt: head.occurredAt,
        actor: head.actor,
        bytes: payload.length,
      })),
    };
  } catch (error) {
    return { kind: "unreadable", why: messageOf(error) };
  }
}

/** How long the hub may take for its word on a batch that is sent again. */
const RETRY_TIMEOUT_MS = 15_000;

/** Whose batch a letter's batch is when it is let in again: its device, and what its events are about. */
export interface LetterSender {
  readonly org: string;
  readonly site: string;
  readonly device: string;
  readonly types: readonly string[];
}

export interface RetryOptions {
  /** A token for this one batch. */
  readonly tokenFor: (sender: LetterSender) => Promise<string>;
  /** The hub's keys. Only what one of them has signed is the hub's word. */
  readonly hubKeys: readonly PublicKey[];
  readonly timeoutMs?: number;
}

/**
 * Sends a dead letter's batch in again, to be checked again: after a fix of the hub, a new schema, or a correct token. What is taken is removed from the
 * dead letters; what is refused again stays. `null`: the hub has not answered; the batch is queued, and the letter stays. Throws `not-found`.
 */
export async function retryDead(
  nc: NatsConnection,
  number: number,
  { tokenFor, hubKeys, timeoutMs = RETRY_TIMEOUT_MS }: RetryOptions,
): Promise<Reply | null> {
  const message = await deadMessage(nc, number);
  const sender = senderOf(message);
  const { org, site, device } = sender;
  const key = batchKey(message.data);
  const answers = nc.subscribe(`${SUBJECTS.receipt}.${org}.${site}.${device}`, { timeout: timeoutMs });
  const replied = (async (): Promise<Reply | null> => {
    try {
      for await (const { data } of answers) {
        const raw = fromJson(data);
        const reply = replySchema.safeParse(raw);
        // Whoever may publish there can say anything. The letter is removed because of this answer, so it must be the hub's own.
        if (reply.success && reply.data.batch === key && isSignedByOne(hubKeys, reply.data, raw)) return reply.data;
      }
    } catch {
      // No word in time.
    }
    return null;
  })();
  const timer = setTimeout(() => answers.unsubscribe(), timeoutMs);
  try {
    const about = headers();
    about.set(HEADER_TOKEN, messageAuthorization(await tokenFor(sender), message.data));
    about.set(HEADER_RETRY, String(number));
    await nc
      .jetstream()
      .publish(`${SUBJECTS.ingress}.${org}.${site}.${device}`, message.data, { headers: about, timeout: PUBLISH_TIMEOUT_MS })
      .catch((error: unknown) => {
        throw publishFailure(error);
      });
    const reply = await replied;
    if (reply?.kind === "receipt") await (await nc.jetstreamManager()).streams.deleteMessage(DEAD_STREAM, number);
    return reply;
  } finally {
    clearTimeout(timer);
    if (!answers.isClosed()) answers.unsubscribe();
  }
}

/** Whether one of the hub's keys has signed an answer as it came, with all of its members. */
function isSignedByOne(keys: readonly PublicKey[], { kind, signature }: Reply, raw: unknown): boolean {
  if (signature === undefined || !isJsonObject(raw)) return false;
  try {
    const text = messageText(kind, raw);
    return keys.some((key) => isSignedBy(key, text, signature));
  } catch {
    // Nobody can have signed what has no canonical form.
    return false;
  }
}

/** What a batch's events are about. Nothing for a batch that cannot be read, which is refused before this counts. */
function typesIn(frame: Uint8Array): string[] {
  try {
    return [...new Set(decodeBatch(frame, zstd).events.map(({ head }) => head.entity.type))].sort();
  } catch {
    return [];
  }
}

/**
 * Whose batch it is: the device on whose subject it came, where its token or login let it in. A batch that says that it is another's is refused again by the
 * hub. If a letter came on no device's subject, the batch itself says whose it is.
 */
function senderOf({ subject, data }: StoredMsg): LetterSender {
  const [org = "", site = "", device = "", ...more] = subject.slice(SUBJECTS.dead.length + 1).split(".");
  if (more.length === 0 && [org, site, device].every(isName)) return { org, site, device, types: typesIn(data) };
  try {
    const parts = partsOf(peekOrigin(data, zstd));
    return { org: parts.org, site: parts.site, device: parts.device, types: typesIn(data) };
  } catch {
    throw new TributaryError(
      "batch-undecodable",
      `it is not a batch, and its subject is not a device's (${printable(subject)})`,
      "You can only throw it away.",
    );
  }
}
