import { headers, type JsMsg, type MsgHdrs, type NatsConnection, NatsError, type StoredMsg } from "nats";
import { decodeBatch, isTributaryError, messageOf, SUBJECTS, TributaryError } from "../core/index.ts";
import { zstd } from "../core/node.ts";
import { DEAD_STREAM } from "./broker.ts";

const CODE = "Tributary-Code";
const REASON = "Tributary-Reason";
const RECEIVED = "Tributary-Received";
const PUBLISH_TIMEOUT_MS = 5_000;
/** A header's text, in characters. */
const MAX_REASON = 500;

/** Keeps a batch that cannot be taken, with the reason, for somebody to look at. */
export async function bury(nc: NatsConnection, message: JsMsg, place: string, error: unknown): Promise<void> {
  const about = headers();
  about.set(CODE, isTributaryError(error) ? error.code : "internal");
  // Headers are lines of text; what was refused may be quoted in the reason.
  about.set(REASON, printable(messageOf(error)).slice(0, MAX_REASON));
  about.set(RECEIVED, new Date(message.info.timestampNanos / 1e6).toISOString());
  await nc.jetstream().publish(`${SUBJECTS.dead}.${place}`, message.data, { headers: about, timeout: PUBLISH_TIMEOUT_MS });
}

const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Cs}]+/gu, " ");

/** A batch that was refused for good, as the broker keeps it. */
export interface DeadLetter {
  /** Its number in the stream `DEAD`. */
  readonly number: number;
  /** `org.site.device`, as the sender's subject said. */
  readonly place: string;
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

const header = (about: MsgHdrs | undefined, name: string, otherwise: string): string => {
  try {
    return about?.get(name) || otherwise;
  } catch {
    return otherwise;
  }
};

/** Anybody may publish on `dead.…`: what is missing in a letter is said, not assumed. */
function letterOf({ seq, subject, header: about, data, time }: StoredMsg): DeadLetter {
  return {
    number: seq,
    place: subject.slice(SUBJECTS.dead.length + 1),
    code: printable(header(about, CODE, "unknown")),
    reason: printable(header(about, REASON, "no reason is given")),
    receivedAt: printable(header(about, RECEIVED, time.toISOString())),
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

/** The first message at or after a number: letters that were removed leave holes. */
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

/** A dead letter's frame and where it came from, to be sent again. Throws `not-found`. */
export async function deadFrame(
  nc: NatsConnection,
  number: number,
): Promise<{ readonly place: string; readonly frame: Uint8Array }> {
  const message = await deadMessage(nc, number);
  return { place: letterOf(message).place, frame: message.data };
}

/** Takes a dead letter out. */
export async function removeDead(nc: NatsConnection, number: number): Promise<void> {
  const jsm = await nc.jetstreamManager();
  await jsm.streams.deleteMessage(DEAD_STREAM, number);
}
