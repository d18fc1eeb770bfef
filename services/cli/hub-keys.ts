import {
  type DeviceName,
  type Journal,
  type JsonObject,
  type KeyId,
  NOTES_SIGNED,
  nameOf,
  type PublicKey,
  publicKeySchema,
  TributaryError,
} from "../core/index.ts";
import { codeHash, keyIdOf, makeCode, nkeyOf } from "../core/node.ts";
import { type HubKey, hubKeyId, type Keyring, makeKey, OVERLAP_HOURS, withNextKey, withoutKey } from "../http/index.ts";
import { type Fork, forksOf, type KeyBook, openKeyBook, openLog } from "../log/index.ts";
import { hubRing, readHubKeys, writeHubKeys } from "./keys.ts";
import type { HubState } from "./state.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** Runs `work` with the hub's book of keys, whose facts it signs. */
export async function withKeyBook<T>(
  dir: string,
  state: Pick<HubState, "eventstoreUrl">,
  work: (book: KeyBook, ring: Keyring, journal: Journal) => Promise<T>,
): Promise<T> {
  const ring = await hubRing(dir);
  await using log = openLog(state.eventstoreUrl);
  const book = await openKeyBook(log.journal, { signer: () => ring.state().signer });
  try {
    return await work(book, ring, log.journal);
  } finally {
    book.close();
  }
}

/** Notes the hub's public keys in the log, each once, so that whoever has the log can check what they signed; and that the hub signs its notes from now on. */
export async function noteHubKeys(journal: Journal, dir: string): Promise<void> {
  const ring = await hubRing(dir);
  const book = await openKeyBook(journal, { signer: () => ring.state().signer });
  for (const key of readHubKeys(dir)) {
    await book.write("hub", (record) => {
      const kid = hubKeyId(key);
      if (record.hubKeys().some((known) => keyIdOf(known.key) === kid)) return null;
      const { kty, crv, x } = key;
      return { type: "hub-key.made", data: { kid, key: { kty: String(kty), crv: String(crv), x: String(x) } } };
    });
  }
  await book.write("hub", (record) => (record.notesSignedFrom() === null ? { type: NOTES_SIGNED, data: {} } : null));
  book.close();
}

export const publicPartOf = (key: HubKey): PublicKey => publicKeySchema.parse(key);

export interface Code {
  readonly code: string;
  readonly expiresAt: string;
}

/** Issues a one-time code. The log keeps only its digest. */
export async function issueCode(
  book: KeyBook,
  ring: Keyring,
  {
    org,
    site,
    device,
    types,
    days,
    actor,
  }: { org: string; site: string; device?: string; types?: readonly string[]; days: number; actor: string },
): Promise<Code> {
  const { signer } = ring.state();
  if (signer === null)
    throw new TributaryError("data-corrupt", "the hub has no key that signs", "Restore signing-key.json from a backup.");
  const code = makeCode(signer.kid);
  const expiresAtMs = Date.now() + days * DAY_MS;
  const bound: JsonObject = {
    ...(device === undefined ? {} : { device: `${org}.${site}.${device}` }),
    ...(types === undefined ? {} : { types }),
  };
  await book.write(actor, () => ({
    type: "code.issued",
    data: { hash: codeHash(code), site: `${org}.${site}`, expiresAtMs, ...bound },
  }));
  return { code, expiresAt: new Date(expiresAtMs).toISOString() };
}

/** A device as people write it: `site/device`, `site.device` or `org.site.device`. */
export function deviceName(given: string, org: string): DeviceName {
  const parts = given.split(/[./]/);
  if (parts.length !== 2 && parts.length !== 3)
    throw new TributaryError(
      "usage",
      `${JSON.stringify(given)} does not name a device`,
      "Write it as site/device, or org.site.device for a partner's.",
    );
  const [first, site, device] = parts.length === 3 ? parts : [org, ...parts];
  return [nameOf("organisation", first!), nameOf("site", site!), nameOf("device", device!)].join(".");
}

export interface RevokedDevice {
  readonly device: DeviceName;
  /** The token that the device was enrolled under; it is revoked too, because the device has it. */
  readonly jti: string | null;
}

/** Revokes a device, its unused codes, and the token that it has. Other devices that enrolled under the same token go on: their keys speak for them. */
export async function revokeDevice(
  book: KeyBook,
  device: DeviceName,
  actor: string,
  reason: string | undefined,
): Promise<RevokedDevice> {
  const jti = book.record.keysOf(device).findLast((key) => key.jti !== null)?.jti ?? null;
  const why: JsonObject = reason === undefined ? {} : { reason };
  await book.write(actor, (record) =>
    record.revoked(device) === "device" ? null : { type: "device.revoked", data: { device, ...why } },
  );
  if (jti !== null) await revokeToken(book, jti, actor);
  return { device, jti };
}

export async function revokeToken(book: KeyBook, jti: string, actor: string): Promise<void> {
  await book.write(actor, (record) => (record.isTokenRevoked(jti) ? null : { type: "token.revoked", data: { jti } }));
}

