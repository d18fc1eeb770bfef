import type { Client } from "pg";
import { canonicalize, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { decisionsOf, type EntityState, type FullRow, foldAnew } from "../merge/engine.ts";
import type { Projection } from "../merge/index.ts";
import { declaredColumns, readColumn, sqlType } from "../views/index.ts";
import { entitiesOf } from "./events.ts";

/** A row that would show something else. */
export interface ChangedRow {
  readonly id: string;
  /** By column: what is shown now and what would be. */
  readonly columns: Readonly<
    Record<string, { readonly now: JsonValue; readonly would: JsonValue; readonly because: string | null }>
  >;
  readonly kind: "changed" | "new" | "gone";
}

export interface Tried {
  readonly view: string;
  readonly entities: number;
  readonly equal: number;
  readonly changed: number;
  readonly appearing: number;
  readonly disappearing: number;
  /** How many rows would differ, by column. */
  readonly byColumn: Readonly<Record<string, number>>;
  /** Contested registers, now and then; and those that a person would have to decide. */
  readonly conflicts: { readonly now: number; readonly would: number; readonly forPeople: number };
  /** Cases of violated invariants: those open now, and those that there would be. */
  readonly violations: { readonly now: number; readonly would: number };
  /** Entities whose events the declaration would throw on, with the first problems. They would be parked, their rows left as before that event. */
  readonly failing: number;
  readonly problems: readonly string[];
  readonly rows: readonly ChangedRow[];
  readonly isNew: boolean;
}

const BATCH_ENTITIES = 500;
const MAX_PROBLEMS = 10;

/** Columns as JSON values, whatever they are kept as. */
export const readColumns = (projection: Projection): string[] =>
  declaredColumns(projection).map(([name, column]) => readColumn(name, sqlType(column)));

/**
 * Replays the history under a declaration that is not in use, and tells row by row what the view would show otherwise. Nothing is written; all is
 * read of one moment.
 */
export async function tryRules(
  deps: { readonly db: Client; readonly gate: Gate },
  projection: Projection,
  options: { readonly maxRows: number; readonly onProgress?: (entities: number) => void },
): Promise<Tried> {
  const { db, gate } = deps;
  await db.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  try {
    const live = await liveColumns(db, projection);
    const byColumn: Record<string, number> = {};
    const rows: ChangedRow[] = [];
    const problems: string[] = [];
    const count = {
      entities: 0,
      equal: 0,
      changed: 0,
      appearing: 0,
      disappearing: 0,
      failing: 0,
      now: 0,
      would: 0,
      forPeople: 0,
    };
    const tally = tallyOf(projection);
    let batch: { id: string; state: EntityState | null; row: FullRow | null }[] = [];

    const compare = async (): Promise<void> => {
      const shown =
        live === null
          ? new Map()
          : await liveRows(
              db,
              projection,
              live,
              batch.map(({ id }) => id),
            );
      for (const { id, state, row } of batch) {
        count.entities++;
        const decisions = state === null ? [] : decisionsOf(projection, state);
        const now = shown.get(id);
        count.now += now?.conflicts ?? 0;
        count.would += decisions.length;
        count.forPeople += decisions.filter(({ isOpen }) => isOpen).length;
        if (row === null && now === undefined) continue;
        const would: JsonObject | null = row === null ? null : { ...row.values, deleted: row.deleted };
        const names = [...new Set([...(live?.keys() ?? []), ...(would === null ? [] : Object.keys(would))])];
        const columns: Record<string, ChangedRow["columns"][string]> = {};
        for (const name of names) {
          const [a, b] = [now?.values[name] ?? null, would?.[name] ?? null];
          if (now !== undefined && would !== null && canonicalize(a) === canonicalize(b)) continue;
          if (now === undefined && b === null) continue;
          const decision = decisions.find(
            ({ register }) => projection.registers.get(register)?.columns.includes(name) || register === name,
          );
          columns[name] = { now: a, would: b, because: decision === undefined ? null : `${decision.rule}: ${decision.reason}` };
        }
        const kind = now === undefined ? "new" : would === null ? "gone" : "changed";
        if (kind === "changed" && Object.keys(columns).length === 0) {
          count.equal++;
          continue;
        }
        count[kind === "new" ? "appearing" : kind === "gone" ? "disappearing" : "changed"]++;
        for (const name of Object.keys(columns)) byColumn[name] = (byColumn[name] ?? 0) + 1;
        if (rows.length < options.maxRows) rows.push({ id, columns, kind });
      }
      batch = [];
      options.onProgress?.(count.entities);
    };

    for await (const { id, events } of entitiesOf({ db, gate, pins: gate.pins() }, projection.entity)) {
      const { steps, shown, stop } = foldAnew(
        projection,
        id,
        events.map((event) => () => event),
        (each) => void invariantsOf(projection, id, each),
      );
      if (stop !== null) {
        count.failing++;
        if (problems.length < MAX_PROBLEMS) problems.push(`${id}: ${messageOf(stop.error)}`);
      }
      const last = steps.slice(0, shown).findLast(({ row }) => row !== null);
      const [state, row] = [last?.folded?.state ?? null, last?.row ?? null];
      if (row !== null) tally.add(invariantsOf(projection, id, row));
      batch.push({ id, state, row });
      if (batch.length >= BATCH_ENTITIES) await compare();
    }
    await compare();
    return {
      view: projection.name,
      entities: count.entities,
      equal: count.equal,
      changed: count.changed,
      appearing: count.appearing,
      disappearing: count.disappearing,
      byColumn,
      conflicts: { now: count.now, would: count.would, forPeople: count.forPeople },
      violations: { now: live === null ? 0 : await openViolations(db, projection), would: tally.violations() },
      failing: count.failing,
      problems,
      rows,
      isNew: live === null,
    };
  } finally {
    await db.query("ROLLBACK").catch(() => {});
  }
}

interface Checked {
  /** Keys that the row holds, by invariant. */
  readonly keys: readonly (readonly [invariant: string, key: string])[];
  readonly problems: number;
}

/** What the declaration's invariants say of a row. Throws what they throw. */
function invariantsOf({ invariants }: Projection, id: string, row: FullRow): Checked {
  const keys: (readonly [string, string])[] = [];
  let problems = 0;
  if (row.deleted) return { keys, problems };
  const seen = { ...row.values, id } as never;
  for (const [name, rule] of Object.entries(invariants)) {
    if ("problem" in rule) {
      if (rule.problem(seen) !== null) problems++;
      continue;
    }
    const key: JsonValue | undefined = rule.key(seen);
    if (key !== null && key !== undefined) keys.push([name, canonicalize(key)]);
  }
  return { keys, problems };
}

/** Counts the cases that rows would make: one for each key that too many hold, and one for each row with a problem. */
function tallyOf({ invariants }: Projection): { add(checked: Checked): void; violations(): number } {
  const holders = new Map<string, Map<string, number>>();
  let count = 0;
  return {
    add({ keys, problems }) {
      count += problems;
      for (const [name, key] of keys) {
        const held = holders.get(name) ?? new Map<string, number>();
        holders.set(name, held.set(key, (held.get(key) ?? 0) + 1));
      }
    },
    violations() {
      let broken = count;
      for (const [name, held] of holders) {
        const rule = invariants[name]!;
        for (const holding of held.values()) if ("atMost" in rule && holding > rule.atMost) broken++;
      }
      return broken;
    },
  };
}

async function openViolations(db: Client, { name }: Projection): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM tributary.case WHERE view = $1 AND kind = 'invariant' AND state = 'open'",
    [name],
  );
  return rows[0]!.count;
}

