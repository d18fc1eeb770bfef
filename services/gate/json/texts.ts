import type { AST } from "@eslint-community/regexpp";
import { matches, PatternError, parsePattern } from "./patterns.ts";

/**
 * Texts that match a regular expression: for examples. Built from its syntax tree, then checked by the expression itself, so what comes
 * out matches; what cannot be built that way (look-arounds, back-references) comes out as nothing.
 */

const MAX_TEXTS = 12;
/** Repetitions that are tried beyond the fewest. */
const MORE = [0, 1, 2, 5, 11];

export function textsMatching(pattern: string, lengths: readonly number[] = []): string[] {
  let tree: AST.Pattern;
  try {
    tree = parsePattern(pattern);
  } catch (error) {
    if (error instanceof PatternError) return [];
    throw error;
  }
  const out = new Set<string>();
  for (const [i] of tree.alternatives.entries()) {
    for (const more of [...MORE, ...lengths]) {
      for (const variant of [0, 1, 2]) {
        const text = ofAlternative(tree.alternatives[i]!, more, variant);
        if (text.length < 10_000 && matches(pattern, text)) out.add(text);
        if (out.size >= MAX_TEXTS) return [...out];
      }
    }
  }
  return [...out];
}

const ofAlternative = (alternative: AST.Alternative, more: number, variant: number): string =>
  alternative.elements.map((element) => ofElement(element, more, variant)).join("");

function ofElement(element: AST.Element, more: number, variant: number): string {
  switch (element.type) {
    case "Character":
      return String.fromCodePoint(element.value);
    case "CharacterSet":
      return ofSet(element, variant);
    case "CharacterClass":
      return ofClass(element, variant);
    case "Group":
    case "CapturingGroup":
      return ofAlternative(element.alternatives[variant % element.alternatives.length]!, more, variant);
    case "Quantifier": {
      const count = Math.min(element.max, element.min + more, 5_000);
      return ofElement(element.element, more > 2 ? 0 : more, variant).repeat(count);
    }
    default:
      return "";
  }
}

const SAMPLES: Readonly<Record<string, readonly [string, string, string]>> = {
  any: ["a", "A", "7"],
  digit: ["1", "0", "9"],
  word: ["a", "Z", "_"],
  space: [" ", "\t", " "],
};

function ofSet(set: AST.CharacterSet, variant: number): string {
  if (set.kind === "property") return set.negate ? "1" : (["a", "A", "é"][variant] ?? "a");
  const negated = "negate" in set && set.negate;
  return negated ? (set.kind === "space" ? "a" : "-") : SAMPLES[set.kind]![variant % 3]!;
}

function ofClass(set: AST.CharacterClass, variant: number): string {
  if (set.negate) {
    const inside = new RegExp(set.raw, "u");
    return ["a", "A", "1", " ", "-", "é", "\u{1F600}"].filter((char) => inside.test(char))[variant % 3] ?? "";
  }
  const parts = set.elements;
  if (parts.length === 0) return "";
  const part = parts[variant % parts.length]!;
  if (part.type === "Character") return String.fromCodePoint(part.value);
  if (part.type === "CharacterClassRange") return String.fromCodePoint(variant === 1 ? part.max.value : part.min.value);
  if (part.type === "CharacterSet") return ofSet(part, variant);
  return "";
}