/** Revokes a person: all tokens that were issued up to now. `issuer`: those of one issuer only. Returns the second up to which they are refused. */
export async function revokePerson(
  book: KeyBook,
  { subject, issuer, actor, reason }: { subject: string; issuer?: string; actor: string; reason?: string },
): Promise<number> {
  const issuedThroughS = Math.floor(Date.now() / 1000);
  const bound: JsonObject = { ...(issuer === undefined ? {} : { issuer }), ...(reason === undefined ? {} : { reason }) };
  await book.write(actor, () => ({ type: "person.revoked", data: { subject, issuedThroughS, ...bound } }));
  return issuedThroughS;
}

/** Revokes a site: all of its tokens, codes and devices. What it sends is refused until it is added again. */
export async function revokeSite(
  book: KeyBook,
  site: string,
  actor: string,
  reason: string | undefined,
): Promise<readonly DeviceName[]> {
  const devices = book.record.devices().filter((device) => device.startsWith(`${site}.`) && book.record.present(device) !== null);
  const issuedThroughS = Math.max(Math.floor(Date.now() / 1000), book.record.revocationOf(site)?.issuedThroughS ?? 0);
  const why: JsonObject = reason === undefined ? {} : { reason };
  await book.write(actor, () => ({ type: "site.revoked", data: { site, issuedThroughS, ...why } }));
  return devices;
}

export interface DeviceRow {
  readonly device: DeviceName;
  readonly state: "enrolled" | "revoked" | "no key";
  readonly key: KeyId | null;
  /** The key as a user's public nkey, for whoever keeps the logins of a broker that is not the hub's own. */
  readonly nkey: string | null;
  readonly how: string | null;
  /** The entity types that the device may write; `null`: all but the hub's own. */
  readonly types: readonly string[] | null;
  readonly enrolledAt: string | null;
  readonly revokedAt: string | null;
  /** How many keys the device had before. */
  readonly earlierKeys: number;
  readonly forks: readonly Fork[];
}

/** All devices that have or had a key, with what was found of their forks. */
export async function listDevices(book: KeyBook, journal: Journal): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  for (const device of book.record.devices()) {
    const present = book.record.present(device);
    const keys = book.record.keysOf(device);
    const last = keys.at(-1) ?? null;
    rows.push({
      device,
      state: present !== null ? "enrolled" : book.record.revoked(device) !== null ? "revoked" : "no key",
      key: present?.kid ?? last?.kid ?? null,
      nkey: present === null ? null : nkeyOf(present.key),
      how: last?.how ?? null,
      types: last?.types ?? null,
      enrolledAt: last === null ? null : new Date(last.atMs).toISOString(),
      revokedAt: present === null && last?.ended != null ? new Date(last.ended.atMs).toISOString() : null,
      earlierKeys: Math.max(0, keys.length - 1),
      forks: await forksOf(journal, device),
    });
  }
  return rows;
}

export interface HubKeyRow {
  readonly kid: KeyId;
  readonly name: string;
  readonly state: "signs" | "next" | "verifies" | "retired";
  readonly signsFrom: string | null;
  readonly retiredAt: string | null;
}

export function listHubKeys(dir: string, ring: Keyring): HubKeyRow[] {
  const { signer, kids } = ring.state();
  return readHubKeys(dir).map((key) => {
    const kid = hubKeyId(key);
    const state =
      key.retiredAt !== undefined ? "retired" : kid === signer?.kid ? "signs" : kids.includes(kid) ? "next" : "verifies";
    return { kid, name: key.kid ?? "", state, signsFrom: key.signsFrom ?? null, retiredAt: key.retiredAt ?? null };
  });
}

/** Makes the hub's next key. It is announced at once, and signs after `hours`. */
export async function rotateHubKey(dir: string, book: KeyBook, actor: string, hours = OVERLAP_HOURS): Promise<HubKeyRow> {
  const nowMs = Date.now();
  const name = `hub-${new Date(nowMs).toISOString().slice(0, 19).replaceAll(":", "")}`;
  const keys = await withNextKey(readHubKeys(dir), await makeKey(name), nowMs, nowMs + hours * HOUR_MS);
  writeHubKeys(dir, keys);
  const { kty, crv, x, succession, signsFrom } = keys.at(-1)!;
  const kid = hubKeyId(keys.at(-1)!);
  const data = {
    kid,
    key: { kty: String(kty), crv: String(crv), x: String(x) },
    by: succession!.by,
    succession: { ...succession!.signature },
  };
  await book.write(actor, () => ({ type: "hub-key.made", data }));
  return { kid, name, state: hours === 0 ? "signs" : "next", signsFrom: signsFrom!, retiredAt: null };
}

/** Drops one of the hub's keys: its private part, and what it signed for devices that come back later. */
export async function retireHubKey(dir: string, book: KeyBook, name: string, actor: string): Promise<KeyId> {
  const before = readHubKeys(dir);
  const after = withoutKey(before, name, Date.now());
  const kid = hubKeyId(after.find((key, i) => key !== before[i])!);
  writeHubKeys(dir, after);
  await book.write(actor, () => ({ type: "hub-key.retired", data: { kid } }));
  return kid;
}
