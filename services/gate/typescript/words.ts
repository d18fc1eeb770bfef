/** What the texts of types have in common: names, literals, unions, members. */

/** A JSON value of any kind, as generated files call it. */
export const ANY = "Json";

/** One type. `null` stands for: nothing is said, any JSON will do. */
export type Type = string | null;

const IDENTIFIER = /^[A-Za-z_$][A-Za-z0-9_$]*$/;
export const memberName = (name: string): string => (IDENTIFIER.test(name) ? name : JSON.stringify(name));

/** `case-assignment` as a type's name: `CaseAssignment`. */
export function typeName(text: string): string {
  const words = text.split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  const name = words.map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`).join("");
  return /^[A-Za-z]/.test(name) ? name : `T${name}`;
}

/** Gives each thing a name that nothing else has: what comes second under a name gets a number. */
export function namer(): (wanted: string) => string {
  const taken = new Set([ANY]);
  return (wanted) => {
    let name = wanted;
    for (let n = 2; taken.has(name); n++) name = `${wanted}_${n}`;
    taken.add(name);
    return name;
  };
}

/** One of several types; any JSON if one of them is. */
export function union(types: readonly Type[]): Type {
  if (types.includes(null) || types.includes(ANY)) return null;
  const all = [...new Set(types.filter((type) => type !== "never"))];
  return all.length === 0 ? "never" : all.length === 1 ? all[0]! : all.join(" | ");
}

/** All of several types at once; what says nothing adds nothing. */
export function both(types: readonly Type[]): Type {
  const said = [...new Set(types.filter((type) => type !== null && type !== ANY))];
  return said.length === 0 ? null : said.length === 1 ? said[0]! : said.map(inBrackets).join(" & ");
}

/** A type as it stands where an operator binds more tightly than `|` and `&`. */
export const inBrackets = (type: Type): string => (type !== null && /[|&]/.test(outermost(type)) ? `(${type})` : (type ?? ANY));

/** A type's text without what stands within brackets or quotes. */
function outermost(type: string): string {
  let depth = 0;
  let out = "";
  for (const part of type.match(/"(?:[^"\\]|\\.)*"|[[\]{}()<>]|[^[\]{}()<>"]+/g) ?? []) {
    if ("[{(<".includes(part)) depth++;
    else if ("]})>".includes(part)) depth--;
    else if (depth === 0) out += part;
  }
  return out;
}

export interface Member {
  readonly name: string;
  readonly type: Type;
  readonly isOptional: boolean;
  readonly says: string | null;
}

/** A comment in front of a declaration; a text cannot end it. */
export const comment = (says: string | null, indent = ""): string =>
  says === null ? "" : `${indent}/** ${says.replaceAll(/\s+/g, " ").replaceAll("*/", "* /").trim()} */\n`;

/** An object's type. `others`: the type of members that are not named; `undefined`: none are meant. */
export function objectType(members: readonly Member[], others?: Type): string {
  if (members.length === 0 && others === undefined) return "{ readonly [member: string]: never }";
  const lines = members.map(
    ({ name, type, isOptional, says }) =>
      `${comment(says, "  ")}  readonly ${memberName(name)}${isOptional ? "?" : ""}: ${indented(type ?? ANY)};`,
  );
  if (others !== undefined) {
    // TypeScript wants each named member to fit what holds for all.
    const all = union([others, ...members.map(({ type }) => type)]) ?? ANY;
    lines.push(
      `  readonly [member: string]: ${indented(all)}${members.some(({ isOptional }) => isOptional) ? " | undefined" : ""};`,
    );
  }
  return `{\n${lines.join("\n")}\n}`;
}

const indented = (text: string): string => text.replaceAll("\n", "\n  ");
