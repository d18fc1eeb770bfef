import { canonicalize, type JsonObject, type JsonValue, type LogEntry, messageOf } from "../core/index.ts";
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
  waitingFor,
} from "../merge/engine.ts";
import { checkFunctions, eventsIn, type Rehearsed, toFoldEvent } from "../projector/index.ts";
import {
  type Asked,
  byBytes,
  type ChildRow,
  type ClaimRow,
  type Cursor,
  claimedKeys,
  type Db,
  type EntityTables,
  hasNote,
  type KeptRow,
  openEntityTables,
  shardOf,
  type TotalsBooks,
  type VersionRow,
} from "../views/index.ts";
import type { SpilledEvent } from "./spill.ts";
import { asKept, type Spill } from "./spill.ts";
import type { Report } from "./verdicts.ts";

export interface ViewDeps {
  readonly db: Db;
  readonly gate: Gate;
  readonly pins: Pins;
  readonly projection: Projection;
  /** The totals that add up its rows. */
  readonly totals: readonly Totals[];
  readonly books: TotalsBooks;
  /** The entities that are parked in the view, by their names in the database, each with the event that it is parked at, as `origin/seq`. */
  readonly parked: ReadonlyMap<string, string>;
  /** Entities that somebody has asked to be folded again. */
  readonly waiting: ReadonlyMap<string, Asked>;
  /** What would become of a parked entity if it were folded again. */
  readonly rehearse: (id: string, entries: readonly LogEntry[], mark: string) => Promise<Rehearsed>;
  readonly report: Report;
  /** Counts what could not be compared. */
  readonly untold: (what: "parked" | "waiting" | "placing" | "version") => void;
  readonly onEntity?: () => void;
}

/** An entity as it is shown. */
interface Shown {
  readonly state: EntityState;
  readonly row: FullRow;
  readonly first: string;
  readonly last: string;
}

/** What folding an entity's events gives. */
interface Folded {
  /** `null`: no event touches the view. */
  state: EntityState | null;
  /** The entity as it is shown after the last event; `null`: it cannot be shown. */
  shown: Shown | null;
  /** The event that could not be folded. */
  stop: { readonly event: string; readonly error: string } | null;
  /** The event that the entity is parked at; `null`: it is not parked. */
  readonly mark: Mark | null;
}

/** The event that an entity is parked at. */
interface Mark {
  readonly event: string;
  isMet: boolean;
  /** What was shown last before it. */
  before: Shown | null;
  readonly entries: LogEntry[];
}

/**
 * Compares a view's tables with the fold of the log, entity by entity: rows, rows of many, claims to invariants, and the rows' past. Only one entity of the view and of the log
 * is in memory at a time, and a few versions of its past. Returns how many rows the view has.
 */
export async function compareView(deps: ViewDeps, spill: Spill): Promise<number> {
  const tables = await openEntityTables(deps.db, deps.projection);
  let rows = 0;
  const count = (): void => {
    rows++;
    deps.onEntity?.();
  };
  const events = spill.byEntity(deps.projection.entity);
  const unmet = new Map(deps.parked);
  let event = events.next();
  while (!event.done) {
    const { key } = event.value;
    const { id } = event.value.event.entry.head.entity;
    unmet.delete(key);
    await passOver(deps, tables, key, count);
    const folding = openFold(deps, key, id, tables.past);
    while (!event.done && event.value.key === key && event.value.event.entry.head.entity.id === id) {
      await folding.take(event.value.event);
      event = events.next();
    }
    if (await compareEntity(deps, tables, key, await folding.end())) count();
  }
  await passOver(deps, tables, null, count);
  for (const [key, at] of unmet)
    deps.report("parked", `${deps.projection.name}/${key}`, `it is parked at ${at}, and the log has no event of it`);
  await tables.close();
  return rows;
}

