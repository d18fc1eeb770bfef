import { z } from "zod";
import { TributaryError } from "../../core/index.ts";

/** Where a page ended, as text whose meaning is ours alone. `of`: what was asked for; a cursor of another question is refused. */
export const cursorOf = (of: string, at: readonly (string | null)[]): string =>
  Buffer.from(JSON.stringify([of, ...at])).toString("base64url");

const parts = z.tuple([z.string()]).rest(z.string().nullable());

/** What `cursorOf` was given. Throws `input-malformed` for what is no cursor of this question. */
export function cursorIn(text: string, of: string, length: number): readonly (string | null)[] {
  const [asked, ...at] = read(text) ?? [];
  if (asked === of && at.length === length) return at;
  throw new TributaryError(
    "input-malformed",
    "after is not where a page of this question ended",
    "Give the next of the page before, and ask with the same sort.",
  );
}

function read(text: string): z.infer<typeof parts> | null {
  try {
    return parts.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
  } catch {
    return null;
  }
}
