import {
  type Batch,
  commonVersion,
  type DeviceName,
  deviceOf,
  deviceRevokedWords,
  type Enrolled,
  type EnrolledKey,
  type Enrolment,
  type Hello,
  type HelloRequest,
  type JsonObject,
  keysAt,
  MAX_HUB_KEYS,
  MAX_SUCCESSIONS,
  messageText,
  type OriginId,
  PROTOCOL,
  type PublicKey,
  type Refusal,
  type Rotation,
  runText,
  type SignedKind,
  type Spoken,
  siteOfDevice,
  TributaryError,
  turns,
  UNSAID,
} from "../core/index.ts";
import { codeHash, isSignedBy, keyIdOf } from "../core/node.ts";
import {
  type Claims,
  checkDevice,
  checkOrigin,
  type Doorkeeper,
  type Keyring,
  SCOPE_APPEND,
  SCOPE_ENROL,
  type Shown,
  sealed,
} from "../http/index.ts";
import { actorOfDevice, type KeyBook } from "../log/index.ts";
import type { Vouched } from "./accept.ts";
import type { HelloAsk, KeyAsk, PullAsk, Question } from "./question.ts";

/** A signed request's time may differ from the hub's clock by so much. A sender whose clock is wrong is told the time and asks again. */
export const REQUEST_WINDOW_MS = 5 * 60_000;
/** So many nonces of signed requests are remembered; the oldest are forgotten first. */
const MAX_NONCES = 100_000;
const MAX_NONCE_LENGTH = 64;
/** A site's tokens enrol so many devices. A leaked token must not fill the book of keys with names; whoever needs more devices hands out codes. */
const MAX_TOKEN_DEVICES = 1_000;
/** Enrolments and rotations that are written at a time, in all and for one site, and those of one site that wait. Their signatures were checked before. */
const WRITE_BOUNDS = { max: 8, maxEach: 1, maxWaitingEach: 100 };

/** Decides who may speak for a device: by a signature of its enrolled key, or by a token if it has no key. */
export interface Vouch {
  /**
   * In whose name a batch came, as its subject says, where that device has a key: whether it is signed with it is looked at when its turn has come. `null`: it
   * needs a token. Throws `revoked`.
   */
  named(device: DeviceName, receivedAtMs: number, hasToken: boolean): Pick<Claims, "org" | "site" | "device"> | null;
  /** `false`: it is not known yet who has a key, because the log could not be read. */
  readonly knows: boolean;
  /** Looks for keys that were enrolled elsewhere a moment ago. */
  look(): void;
  /**
   * Whether it is worth while to read a batch that came without a token: whether the device has a key that it may be signed with. Throws what `batch` would throw
   * of one that has none, and asks for nothing but the device's name.
   */
  maySign(device: DeviceName, receivedAtMs: number): Promise<void>;
  /** Whether a batch that arrived at `receivedAtMs` may be taken; returns the signature to be kept with it, and what its sender may write. */
  batch(shown: Shown, batch: Batch, receivedAtMs: number): Promise<Vouched>;
  /** The keys that origins' signed heads may be signed with, of those that arrived at a time: those that their batches may be. */
  headKeys(origins: readonly OriginId[], atMs: number): Promise<ReadonlyMap<OriginId, readonly EnrolledKey[]>>;
  /** Whether a hello may be answered; enrols a device's first key. */
  hello(question: Question<HelloAsk>): Promise<void>;
  /** Whether a pull may be answered: by the same rules as a hello, and a pull counts once also where a token lets it in. */
  pull(question: Question<PullAsk>): Promise<void>;
  /** What the answer to a hello says about the hub itself. */
  introduction(request: HelloRequest): Pick<Hello, "protocol" | "keys" | "successions" | "nonce">;
  /** What else a refusal says: which question it refuses, and how the hub's present key follows from one that the asker knows. */
  refusing(raw: unknown): Pick<Refusal, "nonce" | "successions">;
  /** Answers an enrolment or a rotation. */
  enrolment(question: Question<KeyAsk>): Promise<Enrolled>;
}

const askCode =
  "Ask your coordinator for a one-time code (`tributary site add SITE --device NAME`) and give it to `tributary field enrol`.";

const unknownKey = (device: DeviceName, why: string): TributaryError =>
  new TributaryError("key-unknown", `${why} ${device}`, `Is another tablet of that name in use? ${askCode}`);

