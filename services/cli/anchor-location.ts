import { readFileSync, statSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { isTributaryError, messageOf, type PublicKey, TributaryError } from "../core/index.ts";
import { parseAnchor, type ReadAnchor } from "../log/index.ts";
import { keepConfig, readConfig } from "./config.ts";
import { syncToDisk, writeWhole } from "./files.ts";

/** An origin's head takes about 110 bytes, so this is room for half a million origins. */
const MAX_ANCHOR_BYTES = 64 * 1_048_576;
const REQUEST_TIMEOUT_MS = 10_000;
/** A hub remembers this many locations, the most recent ones. */
const MAX_REMEMBERED = 20;

/** Where an anchor is kept: a file, or an address that takes PUT and answers GET. */
export interface AnchorLocation {
  /** The name as people see it, without a password. */
  readonly name: string;
  /** The anchor's text; `null`: there is none yet. Throws when this cannot be found out. */
  read(): Promise<string | null>;
  /** Whether the location holds an anchor. Throws when this cannot be found out. */
  holdsOne(): Promise<boolean>;
  write(text: string): Promise<void>;
}

/**
 * Whether a location has held the hub's anchor. Where the anchor is missing, either its disk is not mounted (the empty mount point can be read and written
 * like any folder) or somebody took the anchor away. Kept in `config.json`, and so in the hub's backups.
 */
export interface AnchorMemory {
  hasHeld(): boolean;
  noteHeld(): void;
  /** The operator's word that a new anchor is to begin there. */
  forget(): void;
}

export function anchorMemory(dataDir: string, { name }: AnchorLocation): AnchorMemory {
  const known = (): readonly string[] => readConfig(dataDir).anchors ?? [];
  return {
    hasHeld: () => known().includes(name),
    noteHeld() {
      if (!known().includes(name)) keepConfig(dataDir, { anchors: [...known(), name].slice(-MAX_REMEMBERED) });
    },
    forget: () => keepConfig(dataDir, { anchors: known().filter((each) => each !== name) }),
  };
}

/** The location that the option or TRIBUTARY_ANCHOR names; `null`: neither does. Throws `usage` for anything else. */
export function anchorLocation(given: string | undefined, dataDir?: string): AnchorLocation | null {
  const where = given ?? process.env.TRIBUTARY_ANCHOR;
  if (where === undefined || where === "") return null;
  if (/^https?:/i.test(where)) return atUrl(where);
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(where))
    throw new TributaryError(
      "usage",
      `--anchor ${JSON.stringify(where)} cannot hold an anchor`,
      "Name a file, or an http: or https: address that takes PUT.",
    );
  const file = resolve(where);
  if (dataDir !== undefined && !relative(dataDir, file).startsWith(".."))
    throw new TributaryError(
      "usage",
      `--anchor ${file} is in the hub's own data folder`,
      "Name a file elsewhere: whoever sets the folder back would set the anchor back with it.",
    );
  return inFile(file);
}

function inFile(file: string): AnchorLocation {
  return {
    name: file,
    async read() {
      try {
        const found = statSync(file, { throwIfNoEntry: false });
        if (found === undefined) {
          // A folder that does not exist may be a disk that is not mounted.
          statSync(dirname(file));
          return null;
        }
        if (found.size > MAX_ANCHOR_BYTES) return "too large";
        return readFileSync(file, "utf8");
      } catch (error) {
        throw unreachable(file, messageOf(error));
      }
    },
    async holdsOne() {
      try {
        return statSync(file, { throwIfNoEntry: false }) !== undefined;
      } catch (error) {
        throw unreachable(file, messageOf(error));
      }
    },
    async write(text) {
      try {
        writeWhole(file, text);
        syncToDisk(dirname(file));
      } catch (error) {
        throw unreachable(file, messageOf(error));
      }
    },
  };
}

function atUrl(where: string): AnchorLocation {
  const url = URL.parse(where);
  if (url === null)
    throw new TributaryError("usage", "--anchor is not an address", "Write it like https://vault.example.org/hub.");
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const name = url.href;
  const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const headers: Record<string, string> =
    username === "" && password === "" ? {} : { authorization: `Basic ${Buffer.from(user).toString("base64")}` };
  const ask = async (method: string, body?: string): Promise<Response> => {
    try {
      return await fetch(url, {
        method,
        redirect: "error",
        headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? `: ${messageOf(error.cause)}` : "";
      throw unreachable(name, `${messageOf(error)}${cause}`);
    }
  };
  /** `null`: there is none. */
  const got = async (): Promise<Response | null> => {
    const answer = await ask("GET");
    if (answer.ok) return answer;
    await answer.body?.cancel();
    if (answer.status === 404 || answer.status === 410) return null;
    throw unreachable(name, `it answers GET with ${answer.status}`);
  };
  return {
    name,
    async read() {
      const answer = await got();
      return answer === null ? null : boundedText(answer, name);
    },
    async holdsOne() {
      const answer = await got();
      await answer?.body?.cancel();
      return answer !== null;
    },
    async write(text) {
      const answer = await ask("PUT", text);
      await answer.body?.cancel();
      if (!answer.ok) throw unreachable(name, `it answers PUT with ${answer.status}`);
    },
  };
}

async function boundedText({ body }: Response, name: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body ?? []) {
      bytes += chunk.length;
      if (bytes > MAX_ANCHOR_BYTES) return "too large";
      chunks.push(chunk);
    }
  } catch (error) {
    throw unreachable(name, messageOf(error));
  }
  return Buffer.concat(chunks).toString("utf8");
}

const unreachable = (name: string, why: string): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `the anchor at ${name} cannot be reached: ${why}`,
    "Check the file or the address, and the rights to it.",
  );

/** The anchor that was kept at a location, checked against the hub's keys; `null`: nothing yet. */
export async function readAnchor(location: AnchorLocation, hubKeys: readonly PublicKey[]): Promise<ReadAnchor | null> {
  const text = await location.read();
  return text === null ? null : parseAnchor(text, hubKeys);
}

/** The anchor to check by; `null`: none was asked for. An anchor that was asked for and is missing is a problem. */
export async function anchorGiven(given: string | undefined, hubKeys: readonly PublicKey[]): Promise<ReadAnchor | null> {
  const location = anchorLocation(given);
  if (location === null) return null;
  return (await readAnchor(location, hubKeys)) ?? { problem: `there is none at ${location.name}` };
}

/** A location's failure in words. */
export const locationProblem = (error: unknown): string => (isTributaryError(error) ? error.message : messageOf(error));
