import { type JsonValue, TributaryError } from "../core/index.ts";

/** `--set field=value`: the value as JSON where it is JSON, else as text. `field=` empties the field: `null`. */
export function changesOf(changes: readonly string[]): readonly (readonly [field: string, value: JsonValue])[] {
  return changes.map((change) => {
    const equals = change.indexOf("=");
    if (equals < 1)
      throw new TributaryError(
        "usage",
        `--set ${change} is not a change`,
        "Write --set field=value, or --set field= to empty the field.",
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
