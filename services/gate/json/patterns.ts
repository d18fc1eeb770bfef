import { type AST, RegExpParser } from "@eslint-community/regexpp";
import { RE2JS } from "re2js";
import { messageOf } from "../../core/index.ts";
import { isLinear, merged, type Range, rangesOf } from "./linear.ts";

/**
 * The regular expressions of schemas: ECMAScript's with the flag `u`, as JSON Schema says, matched in time that grows with the text's length only. In comes
 * a pattern; out comes what tests texts, or the reason why it is refused. A pattern never runs on the engine's own backtracking unless its shape shows that
 * there is nothing to try twice (`linear.ts`); all others run on RE2's automata, written again from their syntax tree, so that both engines mean the same by them.
 *
 * Measured, a match of 11 characters: 0.03 µs by the engine's own, 0.1–0.8 µs by RE2. What took minutes there takes 3 ms here.
 */

/** Tells whether a text matches. `toString` tells patterns apart. */
export interface Matcher {
  test(text: string): boolean;
  toString(): string;
}

/** A pattern is not taken: why, as the end of a sentence that begins with the pattern. */
export class PatternError extends Error {}
/** The texts of one check are too long for the patterns that they are put to. */
export class CostlyError extends RangeError {}

const MAX_PATTERN_LENGTH = 4_000;
/** Steps of a pattern's automaton, counted as copies of what it repeats. */
const MAX_PROGRAM = 4_000;
/** `re2js` takes repetitions whose product is no more than this. */
const MAX_COPIES = 1_000;
/** A property (`\p{L}`) has some hundred ranges. */
const PROPERTY_WEIGHT = 32;
const MAX_KNOWN = 1_000;
/**
 * What one check of data may cost: for each text that RE2 looks at, its length times the steps of the automaton. A step takes 25 ns, 200 ns where
 * each makes a new state: a second at worst.
 */
const WORK_PER_CHECK = 5_000_000;

let workLeft = WORK_PER_CHECK;
/** Begins a check: the cost of the matches before it does not count. */
export function beginCheck(): void {
  workLeft = WORK_PER_CHECK;
}

const known = new Map<string, Matcher | PatternError>();

/** What matches a pattern. Throws `PatternError` for one that is refused. Its `test` throws `CostlyError` when a check has cost too much. */
export function matcherOf(pattern: string): Matcher {
  let found = known.get(pattern);
  if (found === undefined) {
    found = make(pattern);
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(pattern, found);
  }
  if (found instanceof PatternError) throw found;
  return found;
}

/** Whether a text matches, as a check of its own. */
export function matches(pattern: string, text: string): boolean {
  beginCheck();
  return matcherOf(pattern).test(text);
}

/** Why a pattern is refused; `null` when it is taken. */
export function patternProblem(pattern: string): string | null {
  try {
    matcherOf(pattern);
    return null;
  } catch (error) {
    if (error instanceof PatternError) return error.message;
    throw error;
  }
}

/** The syntax tree of a pattern; throws `PatternError` for a text that is not a pattern. */
export function parsePattern(pattern: string): AST.Pattern {
  if (pattern.length > MAX_PATTERN_LENGTH) throw new PatternError(`it has more than ${MAX_PATTERN_LENGTH} characters`);
  try {
    // The engine decides: other validators use it too.
    new RegExp(pattern, "u");
    return new RegExpParser({ ecmaVersion: 2025 }).parsePattern(pattern, 0, pattern.length, { unicode: true });
  } catch (error) {
    throw new PatternError(`it is not a regular expression: ${messageOf(error).slice(0, 200)}`);
  }
}

function make(pattern: string): Matcher | PatternError {
  try {
    const tree = parsePattern(pattern);
    const written = write(tree);
    return isLinear(tree) ? new RegExp(pattern, "u") : automatonOf(pattern, written);
  } catch (error) {
    if (error instanceof PatternError) return error;
    return new PatternError(`it cannot be matched: ${messageOf(error).slice(0, 200)}`);
  }
}

/** RE2's automaton of a pattern, whatever its shape. Throws `PatternError` for one that is refused. */
export function automatonOf(pattern: string, written = write(parsePattern(pattern))): Matcher {
  if (written.size > MAX_PROGRAM)
    throw new PatternError(`its repetitions make more than ${MAX_PROGRAM} copies of what they repeat`);
  const compiled = RE2JS.compile(written.text);
  const size = compiled.programSize();
  return {
    test(text) {
      workLeft -= (text.length + 1) * size;
      if (workLeft < 0)
        throw new CostlyError(`matching ${pattern.slice(0, 60)} would take too long: the texts are too long for it`);
      return compiled.test(text);
    },
    toString: () => `linear:${pattern}`,
  };
}

/** A part of a pattern in RE2's syntax. `size`: its steps; `copies`: the product of the repetitions within. */
interface Written {
  readonly text: string;
  readonly size: number;
  readonly copies: number;
}

const hex = (code: number): string => `\\x{${code.toString(16)}}`;
const NOTHING = `[^${hex(0)}-${hex(0x10ffff)}]`;

