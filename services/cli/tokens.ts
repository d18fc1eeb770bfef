/** Tokens: the hub issues them; a device's commands are given one. */
import { TributaryError } from "../core/index.ts";
import type { issuePersonToken, issueToken } from "../http/index.ts";
import { readText } from "./files.ts";
import { hubKey, hubRing } from "./keys.ts";

/** What a token says, without its time and the hub's keys. */
export type TokenClaims = Omit<Parameters<typeof issueToken>[1], "nowMs" | "hub">;

/** Issues a token that names the hub's keys, so that whoever gets it can recognise the hub. */
export async function issueHubToken(dir: string, claims: TokenClaims): Promise<string> {
  const key = await hubKey(dir);
  const { keys } = (await hubRing(dir)).state();
  const { issueToken: issue } = await import("../http/index.ts");
  return issue(key, { ...claims, nowMs: Date.now(), hub: keys.map(({ x }) => x) });
}

/** What a person's token says, without its time. */
export type PersonToken = Omit<Parameters<typeof issuePersonToken>[1], "nowMs">;

/** Issues a person's token. */
export async function issueHubPersonToken(dir: string, claims: PersonToken): Promise<string> {
  const key = await hubKey(dir);
  const { issuePersonToken: issue } = await import("../http/index.ts");
  return issue(key, { ...claims, nowMs: Date.now() });
}

/** A token if one is given. A device with an enrolled key needs none. */
export const tokenGiven = (given: string | undefined): string | undefined =>
  given === undefined && !process.env.TRIBUTARY_TOKEN ? undefined : tokenOf(given);

/** A token or a code as an option gives it: the text itself, or `@file`. */
export const secretGiven = (given: string): string => (given.startsWith("@") ? readText(given.slice(1)).trim() : given);

/** The token that an option or TRIBUTARY_TOKEN gives: the token itself, or `@file`. Throws `token-missing` when there is none. */
export function tokenOf(given: string | undefined): string {
  const token = given ?? process.env.TRIBUTARY_TOKEN;
  if (token === undefined || token === "") {
    throw new TributaryError(
      "token-missing",
      "there is no token",
      "Give --token TOKEN or --token @file, or set TRIBUTARY_TOKEN. `tributary site add` issues one.",
    );
  }
  return secretGiven(token);
}
