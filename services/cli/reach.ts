import { TributaryError } from "../core/index.ts";
import { type Backend, ownerOf, silenceOf } from "../local/index.ts";
import { hubDir } from "./paths.ts";
import { type HubState, readState } from "./state.ts";

type Server = Backend["name"];

const SERVERS: Readonly<Record<Server, { readonly title: string; readonly variable: string; readonly url: keyof HubState }>> = {
  nats: { title: "NATS", variable: "TRIBUTARY_NATS_URL", url: "natsUrl" },
  eventstore: { title: "the event store", variable: "TRIBUTARY_EVENTSTORE_URL", url: "eventstoreUrl" },
  postgres: { title: "PostgreSQL", variable: "TRIBUTARY_POSTGRES_URL", url: "postgresUrl" },
};

/**
 * The hub that a command is about, when the servers that the command needs are there. Throws at once otherwise: `not-found` when the folder never had a hub,
 * `backend-unreachable` when the hub is not running or one of these servers does not answer. The servers' own clients would wait and try again instead.
 */
export async function runningHub(data: string | undefined, needs: readonly Server[]): Promise<HubState> {
  const dir = hubDir(data);
  const state = readState(dir);
  await mustAnswer(dir, state, needs);
  return state;
}

/** The hub of a data directory, for one of its own workers: it must be running, unless the environment names all of its servers. */
export function hubHere(data: string | undefined): HubState {
  const dir = hubDir(data);
  const state = readState(dir);
  if (isAway(dir, state, ["nats", "eventstore", "postgres"])) throw notRunning(dir);
  return state;
}

const isNamed = (server: Server): boolean => !!process.env[SERVERS[server].variable];
/** A hub on another machine is reached by the addresses in the environment alone; whether it runs there cannot be seen from here. */
const isHere = (state: HubState, needs: readonly Server[]): boolean => state.pid > 0 && !needs.every(isNamed);
const isAway = (dir: string, state: HubState, needs: readonly Server[]): boolean => isHere(state, needs) && ownerOf(dir) === null;

/** Throws `backend-unreachable` when the hub is not running, or one of these servers does not answer. */
export async function mustAnswer(dir: string, state: HubState, needs: readonly Server[]): Promise<void> {
  if (isAway(dir, state, needs)) throw notRunning(dir);
  await Promise.all(
    needs.map(async (server) => {
      const { title, variable, url } = SERVERS[server];
      const silence = await silenceOf(String(state[url]));
      if (silence === null) return;
      if (isNamed(server))
        throw new TributaryError(
          "backend-unreachable",
          `${title}, which ${variable} names, does not answer (${silence})`,
          "Start it, or check the variable.",
        );
      if (!isHere(state, needs)) throw notRunning(dir);
      throw new TributaryError(
        "backend-unreachable",
        `${title} of the hub in ${dir} does not answer (${silence})`,
        `The hub restarts a server that has ended: try again in a moment. Its terminal and ${dir}/logs say more.`,
      );
    }),
  );
}

const notRunning = (dir: string): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `The hub in ${dir} is not running. Start it with \`tributary hub\`.`,
    dir === hubDir(undefined)
      ? `How it ended stands in ${dir}/logs.`
      : `That is, \`tributary hub --data ${dir}\`. How it ended stands in ${dir}/logs.`,
  );
