import type { JsonValue } from "../core/index.ts";
import type { Problem } from "./words.ts";

/**
 * What is wrong with a decision on an entity's fields: each value must fit what the entity's own forms say of the field, at the door and at the desk alike. `null` empties
 * a field, as everywhere. `checkField`: the gate's function of that name.
 */
export function decidedProblem(
  checkField: (entity: string, name: string, value: JsonValue) => Problem | null,
  entity: string,
  values: Readonly<Record<string, JsonValue>>,
): Problem | null {
  for (const [name, value] of Object.entries(values)) {
    const problem = value === null ? null : checkField(entity, name, value);
    if (problem !== null) return problem;
  }
  return null;
}
