import { createHmac } from "node:crypto";
import type { Message } from "./message.ts";
import { noteOf, type Outcome, reasonOf, type Send } from "./outcome.ts";
import type { WebhookSettings } from "./settings.ts";

export const WEBHOOK_TIMEOUT_MS = 8_000;
const MAX_ANSWER_BYTES = 4_096;
/** How long the text of an answer is waited for; its status alone says what became of the notification. */
const MAX_ANSWER_MS = 1_000;
const MAX_REDIRECTS = 3;
/** A server that asks for a longer pause than this is tried again after this. */
const MAX_RETRY_AFTER_MS = 86_400_000;
/** Client errors that pass by themselves: too slow, too early, too many. */
const PASSING = new Set([408, 425, 429]);

export interface WebhookOptions {
  readonly now: () => number;
  readonly timeoutMs?: number;
}

/**
 * The header that proves who sent a body and when: `t=<unix seconds>,v1=<HMAC-SHA256 of "t.body", hex>`.
 * A receiver computes it with the shared secret, and refuses a `t` that is minutes old.
 */
export function signature(secret: string, body: string, nowMs: number): string {
  const t = Math.floor(nowMs / 1_000);
  return `t=${t},v1=${createHmac("sha256", secret).update(`${t}.${body}`).digest("hex")}`;
}

/** Sends messages to a webhook. */
export const webhookSender =
  ({ url, secret }: WebhookSettings, { now, timeoutMs = WEBHOOK_TIMEOUT_MS }: WebhookOptions): Send =>
  async (message) => {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await outcomeOf(await post(new URL(url), bodyOf(message, secret, now()), signal), now());
    } catch (error) {
      return { kind: "later", note: signal.aborted ? `no answer in ${timeoutMs / 1_000} s` : reasonOf(error) };
    }
  };

interface Body {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function bodyOf({ document, key }: Message, secret: string, nowMs: number): Body {
  const body = JSON.stringify(document);
  return {
    body,
    headers: {
      "Content-Type": "application/json",
      "User-Agent": "tributary-notify",
      "Idempotency-Key": key,
      "X-Tributary-Signature": signature(secret, body, nowMs),
    },
  };
}

/** Posts, and follows a redirect that keeps method and body within the same origin. */
async function post(first: URL, { headers, body }: Body, signal: AbortSignal): Promise<Response> {
  for (let url = first, redirects = 0; ; redirects++) {
    const response = await fetch(url.href, { method: "POST", headers, body, redirect: "manual", signal });
    const next = redirectOf(response, url);
    if (next === null || redirects === MAX_REDIRECTS) return response;
    await response.body?.cancel();
    url = next;
  }
}

/** A redirect to another origin is not followed, because the settings do not name who answers there. */
function redirectOf(response: Response, from: URL): URL | null {
  if (response.status !== 307 && response.status !== 308) return null;
  const next = URL.parse(response.headers.get("location") ?? "", from.href);
  return next?.origin === from.origin ? next : null;
}

async function outcomeOf(response: Response, nowMs: number): Promise<Outcome> {
  const { status, headers } = response;
  const note = noteOf(`${status} ${response.statusText}`);
  // The status is enough: a text that breaks off changes nothing.
  const answer = await readStart(response).catch(() => "");
  const said = answer === "" ? note : noteOf(`${note}: ${answer}`);
  if (response.ok) return { kind: "sent", note: said };
  if (status >= 300 && status < 400)
    return {
      kind: "refused",
      note: noteOf(`${note}: it redirects to ${headers.get("location") ?? "nowhere"}; if that is right, name it in the settings`),
    };
  if (status < 500 && !PASSING.has(status)) return { kind: "refused", note: said };
  const afterMs = retryAfterMs(headers.get("retry-after"), nowMs);
  return afterMs === null ? { kind: "later", note: said } : { kind: "later", note: said, afterMs };
}

/** The first bytes of an answer, as far as they come in a moment; the rest is not fetched. */
async function readStart(response: Response): Promise<string> {
  if (response.body === null) return "";
  const reader = response.body.getReader();
  const chunks: Uint8Array[] = [];
  const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), MAX_ANSWER_MS).unref());
  for (let bytes = 0; bytes < MAX_ANSWER_BYTES; ) {
    const read = await Promise.race([reader.read(), late]);
    if (read === null || read.value === undefined) break;
    chunks.push(read.value);
    bytes += read.value.byteLength;
  }
  // Not waited for: a server that never ends its answer would hold up the next notification.
  reader.cancel().catch(() => {});
  return Buffer.concat(chunks).subarray(0, MAX_ANSWER_BYTES).toString("utf8");
}

/** Seconds or a date (RFC 9110, 10.2.3); `null` when it is neither. */
function retryAfterMs(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const ms = /^\d{1,10}$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - nowMs;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}
