import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openFollower } from "../../services/api/live/follower.ts";
import { LIMITS } from "../../services/api/live/limits.ts";
import { type Batch, joined, sizeOf } from "../../services/api/live/pending.ts";
import { type Position, position } from "../../services/core/index.ts";
import { canResume, leastOf, type Present, type Resume, resumeIn, resumeText, SHARDS } from "../../services/views/index.ts";

const MOST = 2n ** 63n - 2n;
const places = fc.bigInt(0n, MOST).map((n): Position => position(n));
const positions = fc.oneof(
  fc.option(places).map((one) => Array.from({ length: SHARDS }, () => one)),
  fc.array(fc.option(places), { minLength: SHARDS, maxLength: SHARDS }),
);
const life = fc.stringMatching(/^[0-9a-f]{12}$/);
const resumes: fc.Arbitrary<Resume> = fc.record({ life, number: fc.bigInt(0n, MOST), positions });

/** Batches as a group hands them out, each with its number as the resume position. */
const batches: fc.Arbitrary<readonly Batch<number>[]> = fc
  .array(
    fc.oneof(
      { arbitrary: fc.constant(null), weight: 1 },
      { arbitrary: fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.nat())), weight: 6 },
    ),
  )
  .map((all) =>
    all.map((entries, i) => ({
      resume: String(i),
      found: entries === null ? { kind: "reset" as const } : { kind: "changes" as const, entries: new Map(entries) },
    })),
  );

/** What somebody knows who takes batches; `null`: they must read again. */
function known(all: readonly Batch<number>[]): ReadonlyMap<string, number> | null {
  const so = new Map<string, number>();
  for (const { found } of all) {
    if (found.kind === "reset") return null;
    for (const [id, value] of found.entries) so.set(id, value);
  }
  return so;
}

describe("a resume position", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(resumes, (each) => {
        expect(resumeIn(resumeText(each))).toEqual(each);
      }),
    );
  });

  it("is short where all shards stand at one place", () => {
    const all = Array.from({ length: SHARDS }, () => position(123_456_789n));
    expect(resumeText({ life: "0123456789ab", number: 35n, positions: all })).toBe("0123456789ab.z.21i3va");
  });

  it("of no hub is refused, whatever it is", () => {
    for (const text of [
      "",
      "x",
      "0123456789ab",
      "0123456789ab.1",
      "0123456789ab.1.2.3",
      "0123456789ab.-1.2",
      "0123456789ab.1.zzzzzzzzzzzzz",
      "0123456789AB.1.2",
    ])
      expect(() => resumeIn(text), text).toThrow(expect.objectContaining({ code: "input-malformed" }));
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          resumeIn(text);
        } catch (error) {
          expect(error).toMatchObject({ code: "input-malformed" });
        }
      }),
    );
  });

  it("can be gone on from in its own life, where nothing was deleted since and no shard was set back, and only there", () => {
    fc.assert(
      fc.property(
        resumes,
        fc.array(fc.bigInt(0n, 9n), { minLength: SHARDS, maxLength: SHARDS }),
        fc.bigInt(0n, 9n),
        (from, on, more) => {
          const later = from.positions.map((at, shard) => position(((at ?? 0n) + (on[shard] ?? 0n)) % (MOST + 1n)));
          fc.pre(later.every((at, shard) => at >= (from.positions[shard] ?? -1n)));
          const now: Present = { life: from.life, number: from.number + more, trimmed: 0n, layout: "1", positions: later };
          expect(canResume(from, now)).toBe(true);
          expect(canResume(from, { ...now, trimmed: from.number })).toBe(true);
          expect(canResume(from, { ...now, trimmed: from.number + 1n })).toBe(false);
          expect(canResume({ ...from, number: now.number + 1n }, now)).toBe(false);
          expect(canResume(from, { ...now, life: "other" })).toBe(false);
          const [first, ...rest] = later;
          if (first !== undefined && first < MOST)
            expect(canResume({ ...from, positions: [position(first + 1n), ...rest] }, now)).toBe(false);
          expect(leastOf(from) <= leastOf(now)).toBe(true);
        },
      ),
    );
  });
});

describe("what was not taken yet", () => {
  it("says together what its batches say one by one, up to the same position", () => {
    fc.assert(
      fc.property(batches, fc.array(fc.boolean()), (all, cuts) => {
        const taken: Batch<number>[] = [];
        let pending: Batch<number> | null = null;
        for (const [i, batch] of all.entries()) {
          pending = joined(pending, batch);
          if (cuts[i] !== true) continue;
          taken.push(pending);
          pending = null;
        }
        if (pending !== null) taken.push(pending);
        expect(known(taken)).toEqual(known(all));
        expect(taken.at(-1)?.resume).toBe(all.at(-1)?.resume);
        expect(taken.reduce((sum, each) => sum + sizeOf(each), 0)).toBeLessThanOrEqual(
          all.reduce((sum, each) => sum + sizeOf(each), 0),
        );
      }),
    );
  });
});

describe("a follower", () => {
  const change = (...ids: readonly string[]): Batch<number> => ({
    resume: ids.join(),
    found: { kind: "changes", entries: new Map(ids.map((id) => [id, 1])) },
  });
  const opened = (limits: Partial<typeof LIMITS> = {}) => {
    let [ends, nowMs] = [0, 0];
    const follower = openFollower<number>({ ...LIMITS, ...limits }, { onEnd: () => ends++, nowMs: () => nowMs });
    return {
      follower,
      ends: () => ends,
      pass(ms: number) {
        nowMs += ms;
      },
    };
  };

  it("is given first what comes first, and an empty batch only where it was told nothing for long", async () => {
    const { follower, pass } = opened({ restMs: 100 });
    follower.take(change());
    expect(await follower.iterator.next()).toMatchObject({ value: { resume: "" } });
    const next = follower.iterator.next();
    pass(99);
    follower.take({ ...change(), resume: "early" });
    pass(1);
    follower.take({ ...change(), resume: "late" });
    expect(await next).toMatchObject({ value: { resume: "late" } });
  });

  it("ends at once when it is left while it waits, and tells so once", async () => {
    const { follower, ends } = opened();
    const next = follower.iterator.next();
    await follower.iterator.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
    follower.end(new Error("late"));
    expect(await follower.iterator.next()).toEqual({ done: true, value: undefined });
    expect(ends()).toBe(1);
  });

  it("that leaves too much untaken fails once, but never for one batch, however large", async () => {
    const { follower, ends } = opened({ untaken: 2 });
    follower.take(change("a", "b", "c"));
    expect(await follower.iterator.next()).toMatchObject({ value: { resume: "a,b,c" } });
    follower.take(change("a"));
    follower.take(change("a", "b"));
    expect(ends()).toBe(0);
    follower.take(change("c"));
    expect(ends()).toBe(1);
    await expect(follower.iterator.next()).rejects.toMatchObject({ code: "too-slow" });
    expect(await follower.iterator.next()).toEqual({ done: true, value: undefined });
  });
});
