import {
  type Attempted,
  type Db,
  dueTargets,
  failUnknown,
  inTransaction,
  noteAttempts,
  restoreKnown,
  type Taken,
  takeDigest,
  takeDue,
} from "../views/index.ts";
import { EMAIL_TIMEOUT_MS, emailSender } from "./email.ts";
import { digestOf, type Message, messageOf } from "./message.ts";
import { type Outcome, reasonOf, type Send } from "./outcome.ts";
import type { Settings, Target } from "./settings.ts";
import { webhookSender } from "./webhook.ts";
import { within } from "./within.ts";

/** How many messages are under way to one target at once, all in one transaction. After a crash at most these are sent again. */
const MAX_IN_FLIGHT = 4;
/** The most notices in one digest. The others follow in another one right after. */
const MAX_DIGEST_ROWS = 500;
/** After this many tries (three and a half hours with the backoff below) somebody must look: `tributary notify retry` goes on. */
const MAX_TRIES = 12;
const FIRST_BACKOFF_MS = 10_000;
const MAX_BACKOFF_MS = 3_600_000;
/** The pause is up to a fifth longer or shorter, so that rows that failed together do not come back together. */
const JITTER = 0.2;

/** A connection on which nothing comes back for this long counts as lost. */
export const QUERY_TIMEOUT_MS = 30_000;

export interface DeliverOptions {
  /** Opens a new connection. The caller ends it. */
  readonly connect: () => Promise<Db>;
  readonly settings: Settings;
  readonly say?: (event: Record<string, unknown>) => void;
  /** The time, Unix milliseconds. */
  readonly now?: () => number;
  /** From 0 up to 1. */
  readonly random?: () => number;
  readonly maxTries?: number;
  readonly firstBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** How long one sending may take; default: 8 s for webhooks, 30 s for mail. */
  readonly sendTimeoutMs?: number;
}

const instant = (ms: number): string => new Date(ms).toISOString();

/** What a delivery came to, in notifications. */
export interface Tally {
  readonly sent: number;
  readonly failed: number;
  readonly later: number;
  /** How long the target is left alone, because nothing of the last batch arrived. */
  readonly restMs: number;
}

const NOTHING: Tally = { sent: 0, failed: 0, later: 0, restMs: 0 };
const plus = (a: Tally, b: Tally): Tally => ({
  sent: a.sent + b.sent,
  failed: a.failed + b.failed,
  later: a.later + b.later,
  restMs: Math.max(a.restMs, b.restMs),
});

export const isEmpty = ({ sent, failed, later }: Tally): boolean => sent + failed + later === 0;

/** The way to a target. */
export function senderOf(
  { way }: Target,
  { now = Date.now, sendTimeoutMs }: Pick<DeliverOptions, "now" | "sendTimeoutMs">,
): Send {
  const timeout = sendTimeoutMs === undefined ? {} : { timeoutMs: sendTimeoutMs };
  return way.kind === "webhook" ? webhookSender(way.webhook, { now, ...timeout }) : emailSender(way.email, timeout);
}

/**
 * Sends all that is due now, each target on a connection of its own, and returns when nothing is left or what is left must wait.
 * Two calls at once share the work; neither sends what the other has taken.
 */
export async function deliverOnce(options: DeliverOptions): Promise<Tally> {
  const targets = await withConnection(options, async (db) => {
    await restoreNamed(db, options);
    return readyTargets(db, options);
  });
  const ended = await Promise.allSettled(targets.map((target) => deliverTarget(target, options)));
  const broken = ended.find(({ status }) => status === "rejected");
  if (broken?.status === "rejected") throw broken.reason;
  return ended.flatMap((end) => (end.status === "fulfilled" ? [end.value] : [])).reduce(plus, NOTHING);
}

/** Runs `work` on a connection of its own, and leaves none behind. */
export async function withConnection<T>({ connect }: Pick<DeliverOptions, "connect">, work: (db: Db) => Promise<T>): Promise<T> {
  const db = await connect();
  // A connection lost between queries is reported here; the next query fails and says so.
  db.on("error", () => {});
  try {
    return await work(db);
  } finally {
    await within(QUERY_TIMEOUT_MS, db.end(), "the connection to the database did not close").catch(() => {});
  }
}

/** Puts back what failed only because its target was not named. Once at each start is enough, because settings are read at the start. */
export async function restoreNamed(db: Db, { settings, now = Date.now, say = () => {} }: DeliverOptions): Promise<void> {
  const restored = await restoreKnown(db, [...settings.keys()], instant(now()));
  if (restored > 0) say({ event: "notifications-restored", count: restored });
}

/** The targets for which there is something to send now. Notices for a target that the settings do not name fail, with that reason. */
export async function readyTargets(
  db: Db,
  { settings, now = Date.now, say = () => {} }: DeliverOptions,
): Promise<readonly Target[]> {
  const unknown = await failUnknown(db, [...settings.keys()]);
  if (unknown > 0) say({ event: "notifications-unknown-target", count: unknown });
  const at = now();
  const due = await dueTargets(db, instant(at));
  return due.flatMap(({ target: name, oldest }) => {
    const target = settings.get(name);
    return target !== undefined && Date.parse(oldest) + (target.digestMs ?? 0) <= at ? [target] : [];
  });
}

