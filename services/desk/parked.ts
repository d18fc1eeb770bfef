import {
  type EntityRef,
  forTerminal,
  type JsonObject,
  type JsonValue,
  RESOLVED,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import { entityViews, foldAnew, type Row, rowOf } from "../merge/engine.ts";
import { askRefold, countedEvents, lastSeen, type ParkedEntity, parkedRows, readersOf } from "../views/index.ts";
import { checkForms } from "./decided.ts";
import { type By, type Desk, noted } from "./desk.ts";
import { writeAccepted } from "./quarantine.ts";

/** The names that a parked entity has: `view/entity`, the entity's id, `type/id`, and the event as `origin/seq`; each also as a terminal shows it. */
const namesOf = ({ view, entity, entityType, event }: ParkedEntity): readonly string[] => {
  const names = [`${view}/${entity}`, entity, `${entityType}/${entity}`, event];
  return [...names, ...names.map(forTerminal)];
};

/** The parked entities that the names mean, and the names that mean none. */
export function namedAmong(
  rows: readonly ParkedEntity[],
  names: readonly string[],
): { readonly found: readonly ParkedEntity[]; readonly missing: readonly string[] } {
  const found = new Set<ParkedEntity>();
  const missing: string[] = [];
  for (const name of names) {
    const meant = rows.filter((row) => namesOf(row).includes(name));
    if (meant.length === 0) missing.push(name);
    for (const row of meant) found.add(row);
  }
  return { found: [...found], missing };
}

/** A parked entity by the words of any of its names. Throws `not-found`. */
export async function parkedNamed({ db }: Pick<Desk, "db">, words: readonly string[]): Promise<ParkedEntity> {
  const rows = await parkedRows(db);
  const { found, missing } = namedAmong(rows, joined(rows, words));
  const [row] = found;
  if (row === undefined || missing.length > 0) throw notParked(missing.length > 0 ? missing : words);
  if (found.length > 1)
    throw new TributaryError(
      "usage",
      `${words.join(" ")} names ${found.length} parked entities: ${found.map(({ view, entity }) => `${view}/${entity}`).join(", ")}`,
      "Name one of them as VIEW/ENTITY.",
    );
  return row;
}

const notParked = (names: readonly string[]): TributaryError =>
  new TributaryError(
    "not-found",
    names.length === 1 ? `${names[0]} is not parked` : `these are not parked: ${names.join(", ")}`,
    "`tributary parked list` shows what is.",
  );

/**
 * Names as a list prints them. The shell splits a name with spaces into words, and somebody may copy a view and an entity that stand in two columns: words that
 * make a name together are joined, as many as possible.
 */
function joined(rows: readonly ParkedEntity[], words: readonly string[]): readonly string[] {
  const names: string[] = [];
  for (let from = 0; from < words.length; ) {
    let to = words.length;
    let name: string | undefined;
    for (; to > from && name === undefined; to--) name = nameIn(rows, words.slice(from, to));
    names.push(name ?? words[from] ?? "");
    from = name === undefined ? from + 1 : to + 1;
  }
  return names;
}

/** The name that words make together: one name that has spaces in it, or a view and a name of an entity; `undefined`: none. */
function nameIn(rows: readonly ParkedEntity[], [first = "", ...others]: readonly string[]): string | undefined {
  const [name, rest] = [[first, ...others].join(" "), others.join(" ")];
  if (rows.some((row) => namesOf(row).includes(name))) return name;
  const inView = rows.find((row) => row.view === first && namesOf(row).includes(rest));
  return inView === undefined ? undefined : `${inView.view}/${inView.entity}`;
}

/** Which parked entities are meant: those of a view, or of all views; and among them those that are named, or all. */
export interface RetryRequest {
  readonly view?: string;
  readonly names: readonly string[];
}

/** Asks the running hub to fold parked entities again. Returns how many. Throws `not-found` for a name that means no parked entity. */
export async function retryParked({ db }: Pick<Desk, "db">, request: RetryRequest): Promise<number> {
  return askAgain({ db }, await parkedMeant({ db }, request));
}

/** The parked entities that a request means; without names, all that whoever looks is shown. Throws `not-found` for a name that means none. */
export async function parkedMeant({ db }: Pick<Desk, "db">, { view, names }: RetryRequest): Promise<readonly ParkedEntity[]> {
  const parked = await parkedRows(db, view ?? null);
  const { found, missing } = namedAmong(parked, joined(parked, names));
  if (missing.length > 0) throw notParked(missing);
  return names.length === 0 ? parked : found;
}

/** Asks the running hub to fold these entities again. Returns how many. */
export async function askAgain({ db }: Pick<Desk, "db">, chosen: readonly ParkedEntity[]): Promise<number> {
  for (const [name, rows] of Map.groupBy(chosen, (row) => row.view)) await askRefold(db, name, rows.map(refOf));
  return chosen.length;
}

const refOf = ({ entityType, entity }: ParkedEntity): EntityRef => ({ type: entityType, id: entity });

/**
 * The parked entities that these names mean, each once. None where no name means one: they may then name events that are
 * held in quarantine. Throws `usage` where some names mean parked entities and others do not.
 */
export async function correctable({ db }: Pick<Desk, "db">, names: readonly string[]): Promise<readonly EntityRef[]> {
  const rows = await parkedRows(db);
  const { found, missing } = namedAmong(rows, joined(rows, names));
  if (found.length === 0) return [];
  if (missing.length > 0)
    throw new TributaryError(
      "usage",
      `${missing.join(", ")} is not parked, and the others are`,
      "Use one command to correct what is parked, and another to release what is in quarantine.",
    );
  const each = new Map(found.map((row) => [nameOf(refOf(row)), refOf(row)]));
  return [...each.values()];
}

const nameOf = ({ type, id }: EntityRef): string => `${type}/${id}`;

export interface Correction extends By {
  readonly entities: readonly EntityRef[];
  /** The right values, by field; `null` empties a field. */
  readonly values: JsonObject;
  /** Only says what would be corrected. */
  readonly dryRun: boolean;
}

/**
 * Corrects parked entities by a decision of the hub's people about each: an ordinary event whose basis covers all that the hub has of the entity, the event that it is parked at
 * included. So the correction is audited, replicated, and the same in every replay. Returns the entities' names. Throws `usage` where no values are given; `event-invalid`.
 */
export async function correct(desk: Desk, { entities, values, dryRun, actor, note }: Correction): Promise<readonly string[]> {
  const names = entities.map(nameOf);
  if (Object.keys(values).length === 0)
    throw new TributaryError(
      "usage",
      `${names.join(", ")} is parked: its event has come through the gate, and cannot be released as it is`,
      "Say what is right with --set field=value. Or, if nothing in the event is wrong, mend what keeps the view from taking it, and run `tributary parked retry`.",
    );
  const events = [];
  for (const entity of entities) {
    const whole = await completed(desk, entity, values);
    checkForms(desk.gate, entity.type, whole);
    events.push({ type: RESOLVED, entity, actor, data: { values: whole, ...noted(note) } });
  }
  if (!dryRun) {
    const shown: { entity: EntityRef; seen: Vector }[] = [];
    for (const entity of entities) shown.push({ entity, seen: await lastSeen(desk.db, entity) });
    await writeAccepted(desk, events, "a correction", shown);
  }
  return names;
}

/**
 * Values completed with the columns that change together with theirs: left out, those columns would be emptied. They get what all of the entity's events make of
 * them. Throws `usage` where the view cannot show that either.
 */
async function completed({ db, gate, projections }: Desk, entity: EntityRef, values: JsonObject): Promise<JsonObject> {
  const out: Record<string, JsonValue> = { ...values };
  const readers = await readersOf(db);
  for (const projection of entityViews(projections).filter((view) => view.entity === entity.type)) {
    const halves = [...projection.registers.values()].filter(
      ({ columns }) =>
        columns.some((column) => Object.hasOwn(values, column)) && columns.some((column) => !Object.hasOwn(values, column)),
    );
    if (halves.length === 0) continue;
    const pins = readers.get(projection.name) ?? {};
    const events = await countedEvents(db, entity, null, (head, data) => gate.openAs(head, data, pins));
    const { steps } = foldAnew(
      projection,
      entity.id,
      events.map((event) => () => event),
    );
    const state = steps.findLast(({ folded }) => folded !== null)?.folded?.state;
    const { values: known, withheld = [] }: Pick<Row, "values" | "withheld"> =
      state === undefined ? { values: {} } : rowOf(projection, state);
    for (const { columns } of halves)
      for (const column of columns) {
        if (Object.hasOwn(values, column)) continue;
        if (withheld.includes(column))
          throw new TributaryError(
            "usage",
            `${columns.join(", ")} change together in ${projection.name}, and what ${column} holds is withheld here`,
            `Give it too: --set ${column}=value, or --set ${column}= to empty it.`,
          );
        const value = known[column] ?? null;
        if (value !== null && !projection.columns[column]!.fits(value))
          throw new TributaryError(
            "usage",
            `${columns.join(", ")} change together in ${projection.name}, and what ${column} holds does not fit either`,
            `Give it too: --set ${column}=value, or --set ${column}= to empty it.`,
          );
        out[column] = value;
      }
  }
  return out;
}
