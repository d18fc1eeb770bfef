/** A value as it stands in a sentence. */
export const shown = (value: unknown): string =>
  value === null || value === undefined ? "empty" : typeof value === "string" ? `“${value}”` : JSON.stringify(value);
