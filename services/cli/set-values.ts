import { type JsonValue, TributaryError } from "../core/index.ts";

/** `--set field=value`: the value as JSON where it is JSON, else as text. `field=` takes the field away: `null`. */
export function changesOf(changes: readonly string[]): readonly (readonly [field: string, value: JsonValue])[] {
  return changes.map((change) => {
    const equals = change.indexOf("=");
    if (equals < 1)
      throw new TributaryError(
        "usage",
        `--set ${change} is no change`,
        "Write --set field=value, or --set field= to take it away.",
      );
    const value = change.slice(equals + 1);
    return [change.slice(0, equals), value === "" ? null : jsonOrText(value)];
  });
}

function jsonOrText(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}
