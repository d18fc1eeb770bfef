import type { Consumer, ConsumerMessages, JsMsg, NatsConnection } from "nats";
import { type Batch, decodeBatch, isTributaryError, messageOf, type Reply, SUBJECTS, TributaryError } from "../core/index.ts";
import { batchKey, zstd } from "../core/node.ts";
import type { Acceptor } from "./accept.ts";
import { ACK_WAIT_MS, type BrokerWatch, CONSUMER, STREAM } from "./broker.ts";
import { bury } from "./dead.ts";
import { sparing } from "./fair.ts";
import type { Hubs } from "./hubs.ts";
import { type Bounds, type Held, lanes } from "./lanes.ts";
import { publish, quietly, refusalOf, tokenOf, UNKNOWN } from "./reply.ts";
import { isAway, pause, type Standing } from "./standing.ts";
import { type Claims, checkOrigin, type Doorkeeper } from "./token.ts";
import type { seal, Vouch } from "./vouch.ts";

const MIB = 1_048_576;
/** What one process holds at a time. A device has at most 4 batches under way: a site's places are enough for 60 devices at once. */
const BOUNDS: Bounds = {
  maxHeld: 1_024,
  maxHeldBytes: 64 * MIB,
  maxSiteHeld: 256,
  maxSiteBytes: 16 * MIB,
  guaranteed: 4,
  maxWorking: 16,
  maxSiteWorking: 4,
  // Large batches of one site go one at a time: four at once would have another site's small one wait for them all in the event store.
  maxSiteWorkingBytes: 128 * 1024,
};
/** One request to the broker: about this many bytes, judged by the batches of the last, within these bounds; and open this long. */
const PULL_BYTES = 16 * MIB;
const MIN_PULL = 16;
const MAX_PULL = 128;
const PULL_MS = 5_000;
/** Held batches are kept from being handed out again this often. */
const KEEP_MS = ACK_WAIT_MS / 3;
/** A site's batches beyond its places go back to the broker, for about as long as those before them take. */
const MIN_POSTPONE_MS = 250;
const MAX_POSTPONE_MS = 30_000;
/**
 * A gap is told at once, unless the batch before it may be elsewhere: with another process, or with one that has just ended. Then it goes back to the broker
 * so often, waiting twice as long each time: about 3 s in all.
 */
const GAP_DELIVERIES = 7;
const GAP_PAUSE_MS = 50;
/** Batches that the process before had in hand when it ended come again within this time. */
const YOUNG_MS = 2 * ACK_WAIT_MS;
/** A batch that fails in a way nobody foresaw goes to the dead letters after so many tries. */
const MAX_INTERNAL_FAILURES = 5;
const RETRY_PAUSE_MS = 500;
const MAX_RETRY_PAUSE_MS = 30_000;
/** A batch without a token, of a device whose key is not known here: looked for so often. */
const UNKNOWN_DELIVERIES = 3;
const UNKNOWN_PAUSE_MS = 1_000;
const AT_ONCE = 0;
/** How long a batch takes, and how large it is, until some have come. */
const FIRST_GUESS_MS = 20;
const FIRST_GUESS_BYTES = MIB / 4;
/** How long those under way may take when the process ends. */
const CLOSE_MS = 10_000;
/** Refusals of one kind and place are said again this often at most. */
const REFUSALS_EVERY_MS = 10_000;
const MAX_REFUSAL_KINDS = 1_000;

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

interface HeldBatch extends Held {
  readonly message: JsMsg;
  readonly claims: Pick<Claims, "org" | "site" | "device">;
  readonly place: string;
  readonly receivedAtMs: number;
  /** Which life of the stream it is of: numbers are used again in a new one. */
  readonly stream: number;
  failures: number;
  isToldFull: boolean;
}