const noKeyHere = (device: DeviceName): TributaryError =>
  new TributaryError(
    "token-missing",
    `no token came, and no key is enrolled for ${device} at this hub`,
    `Its events are safe on the device. Perhaps it was enrolled at another hub, or after the backup that this hub was restored from. ${askCode} A token works too.`,
  );

const revokedDevice = (device: DeviceName): TributaryError => new TributaryError("revoked", deviceRevokedWords(device), askCode);

const siteFull = (site: string, max: number): TributaryError =>
  new TributaryError(
    "not-permitted",
    `${max} devices of ${site} have keys already, so its tokens enrol no more`,
    `Revoke devices that are not in use (\`tributary device list\`, \`tributary device revoke\`). Or: ${askCode}`,
  );

const badSignature = (batch: Batch, why: string): TributaryError =>
  new TributaryError(
    "signature-invalid",
    `the batch of ${batch.origin} from event ${batch.firstSeq} ${why}`,
    "The hub keeps the batch for somebody to look at. If this is the right device, have its key enrolled again.",
  );

// Long because its functions share what is known of keys, tokens and questions that were asked before; each is short.
export function vouch({
  book,
  ring,
  keeper,
  requireKeys = false,
  maxTokenDevices = MAX_TOKEN_DEVICES,
}: {
  readonly book: KeyBook;
  readonly ring: Keyring;
  readonly keeper: Doorkeeper;
  /** Refuse devices that have no key, and enrol keys by codes only. */
  readonly requireKeys?: boolean;
  readonly maxTokenDevices?: number;
}): Vouch {
  const isFresh = nonceMemory();
  const turn = turns(WRITE_BOUNDS);
  /** Sites write in turn, so that one with a thousand new devices costs another one turn only. `decide` sees the record as of the write itself. */
  const write = (device: DeviceName, decide: Parameters<KeyBook["write"]>[1]): Promise<void> =>
    turn.run(siteOfDevice(device), () => book.write(actorOfDevice(device), decide));

  const byToken = async ({ authorization, message }: Shown, atMs: number, check: (claims: Claims) => void): Promise<Claims> => {
    const claims =
      message === undefined
        ? await keeper.admit(authorization, atMs, SCOPE_APPEND)
        : await keeper.admitMessage(authorization, message, atMs, SCOPE_APPEND);
    check(claims);
    return claims;
  };

  const checkFresh = (device: DeviceName, nonce: string | undefined, sentAtMs: number | undefined, nowMs: number): void => {
    const inTime = sentAtMs !== undefined && Math.abs(sentAtMs - nowMs) <= REQUEST_WINDOW_MS;
    if (inTime && nonce !== undefined && isFresh(`${device}\n${nonce}`, nowMs)) return;
    throw new TributaryError(
      "request-stale",
      inTime
        ? "the hub has had this signed request before"
        : `the request's time is not the hub's: the hub's clock says ${new Date(nowMs).toISOString()}`,
      "Sign a new request with the hub's time.",
    );
  };

  /** The keys that a device may have signed with. */
  const keysOf = async (device: DeviceName, receivedAtMs: number, hasToken: boolean): Promise<EnrolledKey[]> => {
    // Throws while the log cannot be read, because then nobody knows who is enrolled.
    if (!book.isRead) await book.refresh();
    const keys = keysAt(book.record, device, receivedAtMs);
    if (keys.length > 0 || hasToken) return keys;
    // Enrolled with another process a moment ago?
    await book.refresh();
    return keysAt(book.record, device, receivedAtMs);
  };
  const refuseKeyless = (device: DeviceName, hasToken: boolean): void => {
    const revoked = book.record.revoked(device);
    if (revoked === "device" || (revoked !== null && !hasToken)) throw revokedDevice(device);
    if (requireKeys) throw unknownKey(device, "this hub takes events of enrolled devices only, and no key is enrolled for");
  };

  const enrolFirst = (device: DeviceName, key: PublicKey, claims: Claims): Promise<void> =>
    write(device, (now) => {
      const kid = keyIdOf(key);
      const present = now.present(device);
      if (present?.kid === kid) return null;
      const mayReplace = claims.scopes.includes(SCOPE_ENROL);
      if (now.revoked(device) === "device") throw revokedDevice(device);
      // Somebody who has only a token may not bring back a key that was ended.
      if (present !== null && !mayReplace) throw unknownKey(device, "another key is enrolled for");
      // A leaked token must not enrol new names either.
      if (requireKeys && !mayReplace) throw unknownKey(device, "this hub enrols by codes only, and no key is enrolled for");
      const site = siteOfDevice(device);
      if (present === null && !mayReplace && now.devicesOf(site) >= maxTokenDevices) throw siteFull(site, maxTokenDevices);
      const how = mayReplace ? "hub" : "token";
      return {
        type: "device.enrolled",
        data: {
          ...{ device, kid, key: { ...key }, how },
          ...(claims.jti === null ? {} : { jti: claims.jti }),
          ...(claims.types === null ? {} : { types: claims.types }),
        },
      };
    });

  /** Lets a device's question in, and enrols its first key where a token lets it. */
  const admitAsker = async (
    { shown, asks: { kind, request, raw }, atMs: nowMs }: Question<HelloAsk | PullAsk>,
    { device, signedAs, check }: { device: DeviceName; signedAs: SignedKind; check: (claims: Claims) => void },
  ): Promise<void> => {
    const { authorization } = shown;
    const { key, signature, nonce, sentAtMs } = request;
    if (!book.isRead) await book.refresh();
    if (key === undefined || signature === undefined) {
      if (book.record.present(device) !== null) throw unknownKey(device, `the ${kind} is not signed by the key of`);
      if (requireKeys) throw unknownKey(device, "this hub answers enrolled devices only, and no key is enrolled for");
      await byToken(shown, nowMs, check);
      if (book.record.revoked(device) === "device") throw revokedDevice(device);
      return;
    }
    if (!isSignedBy(key, messageText(signedAs, raw), signature)) throw proofless(kind);
    const kid = keyIdOf(key);
    const isKnown = (): boolean => keysAt(book.record, device, nowMs).some((known) => known.kid === kid);
    checkFresh(device, nonce, sentAtMs, nowMs);
    // Enrolled with another process a moment ago? A sender with a token need not wait for the answer, because the book is read before it is written.
    if (!isKnown() && authorization === undefined) await book.refresh();
    if (isKnown()) return;
    if (book.record.present(device) === null && book.record.revoked(device) !== null && authorization === undefined)
      throw revokedDevice(device);
    if (book.record.present(device) !== null && authorization === undefined)
      throw unknownKey(device, "another key is enrolled for");
    // Its key was enrolled elsewhere, or the log lost it. A device that never had one would have brought a token.
    if (authorization === undefined) throw noKeyHere(device);
    const claims = await byToken(shown, nowMs, check);
    if (ring.state().signer !== null) await enrolFirst(device, key, claims);
  };

  return {
    named(device, receivedAtMs, hasToken) {
      const [org, site, name, ...more] = device.split(".");
      if (org === undefined || site === undefined || name === undefined || more.length > 0) return null;
      if (keysAt(book.record, device, receivedAtMs).length > 0) return { org, site, device: name };
      const revoked = book.record.revoked(device);
      if (revoked === "device" || (revoked !== null && !hasToken)) throw revokedDevice(device);
      return null;
    },
    get knows() {
      return book.isRead;
    },
    look: () => void book.refresh().catch(() => {}),

    async maySign(device, receivedAtMs) {
      if ((await keysOf(device, receivedAtMs, false)).length > 0) return;
      refuseKeyless(device, false);
      await keeper.admit(undefined, receivedAtMs);
    },

    async batch(shown, batch, receivedAtMs) {
      const { authorization } = shown;
      const device = deviceOf(batch.origin);
      const { signature } = batch;
      const keys = await keysOf(device, receivedAtMs, authorization !== undefined);
      if (keys.length === 0) {
        refuseKeyless(device, authorization !== undefined);
        const { types } = await byToken(shown, receivedAtMs, (claims) => checkOrigin(claims, batch.origin));
        return { types };
      }
      if (signature !== undefined) {
        const made = signerAmong(keys, batch, signature);
        if (made !== null) return made;
        throw badSignature(batch, "is not signed by the key of its device");
      }
      // It was sent before the device had a key, so it came with a token.
      if (authorization !== undefined && receivedAtMs < book.record.keysOf(device)[0]!.atMs) {
        const { types } = await byToken(shown, receivedAtMs, (claims) => checkOrigin(claims, batch.origin));
        return { types };
      }
      throw badSignature(batch, "is not signed, though its device has a key");
    },

    async headKeys(origins, atMs) {
      const keys = (origin: OriginId): EnrolledKey[] => keysAt(book.record, deviceOf(origin), atMs);
      // Enrolled with another process a moment ago? We ask once, however many devices are unknown.
      if (origins.some((origin) => keys(origin).length === 0)) await book.refresh();
      return new Map(origins.map((origin) => [origin, keys(origin)]));
    },

    hello: (question) => {
      const { request } = question.asks;
      const device = deviceOf(request.origin);
      checkSpoken(request.protocol ?? UNSAID);
      return admitAsker(question, { device, signedAs: "hello-request", check: (claims) => checkOrigin(claims, request.origin) });
    },

    async pull(question) {
      const { device, protocol, nonce, sentAtMs, pins, key, signature } = question.asks.request;
      checkSpoken(protocol);
      const check = (claims: Claims): void => checkDevice(claims, device, `ask in the name of ${device}`);
      await admitAsker(question, { device, signedAs: "pull", check });
      if (key === undefined || signature === undefined) checkFresh(device, nonce, sentAtMs, question.atMs);
      const { signer, successions } = ring.state();
      if (pins === undefined || pins.length === 0 || signer === null || pins.includes(signer.kid)) return;
      if (successions.length > 0)
        throw new TributaryError(
          "request-stale",
          "the hub signs with a key that came after those that the request names",
          "Take over the key that this answer names, and ask again.",
        );
    },

    introduction({ pins, nonce }) {
      const { signer, keys, kids, successions } = ring.state();
      const answered = { protocol: PROTOCOL, ...(nonce === undefined ? {} : { nonce }) };
      if (signer === null || (pins !== undefined && pins.join() === kids.join())) return answered;
      const isNew = pins !== undefined && !pins.includes(signer.kid);
      return {
        ...answered,
        keys: keys.slice(0, MAX_HUB_KEYS),
        ...(isNew && successions.length > 0 ? { successions: successions.slice(-MAX_SUCCESSIONS) } : {}),
      };
    },

    refusing(raw) {
      const { nonce, pins } = (raw ?? {}) as { nonce?: unknown; pins?: unknown };
      const { signer, successions } = ring.state();
      const isNew = Array.isArray(pins) && signer !== null && !pins.includes(signer.kid) && successions.length > 0;
      return {
        ...(typeof nonce === "string" && nonce.length <= MAX_NONCE_LENGTH ? { nonce } : {}),
        ...(isNew ? { successions: successions.slice(-MAX_SUCCESSIONS) } : {}),
      };
    },

    async enrolment({ asks, atMs: nowMs }) {
      const { signer } = ring.state();
      if (signer === null)
        throw new TributaryError(
          "backend-failed",
          "this hub has no key to sign with",
          "The hub's operator must give it its signing key.",
        );
      const { device, key, nonce } =
        asks.kind === "enrolment"
          ? await enrolByCode({ book, write }, asks.request, asks.raw, nowMs)
          : await rotate(asks.request, asks.raw, nowMs);
      const { alive, successions } = ring.state();
      const answer: Omit<Enrolled, "signature"> = {
        kind: "enrolled",
        device,
        kid: keyIdOf(key),
        nonce,
        nowMs,
        protocol: PROTOCOL,
        keys: alive.slice(0, MAX_HUB_KEYS),
        ...(successions.length === 0 ? {} : { successions: successions.slice(-MAX_SUCCESSIONS) }),
      };
      return (await sealed(ring.state(), "enrolled", answer)) as Enrolled;
    },
  };

  async function rotate(rotation: Rotation, raw: JsonObject, nowMs: number): Promise<Rotation> {
    const { device, key, proof, signature, nonce, sentAtMs } = rotation;
    const kid = keyIdOf(key);
    if (book.record.present(device)?.kid !== signature.kid) await book.refresh();
    const { proof: _, ...unproven } = raw;
    if (!isSignedBy(key, messageText("rotation-proof", unproven), proof)) throw proofless("rotation");
    const isDone = book.record.present(device)?.kid === kid;
    const by = book.record.keysOf(device).findLast((known) => known.kid === signature.kid && known.ended?.why !== "revoked");
    if (by === undefined || (!isDone && by.ended !== null))
      throw book.record.revoked(device) === null
        ? unknownKey(device, "the rotation is not signed by the key of")
        : revokedDevice(device);
    if (!isSignedBy(by.key, messageText("rotation", raw), signature)) throw proofless("rotation");
    checkFresh(device, nonce, sentAtMs, nowMs);
    await write(device, (now) => {
      const present = now.present(device);
      if (present?.kid === kid) return null;
      if (present === null || present.kid !== by.kid) throw unknownKey(device, "another key has been enrolled meanwhile for");
      return {
        type: "device.enrolled",
        data: {
          ...{ device, kid, key: { ...key }, how: "rotation", by: by.kid, proof: { ...signature } },
          // The token stays the same.
          ...(present.jti === null ? {} : { jti: present.jti }),
          ...(by.types === null ? {} : { types: by.types }),
        },
      };
    });
    return rotation;
  }
}

