import { randomUUID } from "node:crypto";
import {
  type Batch,
  commonVersion,
  type HelloRequest,
  helloSchema,
  isJsonObject,
  type KeyId,
  messageText,
  PROTOCOL,
  type PublicKey,
  publicKeySchema,
  runText,
  type Seq,
  type SignedKind,
  type Spoken,
  type Succession,
  signatureSchema,
  successionSchema,
  TributaryError,
  UNSAID,
  WAYS,
  wayOf,
} from "../core/index.ts";
import {
  type BrokerLogin,
  isSignedBy,
  keyIdOf,
  type LocalSigner,
  makeKeyPair,
  nkeyLogin,
  type PrivateKey,
  signerOf,
} from "../core/node.ts";
import { type PullQuestion, type PullRequest, pageText } from "../exchange/protocol/index.ts";
import { pageSeal } from "./page-seal.ts";
import type { Store } from "./store.ts";

/**
 * How this device and the hub know each other. The device's key is made here and stays here; the hub's public keys come with a token, with a
 * one-time code, or with the first hello over TLS. From then on only what these keys have signed is believed:
 *
 *   no key of the hub's ── token that names it, enrolment by a code, signed hello over TLS ─▶ pinned ── hello signed by a pinned key, or by a successor ─▶ pinned again
 */

const DEVICE_KEY = "device_key";
const NEXT_KEY = "next_device_key";
const HUB_KEYS = "hub_keys";
const HUB_PROTOCOL = "hub_protocol";
const UNPROVEN = "unproven_answers";
const LOGIN = "broker_login";

export interface Identity {
  readonly kid: KeyId;
  /** Whether the hub's keys are known, so that nothing counts which they have not signed. */
  readonly isPinned: boolean;
  /** A batch as it travels: its end is signed, and it is written in the newest version that the hub is known to read. */
  readonly version: number;
  stamped(batch: Batch): Batch;
  /** A question as it travels: signed, with who asks and when by the hub's clock. */
  asked(request: HelloRequest): HelloRequest & { readonly nonce: string };
  /** A pull as it travels, likewise. */
  pulls(question: PullQuestion): PullRequest;
  /** Whether an answer is the hub's own word and, if the question has a nonce, answers this question. Other answers are counted. */
  believes(answer: unknown, nonce?: string): boolean;
  /** The same of a page's frame: whether the hub has signed it for the pull with this nonce. */
  believesPage(frame: Uint8Array, nonce: string): boolean;
  /** Whether the hub has said that it answers pulls; `null`: nobody has asked it yet. */
  readonly servesPulls: boolean | null;
  /** Notes what a believed hello says about the hub itself. Throws `protocol-unsupported`. */
  learn(answer: unknown): void;
  /** Takes over the hub's time from a refusal, and its present key if that follows from one that is known. `true`: the question is worth asking again. */
  setsClock(answer: unknown): boolean;
  /** How this device's own keys log in at a broker: the present key and, during a rotation, the next. */
  readonly logins: readonly BrokerLogin[];
  /** Whether this device's last login at the broker was by its key. */
  readonly isKnownThere: boolean;
  noteLogin(byKey: boolean): void;
  /** How many answers the hub had not signed, since this was opened. */
  readonly unproven: number;
}

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.filter((item) => typeof item === "string") : []);
const jsonOf = (text: string | null): unknown => {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
};

/** This device's key, made when it is first asked for. */
export function deviceKey(store: Store): PrivateKey {
  const kept = (): PrivateKey | null => jsonOf(store.meta(DEVICE_KEY)) as PrivateKey | null;
  return kept() ?? store.transaction(() => kept() ?? keep(store, DEVICE_KEY));
}

function keep(store: Store, name: string): PrivateKey {
  const { kty, crv, x, d } = makeKeyPair();
  store.setMeta(name, JSON.stringify({ kty, crv, x, d }));
  return { kty, crv, x, d };
}

/** The key that is to follow the present one, until the hub has said that it knows the new key. */
export function nextDeviceKey(store: Store): PrivateKey {
  return store.transaction(() => (jsonOf(store.meta(NEXT_KEY)) as PrivateKey | null) ?? keep(store, NEXT_KEY));
}

export const isRotating = (store: Store): boolean => store.meta(NEXT_KEY) !== null;

/** Makes the next key the device's present one, because the hub knows it now. */
export function takeNextKey(store: Store): void {
  store.transaction(() => {
    const next = store.meta(NEXT_KEY);
    if (next === null) return;
    store.setMeta(DEVICE_KEY, next);
    store.rows.removeMeta(NEXT_KEY);
  });
}