export interface Consuming {
  /** The event store went or came back: tries what is held. */
  wake(): void;
  /** What was asked of the broker is lost: asks anew. */
  renew(isNewStream: boolean): void;
  counts(): { readonly held: number; readonly heldBytes: number; readonly working: number; readonly postponed: number };
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
 */
export function consume(deps: ConsumeDeps): Consuming {
  const { say, standing, nc } = deps;
  const waiting = lanes<HeldBatch>(BOUNDS);
  const later = postponed();
  const sayRefused = sparing(say, { everyMs: REFUSALS_EVERY_MS, maxKinds: MAX_REFUSAL_KINDS });
  const begunMs = Date.now();
  const inherits = deps.broker.state().handedOut > 0;
  const closing = new AbortController();
  let stream = 0;

  const act = (item: HeldBatch, what: string, how: (message: JsMsg) => void): void => {
    // In a stream that was made anew its number belongs to another batch.
    if (item.stream === stream) quietly(say, what, () => how(item.message));
  };
  const postpone = (item: HeldBatch): void => {
    const ms = later.add(item);
    act(item, "postponement", (message) => message.nak(ms));
  };
  const tell = async (place: string, reply: Reply): Promise<void> => {
    const signed = await deps.seal(reply);
    quietly(say, "reply", () => publish(nc, `${SUBJECTS.receipt}.${place}`, signed));
  };
  const refuse = (item: HeldBatch, batch: Batch | null, error: unknown): Promise<void> => {
    const about = {
      batch: batchKey(item.message.data),
      origin: batch?.origin ?? null,
      firstSeq: batch?.firstSeq ?? null,
      // What the acceptor says is the log's own answer: a seq, or nothing.
      through: (batch === null ? null : deps.accepts.through(batch.origin)) as Reply["through"],
    };
    return tell(item.place, refusalOf(error, about));
  };
  const settle = (item: HeldBatch): void => {
    act(item, "acknowledgement", (message) => message.ack());
    waiting.done(item);
  };

  /** What has come from the broker: held, or given back, or refused for its token. */
  const intake = async (message: JsMsg): Promise<void> => {
    const receivedAtMs = message.info.timestampNanos / 1e6;
    const place = message.subject.slice(SUBJECTS.ingress.length + 1);
    try {
      const token = tokenOf(message);
      const named = deps.vouch.named(place, receivedAtMs, token !== undefined);
      if (named === null && token === undefined && message.info.deliveryCount < UNKNOWN_DELIVERIES) {
        // Enrolled with another process a moment ago?
        deps.vouch.look();
        return void quietly(say, "postponement", () => message.nak(UNKNOWN_PAUSE_MS));
      }
      const claims = named ?? (await deps.keeper.admit(token, receivedAtMs));
      const site = `${claims.org}.${claims.site}`;
      if (!`${place}.`.startsWith(`${site}.`))
        throw new TributaryError(
          "token-site",
          `a token for ${site} cannot send on ${message.subject}`,
          "Use the token of that site.",
        );
      const { data, info } = message;
      const about = { site, lane: place, seq: info.streamSequence, bytes: data.length };
      const item: HeldBatch = { ...about, message, claims, place, receivedAtMs, stream, failures: 0, isToldFull: false };
      const isAfterPostponed = later.returned(item);
      // While the event store is away nothing that was handed out goes back: no more is asked for than there is room.
      if (standing.away() === null && (isAfterPostponed || !waiting.take(item))) postpone(item);
      else if (standing.away() !== null) waiting.take(item, true);
    } catch (error) {
      await tell(place, refusalOf(error, { ...UNKNOWN, batch: batchKey(message.data) }));
      quietly(say, "acknowledgement", () => message.ack());
      sayRefused(`${place} ${isTributaryError(error) ? error.code : "internal"}`, { event: "batch-refused", place, error });
    }
  };

  const isElsewhere = ({ message, site, lane }: HeldBatch): boolean =>
    message.info.deliveryCount < GAP_DELIVERIES &&
    (deps.hubs.peers() > 0 || (inherits && Date.now() - begunMs < YOUNG_MS) || later.has(site, lane));

  const failed = async (item: HeldBatch, batch: Batch | null, error: unknown): Promise<void> => {
    if (isAway(error)) {
      // One that fails again and again while others are written is ill itself, and must not stop them.
      const isIll = standing.away() === null && ++item.failures > MAX_INTERNAL_FAILURES;
      if (!isIll) standing.failed(error);
      // The sender waits for a word, and a full disk may stay full; the batch stays queued all the same.
      if (error.code === "disk-full" && !item.isToldFull) await refuse(item, batch, error);
      item.isToldFull ||= error.code === "disk-full";
      return waiting.back(item, isIll ? Date.now() + retryMs(item.failures - MAX_INTERNAL_FAILURES) : AT_ONCE);
    }
    if (isTributaryError(error) && error.code === "batch-gap" && isElsewhere(item)) {
      act(item, "postponement", (message) =>
        message.nak(GAP_PAUSE_MS * 2 ** Math.min(message.info.deliveryCount - 1, GAP_DELIVERIES)),
      );
      return waiting.done(item);
    }
    if (!isTributaryError(error) && item.failures < MAX_INTERNAL_FAILURES) {
      say({ event: "batch-postponed", place: item.place, error });
      return waiting.back(item, Date.now() + retryMs(item.failures++));
    }
    const why = await wordFor(deps, item, batch, error);
    if (why === error && isPoison(error)) {
      try {
        await bury(nc, item.message, item.place, error);
      } catch (lost) {
        say({ event: "dead-letter-not-kept", place: item.place, message: messageOf(lost) });
        void deps.broker.look();
        return waiting.back(item, Date.now() + retryMs(item.failures++));
      }
    }
    await refuse(item, batch, why);
    settle(item);
    sayRefused(`${item.place} ${isTributaryError(error) ? error.code : "internal"}`, {
      event: "batch-refused",
      place: item.place,
      error,
    });
  };

  const work = async (item: HeldBatch): Promise<void> => {
    let batch: Batch | null = null;
    const startedMs = performance.now();
    try {
      batch = decodeBatch(item.message.data, zstd);
      checkOrigin(item.claims, batch.origin);
      const signed = await deps.vouch.batch(tokenOf(item.message), batch, item.receivedAtMs);
      const { receipt, written, quarantined } = await deps.accepts.accept(
        batch,
        batchKey(item.message.data),
        item.receivedAtMs,
        signed,
      );
      standing.recovered();
      await tell(item.place, receipt);
      settle(item);
      const ms = performance.now() - startedMs;
      later.took(ms);
      const about = { origin: batch.origin, first: batch.firstSeq, events: batch.events.length, bytes: item.bytes };
      say({ event: "batch-accepted", ...about, written, quarantined, ms: Math.round(ms) });
    } catch (error) {
      await failed(item, batch, error);
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
    pump();
  }, KEEP_MS);
  // Lanes that pause after a failure.
  const retrying = setInterval(pump, RETRY_PAUSE_MS);

  let roomFreed: (() => void) | null = null;
  const room = async (): Promise<void> => {
    while (
      !closing.signal.aborted &&
      (standing.away() === null ? waiting.bytes >= BOUNDS.maxHeldBytes + PULL_BYTES : isFull(waiting))
    )
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, RETRY_PAUSE_MS);
        roomFreed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
  };
  const puller = pull({
    nc,
    say,
    look: () => deps.broker.look(),
    room,
    signal: closing.signal,
    take: async (message) => {
      await intake(message);
      pump();
    },
  });