/** The columns of the live view that the declaration has too, each with the type that it has there; `null`: there is no such view. */
async function liveColumns(db: Client, projection: Projection): Promise<ReadonlyMap<string, string> | null> {
  const { rows } = await db.query<{ column_name: string; udt_name: string }>(
    "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = 'views' AND table_name = $1",
    [projection.name],
  );
  if (rows.length === 0) return null;
  const known = new Map(rows.map(({ column_name, udt_name }) => [column_name, udt_name === "int8" ? "bigint" : udt_name]));
  const names = [...declaredColumns(projection).map(([name]) => name), "deleted"];
  return new Map(names.filter((name) => known.has(name)).map((name) => [name, known.get(name)!]));
}

async function liveRows(
  db: Client,
  projection: Projection,
  live: ReadonlyMap<string, string>,
  ids: readonly string[],
): Promise<Map<string, { readonly values: JsonObject; readonly conflicts: number }>> {
  // As they are kept, not as they are declared: a text that is to be a number would not be read as one.
  const columns = [...live].filter(([name]) => name !== "deleted").map(([name, type]) => readColumn(name, type));
  const { rows } = await db.query<Record<string, JsonValue>>(
    `SELECT id, conflicts, deleted${columns.map((column) => `, ${column}`).join("")} FROM views."${projection.name}" WHERE id = ANY($1)`,
    [ids],
  );
  return new Map(rows.map(({ id, conflicts, ...values }) => [String(id), { values, conflicts: Number(conflicts) }]));
}
