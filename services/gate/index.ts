/**
 * The schema gate. In come events in their writers' forms; out come verdicts: data that fits, or the reason why not, in words.
 * Never a value changed on its way through, never a schema fetched: the store is handed in.
 */
export { createGate, type Gate, type Verdict } from "./gate.ts";
export { readTable, rowToData, type Table } from "./rows.ts";
export { type Annotations, loadSchemas, type SchemaStore, type SchemaVersion, schemaVersion } from "./store.ts";
export type { Problem } from "./words.ts";