  return {
    wake: pump,
    renew(isNewStream) {
      if (isNewStream) stream++;
      puller.renew();
    },
    counts: () => ({ held: waiting.held, heldBytes: waiting.bytes, working: waiting.working, postponed: later.count() }),
    async close() {
      closing.abort();
      puller.renew();
      roomFreed?.();
      await puller.done;
      // Another process may take at once what this one has not begun.
      for (const item of waiting.empty()) act(item, "return", (message) => message.nak());
      const until = Date.now() + CLOSE_MS;
      while (waiting.working > 0 && Date.now() < until) {
        await pause(20, new AbortController().signal);
        for (const item of waiting.empty()) act(item, "return", (message) => message.nak());
      }
      clearInterval(keeping);
      clearInterval(retrying);
    },
  };
}

const isFull = ({ held, bytes }: { readonly held: number; readonly bytes: number }): boolean =>
  held >= BOUNDS.maxHeld || bytes >= BOUNDS.maxHeldBytes;

const retryMs = (failures: number): number => Math.min(MAX_RETRY_PAUSE_MS, RETRY_PAUSE_MS * 2 ** failures);

/** Whether sending the same bytes again can never help. A wrong token, a gap or an unknown schema can be mended by the sender. */
const isPoison = (error: unknown): boolean =>
  !isTributaryError(error) ||
  ["batch-undecodable", "batch-too-large", "chain-broken", "origin-forked", "event-too-large", "signature-invalid"].includes(
    error.code,
  );

