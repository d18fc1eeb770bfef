import { decodeBatch, isTributaryError, PROTOCOL, type Reply, TributaryError } from "../../services/core/index.ts";
import { batchKey, zstd } from "../../services/core/node.ts";
import type { Field } from "../../services/field/index.ts";
import { openIdentity } from "../../services/field/keys.ts";
import { openOutbox } from "../../services/field/outbox.ts";
import { emptyTally, type Tally } from "../../services/field/push/pass.ts";
import { pushAll } from "../../services/field/push/push.ts";
import type { Transport } from "../../services/field/way.ts";
import type { MemoryHub } from "./memory-hub.ts";

/** What may befall a message: `lost` never arrives, and of `unanswered` no answer comes. `null`: it arrives. */
export type Mishap = "lost" | "unanswered" | null;

const lost = (): TributaryError => new TributaryError("backend-unreachable", "the link is gone", "Try again.");

/** The way from a device to a hub in memory. `befalls` is asked before each message. */
export function memoryTransport(hub: MemoryHub, field: Field, befalls: () => Mishap = () => null): Transport {
  let sentBytes = 0;
  return {
    window: 1,
    tellsArrival: false,
    maxFrameBytes: 1_000_000,
    isOpen: true,
    identity: openIdentity(field.store, { url: "nats://memory", now: hub.now }),
    async hello(request) {
      const mishap = befalls();
      if (mishap === "lost") throw lost();
      const hello = await hub.accepts.hello(request, hub.now());
      if (mishap === "unanswered") throw lost();
      return { kind: "hello", hello: { ...hello, protocol: PROTOCOL } };
    },
    ask: async () => {
      throw lost();
    },
    pull: async () => {
      throw lost();
    },
    receivedBytes: 0,
    send(frame) {
      sentBytes += frame.length;
      const mishap = befalls();
      if (mishap === "lost") return { taken: Promise.reject(lost()), reply: Promise.resolve(null) };
      const reply = answered(hub, frame).then((answer) => (mishap === "unanswered" ? null : answer));
      return { taken: reply.then(() => undefined), reply };
    },
    get sentBytes() {
      return sentBytes;
    },
    async close() {},
  };
}

async function answered(hub: MemoryHub, frame: Uint8Array): Promise<Reply> {
  const batch = decodeBatch(frame, zstd);
  try {
    return { ...(await hub.take(batch)), batch: batchKey(frame) };
  } catch (error) {
    if (!isTributaryError(error)) throw error;
    const { code, message, hint } = error;
    const { origin, firstSeq } = batch;
    return {
      kind: "refusal",
      batch: batchKey(frame),
      origin,
      firstSeq,
      code,
      message,
      hint,
      through: hub.accepts.through(origin),
    };
  }
}

/** Sends all that a device has to a hub in memory, by the device's own code, and returns what became of it. Throws as a sync does, without trying again. */
export async function pushToMemory(hub: MemoryHub, field: Field, befalls?: () => Mishap): Promise<Tally> {
  const { store, gate } = field;
  const tally = emptyTally();
  const outbox = openOutbox(store, gate, hub.now);
  await pushAll({ store, gate, outbox, schemas: null, now: hub.now }, memoryTransport(hub, field, befalls), {}, tally);
  return tally;
}
