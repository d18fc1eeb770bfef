import { describe, expect, it } from "vitest";
import { type CustomRule, NO_CONTEXT, problemsOfRule, type Resolver, type Sibling } from "../../services/merge/engine.ts";
import {
  authorityOf,
  byField,
  clientWins,
  custom,
  firstWriteWins,
  lastWriteWins,
  logOrder,
  manual,
  max,
  min,
  serverWins,
  sitePriority,
  union,
  versionCompare,
} from "../../services/merge/index.ts";
import { early, expectExample, fromTheFuture, inLog, late, pending, ruleOf, three } from "../support/rules.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, wrote } from "../support/writes.ts";

const shortest = ruleOf((siblings) => ({
  winner: siblings.reduce((a, b) => (String(a.value).length <= String(b.value).length ? a : b)),
}));
const shortestByName = ruleOf((siblings) => ({
  winner: siblings.reduce((a, b) =>
    `${String(a.value).length} ${a.by.origin}` < `${String(b.value).length} ${b.by.origin}` ? a : b,
  ),
}));

/** Picks another sibling each time it is asked. */
const moody = (): CustomRule["resolve"] => {
  let asked = 0;
  return (all) => {
    const wanted = asked++ % 2 === 0 ? "aa" : "bb";
    return { winner: all.find(({ value }) => value === wanted)! };
  };
};

describe("a rule of the project's own", () => {
  it("picks the value that it says", () => expectExample({ rule: shortestByName, given: three, shows: "c", because: "custom" }));

  it("makes one value of all siblings, or asks a person", () => {
    const joined = ruleOf((siblings) => ({
      winner: siblings.reduce((a, b) => (a.by.origin < b.by.origin ? a : b)),
      merged: siblings
        .map(({ value }) => value as string)
        .sort()
        .join(" or "),
      isOpen: true,
    }));
    expectExample({ rule: joined, given: three, shows: "aa or bb or c", because: "custom", isOpen: true });
  });

  it.each<[string, CustomRule["resolve"], RegExp]>([
    ["picks by order", ([first]) => ({ winner: first! }), /ours depends on the order/],
    [
      "merges by order",
      (all) => ({ winner: all.find(({ value }) => value === "c")!, merged: all.map(({ value }) => value) }),
      /order/,
    ],
    [
      "asks a person by order",
      (all) => ({ winner: all.find(({ value }) => value === "c")!, isOpen: all[0]!.value === "aa" }),
      /order/,
    ],
    ["picks what nobody wrote", () => ({ winner: wrote(KAMPALA, "mine") }), /ours picks a value that is not one of the siblings/],
    ["picks a copy", (all) => ({ winner: { ...all[0]! } }), /not one of the siblings/],
  ])("is refused by name when it %s", (_, resolve, says) => {
    expect(() => ruleOf(resolve).resolve(three, NO_CONTEXT)).toThrow(says);
    expect(() => ruleOf(resolve).resolve(three, NO_CONTEXT)).toThrow(expect.objectContaining({ code: "projection-failed" }));
  });

  it("is refused when it answers differently each time", () => {
    expect(() => ruleOf(moody()).resolve(three, NO_CONTEXT)).toThrow(/ours/);
  });

  it("cannot disturb the siblings that it is given, even if it sorts them", () => {
    const given = [...three];
    const sorting = ruleOf((all) => ({
      winner: (all as Sibling[]).sort((a, b) => (String(a.value) < String(b.value) ? -1 : 1))[0]!,
    }));
    expectExample({ rule: sorting, given, shows: "aa", because: "custom" });
    expect(given).toEqual(three);
  });

  it("is another rule when it reads another member, though its text is the same", () => {
    const resolve: CustomRule["resolve"] = (all) => ({ winner: all[0]! });
    const [a, b] = ["quality", "age"].map((member) => custom({ name: "ours", version: 1, reads: [member], resolve }));
    expect(a!.settings).not.toEqual(b!.settings);
  });
});

describe("problemsOfRule", () => {
  const sets = [three, three.slice(0, 2)];

  it("finds a rule that depends on the order, and names the values", () => {
    expect(problemsOfRule(shortest, sets)).toEqual(
      expect.arrayContaining([expect.stringContaining("ours depends on the order of the siblings")]),
    );
    const middle: Resolver = { name: "middle", version: 1, resolve: (all) => ({ winner: all[1]!, reason: "custom" }) };
    expect(problemsOfRule(middle, [three])).toEqual(['middle depends on the order of "aa", "bb", "c"']);
  });

  it("finds a rule that answers differently when asked twice", () => {
    const pick = moody();
    const rule: Resolver = { name: "moody", version: 1, resolve: (all) => ({ ...pick(all), reason: "custom" }) };
    expect(problemsOfRule(rule, sets)).toContain("moody answers differently when asked twice");
  });

  it("finds a rule that picks what nobody wrote", () => {
    const foreign: Resolver = { name: "foreign", version: 1, resolve: () => ({ winner: early, reason: "custom" }) };
    expect(problemsOfRule(foreign, sets)).toEqual(["foreign picks a value that is not one of the siblings"]);
    expect(
      problemsOfRule(
        ruleOf(() => ({ winner: early })),
        sets,
      ),
    ).toEqual([expect.stringContaining("not one of the siblings")]);
  });

  it("finds a rule that throws, and says with what", () => {
    const broken = ruleOf(() => {
      throw new Error("no value is a number");
    });
    expect(problemsOfRule(broken, sets)).toEqual(["Error: no value is a number"]);
  });

  it("finds a rule whose reason or whose question to a person depends on the order", () => {
    const reason: Resolver = {
      name: "reason",
      version: 1,
      resolve: (all) => ({ winner: three[2]!, reason: all[0] === three[2] ? "greater" : "lesser" }),
    };
    expect(problemsOfRule(reason, [three])).toEqual([expect.stringContaining("depends on the order")]);
  });

  it.each<Resolver>([
    lastWriteWins,
    firstWriteWins,
    logOrder(),
    logOrder("first"),
    versionCompare,
    sitePriority(["juba"]),
    serverWins,
    clientWins,
    byField("quality", "max"),
    byField("quality", "min"),
    max,
    min,
    union,
    manual,
    authorityOf({ orgs: ["relief"] }, versionCompare),
    shortestByName,
  ])("finds nothing wrong with $name", (rule) => {
    const mixed = [wrote(NAIROBI, 9), wrote(JUBA, "9"), wrote(HUB, null), wrote(KAMPALA, [9]), wrote(NAIROBI, true, { seq: 3 })];
    expect(problemsOfRule(rule, [three, mixed, inLog, [...inLog, pending], [early, late, fromTheFuture]])).toEqual([]);
  });
});

// ── in a view ───────────────────────────────────────────────────────────────
