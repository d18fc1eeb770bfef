import { messageOf, TributaryError } from "../core/index.ts";
import { patternsOf } from "./json/dialect.ts";
import type { SchemaVersion } from "./schema.ts";

/** What a pattern may cost to decide about, milliseconds. */
const TIMEOUT_MS = 3_000;
const MAX_KNOWN = 1_000;
const known = new Map<string, string | null>();

/**
 * Why matching a pattern could take a hostile sender's text for ever (its time grows faster than the text's length); `null` when it cannot.
 * Decided by `recheck`, from the pattern's automaton; loaded only where schemas are registered, not on a device.
 */
export async function slowPattern(pattern: string): Promise<string | null> {
  const cached = known.get(pattern);
  if (cached !== undefined) return cached;
  const { checkSync } = await import("recheck");
  const found = checkSync(pattern, "u", { timeout: TIMEOUT_MS });
  const answer =
    found.status === "safe"
      ? null
      : found.status === "vulnerable"
        ? `matching it takes ${found.complexity.summary} time on a text like ${JSON.stringify(found.attack.string).slice(0, 60)}`
        : "nobody can tell how long matching it takes";
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(pattern, answer);
  return answer;
}

/** Throws `schema-malformed` for a JSON Schema with a pattern that could be made to take very long. */
export async function refuseSlowPatterns({ model, subject, version }: SchemaVersion): Promise<void> {
  if (model.kind !== "json") return;
  for (const { path, pattern } of patternsOf(model.document)) {
    let problem: string | null;
    try {
      problem = await slowPattern(pattern);
    } catch (error) {
      problem = `it cannot be examined: ${messageOf(error)}`;
    }
    if (problem !== null) {
      throw new TributaryError(
        "schema-malformed",
        `${subject} version ${version} at ${path}: the pattern ${pattern} is refused: ${problem}`,
        "Write it without repetitions inside repetitions, and bound them: [a-z]{1,40} instead of [a-z]+.",
      );
    }
  }
}
