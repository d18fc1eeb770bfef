import {
  canonicalize,
  type JsonObject,
  type LogEntry,
  messageOf,
  type Position,
  partsOf,
  position as positionOf,
  type SchemaRef,
} from "../core/index.ts";
import { canRead, type Gate, type Pins } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import {
  checkRow,
  type Decision,
  decide,
  type EntityState,
  type FoldEvent,
  type FullRow,
  fold,
  packState,
  rowWith,
  seenOf,
  siblingsOf,
  type Totals,
  waitingFor,
} from "../merge/engine.ts";
import type { Projection } from "../merge/index.ts";
import {
  type Addition,
  additionsOf,
  type Claim,
  type DecisionRow,
  type HistoryRow,
  keyOf,
  type OriginRow,
  type PageChanges,
  type ParkedRow,
  type PassedOver,
  type RowCheck,
  type SettledDecision,
  seen,
  type ViewBuild,
  type ViewChanges,
  type ViewRow,
} from "../views/index.ts";
import { countedAs, type Settlements } from "./releases.ts";
import type { Held, States } from "./states.ts";

/** A build that pages are folded into, with what is known of its entities. */
export interface ViewTarget extends ViewBuild {
  readonly states: States;
  /** The versions that the view reads with. */
  readonly pins: Pins;
  /** Entities whose fold has stopped. */
  readonly parked: Set<string>;
}

/** A version was registered that a view, as it was built, cannot read: it must be built anew. */
export class StaleViewError extends Error {}

/** All that one transaction writes for a page of the log, and what is to be folded anew after it. */
export interface Prepared extends PageChanges {
  readonly waiting: readonly Waiting[];
}

/** A parked entity to fold anew. */
export interface Waiting {
  readonly target: ViewTarget;
  readonly id: string;
}

/** The event as projections see it: its data as the view's version of the schema has it. */
export function toFoldEvent(
  { head, clock, clips, position }: Pick<LogEntry, "head" | "clock" | "clips" | "position">,
  data: JsonObject,
  gate: Gate,
  pins: Pins,
): FoldEvent {
  return {
    type: head.type,
    data: gate.read(head.schema, data, pins).data,
    entity: head.entity,
    actor: head.actor,
    occurredAt: head.occurredAt,
    site: partsOf(head.origin).site,
    origin: head.origin,
    seq: head.seq,
    hlc: head.hlc,
    clockWrong: clock !== null,
    position: Number(position),
    ...seenOf(head.basis, clips),
  };
}

export interface PrepareDeps {
  readonly log: Pick<Log, "readOrigin">;
  readonly gate: Gate;
  readonly settled: Settlements;
}

/** Folds a page of the log into rows. Reads states from the database where they are not hot; writes nothing. */
export async function prepare(
  { log, gate, settled }: PrepareDeps,
  targets: readonly ViewTarget[],
  entries: readonly LogEntry[],
  through: Position,
): Promise<Prepared> {
  const counted: (LogEntry | null)[] = [];
  for (const entry of entries) counted.push(await countedAs(log, entry, settled));
  await gate.ensure(counted.flatMap((entry) => (entry === null ? [] : [entry.head.schema])));
  const projectionErrors = new Map<number, string>();
  const views: ViewChanges[] = [];
  const waiting: Waiting[] = [];
  for (const target of targets) {
    const { projection, states, pins, parked } = target;
    const mine: { readonly entry: LogEntry; readonly index: number }[] = [];
    const waits = new Set<string>();
    for (const [index, entry] of counted.entries()) {
      if (entry?.head.entity.type !== projection.entity) continue;
      if (!isReadable(gate, pins, entry.head.schema))
        throw new StaleViewError(
          `${projection.name} cannot read ${entry.head.schema.subject} version ${entry.head.schema.version}, and is built anew`,
        );
      if (parked.has(entry.head.entity.id)) waits.add(entry.head.entity.id);
      else mine.push({ entry, index });
    }
    for (const id of waits) waiting.push({ target, id });
    if (mine.length === 0) continue;
    await states.load(new Set(mine.map(({ entry }) => entry.head.entity.id)));
    const changes = foldView(target, mine, gate, { onError: (index, error) => noteError(projectionErrors, index, error) });
    views.push(changes);
    for (const id of changes.waiting) waiting.push({ target, id });
  }
  return { entries, through, projectionErrors, views, origins: originsOf(entries), waiting };
}

