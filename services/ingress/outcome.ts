import type { JsMsg, NatsConnection } from "nats";
import { type Batch, isTributaryError, messageOf, type Receipt, type Reply, SUBJECTS, TributaryError } from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import type { Claims, Doorkeeper } from "../http/index.ts";
import type { Acceptor } from "./accept.ts";
import { ACK_WAIT_MS, type BrokerWatch } from "./broker.ts";
import { bury } from "./dead.ts";
import { sparing } from "./fair.ts";
import type { Hubs } from "./hubs.ts";
import type { Held, Lanes } from "./lanes.ts";
import type { Postponed } from "./postponed.ts";
import { publish, quietly, refusalOf, tokenOf, UNKNOWN } from "./reply.ts";
import { isAway, type Standing } from "./standing.ts";
import type { seal } from "./vouch.ts";

/**
 * A gap is told at once, unless the batch before it may be elsewhere: with another process, or with one that has just ended. Then it goes back to the broker
 * so often, waiting twice as long each time: about 3 s in all.
 */
const GAP_DELIVERIES = 7;
const GAP_PAUSE_MS = 50;
/** Batches that the process before had in hand when it ended are delivered again within this time. */
const YOUNG_MS = 2 * ACK_WAIT_MS;
/** A batch that fails in an unforeseen way goes to the dead letters after so many tries. */
const MAX_INTERNAL_FAILURES = 5;
export const RETRY_PAUSE_MS = 500;
const MAX_RETRY_PAUSE_MS = 30_000;
const AT_ONCE = 0;
/**
 * A site whose batches were refused so often in a row, and none taken, has each further one looked at only after a pause: whoever sends again and again what is
 * refused must not keep the hub busy with it.
 */
const PATIENCE = 20;
const IMPATIENT_PAUSE_MS = 20;
/**
 * Of messages without a valid token nobody knows whose they are: together they are answered so often, after a first few at once. Those that wait for it are bounded in
 * time (well below what the broker waits) and bytes; beyond, they are answered at once.
 */
const UNREAD_EVERY_MS = 10;
const MAX_UNREAD_WAIT_MS = 1_500;
const MAX_UNREAD_BYTES = 16 * 1_048_576;
/** Refusals of one kind and one sender are reported again this often at most. */
const SAY_EVERY_MS = 10_000;
const MAX_KINDS = 1_000;

export interface HeldBatch extends Held {
  readonly message: JsMsg;
  readonly claims: Pick<Claims, "org" | "site" | "device">;
  readonly sender: string;
  readonly receivedAtMs: number;
  /** Which life of the stream it belongs to: a new stream uses the same numbers again. */
  readonly stream: number;
  failures: number;
  isToldFull: boolean;
}

export interface OutcomeDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly accepts: Acceptor;
  readonly standing: Standing;
  readonly broker: Pick<BrokerWatch, "look" | "state">;
  readonly hubs: Pick<Hubs, "peers">;
  readonly say: (event: Record<string, unknown>) => void;
  readonly waiting: Lanes<HeldBatch>;
  readonly later: Postponed;
  /** Does something with a batch's message, unless that belongs to an earlier life of the stream. */
  readonly act: (item: HeldBatch, what: string, how: (message: JsMsg) => void) => void;
  /** Looks for the next to work on. */
  readonly pump: () => void;
}

export interface Outcomes {
  taken(item: HeldBatch, receipt: Receipt): Promise<void>;
  /** Ends a batch that was not taken, or goes on holding it. */
  failed(item: HeldBatch, batch: Batch | null, error: unknown): Promise<void>;
  /** Refuses a message before it had a slot. */
  unread(message: JsMsg, sender: string, error: unknown): void;
}

/**
 * What becomes of a batch, and what its sender is told.
 * Long because it is the one list of what may become of a batch.
 */
