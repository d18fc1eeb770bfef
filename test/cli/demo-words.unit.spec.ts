import { describe, expect, it } from "vitest";
import { day, decided, named, said, summedUp } from "../../services/cli/demo-words.ts";
import type { RecordedDecision } from "../../services/views/index.ts";

const by = (actor: string, site: string): RecordedDecision["winner"]["by"] =>
  ({
    origin: `relief.${site}.tablet-1.aaaaaaaaaaaa`,
    seq: 7,
    hlc: "2026-05-07T08:00:00.000Z-0000",
    actor,
    clockWrong: false,
    position: 1652775,
  }) as never;

const decision = (entity: string, register: string, reason: RecordedDecision["reason"], values: readonly [unknown, unknown]) => ({
  entity,
  register,
  reason,
  winner: { value: values[0], by: by("wanjiku", "nairobi") },
  losers: [{ value: values[1], by: by("okello", "kampala") }],
});

describe("the demo says", () => {
  it.each([
    ["2026-05-03T08:00:00.000Z", "3 May"],
    ["2028-05-06", "6 May 2028"],
    ["2024-12-31", "31 December 2024"],
  ])("%s as %s", (iso, words) => expect(day(iso)).toBe(words));

  it.each([
    [7, "7"],
    [null, "empty"],
    ["+254712000023", "+254712000023"],
    ["2024-09-12", "12 September 2024"],
    ["2026-02-30-1", "2026-02-30-1"],
  ])("the value %j as %s", (value, words) => expect(said(value)).toBe(words));

  it("names as people write them", () =>
    expect([named("wanjiku"), named("hai-referendum")]).toEqual(["Wanjiku", "Hai Referendum"]));

  it("a decision without a position in the log, a hash or an origin", () => {
    expect(decided(decision("NBO-000023", "household_size", "clock-trusted", [5, 7]))).toBe(
      "NBO-000023, household: 5 (Wanjiku in Nairobi) is shown, since the other's clock is known to be wrong. Kept beside it: 7 (Okello in Kampala).",
    );
    expect(decided(decision("JUB-000007", "deleted", "later-stamp", [false, true]))).toBe(
      "JUB-000007: on the list (Wanjiku in Nairobi) is shown, since it was written later. Kept beside it: off the list (Okello in Kampala).",
    );
  });

  it("decisions of one kind in one sentence, and how many are like it; those of the story each", () => {
    const told = ["A-1", "A-2"].map((entity) => decision(entity, "phone", "later-stamp", ["1", "2"]));
    const alike = ["B-1", "B-2", "B-3"].map((entity) =>
      decision(entity, "registered_on", "later-stamp", ["2024-01-02", "2024-01-03"]),
    );
    const other = decision("B-4", "registered_on", "clock-trusted", ["2024-01-02", "2024-01-03"]);
    const sentences = summedUp([...told, ...alike, other], ({ entity }) => entity.startsWith("A"));
    expect(sentences.map((sentence) => sentence.slice(0, 3))).toEqual(["A-1", "A-2", "B-1", "B-4"]);
    expect(sentences.map((sentence) => /(\d) more like it/.exec(sentence)?.[1] ?? null)).toEqual([null, null, "2", null]);
  });
});
