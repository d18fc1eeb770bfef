import type { JsonValue } from "../../core/index.ts";
import type { Avro, Budget } from "./model.ts";

/** How many examples of a type are made, at most. They show each branch, each symbol and the edges, and are always the same. */
const MAX_EXAMPLES = 200;
const MAX_DEPTH = 12;
const MAX_LOOKS = 5_000;
const MAX_FIXED = 10_000;

/** Examples of a type, the plainest first. Empty when every value is infinitely deep, or too large. */
export function avroExamples(type: Avro, budget: Budget = { left: MAX_LOOKS }, depth = 0): JsonValue[] {
  if (depth > MAX_DEPTH || --budget.left < 0) return [];
  switch (type.kind) {
    case "null":
      return [null];
    case "boolean":
      return [true, false];
    case "int":
      return [1, 0, -1, 2_147_483_647];
    case "long":
      return [1, 0, 4_294_967_296, Number.MAX_SAFE_INTEGER];
    case "float":
      return [0.5, 0, 1];
    case "double":
      return [0.1, 0, 1e300];
    case "bytes":
    case "string":
      return ["text", ""];
    case "fixed":
      return type.size > MAX_FIXED ? [] : ["x".repeat(type.size)];
    case "enum":
      return [...type.symbols];
    case "array":
      return [[], ...avroExamples(type.items, budget, depth + 1).map((item) => [item])].slice(0, MAX_EXAMPLES);
    case "map":
      return [{}, ...avroExamples(type.values, budget, depth + 1).map((value) => ({ key: value }))].slice(0, MAX_EXAMPLES);
    case "union":
      return interleave(type.branches.map((branch) => avroExamples(branch, budget, depth + 1)));
    case "record": {
      const members = type.fields.map((field) => ({ name: field.name, values: avroExamples(field.type, budget, depth + 1) }));
      if (members.some(({ values }) => values.length === 0)) return [];
      const plain = Object.fromEntries(members.map(({ name, values }) => [name, values[0]!]));
      const out: JsonValue[] = [plain];
      for (const { name, values } of members) for (const value of values.slice(1)) out.push({ ...plain, [name]: value });
      return out.slice(0, MAX_EXAMPLES);
    }
  }
}

/** The first of each, then the second of each …, so that none is cut off. */
function interleave(lists: readonly JsonValue[][]): JsonValue[] {
  const out: JsonValue[] = [];
  for (let i = 0; lists.some((list) => i < list.length) && out.length < MAX_EXAMPLES; i++)
    for (const list of lists) if (i < list.length) out.push(list[i]!);
  return out;
}
