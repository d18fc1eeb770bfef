import { type Position, partsOf } from "./ids.ts";
import type { Fact } from "./journal.ts";
import { isJsonObject, type JsonObject } from "./json.ts";
import { type KeyId, type PublicKey, publicKeySchema, type Signature, signatureSchema } from "./signing.ts";

/**
 * Who may speak for which device: what the facts of the stream `keys` add up to, read in their order.
 *
 *   no key ── a code, or the first hello under a token ─▶ enrolled ── rotated by the key itself ─▶ enrolled; the old key counts for a day more
 *                                                            │  └── a new code ─▶ enrolled with another key, the old one at an end
 *                                                            └── revoked (the device or its whole site) ── a new code ─▶ enrolled
 */

export const KEYS_STREAM = "keys";
/** Batches that were on their way when a device rotated its key still count for this long. */
export const KEY_OVERLAP_MS = 24 * 3_600_000;
/** At most so many keys of a device count at a time: whatever none of them signed is checked against each. */
const MAX_KEYS_AT = 3;

/** `org.site.device` */
export type DeviceName = string;
export const deviceOf = (origin: string): DeviceName => origin.slice(0, origin.lastIndexOf("."));
export const siteOfDevice = (device: DeviceName): string => {
  const { org, site } = partsOf(`${device}.x`);
  return `${org}.${site}`;
};

/** By a one-time code; by the first hello under a token; by the key before; by the hub itself for its own console. */
export type Enrolling = "code" | "token" | "rotation" | "hub";

export interface EnrolledKey {
  readonly key: PublicKey;
  readonly kid: KeyId;
  readonly how: Enrolling;
  /** The token that it was enrolled under. */
  readonly jti: string | null;
  /** The entity types that the device may write, as said by the token or code that let it in; `null`: all. */
  readonly types: readonly string[] | null;
  /** Where in the log it was enrolled, and when by the event store's clock. */
  readonly position: Position;
  readonly atMs: number;
  readonly ended: { readonly why: "rotated" | "replaced" | "revoked"; readonly atMs: number; readonly position: Position } | null;
}

export interface IssuedCode {
  readonly hash: string;
  readonly site: string;
  /** `null`: for any device of the site. */
  readonly device: DeviceName | null;
  /** The entity types that whoever enrols with the code may write; `null`: all. */
  readonly types: readonly string[] | null;
  readonly expiresAtMs: number;
  readonly isUsed: boolean;
  /** When a device enrolled with the code; `null`: none did, or the code was taken back. */
  readonly usedAtMs: number | null;
}

export interface SiteRevocation {
  readonly atMs: number;
  /** Tokens of the site that were issued up to this second are refused. */
  readonly issuedThroughS: number;
}

/** What is known of keys at some revision of the stream `keys`. */
export interface KeyRecord {
  /** Takes the next fact; facts of other streams than `keys` are passed over. */
  apply(fact: Fact): void;
  /** How many facts it has read. */
  readonly revision: number;
  /** All keys that a device ever had, oldest first. */
  keysOf(device: DeviceName): readonly EnrolledKey[];
  /** The key that speaks for a device now. */
  present(device: DeviceName): EnrolledKey | null;
  /** Revoked itself, or with its site, and not enrolled since. */
  revoked(device: DeviceName): "device" | "site" | null;
  revocationOf(site: string): SiteRevocation | null;
  isTokenRevoked(jti: string): boolean;
  /**
   * Tokens of a person that an issuer made up to this second are refused; `null`: none are. A revocation that names no issuer is about the tokens of all.
   */
  personRevokedThroughS(subject: string, issuer: string): number | null;
  code(hash: string): IssuedCode | null;
  devices(): readonly DeviceName[];
  /** How many devices of a site have a key now. */
  devicesOf(site: string): number;
  /** The hub's keys, as the log names them. */
  hubKeys(): readonly { readonly key: PublicKey; readonly position: Position }[];
  /** From where on the hub signs what it notes of events; `null`: it has not said. */
  notesSignedFrom(): { readonly position: Position; readonly atMs: number } | null;
}

/** A fact of the stream `keys`, as it is written. `hub`: the hub's signature over its type, its revision and the rest of its data. */
export interface KeyFact {
  readonly type: (typeof KEY_FACTS)[number];
  readonly data: JsonObject;
}
/** From this fact on, the hub signs what it notes of events: a run without a signature was altered. */
export const NOTES_SIGNED = "notes.signed";
export const KEY_FACTS = [
  NOTES_SIGNED,
  "hub-key.made",
  "hub-key.retired",
  "code.issued",
  "device.enrolled",
  "device.revoked",
  "site.revoked",
  "token.revoked",
  "person.revoked",
] as const;

/** What the hub signs of a fact. */
export const keyFactOf = (revision: number, type: string, { hub: _, ...data }: JsonObject): object => ({ revision, type, data });
export const hubSignatureOf = (data: JsonObject): Signature | null => signatureSchema.safeParse(data.hub).data ?? null;

const typesIn = (value: unknown): readonly string[] | null =>
  Array.isArray(value) ? value.filter((type) => typeof type === "string") : null;
const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
/** A person as an issuer names them; `null`: as any issuer does. */
const personKey = (subject: string, issuer: string | null): string => JSON.stringify([issuer, subject]);

