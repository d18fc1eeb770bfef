import { isTributaryError, messageOf, TributaryError } from "../core/index.ts";
import { type Backend, type Ended, TITLES } from "./backend.ts";
import { isFull, MIN_FREE_BYTES, type Room } from "./room.ts";

const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 10_000;
/** A server is given up when it does not come back, or ends within HEALTHY_MS, so many times in a row: after about 40 s of pauses. */
export const MAX_TRIES = 8;
const HEALTHY_MS = 5_000;
/** While its disk is full, a server is started again at this interval, for as long as it takes. */
const FULL_PAUSE_MS = 10_000;
const MIB = 1_048_576;
const LOOK_MS = 10_000;
const LOOK_TIMEOUT_MS = 5_000;
/** So many lines and letters of a server's log are shown. */
const LAST_LINES = 3;
const MAX_WORDS = 400;
/** A server counts as silent only after so many checks: a single one without an answer may be due to a busy machine. */
const SILENT_LOOKS = 2;

export interface KeepOptions {
  readonly say: (line: string) => void;
  /** The server is given up. Called once. */
  readonly onGivenUp: (error: TributaryError) => void;
  /** How often the server is asked whether it answers, and how long an answer may take. */
  readonly lookMs?: number;
  readonly lookTimeoutMs?: number;
  /** The first pause before a start. */
  readonly pauseMs?: number;
  /** What is left on the disk that the server keeps its data on; `null`: that cannot be told. */
  readonly room?: () => Room | null;
  /** The pause before a start while there is too little room. */
  readonly fullPauseMs?: number;
}

const titled = (name: Backend["name"]): string => TITLES[name][0]!.toUpperCase() + TITLES[name].slice(1);
const processOf = ({ pid, container }: Backend): string =>
  container !== null ? ` (container ${container})` : pid === null ? "" : ` (process ${pid})`;
const wayOf = ({ signal, code }: Ended): string => signal ?? (code === null ? "no exit code" : `exit ${code}`);
/** What a failure says, on one line. Of several lines it is the last, where a server says why it ended. */
const inOneLine = (error: unknown): string => {
  const [first = "", ...rest] = messageOf(error).trim().split("\n");
  return (rest.length === 0 ? first : rest.slice(-LAST_LINES).join("; ")).slice(0, MAX_WORDS);
};

const leftOn = ({ location, freeBytes, freeFiles }: Room): string =>
  freeBytes < MIN_FREE_BYTES
    ? `the disk of ${location} is full: ${Math.floor(freeBytes / MIB)} MiB are left, and it needs ${MIN_FREE_BYTES / MIB}`
    : `the disk of ${location} is full: it has room for only ${freeFiles} more files`;

// Long because the states in the picture below share what they count; each step is short, and they stand in the picture's order.
/**
 * Keeps a server that this hub started at work, on the same port and data:
 *
 *   up ── ends ─▶ pausing (0.2 s doubling to 10 s) ─▶ starting ── answers ─▶ up
 *   │                ▲                                   └── fails ─▶ pausing; MAX_TRIES in a row, or damaged data ─▶ given up, and said to the owner
 *   │                └ its disk is full: said once, until there is room again, which is said too and begins the count of tries again; every 10 s, and none of it counts
 *   ├ up for HEALTHY_MS: the row is over
 *   └ does not answer (suspended, or its disk hangs): said once; left alone, since ending it might lose more time than it takes; answers again: said
 *
 *   any ── close ─▶ closed
 *
 * A server that is not ours is only asked whether it answers.
 */
