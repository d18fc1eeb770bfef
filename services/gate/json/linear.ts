import type { AST } from "@eslint-community/regexpp";

/**
 * Whether a backtracking engine matches a pattern in time that grows with the text's length only, told by the pattern's shape.
 *
 * The rule: wherever matching has a choice (once more or go on, this alternative or that), the next character alone decides it. Then a wrong turn
 * fails at its first character, so each character of the text is looked at once for each choice of the pattern, and never again. (Such expressions are called
 * one-unambiguous: Brüggemann-Klein and Wood, 1998.) A pattern that is not bound to the text's start is tried again from each character, so it must be short
 * as well. A pattern that breaks the rule need not be slow: it is only not known to be fast.
 */

/** What may stand at one point of a text. `end`: nothing more comes. */
type Atom = AST.Character | AST.CharacterSet | AST.CharacterClass | "end";

interface Shape {
  /** What a match may begin with. */
  readonly first: readonly Atom[];
  /** Whether it may match nothing. */
  readonly isNullable: boolean;
}

/** Characters that a pattern may look at from each character of a text where it is not bound to the start. */
const MAX_UNBOUND_LENGTH = 100;
/** How many ranges and code points are compared, at most; beyond this, nothing is claimed. */
const MAX_COMPARISONS = 500_000;
/** Code points that are put to a property escape one by one. */
const MAX_PROBED = 1_000;
const LAST = 0x10ffff;

class AmbiguousError extends Error {}

// Long because the checks of alternatives, sequences and elements call one another and share one budget of comparisons.
export function isLinear(pattern: AST.Pattern): boolean {
  let comparisons = 0;
  const shapes = new Map<AST.Node, Shape>();
  const isAnywhere = !isBound(pattern.alternatives);
  try {
    if (isAnywhere && longest(pattern.alternatives) > MAX_UNBOUND_LENGTH) return false;
    checkAlternatives(pattern.alternatives, []);
    return true;
  } catch (error) {
    if (error instanceof AmbiguousError) return false;
    throw error;
  }

  function decides(a: readonly Atom[], b: readonly Atom[]): void {
    for (const one of a) {
      for (const other of b) {
        comparisons += costOf(one, other);
        if (comparisons > MAX_COMPARISONS || overlap(one, other)) throw new AmbiguousError();
      }
    }
  }

  function checkAlternatives(alternatives: readonly AST.Alternative[], follow: readonly Atom[]): void {
    const entries: (readonly Atom[])[] = [];
    let nullable = 0;
    for (const alternative of alternatives) {
      const shape = shapeOf(alternative);
      const entry = shape.isNullable ? [...shape.first, ...follow] : shape.first;
      if (shape.isNullable && alternatives.length > 1 && ++nullable > 1) throw new AmbiguousError();
      for (const other of entries) decides(entry, other);
      entries.push(entry);
      checkSequence(alternative.elements, follow);
    }
  }

  function checkSequence(elements: readonly AST.Element[], follow: readonly Atom[]): void {
    let after = follow;
    for (const element of elements.toReversed()) {
      checkElement(element, after);
      const shape = shapeOf(element);
      after = shape.isNullable ? [...shape.first, ...after] : shape.first;
    }
  }

  function checkElement(element: AST.Element, follow: readonly Atom[]): void {
    if (element.type === "Group" || element.type === "CapturingGroup") checkAlternatives(element.alternatives, follow);
    if (element.type !== "Quantifier" || element.max === 0) return;
    const { min, max } = element;
    const inner = shapeOf(element.element);
    if (inner.isNullable && (min !== max || max > 1)) throw new AmbiguousError();
    if (min !== max) decides(inner.first, follow);
    checkElement(element.element, max > 1 ? [...inner.first, ...follow] : follow);
  }

  function shapeOf(node: AST.Alternative | AST.Element): Shape {
    let shape = shapes.get(node);
    if (shape === undefined) {
      shape = shapeAnew(node);
      shapes.set(node, shape);
    }
    return shape;
  }

  function shapeAnew(node: AST.Alternative | AST.Element): Shape {
    switch (node.type) {
      case "Alternative": {
        const first: Atom[] = [];
        for (const element of node.elements) {
          const shape = shapeOf(element);
          first.push(...shape.first);
          if (!shape.isNullable) return { first, isNullable: false };
        }
        return { first, isNullable: true };
      }
      case "Group":
      case "CapturingGroup": {
        const each = node.alternatives.map(shapeOf);
        return { first: each.flatMap(({ first }) => first), isNullable: each.some(({ isNullable }) => isNullable) };
      }
      case "Quantifier": {
        if (node.max === 0) return { first: [], isNullable: true };
        const { first, isNullable } = shapeOf(node.element);
        return { first, isNullable: isNullable || node.min === 0 };
      }
      case "Assertion":
        // V8 finds `\B` within a character of two code units as well, which the standard does not.
        if (node.kind === "word" && isAnywhere) throw new AmbiguousError();
        return node.kind === "end" ? { first: ["end"], isNullable: false } : { first: [], isNullable: true };
      case "Character":
      case "CharacterSet":
      case "CharacterClass":
        return { first: [node], isNullable: false };
      default:
        throw new AmbiguousError();
    }
  }
}

