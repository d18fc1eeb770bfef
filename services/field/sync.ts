import {
  isNatsUrl,
  isTributaryError,
  type NatsSettings,
  parseNatsUrl,
  type QuarantineNote,
  TributaryError,
} from "../core/index.ts";
import { pause } from "../core/node.ts";
import { finishRotation } from "./enrol.ts";
import { openIdentity } from "./keys.ts";
import type { AsideNote } from "./move.ts";
import { emptyTally, type PushDeps, type PushOptions, type RejectedNote, type Tally } from "./push/pass.ts";
import { pushAll } from "./push/push.ts";
import type { Store } from "./store.ts";
import { openTransport } from "./transport.ts";
import { type Transport, whatIsThere } from "./way.ts";

/** How long a device waits for the receipt of a batch that the broker has taken. */
export const REPLY_TIMEOUT_MS = 15_000;

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 5 * 60_000;
const MAX_TRIES = 10;
/** Tries once all is queued at the hub's broker: only receipts are missing then, which is no reason to keep somebody waiting. */
const MAX_QUEUED_TRIES = 3;

export interface SyncOptions extends PushOptions {
  /** The hub: `nats://…` (several servers separated by commas) or `https://…`. */
  readonly url: string;
  /** The site's token. A device whose key is enrolled needs none. */
  readonly token?: string;
  /** Login and certificates at the broker: contents, not names of files. Default: what the token gives or the device's own key, and the system's authorities. */
  readonly nats?: NatsSettings;
  readonly replyTimeoutMs?: number;
  /** How many tries are made before giving up, including the first; default 10, or 3 when all is queued and only receipts are missing. Any progress starts the count again. */
  readonly maxTries?: number;
  /** Give up at once if nothing listens at the address: for somebody who waits and can correct it. */
  readonly failFast?: boolean;
  /** Pauses between tries; replaceable so that a test need not wait. */
  readonly sleep?: (ms: number) => Promise<void>;
  readonly random?: () => number;
}

export interface SyncResult {
  /** Events that the hub confirmed during this sync. */
  readonly confirmed: number;
  /** Events still without a receipt (written meanwhile). */
  readonly pending: number;
  /** Events that the hub had confirmed before but lacked, because it was restored from a backup. They were sent again. */
  readonly restoredBehind: number;
  /** Events that were written again under a new name, because a twin had written under their name too or an event before them was set aside. */
  readonly moved: number;
  /** Events that stay on this device: damaged, or refused by the hub one by one. */
  readonly setAside: readonly AsideNote[];
  readonly quarantined: readonly QuarantineNote[];
  /** Events that were in quarantine: how many the hub's people have let count, and which they have turned down. */
  readonly released: number;
  readonly rejected: readonly RejectedNote[];
  /** Schema versions that the hub told this device of, and that the device told the hub of. */
  readonly schemasLearnt: number;
  readonly schemasProposed: number;
  /** Bytes handed to the network, including those for hellos and for what was lost or repeated. */
  readonly sentBytes: number;
  /** Bytes that came: answers, receipts and pages. */
  readonly receivedBytes: number;
  readonly batches: number;
  /** Device clock minus hub clock, in milliseconds; `null` if the hub did not tell its time. */
  readonly clockOffsetMs: number | null;
  /** Set if this device found out that it is a copy, and went on under a new name. */
  readonly renamedTo: string | null;
}

/** The pause before try `n` (1 the first repetition): 1 s doubling to 5 min, full jitter. */
export const pauseMs = (n: number, random: () => number): number =>
  Math.round(random() * Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (n - 1)));

export const worthAnotherTry = (error: unknown): error is TributaryError =>
  isTributaryError(error) &&
  (error.code === "backend-unreachable" || error.code === "backend-failed" || error.code === "internal");

/**
 * Sends all events that have no receipt yet, and returns when all have one. After a dropped link it tries again with growing
 * pauses, after a refused token it does not. Whatever happens, events stay in the database until their receipt has come.
 */
export async function sync(deps: PushDeps, options: SyncOptions): Promise<SyncResult> {
  const { maxTries, signal, onProgress, random = Math.random } = options;
  const sleep = options.sleep ?? ((ms: number) => pause(ms, signal ?? new AbortController().signal));
  const total = emptyTally();
  let wasThere = false;
  for (let tries = 1; ; tries++) {
    const before = total.confirmed + total.queued;
    try {
      await once(deps, options, total);
      return resultOf(deps.store, total);
    } catch (error) {
      if (!worthAnotherTry(error) || signal?.aborted) throw error;
      const there = whatIsThere(error);
      // A server of another kind was told by whoever found it.
      if (options.failFast && !wasThere && there !== null) throw there === "nothing" ? nothingThere(options.url, error) : error;
      wasThere ||= there === null;
      if (total.confirmed + total.queued > before) tries = 1;
      const most = maxTries ?? (total.waiting === null ? MAX_TRIES : MAX_QUEUED_TRIES);
      if (tries >= most) throw gaveUp(tries, total, error);
      const ms = pauseMs(tries, random);
      onProgress?.({ kind: "waiting", tries, pauseMs: ms, because: error.message });
      await sleep(ms);
      if (signal?.aborted) throw error;
    }
  }
}

/** The way to a hub, and what this device knows of it and says of itself. */
export async function openWay(
  { store, now }: PushDeps,
  { url, token, nats, replyTimeoutMs = REPLY_TIMEOUT_MS }: SyncOptions,
): Promise<Transport> {
  const given = { url, ...(token === undefined ? {} : { token }) };
  const transport = await openTransport({
    ...given,
    identity: openIdentity(store, { ...given, now }),
    ...(nats === undefined ? {} : { nats }),
    name: store.name,
    replyTimeoutMs,
  });
  try {
    await finishRotation(store, transport, now);
    return transport;
  } catch (error) {
    await transport.close();
    throw error;
  }
}

async function once(deps: PushDeps, options: SyncOptions, total: Tally): Promise<void> {
  total.waiting = null;
  const transport = await openWay(deps, options);
  try {
    await pushAll(deps, transport, options, total);
  } finally {
    total.sentBytes += transport.sentBytes;
    total.receivedBytes += transport.receivedBytes;
    await transport.close();
  }
}

/** Looks for the failure `disk-full` in an error and its causes. */
function isHubFull(error: unknown): error is TributaryError {
  for (let at = error; at instanceof Error; at = at.cause) if (isTributaryError(at) && at.code === "disk-full") return true;
  return false;
}

function gaveUp(tries: number, { waiting }: Tally, error: TributaryError): TributaryError {
  const code = isHubFull(error) ? "disk-full" : "sync-gave-up";
  if (waiting !== null) {
    return new TributaryError(
      code,
      error.message,
      "They are safe here and there, and go into the hub's log by themselves when it is back; sync again for the receipts.",
      { cause: error },
    );
  }
  return new TributaryError(
    code,
    `the sync gave up after ${tries} tries: ${error.message}`,
    "The events are safe on this device; sync again when there is a link.",
    { cause: error },
  );
}

const nothingThere = (url: string, error: TributaryError): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `nothing listens at ${isNatsUrl(url) ? parseNatsUrl(url).servers.join(", ") : new URL(url).host}`,
    "Check the address and the network, and that the hub runs (`tributary hub`). The events are safe on this device; --tries 10 keeps trying.",
    { cause: error },
  );

const resultOf = (store: Store, { waiting: _, queued: __, ...rest }: Tally): SyncResult => ({
  ...rest,
  pending: store.origins().reduce((sum, origin) => sum + (origin.lastSeq - origin.syncedThrough), 0),
});
