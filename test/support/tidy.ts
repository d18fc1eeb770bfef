import { parseSync } from "vite";

/** What the tidy test needs to know of a file. */
export interface Measured {
  readonly lines: number;
  readonly functions: readonly MeasuredFunction[];
  /** `x as T` and `<T>x`; `as const` and renames in imports are not casts. */
  readonly casts: number;
  /** `x!`. */
  readonly nonNulls: number;
  /** `export * from …`. */
  readonly exportsAll: number;
}

export interface MeasuredFunction {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
  readonly parameters: number;
  /** Lines of the comment right above it, without their marks. */
  readonly above: readonly string[];
}

/** A node of the syntax tree, as far as it is used here. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" && "start" in value;
const FUNCTIONS = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);
/** What a comment stands above when it is about a function in it. */
const HOLDERS = new Set([
  "ExportNamedDeclaration",
  "ExportDefaultDeclaration",
  "VariableDeclaration",
  "Property",
  "MethodDefinition",
  "PropertyDefinition",
  "ReturnStatement",
  "ExpressionStatement",
]);

/** Measures a TypeScript source. Throws where it does not parse. */
export function measure(file: string, text: string): Measured {
  const { program, comments, errors } = parseSync(file, text);
  const [error] = errors;
  if (error !== undefined) throw new Error(`${file}: ${error.message}`);
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  const lineAt = (offset: number): number => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? Infinity) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
  const endsAt = new Map(comments.map((comment) => [lineAt(comment.end), comment]));
  /** The comments that end on the line before, and those right above them. */
  const above = (line: number): string[] => {
    const comment = endsAt.get(line - 1);
    if (comment === undefined) return [];
    const words = comment.value
      .split("\n")
      .map((each) => each.replace(/^[\s*]+/, "").trim())
      .filter((each) => each !== "");
    return [...above(lineAt(comment.start)), ...words];
  };

  const functions: MeasuredFunction[] = [];
  const count = { casts: 0, nonNulls: 0, exportsAll: 0 };
  const visit = (node: Node, holder: Node | null, name: string): void => {
    if (FUNCTIONS.has(node.type)) {
      const line = lineAt(holder?.start ?? node.start);
      functions.push({
        name: nameOf(node) ?? name,
        line,
        lines: lineAt(node.end) - lineAt(node.start) + 1,
        parameters: Array.isArray(node.params) ? node.params.length : 0,
        above: [...above(line), ...(lineAt(node.start) === line ? [] : above(lineAt(node.start)))],
      });
    }
    if (node.type === "TSTypeAssertion" || (node.type === "TSAsExpression" && !isConst(node.typeAnnotation))) count.casts += 1;
    if (node.type === "TSNonNullExpression") count.nonNulls += 1;
    if (node.type === "ExportAllDeclaration") count.exportsAll += 1;
    const inner = HOLDERS.has(node.type)
      ? isWithin(holder, node, lineAt)
        ? holder
        : node
      : FUNCTIONS.has(node.type)
        ? null
        : holder;
    for (const value of Object.values(node))
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, inner, nameOf(node) ?? name);
  };
  visit(program as unknown as Node, null, "(file)");
  return { lines: starts.length - (text.endsWith("\n") ? 1 : 0), functions, ...count };
}

/** `export const f = …` is one thing, though it is a declaration in an export. */
const isWithin = (holder: Node | null, node: Node, lineAt: (offset: number) => number): boolean =>
  holder !== null && lineAt(holder.start) === lineAt(node.start);

function nameOf(node: Node): string | null {
  for (const named of [node.id, node.key]) if (isNode(named) && typeof named.name === "string") return named.name;
  return null;
}

function isConst(annotation: unknown): boolean {
  if (!isNode(annotation) || annotation.type !== "TSTypeReference") return false;
  return isNode(annotation.typeName) && annotation.typeName.name === "const";
}
