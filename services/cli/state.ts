/** `hub.json`: what a running hub writes down for the other commands. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { readJson, writeWhole } from "./files.ts";

/** What a running hub writes down for the other commands. */
export interface HubState {
  readonly pid: number;
  readonly org: string;
  readonly natsUrl: string;
  readonly eventstoreUrl: string;
  readonly postgresUrl: string;
  readonly httpUrl: string;
  /** Where the HTTP door listens. */
  readonly listen?: Listen;
  /** Where devices reach the hub, as its operator has said. */
  readonly publicUrls?: readonly string[];
  /** The team's schemas and projections that it works with. */
  readonly folders?: KeptFolders;
}

/** Folders of a team's own schemas and projections: absolute paths, `null` where the hub has only its own. */
export interface KeptFolders {
  readonly schemas: string | null;
  readonly projections: string | null;
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

const stateFile = (dir: string): string => join(dir, "hub.json");

/** Writes the state of a hub that has started. */
export function writeState(dir: string, state: HubState): void {
  writeWhole(stateFile(dir), JSON.stringify(state, null, 2));
}

/** The hub of a data directory; addresses in the environment come first. Throws `not-found` when there is neither. */
export function readState(dir: string): HubState {
  const file = stateFile(dir);
  const kept: Partial<HubState> = existsSync(file) ? (readJson(file) as Partial<HubState>) : {};
  const state: Partial<HubState> = {
    ...kept,
    ...(process.env.TRIBUTARY_NATS_URL ? { natsUrl: process.env.TRIBUTARY_NATS_URL } : {}),
    ...(process.env.TRIBUTARY_EVENTSTORE_URL ? { eventstoreUrl: process.env.TRIBUTARY_EVENTSTORE_URL } : {}),
    ...(process.env.TRIBUTARY_POSTGRES_URL ? { postgresUrl: process.env.TRIBUTARY_POSTGRES_URL } : {}),
  };
  if (state.natsUrl === undefined || state.eventstoreUrl === undefined || state.postgresUrl === undefined) {
    throw new TributaryError(
      "not-found",
      `there is no hub in ${dir}`,
      "Start one with `tributary hub`, or name its folder with --data.",
    );
  }
  return { pid: 0, org: "", httpUrl: "", ...kept, ...state } as HubState;
}

/** The folders that a directory's hub was started with; `undefined`: these are not known. */
export function recordedFolders(dir: string): KeptFolders | undefined {
  const file = stateFile(dir);
  return existsSync(file) ? (readJson(file) as Partial<HubState>).folders : undefined;
}
