import type { Msg, MsgHdrs, NatsConnection } from "nats";
import { HEADER_TOKEN, messageOf, type Refusal } from "../core/index.ts";
import type { Shown } from "../http/index.ts";
import { wordsForSenders } from "./words.ts";

const encoder = new TextEncoder();
export const toJson = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));

/** What a message says if it is JSON, otherwise `undefined`. */
export function fromJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}

/** For a message that could not be read, or that is not a batch. */
export const UNKNOWN = { batch: null, origin: null, firstSeq: null, through: null } as const;
/** The length of a refusal's words, in characters: they may quote what was refused. */
const MAX_MESSAGE = 2_000;

/** Turns anything thrown into what the sender is told. */
export function refusalOf(
  error: unknown,
  of: Pick<Refusal, "batch" | "origin" | "firstSeq" | "through" | "nonce" | "successions"> = UNKNOWN,
): Refusal {
  const { code, message, hint } = wordsForSenders(error);
  const clock = code === "request-stale" ? { nowMs: Date.now() } : {};
  return { kind: "refusal", ...of, code, message: message.slice(0, MAX_MESSAGE).toWellFormed(), hint, ...clock };
}

/** A header of a message, or `undefined` if it has none. Headers are parsed when they are first looked at, and may be anything. */
export function headerOf(headers: () => MsgHdrs | undefined, name: string): string | undefined {
  try {
    return headers()?.get(name) || undefined;
  } catch {
    return undefined;
  }
}

/** The token that came with a message. */
export const tokenOf = (message: { readonly headers?: MsgHdrs | undefined }): string | undefined =>
  headerOf(() => message.headers, HEADER_TOKEN);

/** What a message that came over the broker shows or proves about its sender. */
export const shownBy = (message: { readonly headers?: MsgHdrs | undefined; readonly data: Uint8Array }): Shown => ({
  authorization: tokenOf(message),
  message: message.data,
});

/**
 * Does something with the broker that nobody waits for: publishes, answers, acknowledges. On a connection that is closed, or with an answer that is too large,
 * it does nothing and says so: what was not answered is sent again.
 */
export function quietly(say: (event: Record<string, unknown>) => void, what: string, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    say({ event: "not-answered", what, message: messageOf(error) });
    return false;
  }
}

export const publish = (nc: NatsConnection, subject: string, value: unknown): void => nc.publish(subject, toJson(value));

/** Whether a request wants an answer. One without a reply subject gets none. */
export const wantsAnswer = ({ reply }: Pick<Msg, "reply">): boolean => reply !== undefined && reply !== "";
