import { join } from "node:path";
import { HUB_SITE, type HubOrg, isTributaryError, type NatsSettings, TributaryError } from "../core/index.ts";
import type { Appended } from "../field/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Write } from "./desk.ts";
import { checkMayWrite } from "./may-write.ts";

/** The person who decides is waiting: this is about 15 s of pauses, in which the hub may start its door again. */
const MAX_TRIES = 5;
const REPLY_TIMEOUT_MS = 8_000;
/** The exit code of failures where something does not answer. */
const AWAY_EXIT = 7;
/** Events that are written in one transaction. */
const CHUNK = 500;

/** Under which name a hub's own people, or programs, write. */
export interface ConsoleName {
  readonly org: string;
  readonly site: string;
  readonly device: string;
}

/** The site, of each organisation, in whose name programs append through the hub. It speaks for no hub, and no site in the field may have its name. */
export const PROGRAMS_SITE = "programs";

/** The hub's people, deciding by programs and not at the console: an origin of its own, so that both can write at a time. */
export const programsOfHub = (org: string): ConsoleName => ({ org, site: HUB_SITE, device: "api" });
/** Programs of an organisation, appending events. */
export const programsOf = (org: string): ConsoleName => ({ org, site: PROGRAMS_SITE, device: "api" });

/** What a hub's own console needs to write, and to reach its hub. */
export interface ConsoleOptions {
  /** The hub's folder, which has the console's database. */
  readonly dir: string;
  readonly org: string;
  /** Who writes; default: the console. Each has a database of its own. */
  readonly as?: ConsoleName;
  /** The organisation that the hub's log says it belongs to. */
  readonly hub: () => Promise<HubOrg>;
  readonly gate: Gate;
  /** The hub's door. */
  readonly url: string;
  readonly nats: NatsSettings;
  /** Throws where the hub cannot take anything now. */
  readonly mustAnswer: () => Promise<void>;
  /** A token with which the console may append and enrol. */
  readonly token: (name: ConsoleName) => Promise<string>;
  /** Called when the door does not answer and is tried again after a pause. */
  readonly onWaiting?: (because: string, pauseMs: number) => void;
}

/** Writes through the hub's own origin: what its people decide becomes events, which go the way of every other event. */
export function consoleWriter({ dir, org, as, hub, gate, url, nats, mustAnswer, token, onWaiting }: ConsoleOptions): Write {
  const name = as ?? { org, site: HUB_SITE, device: "console" };
  const path = join(dir, as === undefined ? "console.db" : `${as.org}.${as.site}.${as.device}.db`);
  return async (events, shown = []) => {
    // Before anything is written: no decision is made while the hub cannot take it.
    await mustAnswer();
    const owner = await hub();
    // Only who writes needs it: commands that only read start without.
    const { openField } = await import("../field/index.ts");
    using field = openField({ path, name, schemas: gate });
    checkMayWrite(field.store.current().name, owner, events);
    for (const { entity, seen } of shown) field.noteSeen(entity, seen);
    const appended: Appended[] = [];
    for (let at = 0; at < events.length; at += CHUNK) appended.push(...(await field.appendMany(events.slice(at, at + CHUNK))));
    const sync = await field
      .sync({
        url,
        nats,
        // Whoever has the hub's signing key may enrol a new key for the console, since its database can be lost like any other.
        token: await token(name),
        maxTries: MAX_TRIES,
        replyTimeoutMs: REPLY_TIMEOUT_MS,
        onProgress: (progress) => {
          if (progress.kind === "waiting") onWaiting?.(progress.because, progress.pauseMs);
        },
      })
      .catch((error: unknown) => {
        if (!isTributaryError(error) || error.exitCode !== AWAY_EXIT) throw error;
        throw new TributaryError(
          error.code,
          `the hub's door does not answer: ${error.message}`,
          `What was decided is kept in ${path}, and is sent with the next decision. See ${join(dir, "logs/ingress.log")}.`,
          { cause: error },
        );
      });
    return { appended, sync };
  };
}

/** So many wait for their turn to write. */
const MAX_WAITING = 200;

/** One write at a time, in the order in which they come: for a service that many ask at once. Throws `backend-failed` where too many wait already. */
export function inTurns(write: Write): Write {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return async (events, shown) => {
    if (waiting >= MAX_WAITING)
      throw new TributaryError(
        "backend-failed",
        `${waiting} wait to write already`,
        "Nothing was written. Try again in a moment.",
      );
    waiting++;
    const mine = last.then(() => write(events, shown)).finally(() => waiting--);
    last = mine.catch(() => {});
    return mine;
  };
}