/** Throws `protocol-unsupported` if there is no version of the protocol that both sides speak. */
function checkSpoken(theirs: Spoken): void {
  if (commonVersion(theirs) !== null) return;
  throw new TributaryError(
    "protocol-unsupported",
    `the device speaks versions ${theirs.oldest} to ${theirs.newest} of the protocol; this hub speaks ${PROTOCOL.oldest} to ${PROTOCOL.newest}`,
    theirs.oldest > PROTOCOL.newest ? "Update the hub." : "Update the app on the device.",
  );
}

const proofless = (what: string): TributaryError =>
  new TributaryError("signature-invalid", `the ${what}'s signature does not fit it`, "Send it again.");

async function enrolByCode(
  { book, write }: { readonly book: KeyBook; write(device: DeviceName, decide: Parameters<KeyBook["write"]>[1]): Promise<void> },
  enrolment: Enrolment,
  raw: JsonObject,
  nowMs: number,
): Promise<Enrolment> {
  const { device, key, signature } = enrolment;
  if (!isSignedBy(key, messageText("enrolment", raw), signature)) throw proofless("enrolment");
  const hash = codeHash(enrolment.code);
  const kid = keyIdOf(key);
  if (book.record.code(hash) === null) await book.refresh();
  const refused = (why: string): TributaryError => new TributaryError("code-invalid", `the code ${why}`, askCode);
  // Looked up before anything is written: whoever guesses codes costs one look a second at most.
  if (book.record.code(hash) === null) throw refused("is not one of this hub's; check that it is typed as it was given");
  await write(device, (now) => {
    const code = now.code(hash);
    if (now.present(device)?.kid === kid && code?.isUsed === true) return null;
    if (code === null || code.isUsed) throw refused("was used already, or taken back");
    if (code.site !== siteOfDevice(device)) throw refused(`is for ${code.site}, not for ${siteOfDevice(device)}`);
    if (code.device !== null && code.device !== device) throw refused(`is for ${code.device}, not for ${device}`);
    // A code for any device must not take over a device that has a key.
    const present = now.present(device);
    if (present !== null && present.kid !== kid && code.device === null)
      throw refused(`names no device, and ${device} has a key already; a code for this device must name it`);
    if (code.device === null && now.revoked(device) === "device")
      throw refused(`names no device, and ${device} was revoked; a code for this device must name it`);
    if (nowMs > code.expiresAtMs) throw refused(`ran out on ${new Date(code.expiresAtMs).toISOString()}`);
    const bound: JsonObject = code.types === null ? {} : { types: code.types };
    const data = { device, kid, key: { ...key }, how: "code", code: hash, proof: { ...signature }, ...bound };
    return { type: "device.enrolled", data };
  });
  return enrolment;
}

