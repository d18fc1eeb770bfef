import { describe, expect, it } from "vitest";
import { noteCheck, type SignedFrom } from "../../services/audit/notes.ts";
import type { Appendable, ClockNote, IncarnationId, LogEntry, Noted, Position, PublicKey } from "../../services/core/index.ts";
import { makeKeyPair, signerOf } from "../../services/core/node.ts";
import { signNotes } from "../../services/log/sign-notes.ts";
import { newOrigin, runOf } from "../support/log-runs.ts";

const HUB = "abcdefghijkl" as IncarnationId;
const key = signerOf(makeKeyPair());
const HOUR_MS = 3_600_000;

/** A run as the log gives it back, with the hub's signature of its notes. */
function noted(run: readonly Appendable[], by = key): readonly Appendable[] {
  const signature = signNotes(by, HUB, run) as Noted;
  return run.map((item, i) => (i === run.length - 1 ? { ...item, noted: signature } : item));
}

/** What the check says of these entries. `atMs`: when each was recorded. `from`: the position from which on the hub says that it signs. */
function check(
  entries: readonly Appendable[],
  {
    keys = [key.key],
    atMs = () => 0,
    from = null,
  }: { keys?: PublicKey[]; atMs?: (i: number) => number; from?: number | null } = {},
) {
  const problems: string[] = [];
  const signedFrom = (): SignedFrom | null => (from === null ? null : { position: BigInt(from) as Position, atMs: 0 });
  const checked = noteCheck({ keys: () => keys, signedFrom }, (where, what) =>
    problems.push(`${where.replace(/^.*\//, "")}: ${what}`),
  );
  for (const [i, item] of entries.entries())
    checked.entry({ ...item, position: BigInt(i) as Position, recordedAtMs: atMs(i) } satisfies LogEntry);
  return { ...checked.end(), problems };
}

const wrongClock: ClockNote = { offsetMs: 86_400_000 };

describe("an auditor who reads what the hub noted of events (I37)", () => {
  const run = runOf(newOrigin(), 0, 5);
  const odd = run.map((item, i) => (i === 2 ? { ...item, clock: wrongClock } : item));

  it("finds the signature of each run good", () => {
    expect(check([...noted(run), ...noted(runOf(newOrigin(), 0, 3)), ...noted(odd)])).toEqual({
      signed: 3,
      unsigned: 0,
      problems: [],
    });
  });

  it.each<[string, (item: Appendable) => Appendable]>([
    ["a clock note that was added", (item) => ({ ...item, clock: { offsetMs: 1 } })],
    [
      "a verdict that was changed",
      (item) => ({ ...item, content: { kind: "quarantined", reason: { code: "x", message: "y", path: null }, text: "{}" } }),
    ],
    ["a basis that was clipped", (item) => ({ ...item, clips: { [newOrigin()]: { code: "basis-ahead", to: null } } })],
  ])("is told of %s", (_, alter) => {
    const altered = noted(run).map((item, i) => (i === 1 ? alter(item) : item));
    expect(check(altered).problems).toEqual([
      expect.stringContaining("0–4: what the hub noted of these events is not what it signed"),
    ]);
  });

  it("is told of a clock note that was taken away", () => {
    const altered = noted(odd).map((item) => ({ ...item, clock: null }));
    expect(check(altered).problems).toHaveLength(1);
  });

  it("is told of a signature by somebody else, or of one whose first events are gone", () => {
    expect(check(noted(run, signerOf(makeKeyPair()))).problems).toEqual([expect.stringContaining("is not one of the hub's")]);
    expect(check(noted(run).slice(1)).problems).toEqual([expect.stringContaining("its run begins at event 1")]);
  });

  it("is told of each signature that was removed after the hub had said that it signs, even if all of them were", () => {
    const stripped = [...runOf(newOrigin(), 0, 2), ...runOf(newOrigin(), 0, 3)];
    const late = () => 2 * HOUR_MS;
    expect(check(stripped, { from: 0, atMs: late }).problems).toEqual([
      expect.stringContaining("0–1: nobody has signed what the hub noted"),
      expect.stringContaining("0–2: nobody has signed what the hub noted"),
    ]);
    expect(check(stripped, { from: 2, atMs: late }).problems).toEqual([expect.stringContaining("0–2: nobody")]);
  });

  it("is told nothing of events from before, nor of those that an older process wrote meanwhile", () => {
    const later = runOf(newOrigin(), 0, 2);
    expect(check([...noted(run), ...later], { from: 0 })).toEqual({ signed: 1, unsigned: 2, problems: [] });
    // One origin's unsigned events, directly followed by its first signed run.
    const grown = runOf(newOrigin(), 0, 5);
    expect(check([...grown.slice(0, 2), ...noted(grown.slice(2))], { from: 2, atMs: () => 2 * HOUR_MS })).toEqual({
      signed: 1,
      unsigned: 2,
      problems: [],
    });
  });

  it("learns how many events nobody signed for, where the hub has no key", () => {
    expect(check(run)).toEqual({ signed: 0, unsigned: 5, problems: [] });
    expect(check(noted(run), { keys: [] })).toEqual({ signed: 0, unsigned: 5, problems: [] });
  });
});
