import type { JSONWebKeySet, JWK } from "jose";
import {
  type KeyId,
  messageText,
  type PublicKey,
  publicKeySchema,
  type Signature,
  type SignedKind,
  type Succession,
  TributaryError,
} from "../core/index.ts";
import { isSignedBy, keyIdOf, type LocalSigner, signerOf } from "../core/node.ts";

/**
 * The hub's keys, which sign tokens and answers:
 *
 *   next ── its time has come ─▶ signs ── the next one signs ─▶ verifies only ── retired ─▶ forgotten but for its public part
 *    └ announced in hellos, so that devices know it before anything is signed with it
 *
 * A key that only verifies keeps its private part: a device's proof of its token is made from the token's signature, which the hub makes again.
 */
export interface HubKey extends JWK {
  /** ISO 8601. Absent: from the beginning. */
  readonly signsFrom?: string;
  readonly retiredAt?: string;
  /** The key before says that this one comes after it. */
  readonly succession?: Succession;
}

export interface RingState {
  /** Signs the hub's answers; `null`: a hub that has only public keys. */
  readonly signer: LocalSigner | null;
  /** Signs tokens. */
  readonly signingKey: HubKey | null;
  /** Present and next, in this order. */
  readonly keys: readonly PublicKey[];
  readonly kids: readonly KeyId[];
  /** All keys that are not retired. A code may name one that no longer signs. */
  readonly alive: readonly PublicKey[];
  readonly successions: readonly Succession[];
  /** What tokens are checked against. */
  readonly accepted: JSONWebKeySet;
  /** What proofs of those tokens are checked with: the same keys with their private parts, if these are here. */
  readonly secrets: JSONWebKeySet;
}

export interface Keyring {
  /** Returns the same object as long as nothing has changed. */
  state(): RingState;
}

/** How long a new key is announced before it signs. A device that is away longer finds it by its succession. */
export const OVERLAP_HOURS = 24;

const publicOf = (key: JWK): PublicKey => publicKeySchema.parse(key);
export const hubKeyId = (key: JWK): KeyId => keyIdOf(publicOf(key));
const isPrivate = (key: HubKey): key is HubKey & { d: string } => typeof key.d === "string";
const signsFromMs = ({ signsFrom }: HubKey): number => (signsFrom === undefined ? -Infinity : Date.parse(signsFrom));

/** The key that signs at a given time: of those that have their private part, the one whose time came last. */
export const signingKeyAt = (keys: readonly HubKey[], nowMs: number): (HubKey & { readonly d: string }) | null =>
  keys
    .filter(isPrivate)
    .filter((key) => key.retiredAt === undefined && signsFromMs(key) <= nowMs)
    .reduce<(HubKey & { d: string }) | null>(
      (last, key) => (last === null || signsFromMs(key) >= signsFromMs(last) ? key : last),
      null,
    );

function stateOf(keys: readonly HubKey[], nowMs: number): RingState {
  const signing = signingKeyAt(keys, nowMs);
  const alive = keys.filter(({ retiredAt }) => retiredAt === undefined);
  const next = alive.filter((key) => signsFromMs(key) > nowMs);
  const named = (signing === null ? [] : [signing, ...next]).map(publicOf);
  return {
    signer: signing === null ? null : signerOf({ ...publicOf(signing), d: signing.d }),
    signingKey: signing,
    keys: named,
    kids: named.map(keyIdOf),
    alive: [...named, ...alive.map(publicOf).filter(({ x }) => named.every((key) => key.x !== x))],
    successions: keys.flatMap(({ succession }) => succession ?? []),
    accepted: { keys: alive.map(({ d: _, signsFrom: __, succession: ___, ...key }) => key) },
    secrets: { keys: alive.filter(isPrivate) },
  };
}

/** A keyring over keys that somebody keeps. It is asked each time, so that a key signs as soon as its time has come. */
export function keyring(read: () => readonly HubKey[], now: () => number = Date.now): Keyring {
  let known: { readonly keys: readonly HubKey[]; readonly signing: HubKey | null; readonly state: RingState } | null = null;
  return {
    state() {
      const keys = read();
      const nowMs = now();
      if (known === null || known.keys !== keys || known.signing !== signingKeyAt(keys, nowMs)) {
        const state = stateOf(keys, nowMs);
        known = { keys, signing: state.signingKey, state };
      }
      return known.state;
    },
  };
}

/** A keyring of keys that never change. */
export const fixedKeyring = ({ keys }: { readonly keys: readonly JWK[] }): Keyring => keyring(() => keys);

/** The keys with a new one, which signs from `signsFromMs` on. */
export async function withNextKey(keys: readonly HubKey[], next: HubKey, nowMs: number, signsFromMs: number): Promise<HubKey[]> {
  const present = signingKeyAt(keys, nowMs);
  if (present === null)
    throw new TributaryError("not-found", "the hub has no key that signs", "Look at signing-key.json in its data folder.");
  if (keys.some((key) => key.retiredAt === undefined && key.signsFrom !== undefined && Date.parse(key.signsFrom) > nowMs))
    throw new TributaryError(
      "usage",
      "a next key has been announced already",
      "`tributary key list` says when it begins to sign.",
    );
  const signer = signerOf({ ...publicOf(present), d: present.d });
  const statement = { key: publicOf(next), by: signer.kid };
  const signature = await signer.sign(messageText("succession", statement));
  return [...keys, { ...next, signsFrom: new Date(signsFromMs).toISOString(), succession: { ...statement, signature } }];
}

/** The keys with one retired: its private part is gone, and tokens that it signed are refused. */
export function withoutKey(keys: readonly HubKey[], name: string, nowMs: number): HubKey[] {
  const found = keys.filter((key) => key.kid === name || hubKeyId(key).startsWith(name));
  const [key] = found;
  if (key === undefined || found.length > 1)
    throw new TributaryError(
      "not-found",
      `${found.length === 0 ? "no key is" : "several keys are"} named ${name}`,
      "`tributary key list` shows them.",
    );
  if (key.retiredAt !== undefined)
    throw new TributaryError("usage", `${name} was retired on ${key.retiredAt}`, "`tributary key list` shows them.");
  if (key === signingKeyAt(keys, nowMs))
    throw new TributaryError(
      "usage",
      `${name} is the key that signs`,
      "`tributary key rotate` makes the next; retire this one when that signs.",
    );
  const { d: _, ...rest } = key;
  return keys.map((each) => (each === key ? { ...rest, retiredAt: new Date(nowMs).toISOString() } : each));
}

/** Signs a message of the hub. A hub that has no private key leaves it as it is. */
export async function sealed<T extends object>({ signer }: RingState, kind: SignedKind, message: T): Promise<T> {
  if (signer === null) return message;
  return { ...message, signature: await signer.sign(messageText(kind, message)) };
}

/** Whether one of the hub's keys has signed a message. A hub that has no private key signs nothing, so any message is as good. */
export function isSealed<T extends { readonly kind: SignedKind; readonly signature?: Signature | undefined }>(
  { signer, alive }: RingState,
  message: T,
): boolean {
  if (signer === null) return true;
  const { signature } = message;
  const key = signature === undefined ? undefined : alive.find((each) => keyIdOf(each) === signature.kid);
  if (key === undefined || signature === undefined) return false;
  try {
    return isSignedBy(key, messageText(message.kind, message), signature);
  } catch {
    // Nobody can have signed what has no canonical text.
    return false;
  }
}