function signerAmong(keys: readonly EnrolledKey[], batch: Batch, value: Uint8Array): Vouched | null {
  const { origin, firstSeq, events, head } = batch;
  const through = (firstSeq + events.length - 1) as typeof firstSeq;
  const text = runText({ origin, through, head });
  const inBase64 = Buffer.from(value).toString("base64url");
  for (const { key, kid, types } of keys) {
    const signed = { kid, value: inBase64 };
    if (isSignedBy(key, text, signed)) return { signed, types };
  }
  return null;
}

/** Remembers what was seen within the window. Returns `false` for what was seen before. */
function nonceMemory(): (nonce: string, nowMs: number) => boolean {
  const seen = new Map<string, number>();
  return (nonce, nowMs) => {
    for (const [old, atMs] of seen) {
      if (nowMs - atMs <= 2 * REQUEST_WINDOW_MS && seen.size < MAX_NONCES) break;
      seen.delete(old);
    }
    if (seen.has(nonce)) return false;
    seen.set(nonce, nowMs);
    return true;
  };
}

/** A message of the hub as it goes out: signed, if the hub has a key. */
export const seal =
  (ring: Keyring) =>
  <T extends { readonly kind: SignedKind }>(message: T): Promise<T> =>
    sealed(ring.state(), message.kind, message);
