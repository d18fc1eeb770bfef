import type { JsMsg, NatsConnection } from "nats";
import { type Batch, decodeBatchInTurns, SUBJECTS, TributaryError } from "../core/index.ts";
import { batchKey, pause, zstdInTurns } from "../core/node.ts";
import { checkOrigin, type Doorkeeper } from "../http/index.ts";
import type { Acceptor } from "./accept.ts";
import { ACK_WAIT_MS, type BrokerWatch } from "./broker.ts";
import { breaths, paced, SLICE_MS } from "./fair.ts";
import type { Hubs } from "./hubs.ts";
import { type Bounds, lanes } from "./lanes.ts";
import { type HeldBatch, outcomes, RETRY_PAUSE_MS } from "./outcome.ts";
import { postponed } from "./postponed.ts";
import { PULL_BYTES, pull } from "./pull.ts";
import { quietly, shownBy, tokenOf } from "./reply.ts";
import type { Standing } from "./standing.ts";
import type { seal, Vouch } from "./vouch.ts";

const MIB = 1_048_576;
/** What one process holds at a time. A device has at most 4 batches under way, so a site's slots are enough for 60 devices at once. */
const BOUNDS: Bounds = {
  maxHeld: 1_024,
  maxHeldBytes: 64 * MIB,
  maxSiteHeld: 256,
  maxSiteBytes: 16 * MIB,
  guaranteed: 4,
  maxWorking: 16,
  maxSiteWorking: 4,
  // Large batches of one site go one at a time. With four at once, another site's small batch would wait for all of them in the event store.
  maxSiteWorkingBytes: 128 * 1024,
};
/** This often the broker is told that a held batch is still being worked on, so that it does not hand it out again. */
const KEEP_MS = ACK_WAIT_MS / 3;
/** A batch without a token comes from a device whose key is not known here: we look for the key this many times. */
const UNKNOWN_DELIVERIES = 3;
const UNKNOWN_PAUSE_MS = 1_000;
/** How long the batches under way may take when the process ends. */
const CLOSE_MS = 10_000;
const CLOSE_LOOK_MS = 20;

export interface ConsumeDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  /** Who may speak for a device. */
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly accepts: Acceptor;
  readonly standing: Standing;
  readonly broker: Pick<BrokerWatch, "look" | "state">;
  readonly hubs: Pick<Hubs, "peers">;
  readonly say: (event: Record<string, unknown>) => void;
}

export interface Consuming {
  /** The event store went away or came back: tries what is held. */
  wake(): void;
  /** What was asked of the broker is lost: asks again. */
  renew(isNewStream: boolean): void;
  close(): Promise<void>;
}

/**
 * Takes batches from the broker. Those of one device are handled one after the other, in their order; devices run side by side, and sites take turns. A batch is
 * acknowledged once its events are in the log, or once its sender has been told why they are not; until then it is kept from being handed out again.
 *
 *   handed out ─┬▶ no key, wrong token ─▶ refusal, ack                       the field keeps its events and stops sending
 *               ├▶ its site has its share ─▶ back to the broker, for a while
 *               └▶ held ─▶ worked on ─┬▶ accepted ─▶ receipt, ack
 *                    ▲                ├▶ gap ─▶ refusal, ack; back to the broker where the batch before may be elsewhere
 *                    │                ├▶ undecodable, damaged, forked ─▶ dead letter, refusal, ack
 *                    └────────────────┴▶ event store away, or an unforeseen failure ─▶ held on
 * Long because its functions are the steps of one state machine, drawn above; each is short.
 */