/** Whether every match begins where the text does. */
function isBound(alternatives: readonly AST.Alternative[]): boolean {
  return alternatives.every(({ elements: [first] }) => {
    if (first?.type === "Assertion") return first.kind === "start";
    return first?.type === "Group" || first?.type === "CapturingGroup" ? isBound(first.alternatives) : false;
  });
}

function longest(alternatives: readonly AST.Alternative[]): number {
  const of = (element: AST.Element): number => {
    switch (element.type) {
      case "Group":
      case "CapturingGroup":
        return longest(element.alternatives);
      case "Quantifier": {
        const each = of(element.element);
        return each === 0 || element.max === 0 ? 0 : each * element.max;
      }
      case "Assertion":
        return 0;
      default:
        return 1;
    }
  };
  return Math.max(0, ...alternatives.map(({ elements }) => elements.reduce((sum, element) => sum + of(element), 0)));
}

export type Range = readonly [first: number, last: number];

const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
/** Source: https://tc39.es/ecma262/#sec-white-space and #sec-line-terminators, which `\s` is. */
const SPACE: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];

/** All code points but these; the ranges are in order and apart. */
export function others(ranges: readonly Range[]): Range[] {
  const out: Range[] = [];
  let next = 0;
  for (const [first, last] of ranges) {
    if (first > next) out.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST) out.push([next, LAST]);
  return out;
}

/** Ranges in order and apart. */
export function merged(ranges: readonly Range[]): Range[] {
  const out: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const before = out.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else out.push([first, last]);
  }
  return out;
}

/** The code points of a set; `property` says what to do with `\p{…}`, which only the engine's own tables know. */
export function rangesOf(
  atom: AST.Character | AST.CharacterSet | AST.CharacterClass,
  property: (set: AST.UnicodePropertyCharacterSet) => readonly Range[] | null,
): readonly Range[] | null {
  if (atom.type === "Character") return [[atom.value, atom.value]];
  if (atom.type === "CharacterSet") {
    switch (atom.kind) {
      case "any":
        return others(LINE_ENDS);
      case "digit":
        return atom.negate ? others(DIGITS) : DIGITS;
      case "word":
        return atom.negate ? others(WORD) : WORD;
      case "space":
        return atom.negate ? others(SPACE) : SPACE;
      case "property":
        return property(atom as AST.UnicodePropertyCharacterSet);
    }
  }
  const all: Range[] = [];
  for (const element of atom.elements) {
    if (element.type === "CharacterClassRange") {
      all.push([element.min.value, element.max.value]);
    } else if (element.type === "Character" || element.type === "CharacterSet") {
      const ranges = rangesOf(element, property);
      if (ranges === null) return null;
      all.push(...ranges);
    } else return null;
  }
  const ranges = merged(all);
  return atom.negate ? others(ranges) : ranges;
}

const known = new WeakMap<object, readonly Range[] | null>();
function rangesWithin(atom: Exclude<Atom, "end">): readonly Range[] | null {
  let ranges = known.get(atom);
  if (ranges === undefined) {
    ranges = rangesOf(atom, () => null);
    known.set(atom, ranges);
  }
  return ranges;
}

function costOf(a: Atom, b: Atom): number {
  if (a === "end" || b === "end") return 1;
  const [x, y] = [rangesWithin(a), rangesWithin(b)];
  return x === null || y === null ? MAX_PROBED : x.length + y.length;
}

/** Whether some code point may be in both. Returns `true` where this cannot be told cheaply. */
function overlap(a: Atom, b: Atom): boolean {
  if (a === "end" || b === "end") return a === b;
  const [x, y] = [rangesWithin(a), rangesWithin(b)];
  if (x === null || y === null) {
    if (x === null && y === null) return true;
    return x === null ? probe(a, y!) : probe(b, x);
  }
  for (let i = 0, k = 0; i < x.length && k < y.length; ) {
    const [one, other] = [x[i]!, y[k]!];
    if (one[0] <= other[1] && other[0] <= one[1]) return true;
    if (one[1] < other[1]) i++;
    else k++;
  }
  return false;
}

function probe(atom: Exclude<Atom, "end">, ranges: readonly Range[]): boolean {
  if (ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0) > MAX_PROBED) return true;
  const set = new RegExp(atom.raw, "u");
  for (const [first, last] of ranges)
    for (let code = first; code <= last; code++) if (set.test(String.fromCodePoint(code))) return true;
  return false;
}
