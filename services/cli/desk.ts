import type { HubOrg } from "../core/index.ts";
import { consoleWriter, type Desk, type Write } from "../desk/index.ts";
import type { Gate } from "../gate/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL } from "../http/index.ts";
import { natsSettings } from "../local/index.ts";
import { hubDeclarations, openLog } from "../log/index.ts";
import { viewsOf } from "./folders.ts";
import { mustAnswer } from "./reach.ts";
import { withHubGate } from "./registry.ts";
import type { HubState } from "./state.ts";
import { issueHubToken } from "./tokens.ts";
import { withViews } from "./with-views.ts";

const TOKEN_S = 300;

/** How the people of a hub write: as its console, with a token of its own. */
export const hubConsole = (dir: string, state: HubState, gate: Gate): Write =>
  consoleWriter({
    dir,
    org: state.org,
    hub: () => ownerOf(state),
    gate,
    url: state.natsUrl,
    nats: natsSettings(),
    mustAnswer: () => mustAnswer(dir, state, ["nats"]),
    token: (name) => issueHubToken(dir, { ...name, lifetimeS: TOKEN_S, scopes: [SCOPE_APPEND, SCOPE_ENROL] }),
    onWaiting: (because, pauseMs) =>
      process.stderr.write(`The hub's door does not answer (${because}); trying again in ${Math.ceil(pauseMs / 1000)} s.\n`),
  });

/** The organisation that a hub's log says it belongs to. */
async function ownerOf({ eventstoreUrl }: HubState): Promise<HubOrg> {
  const log = openLog(eventstoreUrl);
  try {
    return (await hubDeclarations(log.journal)).at(-1)?.org ?? null;
  } finally {
    await log.close();
  }
}

/** Runs `work` at the desk of a data directory's hub. */
export async function withDesk<T>(data: string | undefined, work: (desk: Desk) => Promise<T>): Promise<T> {
  const projections = await viewsOf(data);
  return withViews(data, (db) =>
    withHubGate(data, ({ dir, state, gate }) =>
      work({ db, gate, projections, org: state.org, write: hubConsole(dir, state, gate) }),
    ),
  );
}
