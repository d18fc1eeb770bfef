import { describe, expect, it } from "vitest";
import { type Failure, type Life, type LifeEvent, lifeAfter, NO_TROUBLE } from "../../services/projector/run.ts";

const failure: Failure = {
  error: new Error("away"),
  said: "away",
  isFinal: false,
  arePositionsDoubted: false,
  lacksTables: false,
};
const failed = (more: Partial<Failure> = {}): LifeEvent<string> => ({ kind: "failed", failure: { ...failure, ...more } });
const opened: LifeEvent<string> = { kind: "opened", session: "a session" };
const event = (kind: "progressed" | "over" | "waited" | "stopped"): LifeEvent<string> => ({ kind });
const START: Life<string> = { kind: "opening", isFirst: true, trouble: NO_TROUBLE };
const lived = (...events: readonly LifeEvent<string>[]): Life<string> => events.reduce(lifeAfter<string>, START);
const following = [opened];

describe("a projector's life", () => {
  it("goes from opening to following, and opens a new session when one is over", () => {
    expect(lived(opened)).toMatchObject({ kind: "following", session: "a session" });
    expect(lived(opened, event("over"))).toMatchObject({ kind: "opening", isFirst: false });
    expect(lived(opened, event("over"), opened)).toMatchObject({ kind: "following" });
  });

  it("ends at once with a failure at the start, and waits out the same failure later", () => {
    expect(lived(failed())).toEqual({ kind: "ended", failure });
    expect(lived(opened, failed())).toMatchObject({ kind: "pausing" });
    expect(lived(opened, failed(), event("waited"), failed())).toMatchObject({ kind: "pausing" });
  });

  it("ends with a failure that waiting does not mend, whenever it comes", () => {
    const final = failed({ isFinal: true });
    expect(lived(opened, final).kind).toBe("ended");
    expect(lived(opened, event("over"), final)).toMatchObject({ kind: "ended", failure: { isFinal: true } });
  });

  it("pauses twice as long each time, up to a bound, until a page is written", () => {
    let life = lived(...following);
    const waits: number[] = [];
    for (let times = 0; times < 9; times++) {
      life = lifeAfter(life, failed());
      if (life.kind === "pausing") waits.push(life.waitMs);
      life = lifeAfter(lifeAfter(life, event("waited")), opened);
    }
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
    expect(lifeAfter(lifeAfter(life, event("progressed")), failed())).toMatchObject({ kind: "pausing", waitMs: 100 });
  });

  it("counts how often the same failure came without a page in between, and begins again with another one", () => {
    const round = (said: string): readonly LifeEvent<string>[] => [failed({ said }), event("waited"), opened];
    const times = (...rounds: readonly (readonly LifeEvent<string>[])[]) => {
      const life = lived(opened, ...rounds.flat());
      return life.kind === "following" ? life.trouble.times : null;
    };
    expect(times(round("a"), round("a"), round("a"))).toBe(3);
    expect(times(round("a"), round("a"), round("b"))).toBe(1);
    expect(times(round("a"), round("a"), [event("progressed")])).toBe(0);
  });

  it("keeps a doubt through failures to open, until a session has looked", () => {
    const doubted = lived(
      opened,
      failed({ arePositionsDoubted: true, lacksTables: true }),
      event("waited"),
      failed(),
      event("waited"),
    );
    expect(doubted).toMatchObject({ kind: "opening", trouble: { arePositionsDoubted: true, lacksTables: true } });
    expect(lifeAfter(doubted, opened)).toMatchObject({ trouble: { arePositionsDoubted: false, lacksTables: false } });
  });

  it("ends when it was asked to stop, whatever becomes of what is under way", () => {
    for (const before of [[], [opened]])
      for (const last of [event("over"), failed(), failed({ isFinal: true })])
        expect(lived(...before, event("stopped"), last)).toEqual({ kind: "ended", failure: null });
    expect(lived(event("stopped"), opened)).toEqual({ kind: "ended", failure: null });
    expect(lived(opened, failed(), event("stopped"))).toEqual({ kind: "ended", failure: null });
  });

  it("stays ended", () => {
    const ended = lived(failed());
    for (const each of [opened, failed(), event("progressed"), event("over"), event("waited"), event("stopped")])
      expect(lifeAfter(ended, each)).toBe(ended);
  });
});
