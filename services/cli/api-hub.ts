/** What the routes of a hub's door need of it: its database, its desk, its keys. */
import { type ApiHub, openDatabase } from "../api/index.ts";
import { consoleWriter, inTurns, programsOf, programsOfHub, type Write } from "../desk/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL } from "../http/index.ts";
import { natsSettings } from "../local/index.ts";
import { hubDeclarations, type Log } from "../log/index.ts";
import { revokeSite, withKeyBook } from "./hub-keys.ts";
import { withdrawRevoked } from "./logins.ts";
import { mustAnswer } from "./reach.ts";
import { admit } from "./sites.ts";
import type { HubState } from "./state.ts";
import { issueHubToken } from "./tokens.ts";

const TOKEN_S = 300;
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
  const writer = (as: ReturnType<typeof programsOf>): Write =>
    inTurns(
      consoleWriter({
        ...{ dir, org, as, gate, url: natsUrl },
        hub: async () => (await hubDeclarations(log.journal)).at(-1)?.org ?? null,
        nats: natsSettings(),
        mustAnswer: () => mustAnswer(dir, state, ["nats"]),
        token: (name) => issueHubToken(dir, { ...name, lifetimeS: TOKEN_S, scopes: [SCOPE_APPEND, SCOPE_ENROL] }),
      }),
    );
  const writers = new Map<string, Write>();
  return {
    ...parts,
    org,
    gate,
    reading,
    logEnd: () => log.end(),
    write: writer(programsOfHub(org)),
    writeOf(of) {
      const write = writers.get(of) ?? writer(programsOf(of));
      if (writers.size >= MAX_WRITERS) writers.delete(writers.keys().next().value ?? "");
      writers.set(of, write);
      return write;
    },
    admit: (grant) => admit(dir, state, grant),
    revokeSite: (site, { actor, reason }) =>
      withKeyBook(dir, state, async (book) => {
        const devices = await revokeSite(book, site, actor, reason);
        await withdrawRevoked(dir, book.record);
        return devices;
      }),
    close: () => reading.close(),
  };
}
