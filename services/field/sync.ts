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
import {
  emptyPull,
  isRevocation,
  type PullDeps,
  type PullOptions,
  type PullResult,
  type PullTally,
  pullAll,
  pullResultOf,
} from "./replica/pull.ts";
import { openTransport } from "./transport.ts";
import { type Transport, type TransportOptions, whatIsThere } from "./way.ts";

/** How long a device waits for the receipt of a batch that the broker has taken. */
export const REPLY_TIMEOUT_MS = 15_000;

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 5 * 60_000;
const MAX_TRIES = 10;
/** Tries once all is queued at the hub's broker: only receipts are missing then, which is no reason to keep somebody waiting. */
const MAX_QUEUED_TRIES = 3;

/** What a sync works with. `replica`: `null` where the device folds no views; then nothing is pulled. */
export interface SyncDeps extends PushDeps {
  readonly replica: Pulling | null;
}

/** What pulling works with, and who is told when rows may have changed. */
export type Pulling = PullDeps;

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
  /** Opens the way to the hub; default: by the address. For an app that has a way of its own, and for tests. */
  readonly open?: (options: TransportOptions) => Promise<Transport>;
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
  /** What came down; `null`: this device folds no views. */
  readonly pulled: PullResult | null;
  /** Why not all came down that the hub has for this device; `null`: all did. What was sent is confirmed all the same. */
  readonly pullProblem: PullProblem | null;
}

/** Why a pull came to no end. */
export type PullProblem = Pick<TributaryError, "code" | "message" | "hint">;

/** The pause before try `n` (1 the first repetition): 1 s doubling to 5 min, full jitter. */
export const pauseMs = (n: number, random: () => number): number =>
  Math.round(random() * Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (n - 1)));

export const worthAnotherTry = (error: unknown): error is TributaryError =>
  isTributaryError(error) &&
  (error.code === "backend-unreachable" || error.code === "backend-failed" || error.code === "internal");

/**
 * Sends all events that have no receipt yet, then pulls what the hub has for this device, and returns when both are done. After a dropped link it tries again with growing
 * pauses, after a refused token it does not. Whatever happens, events stay in the database until their receipt has come. What cannot be pulled does not undo what was sent: the result says why.
 */
export async function sync(deps: SyncDeps, options: SyncOptions): Promise<SyncResult> {
  const total = emptyTally();
  const pulled = emptyPull();
  let problem: PullProblem | null = null;
  await trying(options, {
    once: () => overWay(deps, options, total, (transport) => syncOver(deps, transport, options, { total, pulled })),
    progress: () => total.confirmed + total.queued + pulled.pages,
    gaveUp: (tries, error) => {
      if (!(error instanceof PullFailed)) return gaveUp(tries, total, error);
      problem = problemIn(error.why);
      return null;
    },
    mostTries: () => (total.waiting === null ? MAX_TRIES : MAX_QUEUED_TRIES),
  });
  return resultOf(deps, { total, pulled, problem });
}

/** Pulls what the hub has for this device. Fails as a sync does; what came until then is kept. */
export async function pull(deps: SyncDeps, options: SyncOptions): Promise<PullResult> {
  const { replica } = deps;
  if (replica === null) throw noViews();
  const total = emptyTally();
  const pulled = emptyPull();
  await trying(options, {
    once: () => overWay(deps, options, total, (transport) => pullOver(deps, transport, options, pulled)),
    progress: () => pulled.pages,
    gaveUp: (tries, error) =>
      new TributaryError(
        "sync-gave-up",
        `the pull gave up after ${tries} tries: ${error.message}`,
        "What came until then is kept; pull again when there is a link.",
        { cause: error },
      ),
    mostTries: () => MAX_TRIES,
  });
  return pullResultOf(pulled, replica.replica);
}

export const noViews = (): TributaryError =>
  new TributaryError(
    "usage",
    "this device folds no views, so it holds nothing of what others write",
    "Open its database with the project's views: openField({ views: […] }), or run the command where projections/ is.",
  );

/** What could not be pulled, after all was sent. */
class PullFailed extends Error {
  readonly why: TributaryError;
  constructor(why: TributaryError) {
    super(why.message, { cause: why });
    this.why = why;
  }
}

const problemIn = ({ code, message, hint }: TributaryError): PullProblem => ({ code, message, hint });

interface Trying {
  once(): Promise<void>;
  /** What only grows: a try that was stopped further on than the one before begins the count again. */
  progress(): number;
  /** The error of the last try, in the caller's words; `null`: it is no failure of the whole. */
  gaveUp(tries: number, error: TributaryError | PullFailed): TributaryError | null;
  mostTries(): number;
}