/** Several views may fail at one event. */
const noteError = (errors: Map<number, string>, index: number, error: string): void => {
  const before = errors.get(index);
  errors.set(index, before === undefined ? error : `${before}; ${error}`);
};

/** An entity while a page is folded. */
interface Working {
  /** Whether the table has no row of it. */
  readonly isNew: boolean;
  /** What the database shows of it; `null`: nothing. */
  readonly before: FullRow | null;
  readonly stateBefore: EntityState | undefined;
  state: EntityState;
  row: FullRow;
  readonly firstPosition: Position;
  lastPosition: Position;
}

interface FoldOptions {
  readonly onError?: (index: number, error: string) => void;
  /**
   * An entity that is folded from its first event, and what is shown of it until now, which all this takes the place of. A version of it that cannot be shown is
   * passed over: only the last one must.
   */
  readonly replaces?: { readonly id: string; readonly shown: FullRow | null };
}

/** Folds a page's events into one view. The target's states move on as they are folded. */
export function foldView(
  target: ViewTarget,
  mine: readonly { readonly entry: LogEntry; readonly index: number }[],
  gate: Gate,
  { onError, replaces }: FoldOptions = {},
): ViewChanges {
  const { projection, states, pins, totals, parked } = target;
  const invariants = Object.entries(projection.invariants);
  const needsBefore = totals.length > 0 || invariants.length > 0;
  const working = new Map<string, Working>();
  const history: HistoryRow[] = [];
  const decisions = decisionNotes(target);
  const parkedHere: ParkedRow[] = [];
  const waiting = new Set<string>();
  const passedOver: PassedOver[] = [];
  const isLenient = replaces !== undefined;

  for (const { entry, index } of mine) {
    const { id } = entry.head.entity;
    if (entry.content.kind !== "accepted") continue;
    if (parked.has(id)) {
      waiting.add(id);
      continue;
    }
    const held: Held | undefined = states.get(id);
    try {
      const event = toFoldEvent(entry, entry.content.data, gate, pins);
      const folded = fold(projection, held?.state, event, { isLenient });
      if (folded === null) continue;
      const known = working.get(id);
      const row = showing(target, id, folded.state, isLenient);
      if (row instanceof Error) {
        // What is shown in the end fits: see `refoldOne`.
        passedOver.push({ entry, error: row.message });
        states.set(id, { state: folded.state, firstPosition: held?.firstPosition ?? entry.position });
        continue;
      }
      const before =
        known !== undefined
          ? known.before
          : replaces?.id === id
            ? replaces.shown
            : needsBefore && held !== undefined
              ? rowWith(projection, id, held.state)
              : null;
      const position = entry.position;
      const firstPosition = held?.firstPosition ?? position;
      noteDecisions(decisions, isLenient, id, position, folded.written, held?.state, folded.state);
      states.set(id, { state: folded.state, firstPosition });
      const stateBefore = known === undefined ? held?.state : known.stateBefore;
      const isNew = known === undefined ? held === undefined : known.isNew;
      working.set(id, { isNew, before, stateBefore, state: folded.state, row, firstPosition, lastPosition: position });
      if (projection.keepsHistory) history.push({ id, position, recordedAtMs: entry.recordedAtMs, row });
    } catch (error) {
      parked.add(id);
      onError?.(index, `${projection.name}: ${messageOf(error)}`);
      parkedHere.push({
        entityId: id,
        entry,
        error: messageOf(error),
        stack: error instanceof Error ? (error.stack ?? "") : "",
        state: held === undefined ? null : packState(held.state),
      });
    }
  }

  const rows: ViewRow[] = [];
  const claims: Claim[] = [];
  const checks: RowCheck[] = [];
  const additions = new Map<Totals, Addition[]>(totals.map((each) => [each, []]));
  const compare = (id: string, before: FullRow | null, row: FullRow | null, hasOtherEvents: () => boolean): void => {
    for (const each of totals) additions.get(each)!.push(...additionsOf(each, projection.name, id, before, row));
    for (const [invariant, rule] of invariants) {
      if ("problem" in rule) {
        checks.push({ invariant, entityId: id, problem: row === null || row.deleted ? null : rule.problem(seen(id, row)) });
        continue;
      }
      const [was, is] = [keyOf(rule, id, before), keyOf(rule, id, row)];
      // What a claim rests on is kept with it, so that cases are the same however the log was cut into pages.
      if (was !== is || (is !== null && hasOtherEvents())) claims.push({ invariant, entityId: id, before: was, after: is });
    }
  };
  if (replaces !== undefined && !working.has(replaces.id)) compare(replaces.id, replaces.shown, null, () => true);
  for (const [id, { isNew, before, stateBefore, state, row, firstPosition, lastPosition }] of working) {
    const waits = waitingFor(state);
    rows.push({
      id,
      isNew,
      row,
      waitingFor: Object.keys(waits).length === 0 ? null : JSON.stringify(waits),
      firstPosition,
      lastPosition,
      state: packState(state),
    });
    compare(id, before, row, () => eventsIn(projection, stateBefore).join() !== eventsIn(projection, state).join());
  }
  return {
    target,
    rows,
    history,
    decisions: decisions.rows,
    settled: decisions.settled,
    claims,
    checks,
    additions,
    parked: parkedHere,
    waiting: [...waiting],
    passedOver,
    through: mine.at(-1)?.entry.position ?? positionOf(0n),
    eventsOf: (id) => eventsIn(projection, working.get(id)?.state),
  };
}

