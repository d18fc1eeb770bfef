import { messageOf, TributaryError } from "../core/index.ts";
import { type Backend, type Ended, TITLES } from "./backend.ts";

const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 10_000;
/** A server that does not come back, or ends within HEALTHY_MS, this often in a row is given up: about 40 s of pauses. */
export const MAX_TRIES = 8;
const HEALTHY_MS = 5_000;
const LOOK_MS = 10_000;
const LOOK_TIMEOUT_MS = 5_000;
/** Lines of a server's log that are said, and letters. */
const LAST_LINES = 3;
const MAX_WORDS = 400;
/** Servers are seldom silent by themselves: one look that finds nothing may be a busy machine. */
const SILENT_LOOKS = 2;

export interface KeepOptions {
  readonly say: (line: string) => void;
  /** The server is given up. Called once. */
  readonly onGivenUp: (error: TributaryError) => void;
  /** How often it is asked whether it answers, and how long that may take. */
  readonly lookMs?: number;
  readonly lookTimeoutMs?: number;
  /** The first pause before a start. */
  readonly pauseMs?: number;
}

const titled = (name: Backend["name"]): string => TITLES[name][0]!.toUpperCase() + TITLES[name].slice(1);
const processOf = ({ pid, container }: Backend): string =>
  container !== null ? ` (container ${container})` : pid === null ? "" : ` (process ${pid})`;
const wayOf = ({ signal, code }: Ended): string => signal ?? (code === null ? "no exit code" : `exit ${code}`);
/** What a failure says, on one line: of many lines the last, where a server tells why it ended. */
const inOneLine = (error: unknown): string => {
  const [first = "", ...rest] = messageOf(error).trim().split("\n");
  return (rest.length === 0 ? first : rest.slice(-LAST_LINES).join("; ")).slice(0, MAX_WORDS);
};

/**
 * Keeps a server that this hub started at work, on the same port and data:
 *
 *   up ── ends ─▶ pausing (0.2 s doubling to 10 s) ─▶ starting ── answers ─▶ up
 *   │                ▲                                   └── fails ─▶ pausing; MAX_TRIES in a row ─▶ given up, and said to the owner
 *   ├ up for HEALTHY_MS: the row is over
 *   └ does not answer (suspended, or its disk hangs): said once; left alone, since ending it might lose more time than it takes; answers again: said
 *
 *   any ── close ─▶ closed
 *
 * A server that is not ours is only asked whether it answers.
 */
export function keepServer(first: Backend, startAgain: (signal: AbortSignal) => Promise<Backend>, options: KeepOptions): Backend {
  const { say, onGivenUp, pauseMs: firstPauseMs = FIRST_PAUSE_MS } = options;
  const title = titled(first.name);
  let current = first;
  let upSinceMs = Date.now();
  let tries = 0;
  let pauseMs = firstPauseMs;
  const closing = new AbortController();
  let isClosed = false;
  let isUp = true;
  let timer: NodeJS.Timeout | undefined;
  let starting: Promise<void> = Promise.resolve();

  const watch = (server: Backend): void => {
    void server.exited.then((how) => {
      if (isClosed || server !== current) return;
      isUp = false;
      if (Date.now() - upSinceMs >= HEALTHY_MS) {
        tries = 0;
        pauseMs = firstPauseMs;
      }
      later(`${title}${processOf(server)} ended (${wayOf(how)})`, null);
    });
  };
  const later = (what: string, cause: unknown): void => {
    if (++tries > MAX_TRIES) {
      isClosed = true;
      onGivenUp(
        new TributaryError(
          "backend-failed",
          `${what}, for the ${tries}th time in a row: it is not started again`,
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
      say(`${title} is up again${processOf(server)}.`);
      watch(server);
    } catch (error) {
      if (!isClosed) later(`${title} did not start: ${inOneLine(error)}`, error);
    }
  };

  watch(first);
  const looks = look(() => (isUp && !isClosed ? current : null), title, options);
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

/** Asks a server again and again whether it answers, and says when it does not any more, and when it does again. */
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
    // One that has ended meanwhile is started again; that is said elsewhere.
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