/** Takes all rows of an entity from a cursor. */
async function taken<T extends { readonly id: string }>(cursor: Cursor<T>, id: string): Promise<T[]> {
  const rows: T[] = [];
  for (let row = await cursor.peek(); row?.id === id; row = await cursor.peek()) {
    rows.push(row);
    await cursor.next();
  }
  return rows;
}

/** Takes and reports the rows of entities before `key` (`null`: all that are left): the log knows nothing of them. */
async function passOver(
  { projection, report }: ViewDeps,
  tables: EntityTables,
  key: string | null,
  count: () => void,
): Promise<void> {
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

/**
 * Folds an entity event by event, as when it is folded again: only what is shown must fit, not what a later event has corrected. Each version is compared
 * with the kept one.
 */
function openFold(deps: ViewDeps, key: string, id: string, past: Cursor<VersionRow> | null) {
  const { projection, gate, pins, parked } = deps;
  const event = parked.get(key);
  const mark: Mark | null = event === undefined ? null : { event, isMet: false, before: null, entries: [] };
  const folded: Folded = { state: null, shown: null, stop: null, mark };
  const needsEach = past !== null || mark !== null;
  let [first, last] = ["", ""];
  let lastShown: Shown | null = null;
  const show = (): void => {
    const row = folded.state === null ? null : showing(deps, id, folded.state);
    folded.shown = row === null ? null : { state: folded.state!, row, first, last };
    lastShown = folded.shown ?? lastShown;
  };
  return {
    async take({ entry, data }: SpilledEvent): Promise<void> {
      const event = `${entry.head.origin}/${entry.head.seq}`;
      if (mark !== null) {
        mark.entries.push({ ...entry, content: { kind: "accepted", data } });
        if (mark.event === event) [mark.isMet, mark.before] = [true, lastShown];
      }
      if (folded.stop !== null) return;
      try {
        const result = fold(projection, folded.state ?? undefined, toFoldEvent(entry, data, gate, pins), {
          isLenient: true,
        });
        if (result === null) return;
        last = entry.position.toString();
        if (folded.state === null) first = last;
        folded.state = result.state;
      } catch (error) {
        folded.stop = { event, error: messageOf(error) };
        return;
      }
      if (!needsEach) return;
      show();
      // Versions of a parked entity from its event on need not be kept. Those that are kept must be right.
      if (past !== null && folded.shown !== null)
        await compareVersion(deps, key, past, { entry, row: folded.shown.row, event, mayLack: mark?.isMet === true });
    },
    async end(): Promise<Folded> {
      if (!needsEach) show();
      if (past !== null) {
        const left = await taken(past, key);
        if (left.length > 0 && (folded.stop === null || mark !== null))
          deps.report(
            "past",
            `${projection.name}/${key}`,
            left.length === 1
              ? `one kept version, at ${left[0]?.position}, belongs to no event`
              : `${left.length} kept versions, the first at ${left[0]?.position}, belong to no event`,
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
  version: { readonly entry: SpilledEvent["entry"]; readonly row: FullRow; readonly event: string; readonly mayLack: boolean },
): Promise<void> {
  const { entry, row, event, mayLack } = version;
  const { projection, report } = deps;
  const where = `${projection.name}/${key}`;
  let kept = await past.peek();
  while (kept !== null && kept.id === key && BigInt(kept.position) < entry.position) {
    report("past", where, `its kept version at ${kept.position} belongs to no event`);
    await past.next();
    kept = await past.peek();
  }
  if (kept === null || kept.id !== key || BigInt(kept.position) !== entry.position) {
    if (mayLack) return;
    if (await isNoted(deps, entry.head)) deps.untold("version");
    else report("past", where, `its version as of ${event} is not kept`);
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

/** Whether a note on an event says that the table did not take the version as of it. */
const isNoted = ({ db, projection }: ViewDeps, head: SpilledEvent["entry"]["head"]): Promise<boolean> =>
  hasNote(db, head, `${projection.name}: no version of the row is kept as of this event`);

/** The names of the values that differ. */
function differing(a: JsonObject, b: JsonObject): string[] {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].filter((name) => canonicalize(a[name] ?? null) !== canonicalize(b[name] ?? null));
}

/** What a view's tables have of an entity. */
interface Found {
  readonly shown: KeptRow | null;
  readonly children: ReadonlyMap<string, readonly ChildRow[]>;
  /** `null`: the view has no invariants. */
  readonly claims: readonly ClaimRow[] | null;
}

/** Compares what a view shows of an entity. Returns whether it has a row. */
async function compareEntity(deps: ViewDeps, tables: EntityTables, key: string, folded: Folded): Promise<boolean> {
  const { projection, report, books, waiting, untold } = deps;
  const where = `${projection.name}/${key}`;
  const at = await tables.rows.peek();
  const children = new Map<string, ChildRow[]>();
  for (const [name, cursor] of tables.children) children.set(name, await taken(cursor, key));
  const found: Found = {
    shown: at?.id === key ? await tables.rows.next() : null,
    children,
    claims: tables.claims === null ? null : await taken(tables.claims, key),
  };
  const isShown = found.shown !== null;
  const { state, shown, stop, mark } = folded;
  if (mark !== null) {
    await compareParked(deps, key, { folded, mark, found });
    return isShown;
  }
  if (stop !== null) report("views", stop.event, `${projection.name} cannot fold it, and it is not parked: ${stop.error}`);
  else if (state !== null && shown === null)
    report("views", where, "what folding the log gives cannot be shown, and it is not parked");
  if (stop !== null || (state !== null && shown === null)) return isShown;
  const wrong = differences(projection, key, shown, found);
  // What places its events has just come: until it is folded again, it shows what it showed before.
  const isPlacing = wrong.length > 0 && projection.orderHubs.size > 0 && isAwaited(projection, key, waiting.get(key));
  if (shown !== null) await books.add(projection.name, key, isPlacing ? rowBefore(shown.row, found) : shown.row);
  if (isPlacing) untold("placing");
  else for (const what of wrong) report("views", where, what);
  return isShown;
}

/**
 * A parked entity shows what it showed before the event that it is parked at, and only what still stops it may keep it there. If no projector has parked it,
 * what its row hides is reported nevertheless.
 */
async function compareParked(
  deps: ViewDeps,
  key: string,
  { folded, mark, found }: { readonly folded: Folded; readonly mark: Mark; readonly found: Found },
): Promise<void> {
  const { projection, report, books, waiting, rehearse, untold } = deps;
  const where = `${projection.name}/${key}`;
  const { before, isMet, event, entries } = mark;
  const whole = folded.stop === null ? folded.shown : null;
  if (!isMet) report("parked", where, `it is parked at ${event}, but the log has no such event of this entity`);
  // The entity may also show all of its events: somebody asked that it be folded again, and the database refused the result.
  const possible = isMet ? [before, ...(whole === null ? [] : [whole])] : [whole];
  const wrong = possible.map((shown) => differences(projection, key, shown, found));
  const right = wrong.findIndex((each) => each.length === 0);
  for (const what of right >= 0 ? [] : wrong[0]!) report("views", where, `parked at ${event}: ${what}`);
  const row = possible[Math.max(0, right)]?.row;
  if (row !== undefined) await books.add(projection.name, key, row);
  if (!isMet) return;
  const { id } = entries[0]!.head.entity;
  const rehearsed = await rehearse(id, entries, event);
  if (rehearsed.kind === "untold") untold("parked");
  else if (rehearsed.kind === "parked" && rehearsed.event === event) return;
  else if (isAwaited(projection, id, waiting.get(key))) untold("waiting");
  else {
    const asked = waiting.has(key) ? "; somebody has asked for that, and no projector does it" : "";
    if (rehearsed.kind === "shown")
      report(
        "parked",
        where,
        `it is parked at ${event} for no reason that the log or the database shows: folded again, it can be shown${asked}`,
      );
    else
      report(
        "parked",
        where,
        `it is parked at ${event}, but folded again it stops at ${rehearsed.event}: ${rehearsed.error}${asked}`,
      );
  }
}

/**
 * Whether a projector is about to fold an entity again. Only what a projector would take up counts, because whoever can mark an entity as parked can also
 * write that it waits.
 */
function isAwaited({ entity: type }: Projection, id: string, asked: Asked | undefined): boolean {
  // A parked entity is listed, and asked for, by a name that PostgreSQL can hold.
  const shards = [id, asKept(id)].map((name) => shardOf({ type, id: name }));
  return asked?.isFresh === true && shards.includes(asked.shard);
}

/** The row as the view has it, for totals: they add up that one until the entity is folded again. */
function rowBefore(row: FullRow, { shown, children }: Found): FullRow {
  if (shown === null) return row;
  const has = { ...shown } as JsonObject;
  const values = Object.fromEntries(Object.keys(row.values).map((column) => [column, has[column] ?? null]));
  const tables = Object.fromEntries([...children].map(([name, rows]) => [name, rows.map(({ id: _, n: __, ...each }) => each)]));
  return { ...row, values, deleted: shown.deleted, tables: tables as FullRow["tables"] };
}

/** How a view's rows of an entity differ from what it should show (`null`: nothing), in words. */
function differences(projection: Projection, key: string, expected: Shown | null, found: Found): string[] {
  const { shown, children, claims } = found;
  if (expected === null) {
    const isLeft = shown !== null || [...children.values(), claims ?? []].some((rows) => rows.length > 0);
    return isLeft ? ["the view has a row that the log does not explain"] : [];
  }
  const out: string[] = [];
  const { row } = expected;
  const wrong = shown === null ? [] : wrongColumns(expected, shown);
  if (shown === null) out.push("the view lacks a row that the log has");
  else if (wrong.length > 0) out.push(`the view's row is not what folding the log gives: ${wrong.join(", ")}`);
  for (const [name, rows] of children)
    if (!isSame(row.tables[name] ?? [], rows)) out.push(`its rows of ${name} are not what folding the log gives`);
  if (claims !== null && !isSameClaims(projection, key, expected, claims))
    out.push("its claims to invariants are not what folding the log gives");
  return out;
}

function wrongColumns({ state, row, first, last }: Shown, shown: KeptRow): string[] {
  const { id: _, deleted, conflicts, waiting_for, first_position, last_position, state: kept, ...values } = shown;
  const waits = waitingFor(state);
  const wanted: JsonObject = {
    waiting_for: Object.keys(waits).length === 0 ? null : waits,
    first_position: first,
    last_position: last,
  };
  const wrong = [
    // They come from the database as JSON values; see `readColumns`.
    ...differing({ ...row.values, deleted: row.deleted, conflicts: row.conflicts }, {
      ...values,
      deleted,
      conflicts,
    } as JsonObject),
    ...differing(wanted, { waiting_for, first_position, last_position }),
  ];
  // Later events build on the state.
  return kept === packState(state) ? wrong : [...wrong, "state"];
}

function isSame(expected: readonly Readonly<Record<string, JsonValue>>[], rows: readonly ChildRow[]): boolean {
  return (
    expected.length === rows.length &&
    rows.every(({ id: _, n, ...values }, i) => n === i && differing(expected[i]!, values as JsonObject).length === 0)
  );
}

function isSameClaims(projection: Projection, key: string, { row, state }: Shown, rows: readonly ClaimRow[]): boolean {
  const events = eventsIn(projection, state);
  const expected = [...claimedKeys(projection, key, row)].map(([invariant, claimed]) =>
    canonicalize({ invariant, key: asKept(claimed), events }),
  );
  const kept = rows.map(({ id: _, ...claim }) => canonicalize(claim as unknown as JsonObject));
  return canonicalize(expected.sort()) === canonicalize(kept.sort());
}