/** Tries until it is done, or until trying is no use. */
async function trying(options: SyncOptions, { once, progress, gaveUp, mostTries }: Trying): Promise<void> {
  const { maxTries, signal, onProgress, random = Math.random } = options;
  const sleep = options.sleep ?? ((ms: number) => pause(ms, signal ?? new AbortController().signal));
  let wasThere = false;
  for (let tries = 1; ; tries++) {
    const before = progress();
    try {
      await once();
      return;
    } catch (error) {
      const why = error instanceof PullFailed ? error.why : error;
      if (error instanceof PullFailed && (!worthAnotherTry(why) || signal?.aborted)) {
        gaveUp(tries, error);
        return;
      }
      if (!worthAnotherTry(why) || signal?.aborted) throw why;
      const there = whatIsThere(why);
      // A server of another kind was told by whoever found it.
      if (options.failFast && !wasThere && there !== null && !(error instanceof PullFailed))
        throw there === "nothing" ? nothingThere(options.url, why) : why;
      wasThere ||= there === null;
      if (progress() > before) tries = 1;
      if (tries >= (maxTries ?? mostTries())) {
        const last = gaveUp(tries, error instanceof PullFailed ? error : why);
        if (last === null) return;
        throw last;
      }
      const ms = pauseMs(tries, random);
      onProgress?.({ kind: "waiting", tries, pauseMs: ms, because: why.message });
      await sleep(ms);
      if (signal?.aborted) throw why;
    }
  }
}

/** The way to a hub, and what this device knows of it and says of itself. */
export async function openWay(
  { store, now }: PushDeps,
  { url, token, nats, replyTimeoutMs = REPLY_TIMEOUT_MS, open = openTransport }: SyncOptions,
): Promise<Transport> {
  const given = { url, ...(token === undefined ? {} : { token }) };
  const transport = await open({
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

/** Works over a way that is opened for it, and counts what went over it. */
async function overWay(
  deps: SyncDeps,
  options: SyncOptions,
  total: Tally,
  work: (transport: Transport) => Promise<void>,
): Promise<void> {
  total.waiting = null;
  const transport = await openWay(deps, options);
  try {
    await work(transport);
  } finally {
    total.sentBytes += transport.sentBytes;
    total.receivedBytes += transport.receivedBytes;
    await transport.close();
  }
}

/** Sends, then pulls; and sends the confirmations of what was deleted. */
export async function syncOver(
  deps: SyncDeps,
  transport: Transport,
  options: SyncOptions,
  { total, pulled }: { readonly total: Tally; readonly pulled: PullTally },
): Promise<void> {
  await pushOver(deps, transport, options, total);
  const { replica } = deps;
  if (replica === null) return;
  try {
    await pullOver(deps, transport, options, pulled);
  } catch (error) {
    throw isTributaryError(error) ? new PullFailed(error) : error;
  }
  if (!pulled.hasWritten) return;
  await pushOver(deps, transport, { ...options, again: false }, total);
  pulled.hasWritten = false;
}

/** Sends all that has no receipt. What is shown of own events follows. */
export async function pushOver(deps: SyncDeps, transport: Transport, options: SyncOptions, total: Tally): Promise<void> {
  try {
    await pushAll(deps, transport, options, total);
  } catch (error) {
    giveUpIfRevoked(deps, transport, error);
    throw error;
  } finally {
    deps.replica?.replica.refresh();
    deps.replica?.onTaken();
  }
}

export async function pullOver(deps: SyncDeps, transport: Transport, options: PullOptions, pulled: PullTally): Promise<void> {
  if (deps.replica === null) return;
  try {
    await pullAll(deps.replica, transport, options, pulled);
  } catch (error) {
    giveUpIfRevoked(deps, transport, error);
    throw error;
  }
}

/** A device that its hub has revoked keeps nothing that came from there. */
function giveUpIfRevoked({ replica, store }: SyncDeps, { identity }: Transport, error: unknown): void {
  if (replica === null || !isRevocation(error, store, identity.isPinned)) return;
  replica.replica.purgeAll("revoked");
  replica.onTaken();
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

interface Outcome {
  readonly total: Tally;
  readonly pulled: PullTally;
  readonly problem: PullProblem | null;
}

const resultOf = ({ store, replica }: SyncDeps, { total, pulled, problem }: Outcome): SyncResult => {
  const { waiting: _, queued: __, ...rest } = total;
  return {
    ...rest,
    pending: store.origins().reduce((sum, origin) => sum + (origin.lastSeq - origin.syncedThrough), 0),
    pulled: replica === null ? null : pullResultOf(pulled, replica.replica),
    pullProblem: problem,
  };
};
