import { createHash } from "node:crypto";
import { canonicalize } from "../../core/index.ts";
import type { Gate } from "../../gate/index.ts";
import type { Checked, Outbox } from "../outbox.ts";
import type { Store } from "../store.ts";
import type { ImportOptions, ImportResult, Misfit } from "./options.ts";
import { columnsOf, inspect, type Plan, rowsOf } from "./plan.ts";
import { type Row, rowMaker } from "./rows.ts";
import type { Line } from "./table.ts";

/** Rows written in one transaction: 100 cost hardly more than one. */
const ROWS_PER_TRANSACTION = 200;
/** Misfits that a result names; the others are only counted. */
const MAX_NAMED = 1_000;

interface Deps {
  readonly store: Store;
  readonly gate: Gate;
  readonly outbox: Outbox;
}

/**
 * Turns each row of a CSV file into an event, offline. A file that cannot be read as a table is refused as a whole, with all that is wrong with its form; a row that does not fit its
 * schema is kept, or handed to `onFailed`. A row that says the same as the last row imported about its entity is not taken again. So an import can be repeated
 * after a crash, and a value that a later file changes back counts. Reads the file twice, and holds a few hundred rows of it at a time. Throws `input-malformed`,
 * `schema-unknown`, `schema-malformed`, `usage`.
 */
export async function importCsv(deps: Deps, options: ImportOptions): Promise<ImportResult> {
  const plan = await inspect(deps.gate, options);
  const run = openRun(deps, plan, options);
  let part: Line[] = [];
  for await (const line of rowsOf(options, plan.header)) {
    if (part.push(line) < ROWS_PER_TRANSACTION) continue;
    run.take(part);
    part = [];
  }
  run.take(part);
  return run.result();
}

/** What a row says, as people see it. Whatever a form adds to its data does not count. */
const digestOf = ({ event: { type, data }, packed }: Checked): string =>
  createHash("sha256")
    .update(`${type}\n${packed.data === data ? packed.text : canonicalize(data)}`)
    .digest("hex");

/** The second pass. */
interface Run {
  /** Writes the next rows, all in one transaction. */
  take(lines: readonly Line[]): void;
  result(): ImportResult;
}

function openRun(deps: Deps, plan: Plan, options: ImportOptions): Run {
  const { store, outbox } = deps;
  const { rows } = store;
  const { onFailed, onProgress } = options;
  const rowOf = rowMaker(deps, plan, options);
  const columns = columnsOf(plan.header);
  const last = rows.lastImport();
  /** Rows of this same file that an earlier run took, whether it was cut off or came to the end. */
  const doneBefore = last?.digest === plan.digest ? last.rows : 0;
  const misfits: Misfit[] = [];
  const counts = { rows: 0, imported: 0, repeated: 0, failed: 0, misfitRows: 0 };

  const note = ({ line, entity, problems }: Row): void => {
    if (++counts.misfitRows > MAX_NAMED) return;
    misfits.push({ line: line.line, entity: `${entity.type}/${entity.id}`, problems, message: problems.join("; ") });
  };

  const handBack = (row: Row): void => {
    counts.failed++;
    note(row);
    const cells = columns.map((name) => row.line.cells[plan.header.at.get(name) ?? -1] ?? "");
    onFailed?.({ line: row.line.line, cells, problems: row.problems }, columns);
  };

  const write = (lines: readonly Line[]): void => {
    const events: Checked[] = [];
    /** By entity, the digest of what the last of these rows about it says. */
    const digests = new Map<string, string>();
    for (const line of lines) {
      const wasDone = counts.rows++ < doneBefore;
      const row = rowOf(line);
      const { checked, problems, entity } = row;
      if (checked === null || (problems.length > 0 && onFailed !== undefined)) {
        handBack(row);
        continue;
      }
      const digest = digestOf(checked);
      if (wasDone || (digests.get(entity.id) ?? rows.importedLast(plan.type, entity.id)) === digest) {
        counts.repeated++;
        continue;
      }
      digests.set(entity.id, digest);
      events.push(checked);
      if (problems.length > 0) note(row);
    }
    outbox.appendChecked(events);
    for (const [id, digest] of digests) rows.setImported(plan.type, id, digest);
    rows.setLastImport({ digest: plan.digest, rows: Math.max(counts.rows, doneBefore) });
    counts.imported += events.length;
  };

  return {
    take(lines) {
      if (lines.length === 0) return;
      store.transaction(() => write(lines));
      onProgress?.(counts.rows, plan.rows);
    },
    result: () => ({ type: plan.type, ...counts, misfits }),
  };
}
