/** What the routes of a hub's door need of it: its database, its desk, its keys. */
import { type ApiHub, openDatabase, openLive } from "../api/index.ts";
import { isTributaryError, TributaryError } from "../core/index.ts";
import { consoleWriter, inTurns, programsOf, programsOfHub, type Write } from "../desk/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL } from "../http/index.ts";
import { natsSettings } from "../local/index.ts";
import { hubDeclarations, type Log } from "../log/index.ts";
import { revokeSite, withKeyBook } from "./hub-keys.ts";
import { withdrawRevoked } from "./logins.ts";
import { mustAnswer } from "./reach.ts";
import { limitsGiven } from "./settings.ts";
import { admit } from "./sites.ts";
import type { HubState } from "./state.ts";
import { issueHubToken } from "./tokens.ts";

const TOKEN_S = 300;
/** From this exit code on, a failure is the machine's and not of what was asked: it names folders, addresses and files. */
const OF_THE_MACHINE = 7;
/** Organisations whose programs' writers are kept ready. */
const MAX_WRITERS = 100;

export interface HubParts extends Pick<ApiHub, "gate" | "registry" | "views" | "say"> {
  readonly dir: string;
  readonly state: HubState;
  readonly log: Log;
}

/** Opens what routes ask of a hub. Close it after the door. */
export function openApiHub({ dir, state, log, gate, ...parts }: HubParts): ApiHub & { close(): Promise<void> } {
  const { org, natsUrl, postgresUrl } = state;
  const reading = openDatabase(postgresUrl, parts.say);
  const live = openLive({ postgresUrl, views: () => parts.views() ?? [], say: parts.say });
  const writer = (as: ReturnType<typeof programsOf>): Write => {
    const write = consoleWriter({
      ...{ dir, org, as, gate, url: natsUrl },
      hub: async () => (await hubDeclarations(log.journal)).at(-1)?.org ?? null,
      nats: natsSettings(),
      mustAnswer: () => mustAnswer(dir, state, ["nats"]),
      token: (name) => issueHubToken(dir, { ...name, lifetimeS: TOKEN_S, scopes: [SCOPE_APPEND, SCOPE_ENROL] }),
    });
    return inTurns((events, shown) =>
      write(events, shown).catch((error: unknown) => Promise.reject(toldOutside(error, parts.say))),
    );
  };
  const writers = new Map<string, Write>();
  return {
    ...parts,
    org,
    gate,
    reading,
    live,
    limits: limitsGiven(),
    logEnd: () => log.end(),
    write: writer(programsOfHub(org)),
    writeOf(of) {
      const known = writers.get(of);
      if (known !== undefined) return known;
      const made = writer(programsOf(of));
      if (writers.size >= MAX_WRITERS) writers.delete(writers.keys().next().value ?? "");
      writers.set(of, made);
      return made;
    },
    admit: (grant) => admit(dir, state, grant),
    revokeSite: (site, { actor, reason }) =>
      withKeyBook(dir, state, async (book) => {
        const devices = await revokeSite(book, site, actor, reason);
        await withdrawRevoked(dir, book.record);
        return devices;
      }),
    async close() {
      await Promise.all([reading.close(), live.close()]);
    },
  };
}

/** What a program is told of a write that failed. */
function toldOutside(error: unknown, say: HubParts["say"]): unknown {
  if (!isTributaryError(error) || error.exitCode < OF_THE_MACHINE) return error;
  say({ event: "api-write-failed", code: error.code, message: error.message, hint: error.hint });
  return new TributaryError(
    error.code,
    "the hub could not take what was written",
    "Look whether it is there before you write it again: what the hub has kept goes with its next write.",
    { cause: error },
  );
}
