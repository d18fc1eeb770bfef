import { isTributaryError } from "../core/index.ts";
import type { Message } from "./message.ts";

/** What became of a message. `note` is a line for people: what the other side said. */
export type Outcome =
  | { readonly kind: "sent"; readonly note: string /** Whom the message did not reach. */; readonly missed?: string }
  /** Another try would get the same answer. */
  | { readonly kind: "refused"; readonly note: string }
  /** Not now. `afterMs`: how long the other side asked to wait. */
  | { readonly kind: "later"; readonly note: string; readonly afterMs?: number };

/** One way to one target. It never throws for what the other side does: that is an outcome. */
export type Send = (message: Message) => Promise<Outcome>;

const MAX_NOTE_CHARS = 300;

/** What another server said, as one short line. */
export const noteOf = (text: string): string => {
  const flat = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")
    .trim();
  return flat.length <= MAX_NOTE_CHARS ? flat : `${flat.slice(0, MAX_NOTE_CHARS - 1).toWellFormed()}…`;
};

/** Why a request failed: the innermost reason, which names the address or the limit. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return noteOf(String(error));
  if (error.cause instanceof Error && !isTributaryError(error)) return reasonOf(error.cause);
  // Several addresses were tried. The error for all of them has no message of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return noteOf(error.message === "" ? error.name : error.message);
}
