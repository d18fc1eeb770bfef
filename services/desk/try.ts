import { canonicalize, type JsonObject, type JsonValue, messageOf, RESOLVED, TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import {
  type CheckedRow,
  checkInvariants,
  type Decision,
  decisionsOf,
  type EntityState,
  type FullRow,
  foldAnew,
  isBroken,
  type Projection,
} from "../merge/engine.ts";
import {
  columnTypes,
  type Db,
  declaredTypes,
  type EntityEvents,
  entitiesOf,
  inSnapshot,
  openViolations,
  type RowById,
  rowsById,
} from "../views/index.ts";

/** A row that would show something else. */
export interface ChangedRow {
  readonly id: string;
  /** By column: what is shown now, what would be shown, and which rule decided so. */
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
  /** How many registers are contested now, how many would be, and how many of those a person would have to decide. */
  readonly conflicts: { readonly now: number; readonly would: number; readonly forPeople: number };
  /** How many cases of violated invariants are open now, and how many there would be. */
  readonly violations: { readonly now: number; readonly would: number };
  /** How many entities have events on which the declaration would throw. They would be parked, and their rows left as before that event. */
  readonly failing: number;
  readonly problems: readonly string[];
  readonly rows: readonly ChangedRow[];
  readonly isNew: boolean;
}

const BATCH_ENTITIES = 500;
const MAX_PROBLEMS = 10;

interface Counts {
  entities: number;
  equal: number;
  changed: number;
  appearing: number;
  disappearing: number;
  failing: number;
  now: number;
  would: number;
  forPeople: number;
}

/** An entity under the declaration that is tried. */
interface Candidate {
  readonly id: string;
  readonly state: EntityState | null;
  readonly row: FullRow | null;
}

export interface TryOptions {
  readonly maxRows: number;
  readonly onProgress?: (entities: number) => void;
}

/**
 * Replays the history under a declaration that is not in use, and returns, row by row, what the view would show differently. Nothing is written; all is
 * read as of one moment. Throws `not-found` where there are no such entities, and no form is about them.
 */
export async function tryRules(
  { db, gate }: { readonly db: Db; readonly gate: Gate },
  projection: Projection,
  options: TryOptions,
): Promise<Tried> {
  return inSnapshot(db, async () => {
    const trial = await openTrial(db, projection, options);
    const pins = gate.pins();
    for await (const entity of entitiesOf(db, projection.entity, (head, data) => gate.openAs(head, data, pins)))
      await trial.take(entity);
    const tried = await trial.end();
    if (tried.entities === 0) mustBeDeclared(gate, projection);
    return tried;
  });
}

/** Throws `not-found` where no form is about the entities of a view: there are none, and never will be. */
function mustBeDeclared(gate: Gate, { name, entity, eventTypes }: Projection): void {
  const forms = gate.subjects().map(({ annotations }) => annotations);
  // A form about all entities counts where the view takes its events; every view takes decisions.
  const feeds = (events: readonly string[]): boolean => events.some((type) => type !== RESOLVED && eventTypes.has(type));
  if (forms.some((form) => form.entity === entity || (form.entity === "*" && feeds(form.events)))) return;
  const known = [...new Set(forms.flatMap((form) => form.entity ?? []))].filter((each) => each !== "*").sort();
  throw new TributaryError(
    "not-found",
    `${name} is a view of ${JSON.stringify(entity)}, and there is no such entity: no form is about it, and the log has no event of it`,
    `Correct \`entity\` in the file, or register a form that names it. There are: ${known.join(", ")}.`,
  );
}

async function openTrial(db: Db, projection: Projection, { maxRows, onProgress }: TryOptions) {
  const live = await liveColumns(db, projection);
  const findings = openFindings({ projection, live }, maxRows);
  const tally = tallyOf(projection);
  let batch: Candidate[] = [];
  const compare = async (): Promise<void> => {
    const ids = batch.map(({ id }) => id);
    const shown = live === null ? new Map<string, RowById>() : await rowsById(db, projection.name, live, ids);
    for (const candidate of batch) findings.compare(candidate, shown.get(candidate.id));
    batch = [];
    onProgress?.(findings.count.entities);
  };
  return {
    async take({ id, events }: EntityEvents): Promise<void> {
      const { steps, shown, stop } = foldAnew(
        projection,
        id,
        events.map((event) => () => event),
        (each) => void checkInvariants(projection.invariants, id, each),
      );
      if (stop !== null) findings.fails(id, stop.error);
      const last = steps.slice(0, shown).findLast(({ row }) => row !== null);
      const [state, row] = [last?.folded?.state ?? null, last?.row ?? null];
      tally.add(checkInvariants(projection.invariants, id, row));
      batch.push({ id, state, row });
      if (batch.length >= BATCH_ENTITIES) await compare();
    },
    async end(): Promise<Tried> {
      await compare();
      const { byColumn, rows, problems } = findings;
      const { now, would, forPeople, ...counted } = findings.count;
      return {
        view: projection.name,
        ...counted,
        byColumn,
        conflicts: { now, would, forPeople },
        violations: { now: live === null ? 0 : await openViolations(db, projection.name), would: tally.violations() },
        problems,
        rows,
        isNew: live === null,
      };
    },
  };
}

/** Counts the rows that would differ, and keeps some of them. */
function openFindings(view: Omit<Compared, "decisions">, maxRows: number) {
  const count: Counts = {
    ...{ entities: 0, equal: 0, changed: 0, appearing: 0, disappearing: 0, failing: 0 },
    ...{ now: 0, would: 0, forPeople: 0 },
  };
  const byColumn: Record<string, number> = {};
  const rows: ChangedRow[] = [];
  const problems: string[] = [];
  return {
    count,
    byColumn,
    rows,
    problems,
    compare(candidate: Candidate, now: RowById | undefined): void {
      count.entities++;
      const decisions = candidate.state === null ? [] : decisionsOf(view.projection, candidate.state);
      count.now += now?.conflicts ?? 0;
      count.would += decisions.length;
      count.forPeople += decisions.filter(({ isOpen }) => isOpen).length;
      if (candidate.row === null && now === undefined) return;
      const changed = changeOf({ ...view, decisions }, candidate, now);
      if (changed === null) {
        count.equal++;
        return;
      }
      count[changed.kind === "new" ? "appearing" : changed.kind === "gone" ? "disappearing" : "changed"]++;
      for (const name of Object.keys(changed.columns)) byColumn[name] = (byColumn[name] ?? 0) + 1;
      if (rows.length < maxRows) rows.push(changed);
    },
    fails(id: string, error: unknown): void {
      count.failing++;
      if (problems.length < MAX_PROBLEMS) problems.push(`${id}: ${messageOf(error)}`);
    },
  };
}

interface Compared {
  readonly projection: Projection;
  readonly live: ReadonlyMap<string, string> | null;
  readonly decisions: readonly Decision[];
}

/** What a row would show differently; `null`: it would show the same. */
function changeOf(
  { projection, live, decisions }: Compared,
  { id, row }: Candidate,
  now: RowById | undefined,
): ChangedRow | null {
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
  return kind === "changed" && Object.keys(columns).length === 0 ? null : { id, columns, kind };
}

/** Counts the cases that rows would make: one for each key that too many hold, and one for each row with a problem. */
function tallyOf({ invariants }: Projection): { add(checked: CheckedRow): void; violations(): number } {
  const holders = new Map<string, Map<string, number>>();
  let count = 0;
  return {
    add({ keys, problems }) {
      count += problems.size;
      for (const [name, key] of keys) {
        const held = holders.get(name) ?? new Map<string, number>();
        holders.set(name, held.set(key, (held.get(key) ?? 0) + 1));
      }
    },
    violations() {
      let broken = count;
      for (const [name, held] of holders) for (const holding of held.values()) if (isBroken(invariants[name]!, holding)) broken++;
      return broken;
    },
  };
}

/** The columns that the live view and the declaration share, each with its type in the live view; `null`: there is no such view. */
async function liveColumns(db: Db, projection: Projection): Promise<ReadonlyMap<string, string> | null> {
  const known = await columnTypes(db, projection.name);
  if (known.size === 0) return null;
  const names = [...declaredTypes(projection).map(([name]) => name), "deleted"];
  return new Map(names.flatMap((name) => (known.has(name) ? [[name, known.get(name)!]] : [])));
}
