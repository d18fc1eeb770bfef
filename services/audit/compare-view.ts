import type { Client } from "pg";
import { canonicalize, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import {
  checkRow,
  type EntityState,
  type FullRow,
  fold,
  type Projection,
  packState,
  rowWith,
  type Totals,
  unpackState,
  waitingFor,
} from "../merge/index.ts";
import { checkFunctions, eventsIn, keyOf, readColumn, type TotalsBooks, toFoldEvent } from "../projector/index.ts";
import { byBytes, type Cursor, openCursor } from "./cursor.ts";
import type { SpilledEvent } from "./spill.ts";
import { asKept, type Spill } from "./spill.ts";
import { readColumns } from "./try.ts";
import type { Report } from "./verdicts.ts";

export interface ViewDeps {
  readonly db: Client;
  readonly gate: Gate;
  readonly pins: Pins;
  readonly projection: Projection;
  /** Totals that add up its rows. */
  readonly totals: readonly Totals[];
  readonly books: TotalsBooks;
  /** Entities that are parked in it, by the name that the database has of them. */
  readonly parked: ReadonlySet<string>;
  readonly report: Report;
  readonly onEntity?: () => void;
}

type ShownRow = Record<string, unknown> & {
  readonly id: string;
  readonly deleted: boolean;
  readonly conflicts: number;
  readonly waiting_for: JsonObject | null;
  readonly first_position: string;
  readonly last_position: string;
  readonly state: string;
};
type ChildRow = Record<string, unknown> & { readonly id: string; readonly n: number };
interface ClaimRow {
  readonly id: string;
  readonly invariant: string;
  readonly key: string;
  readonly events: readonly string[];
}
interface VersionRow {
  readonly id: string;
  readonly position: string;
  /** Microseconds since 1970, as PostgreSQL keeps it. */
  readonly recorded: string;
  readonly deleted: boolean;
  readonly values: JsonObject;
}

/** The tables of a view, each read once in the order of entities. */
interface Tables {
  readonly rows: Cursor<ShownRow>;
  readonly children: ReadonlyMap<string, Cursor<ChildRow>>;
  readonly claims: Cursor<ClaimRow> | null;
  readonly past: Cursor<VersionRow> | null;
}

/** What folding an entity's events gives. */
interface Folded {
  state: EntityState | null;
  /** As it is shown after the last event; `null`: it cannot be shown. */
  row: FullRow | null;
  first: string;
  last: string;
  /** The event that could not be folded. */
  stop: { readonly event: string; readonly error: string } | null;
}

/**
 * Compares a view's tables with the fold of the log, entity by entity: rows, rows of many, claims to invariants, and the rows' past. Of the view and of the log one
 * entity is in memory at a time, and of its past a few versions. Returns how many rows the view has.
 */
export async function compareView(deps: ViewDeps, spill: Spill): Promise<number> {
  const tables = await openTables(deps);
  let rows = 0;
  const count = (): void => {
    rows++;
    deps.onEntity?.();
  };
  const events = spill.byEntity(deps.projection.entity);
  let event = events.next();
  while (!event.done) {
    const { key } = event.value;
    const { id } = event.value.event.entry.head.entity;
    await passOver(deps, tables, key, count);
    const folding = openFold(deps, key, id, tables.past);
    while (!event.done && event.value.key === key && event.value.event.entry.head.entity.id === id) {
      await folding.take(event.value.event);
      event = events.next();
    }
    if (await compareEntity(deps, tables, key, await folding.end())) count();
  }
  await passOver(deps, tables, null, count);
  for (const cursor of [tables.rows, ...tables.children.values(), tables.claims, tables.past]) await cursor?.close();
  return rows;
}

async function openTables({ db, projection }: ViewDeps): Promise<Tables> {
  const { name, tables, invariants } = projection;
  const byId = `ORDER BY id COLLATE "C"`;
  const children = new Map<string, Cursor<ChildRow>>();
  for (const [child, { columns }] of Object.entries(tables)) {
    const read = Object.entries(columns).map(([column, { sql }]) => readColumn(column, sql));
    children.set(
      child,
      await openCursor(db, `SELECT ${["id", "n", ...read].join(", ")} FROM views."${name}_${child}" ${byId}, n`),
    );
  }
  return {
    rows: await openCursor(
      db,
      `SELECT ${["id", ...readColumns(projection), "deleted", "conflicts", "waiting_for", "first_position", "last_position", "state"].join(", ")} FROM views."${name}" ${byId}`,
    ),
    children,
    claims:
      Object.keys(invariants).length === 0
        ? null
        : await openCursor(
            db,
            `SELECT entity_id AS id, invariant, key, events FROM views."${name}_claims" ${byId.replace("id", "entity_id")}, invariant COLLATE "C", key COLLATE "C"`,
          ),
    past: projection.keepsHistory
      ? await openCursor(
          db,
          `SELECT id, position, (extract(epoch FROM recorded_at) * 1000000)::bigint::text AS recorded, deleted, values
           FROM views."${name}_history" ${byId}, position`,
        )
      : null,
  };
}

/** Takes all rows of an entity, or those before it. */
async function taken<T extends { readonly id: string }>(cursor: Cursor<T>, id: string): Promise<T[]> {
  const rows: T[] = [];
  for (let row = await cursor.peek(); row?.id === id; row = await cursor.peek()) {
    rows.push(row);
    await cursor.next();
  }
  return rows;
}

/** Rows of entities before `key` (`null`: all that are left), which the log knows nothing of. */
async function passOver({ projection, report }: ViewDeps, tables: Tables, key: string | null, count: () => void): Promise<void> {
  const { name } = projection;
  const stray = async (cursor: Cursor<{ readonly id: string }> | null, what: string, onRow: () => void = () => {}) => {
    let last: string | null = null;
    for (let row = await cursor?.peek(); row != null && (key === null || byBytes(row.id, key) < 0); row = await cursor?.peek()) {
      onRow();
      if (row.id !== last)
        report(what === PAST ? "past" : "views", `${name}/${row.id}`, `the view has ${what} that the log does not explain`);
      last = row.id;
      await cursor?.next();
    }
  };
  await stray(tables.rows, "a row", count);
  for (const [child, cursor] of tables.children) await stray(cursor, `rows of ${child}`);
  await stray(tables.claims, "claims to an invariant");
  await stray(tables.past, PAST);
}
const PAST = "kept versions of a row";

/** Folds an entity event by event, as it is folded anew: what a later event has corrected need not fit, only what is shown. Each version meets the kept one. */
function openFold(deps: ViewDeps, key: string, id: string, past: Cursor<VersionRow> | null) {
  const { projection, gate, pins, parked } = deps;
  const folded: Folded = { state: null, row: null, first: "", last: "", stop: null };
  const isParked = parked.has(key);
  const needsEach = past !== null && !isParked;
  return {
    async take({ entry, data }: SpilledEvent): Promise<void> {
      if (folded.stop !== null) return;
      const event = `${entry.head.origin}/${entry.head.seq}`;
      try {
        const result = fold(projection, folded.state ?? undefined, toFoldEvent(entry, data, gate, pins), {
          isLenient: true,
        });
        if (result === null) return;
        const position = entry.position.toString();
        if (folded.state === null) folded.first = position;
        folded.state = result.state;
        folded.last = position;
      } catch (error) {
        folded.stop = { event, error: messageOf(error) };
        return;
      }
      if (!needsEach) return;
      folded.row = showing(deps, id, folded.state);
      if (folded.row !== null) await compareVersion(deps, key, past, { entry, row: folded.row, event });
    },
    async end(): Promise<Folded> {
      if (!needsEach && folded.state !== null) folded.row = showing(deps, id, folded.state);
      if (past !== null) {
        const left = await taken(past, key);
        if (left.length > 0 && !isParked && folded.stop === null)
          deps.report(
            "past",
            `${projection.name}/${key}`,
            `${left.length} kept versions, the first at ${left[0]!.position}, are of no event`,
          );
      }
      return folded;
    },
  };
}

/** The row that a state shows; `null` where the declaration cannot show it. */
function showing({ projection, totals }: ViewDeps, id: string, state: EntityState): FullRow | null {
  try {
    const row = rowWith(projection, id, state);
    checkRow(projection, row);
    checkFunctions({ projection, totals }, id, row);
    return row;
  } catch {
    return null;
  }
}

/** Compares the version of a row as of an event with the one that is kept. */
async function compareVersion(
  deps: ViewDeps,
  key: string,
  past: Cursor<VersionRow>,
  { entry, row, event }: { readonly entry: SpilledEvent["entry"]; readonly row: FullRow; readonly event: string },
): Promise<void> {
  const { projection, report } = deps;
  const where = `${projection.name}/${key}`;
  let kept = await past.peek();
  while (kept !== null && kept.id === key && BigInt(kept.position) < entry.position) {
    report("past", where, `its kept version at ${kept.position} is of no event`);
    await past.next();
    kept = await past.peek();
  }
  if (kept === null || kept.id !== key || BigInt(kept.position) !== entry.position) {
    if (!(await isNoted(deps, entry.head))) report("past", where, `its version as of ${event} is not kept`);
    return;
  }
  await past.next();
  const wrong = [
    ...differing(row.values, kept.values),
    ...(kept.deleted === row.deleted ? [] : ["deleted"]),
    ...(kept.recorded === String(BigInt(entry.recordedAtMs) * 1000n) ? [] : ["recorded time"]),
  ];
  if (wrong.length > 0)
    report("past", where, `its kept version as of ${event} is not what folding the log gives: ${wrong.join(", ")}`);
}

/** A version that the table does not take is passed over, with a note on its event. */
async function isNoted({ db, projection }: ViewDeps, { origin, seq }: SpilledEvent["entry"]["head"]): Promise<boolean> {
  const { rows } = await db.query(
    "SELECT 1 FROM tributary.audit WHERE origin = $1 AND seq = $2 AND position($3 IN coalesce(projection_error, '')) > 0",
    [origin, seq, `${projection.name}: no version of the row is kept as of this event`],
  );
  return rows.length > 0;
}

/** Names of the values that differ. */
function differing(a: JsonObject, b: JsonObject): string[] {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].filter((name) => canonicalize(a[name] ?? null) !== canonicalize(b[name] ?? null));
}