export function keepServer(first: Backend, startAgain: (signal: AbortSignal) => Promise<Backend>, options: KeepOptions): Backend {
  const { say, onGivenUp, pauseMs: firstPauseMs = FIRST_PAUSE_MS, fullPauseMs = FULL_PAUSE_MS, room = () => null } = options;
  const title = titled(first.name);
  let current = first;
  let upSinceMs = Date.now();
  let tries = 0;
  let pauseMs = firstPauseMs;
  const closing = new AbortController();
  let isClosed = false;
  let isUp = true;
  let isFullSaid = false;
  let timer: NodeJS.Timeout | undefined;
  let starting: Promise<void> = Promise.resolve();

  const watch = (server: Backend): void => {
    void server.exited.then((how) => {
      if (isClosed || server !== current) return;
      isUp = false;
      if (Date.now() - upSinceMs >= HEALTHY_MS) beginRow();
      later(`${title}${processOf(server)} ended (${wayOf(how)})`, null);
    });
  };
  const beginRow = (): void => {
    tries = 0;
    pauseMs = firstPauseMs;
  };
  /** Whether the disk is full now. If it was full before and has room again, that is said. */
  const fullRoom = (): Room | null => {
    const left = room();
    if (left !== null && isFull(left)) return left;
    if (isFullSaid && left !== null) {
      say(`There is room again on the disk of ${left.location}: ${title} goes on.`);
      isFullSaid = false;
      beginRow();
    }
    return null;
  };
  const sayFull = (what: string, left: Room, wasUp: boolean): void => {
    if (!isFullSaid)
      say(
        `${what}; ${leftOn(left)}. Make room there, or move the folder to a larger disk: nothing is lost, and devices keep their events. It is tried again every ${fullPauseMs / 1000} s.`,
      );
    else if (wasUp) say(`${what}; the disk of ${left.location} is still full.`);
    isFullSaid = true;
  };
  const later = (what: string, cause: unknown): void => {
    const full = fullRoom();
    if (full !== null) {
      // Without a cause, the server was up until now.
      sayFull(what, full, cause === null);
      timer = setTimeout(() => {
        fullRoom();
        starting = begin();
      }, fullPauseMs);
      return;
    }
    // Starting again does not repair a file.
    const isDamaged = isTributaryError(cause) && cause.code === "data-corrupt";
    if (isDamaged || ++tries > MAX_TRIES) {
      isClosed = true;
      const row = isDamaged ? "" : `, for the ${tries}th time in a row`;
      onGivenUp(
        new TributaryError(
          isDamaged ? "data-corrupt" : "backend-failed",
          `${what}${row}: it is not started again`,
          "See its log in the data directory's logs/ folder; then start the hub again.",
          { cause },
        ),
      );
      return;
    }
    say(`${what}; starting it again in ${pauseMs / 1000} s.`);
    timer = setTimeout(() => {
      starting = begin();
    }, pauseMs);
    pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
  };
  const begin = async (): Promise<void> => {
    try {
      const server = await startAgain(closing.signal);
      current = server;
      if (isClosed) return;
      isUp = true;
      upSinceMs = Date.now();
      fullRoom();
      say(`${title} is up again${processOf(server)}.`);
      watch(server);
    } catch (error) {
      if (!isClosed) later(`${title} did not start: ${inOneLine(error)}`, error);
    }
  };

  watch(first);
  const lookedAt = (): Backend | null => {
    if (!isUp || isClosed) return null;
    // It came up on a full disk; nothing else would say when there is room again.
    if (isFullSaid) fullRoom();
    return current;
  };
  const looks = look(lookedAt, title, options);
  return {
    name: first.name,
    url: first.url,
    how: first.how,
    detail: first.detail,
    container: first.container,
    get pid() {
      return isUp ? current.pid : null;
    },
    exited: first.exited,
    probe: () => current.probe(),
    async close() {
      isClosed = true;
      closing.abort();
      clearTimeout(timer);
      looks.stop();
      await starting;
      await current.close();
    },
  };
}

/** Asks a server again and again whether it answers, and says when it no longer does, and when it does again. */
function look(
  server: () => Backend | null,
  title: string,
  { say, lookMs = LOOK_MS, lookTimeoutMs = LOOK_TIMEOUT_MS }: KeepOptions,
): { stop(): void } {
  let misses = 0;
  let isLooking = false;
  const once = async (): Promise<void> => {
    const asked = server();
    if (isLooking || asked === null) return;
    isLooking = true;
    let problem: string | null = null;
    let late: NodeJS.Timeout | undefined;
    try {
      await Promise.race([
        asked.probe(),
        new Promise((_, reject) => {
          late = setTimeout(() => reject(new Error(`no answer in ${lookTimeoutMs / 1000} s`)), lookTimeoutMs);
        }),
      ]);
    } catch (error) {
      problem = inOneLine(error);
    } finally {
      clearTimeout(late);
      isLooking = false;
    }
    // A server that has ended meanwhile is started again; that is said elsewhere.
    if (server() !== asked) return;
    if (problem === null) {
      if (misses >= SILENT_LOOKS) say(`${title} answers again.`);
      misses = 0;
    } else if (++misses === SILENT_LOOKS) {
      say(`${title}${processOf(asked)} does not answer: ${problem}. It has not ended; the hub waits for it.`);
    }
  };
  const timer = setInterval(() => void once(), lookMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
