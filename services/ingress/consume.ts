import { type ConsumerMessages, headers, type JsMsg } from "nats";
import {
  type Batch,
  decodeBatch,
  type ErrorCode,
  HEADER_TOKEN,
  isTributaryError,
  messageOf,
  type Reply,
  type Signature,
  SUBJECTS,
  type TributaryError,
} from "../core/index.ts";
import { batchKey, zstd } from "../core/node.ts";
import { ACK_WAIT_MS, CONSUMER, STREAM } from "./broker.ts";
import { type Deps, refusalOf, toJson } from "./hello.ts";

/** Batches one process holds at a time. Each is at most 1 MB on the wire. */
const MAX_HELD = 64;
/** A batch ahead of its predecessor waits for it this often, this long, before its sender is told of the gap. */
const GAP_TRIES = 20;
const GAP_PAUSE_MS = 100;
/** While the event store is away a batch waits in its lane this often, this long; then it goes back to the broker. */
const AWAY_TRIES = 60;
const AWAY_PAUSE_MS = 500;
/** A batch that fails in a way nobody foresaw goes to the dead letters after this many deliveries. */
const MAX_INTERNAL_FAILURES = 5;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Takes batches from the broker. Those of one device are handled one after the other, in their order; devices run side
 * by side. A batch is acknowledged once its events are in the log, or once its sender has been told why they are not:
 *
 *   taken ─▶ accepted ─▶ receipt, ack
 *         ├▶ gap ─▶ (predecessor may be with another process) wait, try again ─▶ refusal, ack
 *         ├▶ wrong token ─▶ refusal, ack                    the field keeps its events and stops sending
 *         ├▶ undecodable, damaged, forked ─▶ dead letter, refusal, ack
 *         └▶ event store away ─▶ back to the broker
 */
export async function consume(deps: Deps): Promise<{ close(): Promise<void> }> {
  const { nc, say } = deps;
  const js = nc.jetstream();
  const consumer = await js.consumers.get(STREAM, CONSUMER);
  const lanes = new Map<string, Promise<void>>();
  let held = 0;
  let closing = false;
  let messages: ConsumerMessages | null = null;
  let roomFreed: (() => void) | null = null;

  const enqueue = (message: JsMsg): void => {
    held++;
    const lane = message.subject;
    const before = lanes.get(lane) ?? Promise.resolve();
    const turn = before
      .then(() => handle(deps, message))
      .catch((error: unknown) => say({ event: "batch-unhandled", error }))
      .finally(() => {
        held--;
        if (lanes.get(lane) === turn) lanes.delete(lane);
        roomFreed?.();
        roomFreed = null;
      });
    lanes.set(lane, turn);
  };

  const run = async (): Promise<void> => {
    while (!closing) {
      try {
        messages = await consumer.consume({ max_messages: MAX_HELD });
        for await (const message of messages) {
          enqueue(message);
          if (held >= MAX_HELD) {
            await new Promise<void>((resolve) => {
              roomFreed = resolve;
            });
          }
        }
      } catch (error) {
        if (closing) return;
        say({ event: "consumer-interrupted", message: messageOf(error) });
        await sleep(AWAY_PAUSE_MS);
      }
    }
  };
  const running = run();

  return {
    async close() {
      closing = true;
      await messages?.close();
      await running;
      await Promise.all(lanes.values());
    },
  };
}

