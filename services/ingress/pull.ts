import type { Consumer, ConsumerMessages, JsMsg, NatsConnection } from "nats";
import { messageOf } from "../core/index.ts";
import { pause } from "../core/node.ts";
import { CONSUMER, STREAM } from "./broker.ts";
import { sparing } from "./fair.ts";

const MIB = 1_048_576;
/** One request to the broker: for about this many bytes, judged by the last batches, within these bounds. It stays open this long. */
export const PULL_BYTES = 16 * MIB;
const MIN_PULL = 16;
const MAX_PULL = 128;
const PULL_MS = 5_000;
/** The assumed size of a batch, until some have come. */
const FIRST_GUESS_BYTES = MIB / 4;
const RETRY_PAUSE_MS = 500;
/** The same trouble is reported again this often at most. */
const SAY_EVERY_MS = 10_000;

/** Asks the broker for batches, again and again. What goes wrong is reported, looked into, and tried again. */
export function pull({
  nc,
  say,
  look,
  room,
  take,
  signal,
}: {
  nc: NatsConnection;
  say: (event: Record<string, unknown>) => void;
  look: () => Promise<void>;
  room: () => Promise<void>;
  take: (message: JsMsg) => Promise<void>;
  signal: AbortSignal;
}): { readonly done: Promise<void>; renew(): void } {
  let messages: ConsumerMessages | null = null;
  let consumer: Consumer | null = null;
  let largest = FIRST_GUESS_BYTES;
  const sayNowAndThen = sparing(say, { everyMs: SAY_EVERY_MS, maxKinds: 1 });
  const once = async (): Promise<void> => {
    consumer ??= await nc.jetstream().consumers.get(STREAM, CONSUMER);
    // Not by bytes: a request that names messages and bytes, and gets enough messages but not enough bytes, ends only when its time is over (nats.js 2.29).
    messages = await consumer.fetch({
      max_messages: Math.min(MAX_PULL, Math.max(MIN_PULL, Math.floor(PULL_BYTES / largest))),
      expires: PULL_MS,
    });
    if (signal.aborted) return messages.stop();
    let bytes = 1;
    for await (const message of messages) {
      bytes = Math.max(bytes, message.data.length);
      await take(message);
    }
    largest = bytes;
  };
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      await room();
      try {
        await once();
      } catch (error) {
        consumer = null;
        if (signal.aborted) return;
        sayNowAndThen("", { event: "consumer-interrupted", message: messageOf(error) });
        await look();
        await pause(RETRY_PAUSE_MS, signal);
      }
    }
  };
  return {
    done: run(),
    renew() {
      messages?.stop();
    },
  };
}