/**
 * Bytes that cannot be read, and batches with a wrong signature, are kept only where a good token came with them: else whoever reaches the broker could fill
 * the dead letters. Returns what is refused and not kept; the same error: it may be kept.
 */
async function wordFor(
  { keeper }: Pick<ConsumeDeps, "keeper">,
  { message, receivedAtMs }: HeldBatch,
  batch: Batch | null,
  error: unknown,
): Promise<unknown> {
  if (!isTributaryError(error) || (batch !== null && error.code !== "signature-invalid")) return error;
  try {
    await keeper.admit(tokenOf(message), receivedAtMs);
    return error;
  } catch (refused) {
    return batch === null ? refused : new TributaryError(error.code, error.message, "Sign it with the key of its device.");
  }
}

/** What has been given back to the broker for later, by site and lane; the broker's own bounds bound it. */
function postponed() {
  const sites = new Map<string, Map<string, Map<number, number>>>();
  let meanMs = FIRST_GUESS_MS;
  let count = 0;
  const ofLane = (site: string, lane: string): Map<number, number> | undefined => {
    const due = sites.get(site)?.get(lane);
    const now = Date.now();
    // Given back long ago and not seen since: another process has it.
    for (const [seq, dueMs] of due ?? []) if (dueMs + ACK_WAIT_MS < now) drop(site, lane, seq);
    return due;
  };
  const drop = (site: string, lane: string, seq: number): void => {
    const ofSite = sites.get(site);
    const due = ofSite?.get(lane);
    if (ofSite === undefined || due?.delete(seq) !== true) return;
    count--;
    if (due.size === 0) ofSite.delete(lane);
    if (ofSite.size === 0) sites.delete(site);
  };
  return {
    /** Notes a batch as given back; for how long, in milliseconds. Those of a site come back in the order in which they went. */
    add({ site, seq, lane }: HeldBatch): number {
      const ofSite = sites.get(site) ?? new Map<string, Map<number, number>>();
      const due = ofSite.get(lane) ?? new Map<number, number>();
      let before = BOUNDS.maxSiteHeld / 2;
      for (const { size } of ofSite.values()) before += size;
      const ms = Math.min(MAX_POSTPONE_MS, Math.max(MIN_POSTPONE_MS, before * meanMs));
      sites.set(site, ofSite.set(lane, due.set(seq, Date.now() + ms)));
      count++;
      return ms;
    },
    /** The batch is here again. Whether an earlier one of its lane is still to come back. */
    returned({ site, seq, lane }: HeldBatch): boolean {
      drop(site, lane, seq);
      for (const other of ofLane(site, lane)?.keys() ?? []) if (other < seq) return true;
      return false;
    },
    has: (site: string, lane: string): boolean => (ofLane(site, lane)?.size ?? 0) > 0,
    took(ms: number): void {
      meanMs = meanMs * 0.9 + ms * 0.1;
    },
    count: () => count,
  };
}

/** Asks the broker for batches, again and again; what goes wrong is said, looked into, and tried again. */
function pull({
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
  const sayNowAndThen = sparing(say, { everyMs: REFUSALS_EVERY_MS, maxKinds: 1 });
  const once = async (): Promise<void> => {
    consumer ??= await nc.jetstream().consumers.get(STREAM, CONSUMER);
    // Not by bytes: a request that names both ends only with its time when the messages were enough and the bytes were not (nats.js 2.29).
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
