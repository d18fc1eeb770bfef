/** Asks the functions of a declaration about rows of which some columns are withheld. */
import { type JsonObject, watched } from "../core/index.ts";

/** What a function would say cannot be told: it looked at a column that this replica may not see. */
export const UNKNOWN = Symbol("unknown");

/** A row as the functions of declarations see it, with what is withheld of it. */
export interface Around {
  readonly values: JsonObject;
  readonly withheld?: readonly string[];
}

/**
 * Calls a function with a row. `UNKNOWN` if it looked at a column that is withheld, whatever it answered or threw; what it throws otherwise is thrown. A function that did not look at one answers as
 * it does on every replica.
 */
export function askAround<T>(id: string, { values, withheld }: Around, ask: (seen: never) => T): T | typeof UNKNOWN {
  // Each function is declared for the columns of its own view.
  if (withheld === undefined) return ask({ ...values, id } as never);
  const { seen, wasRead } = watched({ ...values, id }, withheld);
  try {
    const answer = ask(seen as never);
    return wasRead() ? UNKNOWN : answer;
  } catch (error) {
    if (wasRead()) return UNKNOWN;
    throw error;
  }
}
