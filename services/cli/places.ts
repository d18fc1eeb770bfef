import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf, nameOf, TributaryError } from "../core/index.ts";
import { hubFolder } from "../core/node.ts";
import type { HubKey, issueToken, JWK, Keyring } from "../http/index.ts";

export const hubDir = (given: string | undefined): string => resolve(given ?? process.env.TRIBUTARY_DATA ?? ".tributary/hub");
/** Whom a hub tells of conflicts, and how; `docs/notifications.md`. */
export const settingsFile = (data: string | undefined): string =>
  process.env.TRIBUTARY_NOTIFICATIONS ?? join(hubDir(data), "notifications.json");
export const fieldPath = (given: string | undefined): string => {
  const path = given ?? process.env.TRIBUTARY_FIELD ?? ".tributary/field.db";
  return path === ":memory:" ? path : resolve(path);
};

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
  /** With whose schemas and projections it works: whole paths, `null` for none but its own. */
  readonly folders?: KeptFolders;
}

export interface KeptFolders {
  readonly schemas: string | null;
  readonly projections: string | null;
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** What a hub keeps from one start to the next. */
export interface HubConfig {
  readonly org: string;
  /** Where its own servers listen. */
  readonly ports?: { readonly nats?: number; readonly eventstore?: number; readonly postgres?: number };
  readonly listen?: Listen;
  readonly publicUrls?: readonly string[];
  /** Places that have held its anchor. */
  readonly anchors?: readonly string[];
  /** The schemas and projections of its last start. */
  readonly folders?: KeptFolders;
}

const stateFile = (dir: string): string => join(dir, "hub.json");

export function writeState(dir: string, state: HubState): void {
  writeWhole(stateFile(dir), JSON.stringify(state, null, 2));
}

/** The hub of a data directory; addresses in the environment come first. Throws `not-found` when there is neither. */
export function readState(dir: string): HubState {
  const file = stateFile(dir);
  const kept: Partial<HubState> = existsSync(file) ? (parsed(file) as Partial<HubState>) : {};
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

/** The folders that a directory's hub was started with; `undefined`: that is not known. */
export function recordedFolders(dir: string): KeptFolders | undefined {
  const file = stateFile(dir);
  return existsSync(file) ? (parsed(file) as Partial<HubState>).folders : undefined;
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new TributaryError(
      "data-corrupt",
      `${file} cannot be read: ${messageOf(error)}`,
      "Restore it from a backup, or remove it and start the hub again.",
      {
        cause: error,
      },
    );
  }
}

/** Sees to it that a file, or the names in a folder, are on disk. */
export function syncToDisk(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Writes a file so that it is there whole or not at all. */
export function writeWhole(file: string, text: string, mode = 0o600): void {
  writeFileSync(`${file}.new`, text, { mode, flush: true });
  renameSync(`${file}.new`, file);
}

const configFile = (dir: string): string => join(dir, "config.json");

export function readConfig(dir: string): Partial<HubConfig> {
  const file = configFile(dir);
  return existsSync(file) ? (parsed(file) as Partial<HubConfig>) : {};
}

/** Keeps what is new or has changed; the rest stays. */
export function keepConfig(dir: string, news: Partial<HubConfig>): void {
  const kept = readConfig(dir);
  const next = { ...kept, ...news };
  if (JSON.stringify(next) !== JSON.stringify(kept)) writeWhole(configFile(dir), JSON.stringify(next, null, 2));
}

/** The hub's organisation: chosen at its first start, kept ever after. */
export function hubOrg(dir: string, given: string | undefined): string {
  hubFolder(dir);
  const kept = readConfig(dir).org;
  const org = nameOf("organisation", given ?? kept ?? "relief");
  if (kept !== undefined && kept !== org) {
    throw new TributaryError(
      "usage",
      `the hub in ${dir} belongs to ${kept}, not to ${org}`,
      "Leave out --org, or give the new hub a folder of its own.",
    );
  }
  keepConfig(dir, { org });
  return org;
}

const keyFile = (dir: string): string => join(dir, "signing-key.json");

/** The hub's keys: one, or after a rotation several. */
export function readHubKeys(dir: string): HubKey[] {
  const kept = parsed(keyFile(dir)) as HubKey | { readonly keys: HubKey[] };
  return "keys" in kept && Array.isArray(kept.keys) ? kept.keys : [kept as HubKey];
}

export function writeHubKeys(dir: string, keys: readonly HubKey[]): void {
  writeWhole(keyFile(dir), JSON.stringify({ keys }, null, 2));
}

/** Loaded by who needs the hub's keys: commands on a device do not. */
const doors = () => import("../http/index.ts");

/** The key that the hub signs with now, made at its first start. Tokens are as secret as this file. */
export async function hubKey(dir: string): Promise<JWK> {
  const { makeKey, signingKeyAt } = await doors();
  hubFolder(dir);
  if (!existsSync(keyFile(dir)))
    writeWhole(keyFile(dir), JSON.stringify(await makeKey(`hub-${new Date().toISOString().slice(0, 10)}`), null, 2));
  const key = signingKeyAt(readHubKeys(dir), Date.now());
  if (key !== null) return key;
  throw new TributaryError("data-corrupt", `${keyFile(dir)} has no key that signs`, "Restore it from a backup.");
}

/** How often the file is looked at: so soon every process of the hub has a new key, or drops one. */
const KEY_LOOK_MS = 1_000;

/** The hub's keys as the file has them, followed. */
export async function hubRing(dir: string): Promise<Keyring> {
  const { keyring } = await doors();
  await hubKey(dir);
  let keys = readHubKeys(dir);
  let seen = "";
  let lookedAtMs = -Infinity;
  return keyring(() => {
    if (performance.now() - lookedAtMs < KEY_LOOK_MS) return keys;
    lookedAtMs = performance.now();
    try {
      const { mtimeMs, ino, size } = statSync(keyFile(dir));
      const now = `${mtimeMs}/${ino}/${size}`;
      if (now !== seen) keys = readHubKeys(dir);
      seen = now;
    } catch {
      // A file that is away for a moment is no reason to forget the keys.
    }
    return keys;
  });
}

export type TokenClaims = Omit<Parameters<typeof issueToken>[1], "nowMs" | "hub">;

/** Issues a token that names the hub's keys, so that who is handed it knows the hub. */
export async function issueHubToken(dir: string, claims: TokenClaims): Promise<string> {
  const key = await hubKey(dir);
  const { keys } = (await hubRing(dir)).state();
  const { issueToken: issue } = await doors();
  return issue(key, { ...claims, nowMs: Date.now(), hub: keys.map(({ x }) => x) });
}

/** The same, where there need not be one: a device whose key is enrolled speaks for itself. */
export const tokenGiven = (given: string | undefined): string | undefined =>
  given === undefined && !process.env.TRIBUTARY_TOKEN ? undefined : tokenOf(given);

/** A token given as itself or as `@file`. */
export function tokenOf(given: string | undefined): string {
  const token = given ?? process.env.TRIBUTARY_TOKEN;
  if (token === undefined || token === "") {
    throw new TributaryError(
      "token-missing",
      "there is no token",
      "Give --token TOKEN or --token @file, or set TRIBUTARY_TOKEN. `tributary site add` issues one.",
    );
  }
  return token.startsWith("@") ? readText(token.slice(1)).trim() : token;
}

/** A file's text, or standard input for `-`. Throws `input-malformed` when it cannot be read. */
export function readText(file: string): string {
  try {
    const bytes = readFileSync(file === "-" ? 0 : file);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const notUtf8 = error instanceof TypeError;
    throw new TributaryError(
      "input-malformed",
      notUtf8 ? `${file} is not UTF-8` : `${file} cannot be read: ${messageOf(error)}`,
      notUtf8 ? "Save it as UTF-8 and try again." : "Check the name.",
      { cause: error },
    );
  }
}
