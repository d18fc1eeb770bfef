import { join } from "node:path";
import { type EntityRef, isTributaryError, TributaryError, type Vector } from "../core/index.ts";
import { type Appended, type NewEvent, openField, type SyncResult } from "../field/index.ts";
import type { Gate } from "../gate/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL } from "../http/index.ts";
import { natsSettings } from "../local/index.ts";
import { type HubState, issueHubToken } from "./places.ts";
import { mustAnswer } from "./reach.ts";

const TOKEN_S = 300;
/** Whoever decides sits in front of it: about 15 s of pauses at most, while the hub starts its door again. */
const MAX_TRIES = 5;
const REPLY_TIMEOUT_MS = 8_000;
/** The exit code of failures whose cause is that something does not answer. */
const AWAY_EXIT = 7;
/** Events that are written in one transaction. */
const CHUNK = 500;

/** The hub's own origin: what its people decide is written as events, and goes the way of every other event. */
export async function writeAtDesk(
  dir: string,
  state: HubState,
  gate: Gate,
  events: readonly NewEvent[],
  /** What its writer has been shown of entities: what they write builds on it. */
  shown: readonly { readonly entity: EntityRef; readonly seen: Vector }[] = [],
): Promise<{ readonly appended: readonly Appended[]; readonly sync: SyncResult }> {
  // Before anything is written: a decision that nobody can take yet is not made.
  await mustAnswer(dir, state, ["nats"]);
  const name = { org: state.org, site: "hub", device: "console" };
  using desk = openField({ path: join(dir, "console.db"), name, schemas: gate });
  for (const { entity, seen } of shown) desk.noteSeen(entity, seen);
  const appended: Appended[] = [];
  for (let at = 0; at < events.length; at += CHUNK) appended.push(...(await desk.appendMany(events.slice(at, at + CHUNK))));
  // Whoever has the hub's signing key may give the console a key anew: its database can be lost as any.
  const token = await issueHubToken(dir, { ...name, lifetimeS: TOKEN_S, scopes: [SCOPE_APPEND, SCOPE_ENROL] });
  const sync = await desk
    .sync({
      url: state.natsUrl,
      nats: natsSettings(),
      token,
      maxTries: MAX_TRIES,
      replyTimeoutMs: REPLY_TIMEOUT_MS,
      onProgress: (progress) => {
        if (progress.kind === "waiting")
          process.stderr.write(
            `The hub's door does not answer (${progress.because}); trying again in ${Math.ceil(progress.pauseMs / 1000)} s.\n`,
          );
      },
    })
    .catch((error: unknown) => {
      if (!isTributaryError(error) || error.exitCode !== AWAY_EXIT) throw error;
      throw new TributaryError(
        error.code,
        `the hub's door does not answer: ${error.message}`,
        `What was decided is kept in ${join(dir, "console.db")}, and goes with the next decision. See ${join(dir, "logs/ingress.log")}.`,
        { cause: error },
      );
    });
  return { appended, sync };
}