/** Compares what a view shows of an entity. Returns whether it has a row. */
async function compareEntity(deps: ViewDeps, tables: Tables, key: string, folded: Folded): Promise<boolean> {
  const { projection, parked, report, books } = deps;
  const where = `${projection.name}/${key}`;
  const at = await tables.rows.peek();
  const shown = at?.id === key ? await tables.rows.next() : null;
  const children = new Map<string, ChildRow[]>();
  for (const [name, cursor] of tables.children) children.set(name, await taken(cursor, key));
  const claims = tables.claims === null ? [] : await taken(tables.claims, key);
  if (parked.has(key)) {
    // Totals have what is shown of it.
    const row = shown === null ? null : shownRow(projection, shown);
    if (row !== null) await books.add(projection.name, key, row);
    return shown !== null;
  }
  const { state, row, stop } = folded;
  if (stop !== null) report("views", stop.event, `${projection.name} cannot fold it, and it is not parked: ${stop.error}`);
  else if (state === null && shown !== null) report("views", where, "the view has a row that the log does not explain");
  else if (state !== null && row === null)
    report("views", where, "what folding the log gives cannot be shown, and it is not parked");
  if (state === null || row === null || stop !== null) return shown !== null;
  await books.add(projection.name, key, row);
  if (shown === null) report("views", where, "the view lacks a row that the log has");
  else {
    const wrong = wrongColumns(folded, row, shown);
    if (wrong.length > 0) report("views", where, `the view's row is not what folding the log gives: ${wrong.join(", ")}`);
  }
  for (const [name, rows] of children)
    if (!isSame(row.tables[name] ?? [], rows)) report("views", where, `its rows of ${name} are not what folding the log gives`);
  if (tables.claims !== null && !isSameClaims(projection, key, row, state, claims))
    report("views", where, "its claims to invariants are not what folding the log gives");
  return shown !== null;
}

