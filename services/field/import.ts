import { createHash } from "node:crypto";
import { canonicalize, MAX_TEXT, TributaryError } from "../core/index.ts";
import { type Gate, readTable, rowToData } from "../gate/index.ts";
import type { NewEvent, Outbox } from "./outbox.ts";
import type { Store } from "./store.ts";

/** Rows written in one transaction: 100 cost hardly more than one. */
const ROWS_PER_TRANSACTION = 200;

export interface ImportOptions {
  /** The CSV file's text. */
  readonly text: string;
  /** The event type that each row becomes, for example `beneficiary.registered`. */
  readonly type: string;
  readonly actor: string;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ImportResult {
  readonly rows: number;
  /** Rows that became events. */
  readonly imported: number;
  /** Rows that are in the file, or in an earlier import, already. */
  readonly repeated: number;
  /** Rows that do not fit their schema or a view: kept, and quarantined by the hub until mended. */
  readonly misfits: readonly { readonly line: number; readonly entity: string; readonly message: string }[];
}

/** Why a key cannot name an entity, which is what no correction of the row would mend; `null` when it can. */
const entityIdProblem = (id: string): string | null =>
  id.length > MAX_TEXT
    ? `has a key of ${id.length} characters, more than ${MAX_TEXT}`
    : id.includes("\0")
      ? "has the character U+0000 in its key"
      : null;

/**
 * Turns each row of a CSV file into an event, offline. A file that cannot be read as a table is refused whole; a row that
 * does not fit its schema is kept. Importing a file again, or going on after a crash, takes each row once.
 */
export function importCsv(
  { store, gate, outbox }: { store: Store; gate: Gate; outbox: Outbox },
  options: ImportOptions,
): ImportResult {
  const { type, actor, onProgress } = options;
  const { schema, entity, key, rows } = readRows(gate, options);
  const misfits: { line: number; entity: string; message: string }[] = [];
  let imported = 0;
  let repeated = 0;

  for (let at = 0; at < rows.length; at += ROWS_PER_TRANSACTION) {
    const part = rows.slice(at, at + ROWS_PER_TRANSACTION);
    const events: NewEvent[] = [];
    const digests: string[] = [];
    const lines: number[] = [];
    for (const { line, cells } of part) {
      const id = cells[key]!;
      const data = rowToData(schema, cells);
      const digest = createHash("sha256")
        .update(`${type}\n${canonicalize(data)}`)
        .digest("hex");
      if (digests.includes(digest) || store.rows.isImported(digest)) {
        repeated++;
        continue;
      }
      digests.push(digest);
      lines.push(line);
      events.push({ type, entity: { type: entity, id }, data, actor });
    }
    store.transaction(() => {
      const appended = outbox.append(events, { onInvalid: "keep" });
      for (const [i, { seq, problem }] of appended.entries()) {
        store.rows.addImported(digests[i]!, store.current().id, seq);
        if (problem !== null)
          misfits.push({ line: lines[i]!, entity: `${entity}/${events[i]!.entity.id}`, message: problem.message });
      }
    });
    imported += events.length;
    onProgress?.(Math.min(at + ROWS_PER_TRANSACTION, rows.length), rows.length);
  }
  return { rows: rows.length, imported, repeated, misfits };
}

/** The file's rows, and what they become. Throws for a file that is refused whole. */
function readRows(gate: Gate, { text, type }: Pick<ImportOptions, "text" | "type">) {
  const schema = gate.subjectFor(type);
  if (schema === undefined) {
    throw new TributaryError(
      "schema-unknown",
      `no schema declares the event type ${type}`,
      "Check the spelling of --as; `schemas/` lists the event types.",
    );
  }
  const { entity, key } = schema.annotations;
  if (entity === null || key === undefined) {
    throw new TributaryError(
      "schema-malformed",
      `${schema.subject} names no key`,
      'Add "key" to the schema\'s "tributary" member.',
    );
  }
  const { header, rows } = readTable(text);
  if (!header.includes(key)) {
    throw new TributaryError(
      "input-malformed",
      `the file has no column ${key}`,
      `Add it: it names each ${entity}. The file has: ${header.join(", ")}.`,
    );
  }
  for (const { line, cells } of rows) {
    const id = cells[key] ?? "";
    const problem = id === "" ? `has no ${key}` : entityIdProblem(id);
    if (problem === null) continue;
    throw new TributaryError(
      "input-malformed",
      `line ${line} ${problem}`,
      `Give each row its ${key} and import the file again; nothing was taken.`,
    );
  }
  return { schema, entity, key, rows };
}
