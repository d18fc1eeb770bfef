import { type Refusal, refusalSchema, TributaryError } from "../core/index.ts";
import { isPage } from "../exchange/protocol/index.ts";
import type { Identity } from "./keys.ts";
import { away, isAway, jsonOf } from "./way.ts";

/** How long a device waits for a page to begin to come. */
export const PULL_PATIENCE_MS = 15_000;

/** Throws `backend-missing` if the hub has said that it answers no pulls. */
export function mustServePulls({ servesPulls }: Pick<Identity, "servesPulls">): void {
  if (servesPulls !== false) return;
  throw new TributaryError(
    "backend-missing",
    "the hub answers no pulls: it is of an older version, or runs without views",
    "Events are sent all the same. The hub's operator has to update it, or start it with PostgreSQL.",
  );
}

/** The hub's answer to a pull: a page's frame, or a refusal. `null`: neither, or not the hub's own word about this question. */
export function pullAnswerOf(bytes: Uint8Array, nonce: string, identity: Identity): Uint8Array | Refusal | null {
  if (isPage(bytes)) return identity.believesPage(bytes, nonce) ? bytes : null;
  return pullRefusalOf(jsonOf(bytes), nonce, identity);
}

/** A refusal as it came, which the hub has signed where its key is known; `null`: anything else. */
export function pullRefusalOf(json: unknown, nonce: string, identity: Identity): Refusal | null {
  if (!identity.believes(json, nonce)) return null;
  // Handed on as it came: the hub has signed all of it.
  return refusalSchema.safeParse(json).success ? (json as Refusal) : null;
}

/** A page, or the error that a refusal stands for. */
export function pageOf(answer: Uint8Array | Refusal): Uint8Array {
  if (answer instanceof Uint8Array) return answer;
  const error = new TributaryError(answer.code, answer.message, answer.hint);
  throw isAway(error) ? away("the hub does not answer the pull", error) : error;
}

/** What a pull says that something on the way, or the hub, finds too large. */
export const pullTooLarge = (): TributaryError =>
  new TributaryError(
    "batch-too-large",
    "the hub, or something on the way to it, refuses a pull of this size",
    "Ask for fewer buckets at a time.",
  );