/** The row that a state shows, all of whose parts the declaration takes; where a misfit is passed over: why there is none. */
function showing(target: ViewTarget, id: string, state: EntityState, isLenient: boolean): FullRow | Error {
  try {
    const row = rowWith(target.projection, id, state);
    if (isLenient) checkRow(target.projection, row);
    checkFunctions(target, id, row);
    return row;
  } catch (error) {
    if (!isLenient) throw error;
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

/** Values that do not fit may make a rule throw; what is decided once they are gone is noted all the same. */
function noteDecisions(
  decisions: ReturnType<typeof decisionNotes>,
  isLenient: boolean,
  ...change: Parameters<ReturnType<typeof decisionNotes>["note"]>
): void {
  try {
    decisions.note(...change);
  } catch (error) {
    if (!isLenient) throw error;
  }
}

/** Calls what the declaration says of a row, so that what throws does so at the event that brought it about. */
export function checkFunctions(
  { projection, totals }: Pick<ViewTarget, "projection" | "totals">,
  id: string,
  row: FullRow,
): void {
  for (const each of totals) if (!row.deleted) each.contributions(projection.name, seen(id, row));
  for (const rule of Object.values(projection.invariants)) {
    if ("atMost" in rule) keyOf(rule, id, row);
    else if (!row.deleted) rule.problem(seen(id, row));
  }
}

/** The events whose values stand in an entity's registers, as `origin/seq`. */
export function eventsIn(projection: Projection, state: EntityState | undefined): string[] {
  const events = new Set<string>();
  if (state !== undefined)
    for (const rule of projection.registers.values())
      for (const { by } of siblingsOf(rule, state)) events.add(`${by.origin}/${by.seq}`);
  return [...events].sort();
}

/** Notes what was contested when, and what settled it. */
function decisionNotes({ projection, generation }: ViewTarget) {
  const rows: DecisionRow[] = [];
  const settled: SettledDecision[] = [];
  const openHere = new Map<string, DecisionRow>();
  const counting = [...projection.registers.values()]
    .filter((rule) => rule.kind === "decided" && rule.resolver.needsHistory === true)
    .map(({ name }) => name);
  return {
    rows,
    settled,
    note(
      entityId: string,
      position: Position,
      written: readonly string[],
      before: EntityState | undefined,
      after: EntityState,
    ): void {
      if (before === undefined) return;
      for (const register of counting.length === 0 ? written : new Set([...written, ...counting])) {
        const rule = projection.registers.get(register)!;
        if (rule.kind === "merged") continue;
        // A rule that counts what authors had seen may think otherwise after any event.
        const isSame = counting.includes(register)
          ? sameDecision(decide(rule, before), decide(rule, after))
          : sameSiblings(siblingsOf(rule, before), siblingsOf(rule, after));
        if (isSame) continue;
        const key = `${entityId}\n${register}`;
        if (decide(rule, before) !== null) {
          const here = openHere.get(key);
          if (here !== undefined) here.settledPosition = position;
          else settled.push({ view: projection.name, generation, entityId, register, position });
          openHere.delete(key);
        }
        const decision = decide(rule, after);
        if (decision === null) continue;
        const row: DecisionRow = { view: projection.name, generation, entityId, position, decision, settledPosition: null };
        rows.push(row);
        openHere.set(key, row);
      }
    },
  };
}

const readable = new WeakMap<Gate, Map<string, boolean>>();

/** Whether a view with these pins can read what is written with a schema. Compared once for each pair of versions. */
export function isReadable(gate: Gate, pins: Pins, { subject, version }: SchemaRef): boolean {
  const pinned = pins[subject];
  // A subject that was not there when the view was built: the view must be built with it.
  if (pinned === undefined) return !gate.knows({ subject, version });
  if (version <= pinned) return true;
  const versions = gate.store.versions(subject);
  const [reader, writer] = [versions[pinned - 1], versions[version - 1]];
  if (reader === undefined || writer === undefined) return true;
  const known = readable.get(gate) ?? new Map<string, boolean>();
  readable.set(gate, known);
  const key = `${subject}:${pinned}<${version}`;
  let answer = known.get(key);
  if (answer === undefined) {
    answer = canRead(reader, writer, gate.casters);
    known.set(key, answer);
  }
  return answer;
}

const sameDecision = (a: Decision | null, b: Decision | null): boolean =>
  a === null || b === null
    ? a === b
    : canonicalize(a.value) === canonicalize(b.value) &&
      a.reason === b.reason &&
      sameSiblings([a.winner, ...a.losers], [b.winner, ...b.losers]);

type Siblings = ReturnType<typeof siblingsOf>;
const sameSiblings = (a: Siblings, b: Siblings): boolean =>
  a.length === b.length && a.every(({ by }, i) => by.origin === b[i]!.by.origin && by.seq === b[i]!.by.seq);

/** What a page says of origins. */
export function originsOf(entries: readonly LogEntry[]): OriginRow[] {
  const rows = new Map<string, OriginRow>();
  for (const { head, content, clock, position, recordedAtMs } of entries) {
    const row = rows.get(head.origin) ?? {
      ...partsOf(head.origin),
      origin: head.origin,
      through: head.seq,
      position,
      events: 0,
      quarantined: 0,
      clockWrong: 0,
      firstRecordedMs: recordedAtMs,
      lastRecordedMs: recordedAtMs,
    };
    row.through = head.seq;
    row.position = position;
    row.events++;
    if (content.kind === "quarantined") row.quarantined++;
    if (clock !== null) row.clockWrong++;
    row.lastRecordedMs = recordedAtMs;
    rows.set(head.origin, row);
  }
  return [...rows.values()];
}
