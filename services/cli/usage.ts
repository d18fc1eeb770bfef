/**
 * What a usage line says of a command's arguments: `tributary schema register SUBJECT FILE | FOLDER [--actor NAME]`. The line that people read is the one source; completion
 * follows from it.
 */

/** What a value of an argument can be; literal words are given as they are. */
export type Kind = "directory" | "file" | "view" | "subject";

export interface Values {
  readonly kinds: readonly Kind[];
  readonly words: readonly string[];
}

export interface Usage {
  /** What each option takes after it; an option that takes no value is not here. */
  readonly options: ReadonlyMap<string, Values>;
  /** What each argument besides options may be. */
  readonly positionals: readonly Values[];
  /** Whether the last argument may be repeated. */
  readonly repeats: boolean;
}

const NOTHING: Values = { kinds: [], words: [] };
const KINDS: Readonly<Record<string, Kind>> = {
  DIR: "directory",
  NEW: "directory",
  FOLDER: "directory",
  FILE: "file",
  "@FILE": "file",
  VIEW: "view",
  SUBJECT: "subject",
};

const both = (a: Values, b: Values): Values => ({
  kinds: [...new Set([...a.kinds, ...b.kinds])],
  words: [...new Set([...a.words, ...b.words])],
});

/** `open|closed|all`, `FILE|URL`: words in small letters stand for themselves, as do those of `literals`; others name a kind of value, or nothing that can be listed. */
function valuesOf(placeholder: string, literals: ReadonlySet<string>): Values {
  const parts = placeholder.replace(/[[\]()…]|,…/g, " ").split(/[|\s]+/);
  return parts.reduce<Values>((values, part) => {
    const kind = part.startsWith("SUBJECT@") ? "subject" : KINDS[part];
    if (kind !== undefined) return both(values, { kinds: [kind], words: [] });
    return /^[a-z][a-z-]*$/.test(part) || literals.has(part) ? both(values, { kinds: [], words: [part] }) : values;
  }, NOTHING);
}

/** The line in tokens. A bracket's content is one token; a bracket that holds several things is opened. */
function tokensOf(line: string): string[] {
  const tokens: string[] = [];
  let depth = 0;
  let token = "";
  for (const char of line) {
    if (char === "[" || char === "(") depth += 1;
    if (char === "]" || char === ")") depth -= 1;
    if (/\s/.test(char) && depth === 0) {
      if (token !== "") tokens.push(token);
      token = "";
    } else token += char;
  }
  if (token !== "") tokens.push(token);
  return tokens.flatMap((each) => {
    const inner = /^[[(](.*--.*|.*\s.*)[\])]…?$/s.exec(each)?.[1];
    return inner === undefined ? [each] : tokensOf(inner);
  });
}

/** Reads a usage line. `takesValue`: whether an option has a value; `literals`: words in capitals that stand for themselves. */
export function usageOf(
  line: string,
  name: string,
  takesValue: (option: string) => boolean,
  literals: ReadonlySet<string> = new Set(),
): Usage {
  const tokens = tokensOf(line.slice(`tributary ${name}`.length));
  const options = new Map<string, Values>();
  const positionals: Values[] = [];
  let repeats = false;
  let index = 0;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] ?? "";
    if (token === "|") {
      index = 0;
    } else if (token.startsWith("--")) {
      const option = token.slice(2).replace(/…$/, "");
      if (!takesValue(option)) continue;
      i += 1;
      options.set(option, both(options.get(option) ?? NOTHING, valuesOf(tokens[i] ?? "", literals)));
    } else {
      positionals[index] = both(positionals[index] ?? NOTHING, valuesOf(token, literals));
      repeats ||= /…[\])]?$/.test(token);
      index += 1;
    }
  }
  return { options, positionals, repeats };
}
