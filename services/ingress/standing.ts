import {
  type ErrorCode,
  type HubOrg,
  type Incarnation,
  type IncarnationId,
  isTributaryError,
  messageOf,
  TributaryError,
} from "../core/index.ts";
import { pause } from "../core/node.ts";
import { currentIncarnation, declareHubOrg, INCARNATION_STREAM, incarnations, type Log } from "../log/index.ts";

/** How often the event store is asked whether it is there, while it is and while it is not. */
const LOOK_MS = 2_000;
const LOOK_AWAY_MS = 500;
/** If it does not answer in this time, it counts as away. */
const LOOK_TIMEOUT_MS = 3_000;

const AWAY: readonly string[] = ["backend-unreachable", "backend-failed", "disk-full"] satisfies ErrorCode[];
/** Whether a failure is the event store's, and not the batch's. */
export const isAway = (error: unknown): error is TributaryError => isTributaryError(error) && AWAY.includes(error.code);

/** How the event store stands: kept in memory, so that a question can be answered at once while it is away. */
export interface Standing {
  /** Why it counts as away; `null`: it answers. */
  away(): TributaryError | null;
  /** A call has failed. */
  failed(error: TributaryError): void;
  /** A write has succeeded, or nothing is held that could be tried. */
  recovered(): void;
  /** Whether one write should be tried now. While a store takes no writes, reading proves nothing. Whoever asks and is told yes must try. */
  mayTry(): boolean;
  /** The log's present incarnation; `null` until it is known. */
  incarnation(): Incarnation | null;
  /** Names the log for good: the id of its first incarnation. */
  logId(): IncarnationId | null;
  /** The organisation whose hub the log is of; `null`: nobody has said. */
  hub(): HubOrg;
  /** The last position that was seen, and when the store last answered. */
  seen(): { readonly end: bigint | null; readonly atMs: number };
  close(): Promise<void>;
}

/**
 * Watches the event store:
 *
 *   answers ── a call fails ─▶ away (unreachable) ── it answers ─▶ answers
 *      ▲                  └─▶ away (failed, disk full) ── it answers ─▶ a single write may be tried ─┐
 *      └─────────────────────────────────────────────────────────────── which succeeds ◀─────────────┘
 *
 * `onDoubt` is called whenever the log may have become another one: its server was away, its subscription was cut, its incarnation changed. What anybody
 * remembers of it is worth nothing then.
 * Long because its functions are the steps of one state machine, drawn above; each is short.
 */
export async function watchStore({
  log,
  org,
  say,
  onDoubt,
  onChange,
}: {
  log: Log;
  /** The organisation whose hub this is, which the log is told; `null`: the log says. */
  org: HubOrg;
  say: (event: Record<string, unknown>) => void;
  onDoubt: () => void;
  /** The store went away or came back, or a write may be tried. */
  onChange: () => void;
}): Promise<Standing> {
  let away: TributaryError | null = null;
  let awaySinceMs = 0;
  let mayTry = false;
  let seen: { end: bigint | null; atMs: number } = { end: null, atMs: 0 };
  let lives: readonly Incarnation[] = [];
  let hub = org;
  let isStale = true;
  let follow = new AbortController();
  const closing = new AbortController();

  const failed = (error: TributaryError): void => {
    const isNews = away === null;
    away = error;
    mayTry = false;
    isStale = true;
    if (!isNews) return;
    awaySinceMs = Date.now();
    onDoubt();
    say({ event: "event-store-away", code: error.code, message: error.message });
    onChange();
  };
  const back = (): void => {
    if (away === null) return;
    away = null;
    mayTry = false;
    say({ event: "event-store-back", afterMs: Date.now() - awaySinceMs });
    onChange();
  };

  /** Reads the log's incarnations again, and follows them from there. */
  const learn = async (): Promise<void> => {
    const { journal } = log;
    await currentIncarnation(journal);
    hub = await declareHubOrg(journal, org);
    const now = await incarnations(journal);
    const last = now.at(-1)!;
    const before = lives.at(-1);
    lives = now;
    isStale = false;
    if (before !== undefined && before.id !== last.id) {
      onDoubt();
      say({ event: "incarnation-began", incarnation: last.id, how: last.how, by: last.by });
    }
    follow.abort();
    follow = new AbortController();
    const { signal } = follow;
    const doubt = (): void => {
      if (signal.aborted) return;
      isStale = true;
      onDoubt();
    };
    journal.follow({ prefixes: [INCARNATION_STREAM], after: last.position, signal, onFact: doubt, onInterruption: doubt });
  };

  const look = async (): Promise<void> => {
    try {
      const end = await inTime(log.end(), LOOK_TIMEOUT_MS, silent);
      seen = { end, atMs: Date.now() };
      if (isStale) await inTime(learn(), LOOK_TIMEOUT_MS, silent);
    } catch (error) {
      if (!closing.signal.aborted) failed(isAway(error) ? error : unanswered(error));
      return;
    }
    if (away === null) return;
    if (away.code === "backend-unreachable") return back();
    mayTry = true;
    onChange();
  };
  const watch = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await pause(away === null && !isStale ? LOOK_MS : LOOK_AWAY_MS, closing.signal);
      if (!closing.signal.aborted) await look();
    }
  };
  await look();
  const watching = watch();

  return {
    away: () => away,
    failed,
    recovered: back,
    mayTry() {
      const may = mayTry;
      mayTry = false;
      return may;
    },
    incarnation: () => lives.at(-1) ?? null,
    logId: () => lives[0]?.id ?? null,
    hub: () => hub,
    seen: () => seen,
    async close() {
      closing.abort();
      follow.abort();
      await watching;
    },
  };
}

const silent = (): TributaryError => unanswered(`no answer in ${LOOK_TIMEOUT_MS} ms`);
const unanswered = (error: unknown): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `the event store does not answer: ${messageOf(error)}`,
    "Start it, or check its address.",
    {
      cause: error,
    },
  );

/** Limits the time of a question. After it the question fails as `tooLate` says, and a later answer is ignored. */
export async function inTime<T>(question: Promise<T>, timeoutMs: number, tooLate: () => Error): Promise<T> {
  question.catch(() => {});
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(tooLate()), timeoutMs);
  try {
    return await Promise.race([question, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
