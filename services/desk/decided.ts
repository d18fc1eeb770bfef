import { type JsonValue, TributaryError } from "../core/index.ts";
import { decidedProblem, type Gate } from "../gate/index.ts";
import { columnWords, type Projection } from "../merge/engine.ts";
import { shown } from "./words.ts";

/** Checks decided values against what the entity's own forms say of its fields, as the hub's door does. Throws `event-invalid`. */
export function checkForms(gate: Gate, entityType: string, values: Readonly<Record<string, JsonValue>>): void {
  const problem = decidedProblem(gate.checkField, entityType, values);
  if (problem !== null)
    throw new TributaryError(
      "event-invalid",
      problem.message,
      `The forms of a ${entityType} say what each field may be: \`tributary schema list\`.`,
    );
}

/** Checks decided values against their columns in a view. Throws `usage` for a column that the view does not have, `event-invalid` for a value that does not fit. */
export function checkColumns({ name, columns }: Projection, values: Readonly<Record<string, JsonValue>>): void {
  for (const [column, value] of Object.entries(values)) {
    const declared = Object.hasOwn(columns, column) ? columns[column]! : null;
    if (declared === null)
      throw new TributaryError("usage", `${name} has no column ${column}`, `Its columns are ${Object.keys(columns).join(", ")}.`);
    if (value !== null && !declared.fits(value))
      throw new TributaryError(
        "event-invalid",
        `${shown(value)} does not fit ${name}.${column}, ${columnWords(declared)}`,
        declared.type === "text" ? `Where it is a text, quote it: '${JSON.stringify(String(value))}'.` : "Correct the value.",
      );
  }
}
