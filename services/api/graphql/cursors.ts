import { z } from "zod";
import { type Position, positionFromText, TributaryError } from "../../core/index.ts";

/** Where a page ended, as text whose meaning is ours alone. `of`: what was asked for; a cursor of another question is refused. */
export const cursorOf = (of: string, at: readonly (string | null)[]): string =>
  Buffer.from(JSON.stringify([of, ...at])).toString("base64url");

const parts = z.tuple([z.string()]).rest(z.string().nullable());

/** What `cursorOf` was given. Throws `input-malformed` for what is no cursor of this question. */
export function cursorIn(text: string, of: string, length: number): readonly (string | null)[] {
  const [asked, ...at] = read(text) ?? [];
  if (asked === of && at.length === length) return at;
  throw noCursor();
}

/** A position in a cursor. Throws as `cursorIn` does. */
export function positionIn(text: string): Position {
  const position = positionFromText(text);
  if (position === null || position > MAX_POSITION) throw noCursor();
  return position;
}
const MAX_POSITION = 9_223_372_036_854_775_807n;

const noCursor = (): TributaryError =>
  new TributaryError(
    "input-malformed",
    "after is not where a page of this question ended",
    "Give the next of the page before, and ask with the same sort.",
  );

function read(text: string): z.infer<typeof parts> | null {
  try {
    return parts.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
  } catch {
    return null;
  }
}
