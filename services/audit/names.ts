import { TributaryError } from "../core/index.ts";

export const notFound = (what: string): TributaryError =>
  new TributaryError(
    "not-found",
    `the audit has no ${what}`,
    "Check the spelling, and whether the site has synced; `tributary site list` shows when.",
  );

/** Splits `beneficiary/NBO-000017`. */
export function parseEntity(text: string): { readonly type: string; readonly id: string } {
  const slash = text.indexOf("/");
  if (slash < 1 || slash === text.length - 1) {
    throw new TributaryError(
      "usage",
      `${JSON.stringify(text)} is not an entity`,
      "Write it as type/id, for example beneficiary/NBO-000017.",
    );
  }
  return { type: text.slice(0, slash), id: text.slice(slash + 1) };
}
