/** Conditions on a device's rows, as people write them: `household_size>=5`. In come texts and a view's columns; out comes what `field.query` takes. */
import { TributaryError } from "../core/index.ts";
import type { Comparison, Condition } from "../field/index.ts";
import type { Column, Columns } from "../merge/engine.ts";

/** Longer ones first, as `>=` begins like `>`. */
const SIGNS = { ">=": "gte", "<=": "lte", "!=": "not", "^=": "prefix", "=": "equal", ">": "gt", "<": "lt" } as const;
type Sign = keyof typeof SIGNS;
const isSign = (text: string): text is Sign => Object.hasOwn(SIGNS, text);

const HOW = "Write COLUMN=VALUE, or with !=, >, <, >=, <= or ^= (begins with), in quotes: --where 'household_size>=5'.";

const FACTS: Readonly<Record<string, Column["type"]>> = {
  id: "text",
  deleted: "boolean",
  conflicts: "integer",
  _own: "text",
  _problem: "text",
};

interface Written {
  readonly column: string;
  readonly sign: (typeof SIGNS)[Sign];
  readonly value: string;
}

function conditionIn(text: string): Written {
  const [, column = "", rest = ""] = /^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(.*)$/s.exec(text) ?? [];
  const sign = [rest.slice(0, 2), rest.slice(0, 1)].find(isSign);
  if (column === "" || sign === undefined)
    throw new TributaryError("usage", `--where ${JSON.stringify(text)} is not a condition`, HOW);
  return { column, sign: SIGNS[sign], value: rest.slice(sign.length).trim() };
}

/** The value as its column holds it. Whether it fits is for the question to say. */
function valueIn(type: Column["type"], text: string): string | number | boolean | null {
  if (text === "") return null;
  if (type === "integer" || type === "number" || type === "decimal") {
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  }
  if (type === "boolean") return text === "true" ? true : text === "false" ? false : text;
  return text;
}

/** The member `where` of a question. `columns`: those of the view; a column that is none of them is left for the question to refuse. */
export function whereOf(texts: readonly string[], columns: Columns): Readonly<Record<string, Condition>> {
  const where: Record<string, Condition> = {};
  for (const [column, conditions] of Map.groupBy(texts.map(conditionIn), (each) => each.column)) {
    const type = FACTS[column] ?? columns[column]?.type ?? "text";
    const [first, ...others] = conditions;
    if (first === undefined) continue;
    if (others.length === 0 && first.sign === "equal") {
      where[column] = valueIn(type, first.value);
      continue;
    }
    const comparison: { -readonly [C in keyof Comparison]: unknown } = {};
    for (const { sign, value } of conditions) {
      if (sign === "equal" || Object.hasOwn(comparison, sign))
        throw new TributaryError("usage", `--where asks for two things of ${column} at once`, HOW);
      if (value === "" && sign !== "not") throw new TributaryError("usage", `--where ${column} has no value`, HOW);
      comparison[sign] = valueIn(type, value);
    }
    // Whether the column can hold these values is for the question to say.
    where[column] = comparison as Comparison;
  }
  return where;
}