async function handle(deps: Deps, message: JsMsg): Promise<void> {
  const { nc, vouch, accepts, say, seal } = deps;
  const key = batchKey(message.data);
  const place = message.subject.slice(SUBJECTS.ingress.length + 1);
  const receivedAtMs = message.info.timestampNanos / 1e6;
  const authorization = message.headers?.get(HEADER_TOKEN) || undefined;
  const keepAlive = setInterval(() => message.working(), ACK_WAIT_MS / 2);
  let batch: Batch | null = null;
  const reply = async (answer: Reply): Promise<void> => nc.publish(`${SUBJECTS.receipt}.${place}`, toJson(await seal(answer)));
  try {
    batch = decodeBatch(message.data, zstd);
    const startedMs = performance.now();
    const signed = await vouch.batch(authorization, batch, receivedAtMs);
    const { receipt, written, quarantined } = await acceptInTime(deps, batch, key, receivedAtMs, signed);
    await reply(receipt);
    message.ack();
    say({
      event: "batch-accepted",
      origin: batch.origin,
      first: batch.firstSeq,
      events: batch.events.length,
      written,
      quarantined,
      bytes: message.data.length,
      ms: Math.round(performance.now() - startedMs),
    });
  } catch (error) {
    let known = isTributaryError(error) ? error : null;
    if (isAway(known) || (known === null && message.info.redeliveryCount < MAX_INTERNAL_FAILURES)) {
      say({ event: "batch-postponed", place, error });
      message.nak(AWAY_PAUSE_MS);
      return;
    }
    const strangers = await isOfStranger(deps, batch, authorization, receivedAtMs, known);
    if (strangers !== null) known = strangers;
    else if (isPoison(known)) await bury(deps, message, place, error);
    await reply(
      refusalOf(known ?? error, {
        batch: key,
        origin: batch?.origin ?? null,
        firstSeq: batch?.firstSeq ?? null,
        through: batch === null ? null : (accepts.through(batch.origin) as Reply["through"]),
      }),
    );
    message.ack();
    say({ event: "batch-refused", place, error });
  } finally {
    clearInterval(keepAlive);
  }
}

/**
 * Bytes that cannot be read, and batches with a wrong signature, are kept only where a good token came with them: else whoever reaches the broker could fill
 * the dead letters. Returns what to refuse instead; `null`: they may be kept.
 */
async function isOfStranger(
  { keeper }: Deps,
  batch: Batch | null,
  authorization: string | undefined,
  receivedAtMs: number,
  error: TributaryError | null,
): Promise<TributaryError | null> {
  if (error === null || (batch !== null && error.code !== "signature-invalid")) return null;
  try {
    await keeper.admit(authorization, receivedAtMs);
    return null;
  } catch (refused) {
    return batch !== null || !isTributaryError(refused) ? error : refused;
  }
}

/** Whether sending the same bytes again can never help. A wrong token, a gap or an unknown schema can be mended by the sender. */
const isPoison = (error: TributaryError | null): boolean =>
  error === null ||
  ["batch-undecodable", "batch-too-large", "chain-broken", "origin-forked", "event-too-large", "signature-invalid"].includes(
    error.code,
  );

/** Accepts a batch, waiting in its lane for a predecessor that another process may hold, and for an event store that is away. */
async function acceptInTime(
  { accepts, say }: Deps,
  batch: Batch,
  key: string,
  receivedAtMs: number,
  signed: Signature | undefined,
): ReturnType<typeof accepts.accept> {
  let gaps = 0;
  let absences = 0;
  for (;;) {
    try {
      return await accepts.accept(batch, key, receivedAtMs, signed);
    } catch (error) {
      if (!isTributaryError(error)) throw error;
      if (error.code === "batch-gap" && ++gaps < GAP_TRIES) {
        await sleep(GAP_PAUSE_MS);
      } else if (isAway(error) && ++absences < AWAY_TRIES) {
        if (absences === 1) say({ event: "event-store-away", origin: batch.origin, message: error.message });
        await sleep(AWAY_PAUSE_MS);
      } else {
        throw error;
      }
    }
  }
}

const AWAY: readonly string[] = ["backend-unreachable", "backend-failed", "disk-full"] satisfies ErrorCode[];
const isAway = (error: TributaryError | null): boolean => error !== null && AWAY.includes(error.code);

/** Keeps a batch that cannot be taken, with the reason, for somebody to look at. */
async function bury({ nc }: Deps, message: JsMsg, place: string, error: unknown): Promise<void> {
  const about = headers();
  about.set("Tributary-Code", isTributaryError(error) ? error.code : "internal");
  about.set(
    "Tributary-Reason",
    messageOf(error)
      .replace(/[\r\n]+/g, " ")
      .slice(0, 500),
  );
  about.set("Tributary-Received", new Date(message.info.timestampNanos / 1e6).toISOString());
  await nc.jetstream().publish(`${SUBJECTS.dead}.${place}`, message.data, { headers: about });
}
