import { randomUUID } from "node:crypto";
import {
  enrolledSchema,
  isJsonObject,
  isTributaryError,
  type KeyId,
  messageText,
  type NatsSettings,
  refusalSchema,
  TributaryError,
} from "../core/index.ts";
import { keyIdOf, namesHub, readCode, signerOf } from "../core/node.ts";
import {
  deviceKey,
  isRotating,
  isSignedByAny,
  nextDeviceKey,
  noteProtocol,
  openIdentity,
  pinHub,
  successionsIn,
  takeNextKey,
  unprovenHub,
  withSuccessors,
} from "./keys.ts";
import type { Store } from "./store.ts";
import { openTransport } from "./transport.ts";
import type { Transport } from "./way.ts";

const REPLY_TIMEOUT_MS = 15_000;
const ENROL_TRIES = 3;

export interface EnrolResult {
  readonly device: string;
  /** The thumbprints of the device's key and of the hub's. */
  readonly kid: KeyId;
  readonly hub: readonly KeyId[];
}

const deviceOf = ({ name: { org, site, device } }: Store): string => `${org}.${site}.${device}`;

const publicPart = ({ kty, crv, x }: { kty: "OKP"; crv: "Ed25519"; x: string }): { kty: "OKP"; crv: "Ed25519"; x: string } => ({
  kty,
  crv,
  x,
});

/** Throws if the hub refuses. */
function throwRefusal(answer: unknown): void {
  const refusal = refusalSchema.safeParse(answer).data;
  if (refusal !== undefined) throw new TributaryError(refusal.code, refusal.message, refusal.hint);
}

/**
 * Registers this device's key at the hub by a one-time code, and takes the hub's keys. Only an answer that is signed by the key which the code names counts, so
 * nobody can take the place of either side. What the device believed before is replaced: this is the way back to a hub whose keys are new.
 */
export async function enrol(
  store: Store,
  options: { readonly url: string; readonly code: string; readonly nats?: NatsSettings; readonly now: () => number },
): Promise<EnrolResult> {
  const code = readCode(options.code);
  if (code === null)
    throw new TributaryError(
      "code-invalid",
      "that is not a code",
      "A code has eight groups of four letters and digits, like abcd-efgh-….",
    );
  const signer = signerOf(deviceKey(store));
  const device = deviceOf(store);
  const question = { kind: "enrolment" as const, device, key: publicPart(signer.key), code, nonce: randomUUID() };
  const signed = { ...question, signature: signer.sign(messageText("enrolment", question)) };
  const identity = openIdentity(store, options);
  const how = { url: options.url, code, ...(options.nats === undefined ? {} : { nats: options.nats }) };
  const ask = async (tries: number): Promise<unknown> => {
    const transport = await openTransport({ ...how, identity, name: store.name, replyTimeoutMs: REPLY_TIMEOUT_MS });
    try {
      return await transport.ask(signed, (answer) => isHubs(answer, code, question.nonce));
    } catch (error) {
      // The link broke before the answer came. The hub gives the same answer to the same key again.
      if (transport.isOpen || tries >= ENROL_TRIES) throw error;
    } finally {
      await transport.close();
    }
    return ask(tries + 1);
  };
  const answer = await ask(1);
  throwRefusal(answer);
  const enrolled = enrolledSchema.parse(answer);
  pinHub(store, enrolled.keys);
  noteProtocol(store, enrolled.protocol);
  store.transaction(() => store.setMeta("clock_offset_ms", String(Math.round(options.now() - enrolled.nowMs))));
  return { device, kid: enrolled.kid, hub: enrolled.keys.map(keyIdOf) };
}

/** The answer to this question by the hub that the code names. A refusal is believed without a signature, because it only ends the command. */
function isHubs(answer: unknown, code: string, nonce: string): boolean {
  if (!isJsonObject(answer) || answer.nonce !== nonce) return false;
  if (answer.kind === "refusal") return true;
  const enrolled = enrolledSchema.safeParse(answer).data;
  if (enrolled === undefined) return false;
  const told = [...enrolled.keys, ...(enrolled.successions ?? []).map(({ key }) => key)];
  const named = told.filter((key) => namesHub(code, keyIdOf(key)));
  return isSignedByAny(withSuccessors(named, successionsIn(answer)), "enrolled", answer);
}

/** Replaces this device's key by a new one. If the answer is lost, the next sync finishes the rotation. */
export async function rotateKey(
  store: Store,
  options: { readonly url: string; readonly token?: string; readonly nats?: NatsSettings; readonly now: () => number },
): Promise<EnrolResult> {
  nextDeviceKey(store);
  const identity = openIdentity(store, options);
  const { now: _, ...how } = options;
  const transport = await openTransport({ ...how, identity, name: store.name, replyTimeoutMs: REPLY_TIMEOUT_MS });
  try {
    return await finish(store, transport, options.now);
  } finally {
    await transport.close();
  }
}

/**
 * Finishes a rotation that was begun. Without one it does nothing. If the hub does not know the present key (not yet, or no longer because its log was restored),
 * the device goes on with that key: the hello may enrol it, and the next sync finishes the rotation.
 */
export async function finishRotation(store: Store, transport: Transport, now: () => number): Promise<void> {
  if (!isRotating(store)) return;
  try {
    await finish(store, transport, now);
  } catch (error) {
    if (!isTributaryError(error) || error.code !== "key-unknown") throw error;
  }
}

async function finish(store: Store, transport: Transport, now: () => number): Promise<EnrolResult> {
  const present = signerOf(deviceKey(store));
  const next = signerOf(nextDeviceKey(store));
  const device = deviceOf(store);
  for (let tries = 0; ; tries++) {
    const nonce = randomUUID();
    const sentAtMs = Math.max(0, Math.round(now() - Number(store.meta("clock_offset_ms") ?? 0)));
    const question = { kind: "rotation" as const, device, key: publicPart(next.key), nonce, sentAtMs };
    const proven = { ...question, proof: next.sign(messageText("rotation-proof", question)) };
    const signed = { ...proven, signature: present.sign(messageText("rotation", proven)) };
    const { identity } = transport;
    const answer = await transport.ask(
      signed,
      (answer) => isJsonObject(answer) && answer.nonce === nonce && identity.believes(answer, nonce),
    );
    if (tries === 0 && identity.setsClock(answer)) continue;
    throwRefusal(answer);
    const enrolled = enrolledSchema.safeParse(answer).data;
    if (enrolled === undefined || enrolled.kid !== next.kid) throw unprovenHub("what answers", null);
    takeNextKey(store);
    return { device, kid: next.kid, hub: enrolled.keys.map(keyIdOf) };
  }
}