function wrongColumns({ state, first, last }: Folded, row: FullRow, shown: ShownRow): string[] {
  const { id: _, deleted, conflicts, waiting_for, first_position, last_position, state: kept, ...values } = shown;
  const waits = waitingFor(state!);
  const wanted: JsonObject = {
    waiting_for: Object.keys(waits).length === 0 ? null : waits,
    first_position: first,
    last_position: last,
  };
  const wrong = [
    // They come from the database as JSON values; see `readColumn`.
    ...differing({ ...row.values, deleted: row.deleted, conflicts: row.conflicts }, {
      ...values,
      deleted,
      conflicts,
    } as JsonObject),
    ...differing(wanted, { waiting_for, first_position, last_position }),
  ];
  // What comes later is built on it.
  return kept === packState(state!) ? wrong : [...wrong, "state"];
}

/** The row that the kept state of an entity shows; its columns where that cannot be read. */
function shownRow(projection: Projection, { id, state, deleted, conflicts, ...values }: ShownRow): FullRow {
  try {
    return rowWith(projection, id, unpackState(state));
  } catch {
    return { values: values as unknown as JsonObject, deleted, conflicts, tables: {} };
  }
}

function isSame(expected: readonly Readonly<Record<string, JsonValue>>[], rows: readonly ChildRow[]): boolean {
  return (
    expected.length === rows.length &&
    rows.every(({ id: _, n, ...values }, i) => n === i && differing(expected[i]!, values as JsonObject).length === 0)
  );
}

function isSameClaims(projection: Projection, key: string, row: FullRow, state: EntityState, rows: readonly ClaimRow[]): boolean {
  const events = eventsIn(projection, state);
  const expected = Object.entries(projection.invariants).flatMap(([invariant, rule]) => {
    const claimed = "atMost" in rule ? keyOf(rule, key, row) : null;
    return claimed === null ? [] : [canonicalize({ invariant, key: asKept(claimed), events })];
  });
  const kept = rows.map(({ id: _, ...claim }) => canonicalize(claim as unknown as JsonObject));
  return canonicalize(expected.sort()) === canonicalize(kept.sort());
}
