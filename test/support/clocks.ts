import { parseSync } from "vite";

/** A place where a test depends on how fast the machine is. */
export interface ClockLimit {
  readonly line: number;
  /** The source of it, on one line. */
  readonly text: string;
  readonly why: string;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}
const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" && "start" in value;
const nodes = (value: unknown): Node[] => (Array.isArray(value) ? value.filter(isNode) : []);

/** What the name of a time looks like. */
const TIME = /(?:[a-z]Ms|[a-z]Us|\bms|elapsed|[sS]econds|took|times|Date\.now|performance\.now|cpuUsage)\b/;
const CLOCK = /\b(?:Date|performance)\.now\(\)/;
const UPPER = new Set(["toBeLessThan", "toBeLessThanOrEqual", "toBeCloseTo"]);
const LIMIT = /^(?:timeout|(?:test|hook|reply|send|look|connect)Timeout(?:Ms)?|timeoutMs|interruptAfterTimeLimit)$/;
const STARTERS = new Set(["it", "test", "describe", "beforeAll", "beforeEach", "afterAll", "afterEach", "onTestFinished"]);

/** Whose call it is: `it` of `it.each(…)(…)`. */
function rootOf(node: unknown): string {
  if (!isNode(node)) return "";
  if (node.type === "Identifier") return String(node.name);
  return rootOf(node.type === "MemberExpression" ? node.object : node.type === "CallExpression" ? node.callee : node.tag);
}
const nameOf = (node: unknown): string => {
  if (!isNode(node)) return "";
  if (node.type === "MemberExpression") return nameOf(node.property);
  return typeof node.name === "string" ? node.name : typeof node.value === "string" ? node.value : "";
};
const isNumber = (node: unknown): boolean => {
  if (!isNode(node)) return false;
  if (node.type === "BinaryExpression") return isNumber(node.left) && isNumber(node.right);
  return node.type === "Literal" && typeof node.value === "number";
};

/** Finds limits by the clock in the source of a test. */
export function clockLimits(file: string, text: string): ClockLimit[] {
  const { program, errors } = parseSync(file, text);
  const [error] = errors;
  if (error !== undefined) throw new Error(`${file}: ${error.message}`);
  const found: ClockLimit[] = [];
  const sourceOf = (node: Node): string => text.slice(node.start, node.end).replace(/\s+/g, " ");
  const note = (node: Node, why: string): void => {
    found.push({ line: text.slice(0, node.start).split("\n").length, text: sourceOf(node), why });
  };
  const call = (node: Node): void => {
    const [given, last] = [nodes(node.arguments), nodes(node.arguments).at(-1)];
    const name = nameOf(node.callee);
    if (UPPER.has(name) && isNode(node.callee) && isNode(node.callee.object)) {
      const asked = node.callee.object;
      const [subject] = asked.type === "CallExpression" ? nodes(asked.arguments) : [];
      if (subject !== undefined && TIME.test(sourceOf(subject))) note(node, "a time has an upper bound");
    }
    if (STARTERS.has(rootOf(node.callee)) && last !== undefined && given.length > 1 && isNumber(last))
      note(last, "a test or hook has a timeout of its own");
    if (name === "eventually" && given.length > 2) note(node, "a wait has a bound of its own");
    if (sourceOf(node).startsWith("AbortSignal.timeout(") && last !== undefined && isNumber(last))
      note(node, "a wait has a bound of its own");
  };
  const visit = (node: Node): void => {
    if (node.type === "CallExpression") call(node);
    if (node.type === "Property" && LIMIT.test(nameOf(node.key)) && isNumber(node.value)) note(node, "a bound of its own");
    if ((node.type === "ForStatement" || node.type === "WhileStatement" || node.type === "DoWhileStatement") && isNode(node.test))
      if (CLOCK.test(sourceOf(node.test))) note(node.test, "a loop ends by the clock");
    for (const value of Object.values(node))
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child);
  };
  visit(program as unknown as Node);
  return found;
}