/** Sends what is due for one target, batch by batch, until nothing is due, nothing arrives, or `signal` says to stop. */
export async function deliverTarget(target: Target, options: DeliverOptions, signal?: AbortSignal): Promise<Tally> {
  const { sendTimeoutMs = EMAIL_TIMEOUT_MS } = options;
  const send = senderOf(target, options);
  return withConnection(options, async (db) => {
    let sum = NOTHING;
    while (signal?.aborted !== true) {
      const work = deliverBatch(db, target, send, options);
      const batch = await within(sendTimeoutMs + QUERY_TIMEOUT_MS, work, "the database did not answer");
      sum = plus(sum, batch);
      if (isEmpty(batch) || batch.restMs > 0) break;
    }
    return sum;
  });
}

/**
 * Takes, sends and marks in one transaction. While it is open, nobody else takes these rows; if it is lost, they wait again.
 * So what was sent and not marked is sent again with the same key.
 */
async function deliverBatch(db: Db, target: Target, send: Send, options: DeliverOptions): Promise<Tally> {
  const { now = Date.now, say = () => {} } = options;
  const { tally, tried } = await inTransaction(db, async () => {
    const batches = await take(db, target, instant(now()));
    const tried = await Promise.all(batches.map(async ({ message, rows }) => ({ rows, outcome: await attempt(send, message) })));
    const attempted = tried.flatMap(({ rows, outcome }) => attemptedAs(rows, outcome, options));
    if (attempted.length > 0) await noteAttempts(db, attempted, instant(now()));
    return { tally: tallyOf(tried, attempted, options), tried };
  });
  if (!isEmpty(tally)) say({ event: "notifications-delivered", target: target.name, ...tally, ...noted(tried) });
  return tally;
}

interface Batch {
  readonly message: Message;
  readonly rows: readonly Taken[];
}

interface Tried {
  readonly rows: readonly Taken[];
  readonly outcome: Outcome;
}

async function take(db: Db, target: Target, now: string): Promise<readonly Batch[]> {
  if (target.digestMs === null) {
    const rows = await takeDue(db, target.name, now, MAX_IN_FLIGHT);
    return rows.map((row) => ({ message: messageOf(row, target), rows: [row] }));
  }
  const rows = await takeDigest(db, { target: target.name, now, periodMs: target.digestMs, limit: MAX_DIGEST_ROWS });
  return rows.length === 0 ? [] : [{ message: digestOf(rows, target), rows }];
}

/** Sends a message. A bug in one way of sending must not stop the others, nor lose what was to be sent. */
const attempt = (send: Send, message: Message): Promise<Outcome> =>
  send(message).catch((error: unknown) => ({ kind: "later", note: reasonOf(error) }));

function attemptedAs(rows: readonly Taken[], outcome: Outcome, options: DeliverOptions): readonly Attempted[] {
  const { now = Date.now, maxTries = MAX_TRIES } = options;
  const at = now();
  if (outcome.kind === "sent")
    return rows.map(({ id }) => ({ id, state: "sent", nextTryAt: instant(at), lastError: outcome.missed ?? null }));
  if (outcome.kind === "refused")
    return rows.map(({ id }) => ({ id, state: "failed", nextTryAt: instant(at), lastError: outcome.note }));
  // One pause for all rows of a message, so that a digest stays together.
  const tries = Math.max(...rows.map((row) => row.tries)) + 1;
  const nextTryAt = instant(at + Math.max(backoffMs(tries, options), outcome.afterMs ?? 0));
  return rows.map(({ id }) =>
    tries >= maxTries
      ? { id, state: "failed", nextTryAt, lastError: `given up after ${tries} tries: ${outcome.note}` }
      : { id, state: "waiting", nextTryAt, lastError: outcome.note },
  );
}

/** The pause after the n-th try: 10 s, doubling to an hour, give or take a fifth. */
export function backoffMs(
  tries: number,
  {
    random = Math.random,
    firstBackoffMs = FIRST_BACKOFF_MS,
    maxBackoffMs = MAX_BACKOFF_MS,
  }: Pick<DeliverOptions, "random" | "firstBackoffMs" | "maxBackoffMs">,
): number {
  const pauseMs = Math.min(firstBackoffMs * 2 ** (tries - 1), maxBackoffMs);
  return Math.round(pauseMs * (1 + JITTER * (2 * random() - 1)));
}

function tallyOf(
  tried: readonly Tried[],
  attempted: readonly Attempted[],
  { firstBackoffMs = FIRST_BACKOFF_MS }: DeliverOptions,
): Tally {
  const count = (state: string): number => attempted.filter((row) => row.state === state).length;
  const laters = tried.flatMap(({ outcome }) => (outcome.kind === "later" ? [outcome] : []));
  // A target that takes nothing is tried once in each pause, not once for each row. One row that never arrives does not hold up the others.
  const isDown = tried.length > 0 && laters.length === tried.length;
  const restMs = isDown ? Math.max(firstBackoffMs, ...laters.map(({ afterMs = 0 }) => afterMs)) : 0;
  return { sent: count("sent"), failed: count("failed"), later: count("waiting"), restMs };
}

/** What the other side said to the first message that did not arrive. */
function noted(tried: readonly Tried[]): { readonly error?: string } {
  const outcome = tried.find(({ outcome: { kind } }) => kind !== "sent")?.outcome;
  return outcome === undefined ? {} : { error: outcome.note };
}
