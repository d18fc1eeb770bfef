/** Texts as people see them. In come texts as they were typed or pasted; out come texts that are equal when they look the same. */

import { MAX_TEXT } from "./event.ts";
import type { JsonObject, JsonValue } from "./json.ts";

/** Characters that nobody sees: marks of direction, joiners, characters without width, the soft hyphen, the byte order mark. */
const INVISIBLE = "\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2064\\u2066-\\u206f\\ufeff";
const AT_ENDS = new RegExp(`^[\\s${INVISIBLE}]+|[\\s${INVISIBLE}]+$`, "gu");
const MAY_HOLD = /[^\u0020-\u007e]|^ | $/u;

/** A key, card number or phone number as people see it: in Unicode's composed form (NFC), without spaces and invisible marks at its ends. */
export const keyAsSeen = (text: string): string => (MAY_HOLD.test(text) ? text.normalize("NFC").replace(AT_ENDS, "") : text);

/**
 * A text of an event's data as people see it: in Unicode's composed form (NFC). A short text that holds a digit is a number of something,
 * and loses spaces and invisible marks at its ends; a name keeps them.
 */
export const textAsSeen = (text: string): string =>
  !MAY_HOLD.test(text) ? text : text.length <= MAX_TEXT && /\p{Nd}/u.test(text) ? keyAsSeen(text) : text.normalize("NFC");

/**
 * The data with each text at its top as people see it; the same object where nothing changes. Texts that stand deeper stay as they are: they may be edits of a text, which count its characters.
 */
export function dataAsSeen(data: JsonObject): JsonObject {
  let changed: Record<string, JsonValue> | null = null;
  for (const name of Object.keys(data)) {
    const value = data[name];
    if (typeof value !== "string") continue;
    const seen = textAsSeen(value);
    if (seen === value) continue;
    changed ??= { ...data };
    changed[name] = seen;
  }
  return changed ?? data;
}

/** Control characters but line ends and tabs, and the marks that turn the direction of what follows. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** The text as a terminal may show it: characters that would steer the terminal are shown as signs. Line ends and tabs stay. */
export const forTerminal = (text: string): string => text.replace(CONTROLS, signOf);

function signOf(char: string): string {
  const code = char.charCodeAt(0);
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
}

/** The same for a JSON text, in which `JSON.stringify` has escaped all others of these characters. */
const UNESCAPED = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
export const jsonForTerminal = (json: string): string =>
  json.replace(UNESCAPED, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