export function consume(deps: ConsumeDeps): Consuming {
  const { say, standing, nc } = deps;
  const waiting = lanes<HeldBatch>(BOUNDS);
  const later = postponed();
  const closing = new AbortController();
  const turn = breaths();
  let stream = 0;
  let roomFreed: (() => void) | null = null;

  const act = (item: HeldBatch, what: string, how: (message: JsMsg) => void): void => {
    // In a stream that was made again, its number belongs to another batch.
    if (item.stream === stream) quietly(say, what, () => how(item.message));
  };
  const outcome = outcomes({ ...deps, waiting, later, act, pump: () => pump() });

  /** What has come from the broker: held, or given back, or refused for its token. */
  const intake = async (message: JsMsg): Promise<void> => {
    const sender = message.subject.slice(SUBJECTS.ingress.length + 1);
    try {
      const item = await admitted(deps, message, sender, stream);
      if (item === null) {
        // Enrolled with another process a moment ago?
        deps.vouch.look();
        return void quietly(say, "postponement", () => message.nak(UNKNOWN_PAUSE_MS));
      }
      const isAfterPostponed = later.returned(item);
      // While the event store is away, nothing that was handed out goes back. We ask for no more than there is room for.
      if (standing.away() !== null) waiting.take(item, true);
      else if (isAfterPostponed || !waiting.take(item)) {
        const ms = later.add(item, message.info.redelivered);
        act(item, "postponement", () => message.nak(ms));
      }
    } catch (error) {
      outcome.unread(message, sender, error);
    }
    pump();
  };

  const work = async (item: HeldBatch): Promise<void> => {
    let batch: Batch | null = null;
    const startedMs = performance.now();
    try {
      const breathe = paced(turn, item.site, SLICE_MS);
      batch = await decodeBatchInTurns(item.message.data, zstdInTurns, breathe);
      checkOrigin(item.claims, batch.origin);
      const key = batchKey(item.message.data);
      const vouched = await deps.vouch.batch(shownBy(item.message), batch, item.receivedAtMs);
      const { receipt, written, quarantined } = await deps.accepts.accept(batch, key, item.receivedAtMs, breathe, vouched);
      await outcome.taken(item, receipt);
      const ms = performance.now() - startedMs;
      later.took(ms, BOUNDS.maxSiteWorking);
      const about = { origin: batch.origin, first: batch.firstSeq, events: batch.events.length, bytes: item.bytes };
      say({ event: "batch-accepted", ...about, written, quarantined, ms: Math.round(ms) });
    } catch (error) {
      await outcome.failed(item, batch, error);
    }
  };
  const next = (): HeldBatch | null => {
    if (closing.signal.aborted) return null;
    if (standing.away() === null) return waiting.next(Date.now());
    if (waiting.working > 0 || !standing.mayTry()) return null;
    // Without anything to try, the store's own word has to do.
    if (waiting.held === 0) standing.recovered();
    return waiting.next(Number.POSITIVE_INFINITY);
  };
  const pump = (): void => {
    for (let item = next(); item !== null; item = next()) {
      const current = item;
      work(current)
        .catch((error: unknown) => {
          say({ event: "batch-unhandled", error });
          waiting.back(current, Date.now() + RETRY_PAUSE_MS);
        })
        .finally(() => {
          roomFreed?.();
          pump();
        });
    }
  };

  const keeping = setInterval(() => {
    for (const item of waiting.items()) act(item, "sign of life", (message) => message.working());
  }, KEEP_MS);
  // Lanes that pause after a failure.
  const retrying = setInterval(pump, RETRY_PAUSE_MS);
  const isFull = (): boolean =>
    standing.away() === null
      ? waiting.bytes >= BOUNDS.maxHeldBytes + PULL_BYTES
      : waiting.held >= BOUNDS.maxHeld || waiting.bytes >= BOUNDS.maxHeldBytes;
  const room = async (): Promise<void> => {
    while (!closing.signal.aborted && isFull())
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, RETRY_PAUSE_MS);
        roomFreed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
  };
  const puller = pull({ nc, say, look: deps.broker.look, room, signal: closing.signal, take: intake });

  return {
    wake: pump,
    renew(isNewStream) {
      if (isNewStream) stream++;
      puller.renew();
    },
    async close() {
      closing.abort();
      puller.renew();
      roomFreed?.();
      await puller.done;
      for (const until = Date.now() + CLOSE_MS; ; await pause(CLOSE_LOOK_MS, NEVER)) {
        // Another process may take what this one has not begun, at once.
        for (const item of waiting.empty()) act(item, "return", (message) => message.nak());
        if (waiting.working === 0 || Date.now() > until) break;
      }
      clearInterval(keeping);
      clearInterval(retrying);
    },
  };
}
const NEVER = new AbortController().signal;

/** A message whose token is valid, and for the subject that it came on. Throws what is told to its sender. */
async function admitted(
  { keeper, vouch }: Pick<ConsumeDeps, "keeper" | "vouch">,
  message: JsMsg,
  sender: string,
  stream: number,
): Promise<HeldBatch | null> {
  const { data, info } = message;
  const receivedAtMs = info.timestampNanos / 1e6;
  const token = tokenOf(message);
  const named = vouch.named(sender, receivedAtMs, token !== undefined);
  if (named === null && token === undefined && (!vouch.knows || info.deliveryCount < UNKNOWN_DELIVERIES)) return null;
  const claims = named ?? (await keeper.admitMessage(token, data, receivedAtMs));
  const site = `${claims.org}.${claims.site}`;
  if (!`${sender}.`.startsWith(`${site}.`)) {
    const words = `a token for ${site} cannot send on ${message.subject}`;
    throw new TributaryError("token-site", words, "Use the token of that site.");
  }
  const of = { site, lane: sender, seq: info.streamSequence, bytes: data.length };
  return { ...of, message, claims, sender, receivedAtMs, stream, failures: 0, isToldFull: false };
}