const publicKey = (x: string): PublicKey | null => publicKeySchema.safeParse({ kty: "OKP", crv: "Ed25519", x }).data ?? null;

/** The hub's keys that this device believes. */
export const hubKeys = (store: Store): PublicKey[] => strings(jsonOf(store.meta(HUB_KEYS))).flatMap((x) => publicKey(x) ?? []);

export function pinHub(store: Store, keys: readonly PublicKey[]): void {
  const text = JSON.stringify(keys.map(({ x }) => x));
  if (text !== store.meta(HUB_KEYS)) store.transaction(() => store.setMeta(HUB_KEYS, text));
}

export const noteProtocol = (store: Store, spoken: Spoken | undefined): void => {
  const text = JSON.stringify(spoken ?? UNSAID);
  if (text !== store.meta(HUB_PROTOCOL)) store.transaction(() => store.setMeta(HUB_PROTOCOL, text));
};

export const unprovenAnswers = (store: Store): number => Number(store.meta(UNPROVEN) ?? 0);

/** The keys that a token's issuer says are the hub's. A token comes from somebody who is trusted, so it is not checked here. */
export function keysInToken(token: string): PublicKey[] {
  const payload = jsonOf(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  return isJsonObject(payload) ? strings(payload.hub).flatMap((x) => publicKey(x) ?? []) : [];
}

/** The known keys and all that follow from them: each key says which comes after it. */
export function withSuccessors(known: readonly PublicKey[], successions: readonly Succession[]): PublicKey[] {
  const keys = new Map(known.map((key) => [keyIdOf(key), key]));
  for (let grew = true; grew; ) {
    grew = false;
    for (const { key, by, signature } of successions) {
      const elder = keys.get(by);
      if (elder === undefined || keys.has(keyIdOf(key))) continue;
      if (!isSignedBy(elder, messageText("succession", { key, by }), signature)) continue;
      keys.set(keyIdOf(key), key);
      grew = true;
    }
  }
  return [...keys.values()];
}

export const successionsIn = (answer: unknown): Succession[] =>
  isJsonObject(answer) ? (successionSchema.array().max(32).safeParse(answer.successions).data ?? []) : [];

/** Whether one of these keys has signed a message exactly as it came, with all of its members. */
export function isSignedByAny(keys: readonly PublicKey[], kind: SignedKind, message: object): boolean {
  const signature = signatureSchema.safeParse((message as { signature?: unknown }).signature).data;
  if (signature === undefined) return false;
  const key = keys.find((known) => keyIdOf(known) === signature.kid);
  try {
    return key !== undefined && isSignedBy(key, messageText(kind, message), signature);
  } catch {
    // A message without a canonical form cannot have been signed.
    return false;
  }
}

/** Takes over the key that has signed an answer, where the answer shows how it follows from a known one. */
function followKeys(store: Store, answer: object): void {
  const known = hubKeys(store);
  const present = signatureSchema.safeParse((answer as { signature?: unknown }).signature).data?.kid;
  if (known.length === 0 || known.some((key) => keyIdOf(key) === present)) return;
  const key = withSuccessors(known, successionsIn(answer)).find((each) => keyIdOf(each) === present);
  if (key !== undefined && isSignedByAny([key], "refusal", answer)) pinHub(store, [key]);
}

const ANSWERS: readonly string[] = ["hello", "receipt", "refusal", "enrolled"] satisfies SignedKind[];
const isAnswer = (kind: unknown): kind is SignedKind => typeof kind === "string" && ANSWERS.includes(kind);

export interface IdentityOptions {
  readonly url: string;
  readonly token?: string;
  readonly now: () => number;
}

// Long because it is one table of what an identity answers, all from the same database; each member is short.
export function openIdentity(store: Store, { url, token, now }: IdentityOptions): Identity {
  const signer: LocalSigner = signerOf(deviceKey(store));
  if (token !== undefined && hubKeys(store).length === 0) {
    const named = keysInToken(token);
    if (named.length > 0) pinHub(store, named);
  }
  let unproven = 0;
  const way = wayOf(url);
  const isPrivateWay = way !== null && WAYS[way].isPrivate;
  const doubt = (): false => {
    unproven++;
    store.transaction(() => store.setMeta(UNPROVEN, String(unprovenAnswers(store) + 1)));
    return false;
  };
  /** Who asks, by which hub's keys, and when by the hub's clock. */
  const asker = (nonce: string = randomUUID()) => {
    const { kty, crv, x } = signer.key;
    const pins = hubKeys(store).map(keyIdOf);
    const sentAtMs = Math.max(0, Math.round(now() - Number(store.meta("clock_offset_ms") ?? 0)));
    return { nonce, protocol: PROTOCOL, sentAtMs, key: { kty, crv, x }, ...(pins.length === 0 ? {} : { pins }) };
  };
  const signed = <T extends object>(kind: SignedKind, question: T) => ({
    ...question,
    signature: signer.sign(messageText(kind, question)),
  });
  let servesPulls: boolean | null = null;
  const spoken = (): Spoken => (jsonOf(store.meta(HUB_PROTOCOL)) as Spoken | null) ?? UNSAID;

  return {
    kid: signer.kid,
    get isPinned() {
      return hubKeys(store).length > 0;
    },
    get version() {
      return commonVersion(spoken()) ?? PROTOCOL.oldest;
    },
    stamped(batch) {
      if ((commonVersion(spoken()) ?? 1) < 2) return batch;
      const through = (batch.firstSeq + batch.events.length - 1) as Seq;
      const { value } = signer.sign(runText({ origin: batch.origin, through, head: batch.head }));
      return { ...batch, signature: new Uint8Array(Buffer.from(value, "base64url")) };
    },
    asked: (request) => signed("hello-request", { ...request, ...asker(request.nonce) }),
    pulls(question) {
      const { org, site, device } = store.name;
      return signed("pull", { ...question, kind: "pull", device: `${org}.${site}.${device}`, ...asker() });
    },
    believes(answer, nonce) {
      const pinned = hubKeys(store);
      if (pinned.length === 0) return true;
      if (!isJsonObject(answer) || !isAnswer(answer.kind)) return doubt();
      if (nonce !== undefined && answer.nonce !== nonce) return doubt();
      return isSignedByAny(withSuccessors(pinned, successionsIn(answer)), answer.kind, answer) || doubt();
    },
    believesPage(frame, nonce) {
      const pinned = hubKeys(store);
      if (pinned.length === 0) return true;
      const seal = pageSeal(frame);
      const key = pinned.find((known) => keyIdOf(known) === seal?.signature?.kid);
      if (seal === null || seal.signature === null || key === undefined) return doubt();
      return isSignedBy(key, pageText(nonce, seal.digest), seal.signature) || doubt();
    },
    get servesPulls() {
      return servesPulls;
    },
    learn(answer) {
      const { data: hello } = helloSchema.safeParse(answer);
      if (hello === undefined) return;
      servesPulls = hello.pulls === true;
      noteProtocol(store, hello.protocol);
      const theirs = hello.protocol ?? UNSAID;
      if (commonVersion(theirs) === null)
        throw new TributaryError(
          "protocol-unsupported",
          `the hub speaks versions ${theirs.oldest} to ${theirs.newest} of the protocol; this device speaks ${PROTOCOL.oldest} to ${PROTOCOL.newest}`,
          theirs.oldest > PROTOCOL.newest
            ? "Update the app on this device."
            : "The hub has to be updated. The events are safe on this device.",
        );
      const { keys } = hello;
      if (keys === undefined || keys.length === 0) return;
      // Trust on first use: only if the connection itself proves whom it leads to, and only a hello that is signed by the keys in it.
      const isFirst = hubKeys(store).length === 0;
      if (isFirst ? isPrivateWay && isSignedByAny(keys, "hello", answer as object) : true) pinHub(store, keys);
    },
    setsClock(answer) {
      if (!isJsonObject(answer) || answer.code !== "request-stale" || typeof answer.nowMs !== "number") return false;
      store.transaction(() => store.setMeta("clock_offset_ms", String(Math.round(now() - Number(answer.nowMs)))));
      followKeys(store, answer);
      return true;
    },
    get logins() {
      const next = jsonOf(store.meta(NEXT_KEY)) as PrivateKey | null;
      return [signer, ...(next === null ? [] : [signerOf(next)])].map(nkeyLogin);
    },
    get isKnownThere() {
      return store.meta(LOGIN) === "key";
    },
    noteLogin(byKey) {
      const how = byKey ? "key" : "secret";
      if (store.meta(LOGIN) !== how) store.transaction(() => store.setMeta(LOGIN, how));
    },
    get unproven() {
      return unproven;
    },
  };
}

/** A clause about answers that were not believed. */
export const unprovenWords = (count: number): string =>
  count === 0 ? "" : `; ${count} ${count === 1 ? "answer was" : "answers were"} not signed by the hub and not believed`;

export const unprovenHub = (where: string, said: string | null): TributaryError =>
  new TributaryError(
    "hub-unproven",
    `${where} does not answer as this device's hub would: the answer is not signed with a key that this device knows${said === null ? "" : ` (it says: ${said})`}`,
    "Nothing was believed; the events are safe on this device. Check the address. If the hub has new keys, ask your coordinator for a code and run `tributary field enrol`.",
  );
