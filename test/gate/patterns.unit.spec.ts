import type { AST } from "@eslint-community/regexpp";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import { createGate, schemaVersion } from "../../services/gate/index.ts";
import { isLinear } from "../../services/gate/json/linear.ts";
import { automatonOf, beginCheck, matcherOf, matches, parsePattern, patternProblem } from "../../services/gate/json/patterns.ts";
import { gateOf } from "../support/gate.ts";
import { type Chooser, chooser, SEED } from "../support/random.ts";
import { atLeast, isDue } from "../support/runs.ts";

/** The parts that patterns are made of: everything that JavaScript and RE2 write or mean differently, and what makes backtracking slow. */
const PARTS = [
  ..."abAB01_ -é",
  "\\d",
  "\\D",
  "\\w",
  "\\W",
  "\\s",
  "\\S",
  ".",
  "\\b",
  "\\B",
  "^",
  "$",
  "\\n",
  "\\t",
  "\\v",
  "\\f",
  "\\0",
  "\\cJ",
  "\\x41",
  "\\u0061",
  "\\u{1F600}",
  "\\u{61}",
  "\\/",
  "\\.",
  "\\-",
  "\\p{Lu}",
  "\\P{L}",
  "\\p{Script=Greek}",
  "[ab]",
  "[^ab]",
  "[a-z]",
  "[\\d_]",
  "[^\\s]",
  "[\\b]",
  "[]",
  "[^]",
  "[.$^]",
  "[\\]\\-]",
  "[\\u{1F600}-\\u{1F64F}]",
  "[^\\n]",
  "[ſK]",
];
const LETTERS = [
  "a",
  "b",
  "A",
  "B",
  "0",
  "1",
  "_",
  " ",
  "-",
  ".",
  "é",
  "\n",
  "\r",
  "\u2028",
  "\u00a0",
  "\ufeff",
  "\v",
  "\0",
  "😀",
  "Ω",
  "ſ",
  "K",
  "\b",
  "x",
];
const QUANTIFIERS = ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "{1,2}?", "{0}"];

function pattern(random: Chooser, depth = 0): string {
  const alternatives = random.chance(0.25) ? 2 : 1;
  return Array.from({ length: alternatives }, () =>
    Array.from({ length: random.int(0, 4) }, () => element(random, depth)).join(""),
  ).join("|");
}
function element(random: Chooser, depth: number): string {
  const base =
    depth < 3 && random.chance(0.3) ? `${random.pick(["(", "(?:"])}${pattern(random, depth + 1)})` : random.pick(PARTS);
  return random.chance(0.35) ? base + random.pick(QUANTIFIERS) : base;
}
const text = (random: Chooser): string =>
  Array.from({ length: random.int(0, 8) }, () => random.pick(random.chance(0.7) ? ["a", "b", "A", " "] : LETTERS)).join("");

/** How many steps plain backtracking takes; beyond `limit`, it stops and says so. A second, slow definition of what is claimed. */
function stepsOf(tree: AST.Pattern, given: string, limit: number): number {
  const chars = [...given];
  let steps = 0;
  type Go = (at: number) => boolean;
  const count = (): void => {
    if (++steps > limit) throw new RangeError("beyond the limit");
  };
  const word = (at: number): boolean => at >= 0 && at < chars.length && /\w/u.test(chars[at]!);
  const any = (alternatives: readonly AST.Alternative[], at: number, go: Go): boolean =>
    alternatives.some(({ elements }) => sequence(elements, 0, at, go));
  const sequence = (elements: readonly AST.Element[], i: number, at: number, go: Go): boolean =>
    i === elements.length ? go(at) : one(elements[i]!, at, (next) => sequence(elements, i + 1, next, go));
  const repeat = (node: AST.Quantifier, done: number, at: number, go: Go): boolean => {
    const more = (): boolean =>
      done < node.max &&
      one(node.element, at, (next) => (next === at && done >= node.min ? false : repeat(node, done + 1, next, go)));
    if (done < node.min) return more();
    return node.greedy ? more() || go(at) : go(at) || more();
  };
  const one = (node: AST.Element, at: number, go: Go): boolean => {
    count();
    switch (node.type) {
      case "Group":
      case "CapturingGroup":
        return any(node.alternatives, at, go);
      case "Quantifier":
        return repeat(node, 0, at, go);
      case "Assertion":
        if (node.kind === "start") return at === 0 && go(at);
        if (node.kind === "end") return at === chars.length && go(at);
        return (word(at - 1) !== word(at)) !== (node.kind === "word" && node.negate) && go(at);
      default:
        return at < chars.length && new RegExp(`^(?:${node.raw})$`, "u").test(chars[at]!) && go(at + 1);
    }
  };
  try {
    for (let start = 0; start <= chars.length; start++) if (any(tree.alternatives, start, () => true)) break;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return Infinity;
  }
  return steps;
}

