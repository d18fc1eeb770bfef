import { messageOf } from "../core/index.ts";

/** What a pattern may cost to decide about, of the processor's time; and at most by the clock, where the machine is busy with other things. */
const TIMEOUT_MS = 1_000;
const MAX_TIMEOUT_MS = 60_000;
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
  let found: ReturnType<typeof checkSync>;
  try {
    for (let timeout = TIMEOUT_MS; ; timeout *= 4) {
      const before = process.cpuUsage();
      found = checkSync(pattern, "u", { timeout });
      const { user, system } = process.cpuUsage(before);
      // `recheck` goes by the clock. One that ran out while others had the processor says nothing of the pattern.
      const wasKept = (user + system) / 1000 < TIMEOUT_MS * 0.9;
      if (found.status !== "unknown" || !wasKept || timeout >= MAX_TIMEOUT_MS) break;
    }
  } catch (error) {
    return `it cannot be examined: ${messageOf(error)}`;
  }
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