/** Throws `PatternError` for what an automaton cannot express. Sets are written as code points, so that no table of theirs is asked. */
function write(node: AST.Pattern | AST.Alternative | AST.Element): Written {
  switch (node.type) {
    case "Pattern":
      return alternatives(node.alternatives);
    case "Alternative": {
      const parts = node.elements.map(write);
      return {
        get text() {
          return parts.map(({ text }) => text).join("");
        },
        size: parts.reduce((sum, { size }) => sum + size, 1),
        copies: Math.max(1, ...parts.map(({ copies }) => copies)),
      };
    }
    case "Group":
      if (node.modifiers !== null) throw new PatternError("it changes flags inside, which is not taken here");
      return alternatives(node.alternatives);
    case "CapturingGroup":
      return alternatives(node.alternatives);
    case "Quantifier":
      return repeated(write(node.element), node.min, node.max);
    case "Assertion":
      return { text: assertion(node), size: 1, copies: 1 };
    case "Backreference":
      throw new PatternError("it refers back to what a group matched, which no automaton can follow");
    case "Character":
    case "CharacterSet":
    case "CharacterClass":
      // Ranges of a property are looked up only when they are needed: they take a while.
      return {
        get text() {
          return set(node);
        },
        size: weightOf(node),
        copies: 1,
      };
    default:
      throw new PatternError("it has a part that is not taken here");
  }
}

function alternatives(list: readonly AST.Alternative[]): Written {
  const parts = list.map(write);
  return {
    get text() {
      return `(?:${parts.map(({ text }) => text).join("|")})`;
    },
    size: parts.reduce((sum, { size }) => sum + size, 1),
    copies: Math.max(...parts.map(({ copies }) => copies)),
  };
}

function assertion(node: AST.Assertion): string {
  switch (node.kind) {
    case "start":
      return "\\A";
    case "end":
      return "\\z";
    case "word":
      return node.negate ? "\\B" : "\\b";
    default:
      throw new PatternError(
        `it looks ${node.kind === "lookahead" ? "ahead" : "behind"}, which no automaton of bounded size can do`,
      );
  }
}

function repeated(inner: Written, min: number, max: number): Written {
  if (max === 0) return { text: "(?:)", size: 1, copies: 1 };
  const count = max === Infinity ? Math.max(min, 1) : max;
  return {
    get text() {
      const { text, copies } = inner;
      const one = `(?:${text})`;
      // Chunks that are small enough: x{3,5} is x{2,2}x{1,2}x{0,1}.
      const most = Math.max(1, Math.floor(MAX_COPIES / copies));
      let out = "";
      let least = min;
      for (let left = max === Infinity ? min : max; left > 0; ) {
        const chunk = Math.min(most, left);
        const needed = Math.min(chunk, least);
        out += `${one}{${needed},${chunk}}`;
        least -= needed;
        left -= chunk;
      }
      return max === Infinity ? `${out}${one}*` : out;
    },
    size: inner.size * count + 1,
    copies: Math.min(MAX_COPIES, inner.copies * count),
  };
}

function set(atom: AST.Character | AST.CharacterSet | AST.CharacterClass): string {
  const ranges = rangesOf(atom, propertyRanges);
  if (ranges === null) throw new PatternError(`its set ${atom.raw.slice(0, 60)} is not taken here`);
  if (ranges.length === 0) return NOTHING;
  return `[${ranges.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}-${hex(last)}`)).join("")}]`;
}

/** A set counts as one step, and as more where it takes many ranges to write it. */
function weightOf(atom: AST.Character | AST.CharacterSet | AST.CharacterClass): number {
  if (atom.type === "Character") return 1;
  if (atom.type === "CharacterSet") return atom.kind === "property" ? PROPERTY_WEIGHT : 1;
  return atom.elements.reduce(
    (sum, element) => sum + (element.type === "CharacterSet" && element.kind === "property" ? PROPERTY_WEIGHT : 1 / 16),
    1,
  );
}

const properties = new Map<string, readonly Range[]>();
/** The code points of `\p{…}`, asked of the engine one by one: some 60 ms, once for each. */
function propertyRanges({ raw }: AST.UnicodePropertyCharacterSet): readonly Range[] {
  let found = properties.get(raw);
  if (found === undefined) {
    const isIn = new RegExp(raw, "u");
    const out: Range[] = [];
    for (let code = 0, first = -1; code <= 0x110000; code++) {
      const isMember = code <= 0x10ffff && isIn.test(String.fromCodePoint(code));
      if (isMember && first < 0) first = code;
      if (!isMember && first >= 0) {
        out.push([first, code - 1]);
        first = -1;
      }
    }
    found = merged(out);
    if (properties.size >= MAX_KNOWN) properties.clear();
    properties.set(raw, found);
  }
  return found;
}

/** Whether two patterns surely match no common name: both are bound to the start, and begin with different letters. */
export function areApart(a: string, b: string): boolean {
  const start = (pattern: string): string => /^\^([A-Za-z0-9_-]*)(?![*+?{A-Za-z0-9_-])/.exec(pattern)?.[1] ?? "";
  const hasChoice = a.includes("|") || b.includes("|");
  const [x, y] = [start(a), start(b)];
  return !hasChoice && !x.startsWith(y) && !y.startsWith(x);
}