/** Where a match may start by the standard: before each character, never within one of two code units. */
function startsOf(given: string): number[] {
  const starts = [0];
  for (const char of given) starts.push(starts.at(-1)! + char.length);
  return starts;
}

const isValid = (source: string): boolean => {
  try {
    new RegExp(source, "u");
    return true;
  } catch {
    return false;
  }
};

describe("a pattern in a schema", () => {
  it(`means on RE2's automata what it means in JavaScript (seed ${SEED})`, () => {
    const random = chooser(SEED);
    let compared = 0;
    let automata = 0;
    for (let i = 0; isDue(i, 2_500, () => compared > atLeast(12_000) && automata > atLeast(200)); i++) {
      const source = pattern(random);
      if (!isValid(source)) continue;
      const sticky = new RegExp(source, "uy");
      const chosen = matcherOf(source);
      if (!(chosen instanceof RegExp)) automata++;
      const forced = automatonOf(source);
      for (let k = 0; k < 12; k++) {
        const given = text(random);
        beginCheck();
        const expected = startsOf(given).some((start) => {
          sticky.lastIndex = start;
          return sticky.test(given);
        });
        if (forced.test(given) !== expected || chosen.test(given) !== expected)
          expect.fail(`${source} on ${JSON.stringify(given)}: JavaScript says ${expected}`);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(atLeast(12_000));
    expect(automata).toBeGreaterThan(atLeast(200));
  });

  it(`that runs on the engine's own backtracking takes a number of steps that grows only with the text (seed ${SEED})`, () => {
    const random = chooser(SEED + 1);
    let linear = 0;
    for (let i = 0; isDue(i, 4_000, () => linear > atLeast(600)); i++) {
      const source = `${random.chance(0.6) ? "^" : ""}${pattern(random)}${random.chance(0.5) ? "$" : ""}`;
      if (!isValid(source)) continue;
      const tree = parsePattern(source);
      if (!isLinear(tree)) continue;
      linear++;
      const texts = [
        "a".repeat(240),
        "ab".repeat(120),
        "a ".repeat(120),
        "aB0".repeat(80),
        `${"a".repeat(239)}!`,
        text(random).repeat(30),
      ];
      // Twice the text takes about twice the steps; four times the steps would be the square. Where the text alone matches at once, and twice the text does not match, each letter may take a few steps more.
      for (const given of texts) {
        const once = Math.max(stepsOf(tree, given, 200_000), 4 * given.length);
        expect(stepsOf(tree, given + given, 500_000), `${source} on ${JSON.stringify(given.slice(0, 20))}…`).toBeLessThan(
          2.4 * once + 1_000,
        );
      }
    }
    expect(linear).toBeGreaterThan(atLeast(600));
  });

  it("whose backtracking explodes is not taken for one that is linear, and is matched at once", () => {
    for (const source of [
      "^(a+)+$",
      "^(a|a)*$",
      "^(a|aa)+$",
      "^(a*)*$",
      "^(a?){30}a{30}$",
      "^(a{1,40}){1,40}$",
      "(a*)*b",
      "a.*b",
      "^(?:|)(?:|)(?:|)a*a*$",
      "^(\\w+\\s?)*$",
      "^([a-z]{1,20} ?){1,20}$",
      "^(?:$)?(?:$)?b",
      "\\s+$",
      "^.*=.*$",
      "^(\\p{L}+ ?)+$",
      "^[^@]+@[^@]+\\.[^@]+$",
    ]) {
      expect(isLinear(parsePattern(source)), source).toBe(false);
      expect(patternProblem(source), source).toBeNull();
      expect(matches(source, `${"a".repeat(1_000)}!`), source).toBe(new RegExp(source, "u").test("aaa!"));
    }
  });

  it("of a usual form stays on the engine's own backtracking, which is faster", () => {
    for (const source of [
      "^[A-Z]{3}-[0-9]{6}$",
      "^\\+[1-9][0-9]{6,14}$",
      "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
      "^\\d{4}-\\d{2}-\\d{2}$",
      "^[^@]+@[^@.]+$",
      "^\\p{L}[\\p{L} '-]*$",
      "^(yes|no)$",
      "^x-",
      "[A-Z]",
      "^[a-z0-9]+(?:-[a-z0-9]+)*$",
      "^-?(0|[1-9]\\d*)(\\.\\d+)?$",
      "^.{1,400}$",
      "^$",
      "",
    ])
      expect(isLinear(parsePattern(source)), source).toBe(true);
  });

  it("that no automaton can express, or that would make too large a one, is refused when it is registered, in words", () => {
    const problem = (source: string) => patternProblem(source);
    expect(problem("^(?=.*\\d)a")).toContain("looks ahead");
    expect(problem("(?<!a)b")).toContain("looks behind");
    expect(problem("(a)\\1")).toContain("refers back");
    expect(problem("(?<x>a)\\k<x>")).toContain("refers back");
    expect(problem("(?i:a)")).toContain("flags");
    expect(problem("(a{1,900}){1,900}")).toContain("copies");
    expect(problem("(")).toContain("not a regular expression");
    expect(problem("a".repeat(5_000))).toContain("characters");
    for (const schema of [{ pattern: "(?=a)" }, { patternProperties: { "(a)\\1": true } }] satisfies JsonObject[])
      expect(() =>
        schemaVersion("thing", 1, { kind: "json", text: JSON.stringify(schema), references: [] }, () => undefined),
      ).toThrow(
        expect.objectContaining({ code: "schema-malformed", message: expect.stringMatching(/the pattern .* is refused: it/) }),
      );
  });

  it("with repetitions inside repetitions checks a typing error at once, and refuses a text that is too long for it", () => {
    const gate = gateOf({ properties: { name: { type: "string", pattern: "^([A-Za-z]{1,40} ?){1,40}$" } } });
    const check = (name: string) => gate.check({ subject: "thing", version: 1 }, "thing.noted", "thing", { name });
    expect(check("Amina Wanjiru Otieno")).toBeNull();
    expect(check("Aminaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa Wanjiru Otieno!")?.message).toContain("name");
    expect(check("a".repeat(500_000))?.message).toContain("too long");
    expect(gate.problems({ subject: "thing", version: 1 }, { name: "a".repeat(500_000) })[0]?.message).toContain("too long");
    expect(gate.checkField("thing", "name", "a".repeat(500_000))?.message).toContain("too long");
    expect(check("Amina")).toBeNull();
  });

  it("that was registered before such patterns were refused holds events back, and breaks nothing else", () => {
    const old = schemaVersion(
      "thing",
      1,
      {
        kind: "json",
        text: JSON.stringify({ tributary: { entity: "thing", events: ["thing.noted"] }, pattern: "(?=a)" }),
        references: [],
      },
      () => undefined,
      { trusted: true },
    );
    const gate = createGate({ subjects: () => ["thing"], versions: () => [old] });
    expect(gate.check({ subject: "thing", version: 1 }, "thing.noted", "thing", { a: 1 })?.message).toContain("ahead");
  });
});