export function outcomes(deps: OutcomeDeps): Outcomes {
  const { nc, say, standing, waiting, act } = deps;
  const sayRefused = sparing(say, { everyMs: SAY_EVERY_MS, maxKinds: MAX_KINDS });
  const refusedInARow = new Map<string, number>();
  const unhurried = inTurns();
  const begunMs = Date.now();
  const inherits = deps.broker.state().handedOut > 0;

  const tell = async (sender: string, reply: Reply): Promise<void> => {
    const signed = await deps.seal(reply);
    quietly(say, "reply", () => publish(nc, `${SUBJECTS.receipt}.${sender}`, signed));
  };
  const noteRefused = (sender: string, error: unknown): void =>
    sayRefused(`${sender} ${isTributaryError(error) ? error.code : "internal"}`, {
      event: "batch-refused",
      place: sender,
      error,
    });
  const refuse = (item: HeldBatch, batch: Batch | null, error: unknown): Promise<void> => {
    const of =
      batch === null ? UNKNOWN : { origin: batch.origin, firstSeq: batch.firstSeq, through: deps.accepts.through(batch.origin) };
    return tell(item.sender, refusalOf(error, { ...of, batch: batchKey(item.message.data) }));
  };
  const finish = (item: HeldBatch): void => {
    act(item, "acknowledgement", (message) => message.ack());
    waiting.done(item);
  };
  const holdOn = (item: HeldBatch): void => waiting.back(item, Date.now() + retryMs(item.failures++));
  /** A site whose batches are refused again and again has to wait between them. */
  const losePatience = (site: string): void => {
    const times = (refusedInARow.get(site) ?? 0) + 1;
    refusedInARow.set(site, times);
    if (times <= PATIENCE) return;
    waiting.rest(site, Date.now() + IMPATIENT_PAUSE_MS);
    setTimeout(deps.pump, IMPATIENT_PAUSE_MS + 1).unref();
  };

  /** Whether the batch before it may be with another process, and come in a moment. */
  const isElsewhere = ({ message, site, lane }: HeldBatch): boolean =>
    message.info.deliveryCount < GAP_DELIVERIES &&
    (deps.hubs.peers() > 0 || (inherits && Date.now() - begunMs < YOUNG_MS) || deps.later.has(site, lane));

  const storeFailed = async (item: HeldBatch, batch: Batch | null, error: TributaryError): Promise<void> => {
    // A batch that fails again and again while others are written is itself at fault, and must not stop them.
    const isIll = standing.away() === null && ++item.failures > MAX_INTERNAL_FAILURES;
    if (!isIll) standing.failed(error);
    // The sender waits for a word, and a full disk may stay full; the batch stays queued all the same.
    if (error.code === "disk-full" && !item.isToldFull) await refuse(item, batch, error);
    item.isToldFull ||= error.code === "disk-full";
    waiting.back(item, isIll ? Date.now() + retryMs(item.failures - MAX_INTERNAL_FAILURES) : AT_ONCE);
  };
  const isBuried = async (item: HeldBatch, error: unknown): Promise<boolean> => {
    try {
      await bury(nc, item.message, item.sender, error);
      return true;
    } catch (lost) {
      say({ event: "dead-letter-not-kept", place: item.sender, message: messageOf(lost) });
      void deps.broker.look();
      return false;
    }
  };

  return {
    async taken(item, receipt) {
      standing.recovered();
      refusedInARow.delete(item.site);
      await tell(item.sender, receipt);
      finish(item);
    },
    async failed(item, batch, error) {
      if (isAway(error)) return storeFailed(item, batch, error);
      if (isTributaryError(error) && error.code === "batch-gap" && isElsewhere(item)) {
        act(item, "postponement", (message) => message.nak(GAP_PAUSE_MS * 2 ** (message.info.deliveryCount - 1)));
        return waiting.done(item);
      }
      if (!isTributaryError(error) && item.failures < MAX_INTERNAL_FAILURES) {
        say({ event: "batch-postponed", place: item.sender, error });
        return holdOn(item);
      }
      const why = await wordFor(deps, item, batch, error);
      if (why === error && isPoison(error, batch) && !(await isBuried(item, error))) return holdOn(item);
      await refuse(item, batch, why);
      finish(item);
      losePatience(item.site);
      noteRefused(item.sender, error);
    },
    unread(message, sender, error) {
      noteRefused(sender, error);
      unhurried(message.data.length, () => {
        void tell(sender, refusalOf(error, { ...UNKNOWN, batch: batchKey(message.data) })).finally(() =>
          quietly(say, "acknowledgement", () => message.ack()),
        );
      });
    },
  };
}

/** Does small things a hundred times a second at most, the first few at once. */
function inTurns(): (bytes: number, act: () => void) => void {
  let slotMs = 0;
  let waitingBytes = 0;
  return (bytes, act) => {
    const now = Date.now();
    const next = Math.max(slotMs, now - PATIENCE * UNREAD_EVERY_MS) + UNREAD_EVERY_MS;
    const waitMs = next - now;
    if (waitMs <= 0) slotMs = next;
    if (waitMs <= 0 || waitMs > MAX_UNREAD_WAIT_MS || waitingBytes + bytes > MAX_UNREAD_BYTES) return act();
    slotMs = next;
    waitingBytes += bytes;
    setTimeout(() => {
      waitingBytes -= bytes;
      act();
    }, waitMs);
  };
}

const retryMs = (failures: number): number => Math.min(MAX_RETRY_PAUSE_MS, RETRY_PAUSE_MS * 2 ** failures);

/**
 * Whether sending the same bytes again can never help. A wrong token, a gap, an unknown schema, or too much in one batch that can be read, can be mended by
 * the sender.
 */
const isPoison = (error: unknown, batch: Batch | null): boolean =>
  !isTributaryError(error) ||
  (error.code === "batch-too-large" && batch === null) ||
  ["batch-undecodable", "chain-broken", "origin-forked", "event-too-large", "signature-invalid"].includes(error.code);

/**
 * Bytes that cannot be read, and batches with a wrong signature, are kept only where a good token came with them: else whoever reaches the broker could fill
 * the dead letters. Returns what is refused and not kept; the same error: it may be kept.
 */
async function wordFor(
  { keeper }: Pick<OutcomeDeps, "keeper">,
  { message, receivedAtMs }: HeldBatch,
  batch: Batch | null,
  error: unknown,
): Promise<unknown> {
  if (!isTributaryError(error) || (batch !== null && error.code !== "signature-invalid")) return error;
  try {
    await keeper.admitMessage(tokenOf(message), message.data, receivedAtMs);
    return error;
  } catch (refused) {
    return batch === null ? refused : new TributaryError(error.code, error.message, "Sign it with the key of its device.");
  }
}