// Long because its functions share the record that the facts add up to; each is short.
export function keyRecord(): KeyRecord {
  const byDevice = new Map<DeviceName, EnrolledKey[]>();
  const revoked = new Map<DeviceName, "device" | "site">();
  const sites = new Map<string, SiteRevocation>();
  const tokens = new Set<string>();
  const people = new Map<string, number>();
  const codes = new Map<string, IssuedCode>();
  const hubs: { key: PublicKey; position: Position }[] = [];
  let notesSigned: { position: Position; atMs: number } | null = null;
  let revision = 0;

  const end = (device: DeviceName, why: "rotated" | "replaced" | "revoked", { position, recordedAtMs }: Fact): void => {
    const keys = byDevice.get(device) ?? [];
    for (const [i, key] of keys.entries()) {
      const isOver = key.ended !== null && key.ended.why !== "rotated";
      if (isOver || (key.ended !== null && why === "rotated")) continue;
      keys[i] = { ...key, ended: { why, atMs: recordedAtMs, position } };
    }
  };
  const enrol = (fact: Fact): void => {
    const { data, position, recordedAtMs } = fact;
    const device = text(data.device);
    const key = publicKeySchema.safeParse(data.key).data;
    const kid = text(data.kid);
    if (device === null || key === undefined || kid === null) return;
    const how: Enrolling = data.how === "code" || data.how === "token" || data.how === "rotation" ? data.how : "hub";
    end(device, how === "rotation" ? "rotated" : "replaced", fact);
    const keys = byDevice.get(device) ?? [];
    const { jti, types } = data;
    const about = { jti: text(jti), types: typesIn(types), position, atMs: recordedAtMs, ended: null };
    keys.push({ key, kid: kid as KeyId, how, ...about });
    byDevice.set(device, keys);
    revoked.delete(device);
    const code = codes.get(text(data.code) ?? "");
    if (code !== undefined) codes.set(code.hash, { ...code, isUsed: true, usedAtMs: recordedAtMs });
  };
  const revokeSite = (site: string, fact: Fact): void => {
    sites.set(site, { atMs: fact.recordedAtMs, issuedThroughS: Number(fact.data.issuedThroughS ?? 0) });
    for (const device of byDevice.keys()) {
      if (siteOfDevice(device) !== site) continue;
      end(device, "revoked", fact);
      if (!revoked.has(device)) revoked.set(device, "site");
    }
    // A code that was handed out before and not used yet is refused, as the tokens are.
    for (const code of codes.values()) if (code.site === site) codes.set(code.hash, { ...code, isUsed: true, usedAtMs: null });
  };

  const revokePerson = ({ subject, issuer, issuedThroughS }: JsonObject): void => {
    if (typeof subject !== "string" || typeof issuedThroughS !== "number") return;
    const person = personKey(subject, text(issuer));
    people.set(person, Math.max(issuedThroughS, people.get(person) ?? 0));
  };

  const take = (fact: Fact): void => {
    const { type, data } = fact;
    const device = text(data.device);
    const site = text(data.site);
    if (type === "device.enrolled") enrol(fact);
    else if (type === "device.revoked" && device !== null) {
      end(device, "revoked", fact);
      revoked.set(device, "device");
      // A code that was handed out for the device and not used yet does not let it back in.
      for (const code of codes.values())
        if (code.device === device && !code.isUsed) codes.set(code.hash, { ...code, isUsed: true, usedAtMs: null });
    } else if (type === "site.revoked" && site !== null) revokeSite(site, fact);
    else if (type === "token.revoked" && typeof data.jti === "string") tokens.add(data.jti);
    else if (type === "person.revoked") revokePerson(data);
    else if (type === "code.issued" && site !== null && typeof data.hash === "string")
      codes.set(data.hash, {
        ...{ hash: data.hash, site, device, types: typesIn(data.types) },
        ...{ expiresAtMs: Number(data.expiresAtMs), isUsed: false, usedAtMs: null },
      });
    else if (type === "hub-key.made") {
      const key = publicKeySchema.safeParse(data.key).data;
      if (key !== undefined) hubs.push({ key, position: fact.position });
    } else if (type === NOTES_SIGNED) notesSigned ??= { position: fact.position, atMs: fact.recordedAtMs };
  };

  return {
    apply(fact) {
      if (fact.stream !== KEYS_STREAM || fact.revision !== revision) return;
      revision++;
      if (isJsonObject(fact.data)) take(fact);
    },
    get revision() {
      return revision;
    },
    keysOf: (device) => byDevice.get(device) ?? [],
    present: (device) => byDevice.get(device)?.findLast(({ ended }) => ended === null) ?? null,
    revoked: (device) => revoked.get(device) ?? null,
    revocationOf: (site) => sites.get(site) ?? null,
    isTokenRevoked: (jti) => tokens.has(jti),
    personRevokedThroughS(subject, issuer) {
      const found = [issuer, null].flatMap((by) => people.get(personKey(subject, by)) ?? []);
      return found.length === 0 ? null : Math.max(...found);
    },
    code: (hash) => codes.get(hash) ?? null,
    devicesOf(site) {
      let count = 0;
      for (const [device, keys] of byDevice)
        if (device.startsWith(`${site}.`) && keys.some(({ ended }) => ended === null)) count++;
      return count;
    },
    devices: () => [...new Set([...byDevice.keys(), ...revoked.keys()])].sort(),
    hubKeys: () => hubs,
    notesSignedFrom: () => notesSigned,
  };
}

/** The keys that may have signed what a device handed over at a time: the present one, and the last few that it rotated away shortly before. */
export const keysAt = (record: KeyRecord, device: DeviceName, atMs: number): EnrolledKey[] =>
  record
    .keysOf(device)
    .filter(({ ended }) => ended === null || (ended.why === "rotated" && atMs <= ended.atMs + KEY_OVERLAP_MS))
    .slice(-MAX_KEYS_AT);
