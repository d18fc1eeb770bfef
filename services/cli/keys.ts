/** `signing-key.json`: the keys that a hub signs with. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { hubFolder } from "../core/node.ts";
import type { HubKey, JWK, Keyring } from "../http/index.ts";
import { readJson, writeWhole } from "./files.ts";

const keyFile = (dir: string): string => join(dir, "signing-key.json");

/** The hub's keys: one, or after a rotation several. */
export function readHubKeys(dir: string): HubKey[] {
  const kept = readJson(keyFile(dir)) as HubKey | { readonly keys: HubKey[] };
  return "keys" in kept && Array.isArray(kept.keys) ? kept.keys : [kept as HubKey];
}

/** Replaces the hub's keys by these. */
export function writeHubKeys(dir: string, keys: readonly HubKey[]): void {
  writeWhole(keyFile(dir), JSON.stringify({ keys }, null, 2));
}

/** Loaded only by commands that need the hub's keys: those on a device do not. */
const doors = () => import("../http/index.ts");

/** The key that the hub signs with now; the first start makes it. Whoever can read this file can issue tokens. */
export async function hubKey(dir: string): Promise<JWK> {
  const { makeKey, signingKeyAt } = await doors();
  hubFolder(dir);
  if (!existsSync(keyFile(dir)))
    writeWhole(keyFile(dir), JSON.stringify(await makeKey(`hub-${new Date().toISOString().slice(0, 10)}`), null, 2));
  const key = signingKeyAt(readHubKeys(dir), Date.now());
  if (key !== null) return key;
  throw new TributaryError("data-corrupt", `${keyFile(dir)} has no key that signs`, "Restore it from a backup.");
}

/** How often the file is checked: within this time every process of the hub has a new key, or has dropped an old one. */
const KEY_LOOK_MS = 1_000;

/** The hub's keys; follows the file when it changes. */
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
      // A file that is away for a moment is not a reason to forget the keys.
    }
    return keys;
  });
}
