import { type CountedEntry, type EntityRef, type JsonObject, type LogEntry, messageOf, type Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import { type Anew, type FullRow, foldAnew, rowWith, unpackState } from "../merge/engine.ts";
import {
  answerAsked,
  askedAtOf,
  askedEntities,
  type CaseChange,
  caseNote,
  type Db,
  eventNamesOf,
  inSavepoint,
  inTransaction,
  LACKS_A_RIGHT,
  type Layout,
  type Lease,
  type Member,
  moveShards,
  noteChanges,
  notePassedOver,
  type ParkedRow,
  type PassedOver,
  placesAt,
  type Refolded,
  rehearse,
  replaceEntity,
  settledAt,
  shownRow,
  sqlState,
  stayParked,
  tellChanged,
  waitAtMost,
  wordsOf,
  writeHistory,
} from "../views/index.ts";
import { counting } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { toFoldEvent } from "./fold-event.ts";
import { checkFunctions, foldView, parkedRow } from "./fold-view.ts";
import type { Outcome } from "./outcome.ts";
import type { ViewTarget } from "./page.ts";

/** How many entities are asked for at a time. */
const MAX_AT_ONCE = 200;
/** How long a rehearsal waits for a process that writes the same rows. */
const REHEARSAL_LOCK_MS = 2_000;
/** How many events of a history are read at a time. */
const READS_AT_ONCE = 16;

/**
 * Folds the entities that wait to be folded again, each up to where its shard stands. One that still cannot be shown stays parked. Returns how many were done.
 */
export async function refold(
  deps: RefoldDeps,
  targets: readonly ViewTarget[],
  leases: readonly Lease[],
  layout: Layout | null,
): Promise<number> {
  const { db, reader } = deps;
  let done = 0;
  for (;;) {
    const asked = await askedEntities(reader, leases, MAX_AT_ONCE);
    if (asked.length === 0) return done;
    for (const { view, id, shard, askedAt } of asked) {
      const target = targets.find(({ projection }) => projection.name === view);
      const lease = leases.find((each) => each.shard === shard)!;
      const { position } = lease;
      // Read before the transaction: reading a long history may take longer than PostgreSQL lets a transaction idle. The transaction checks that the shard is still ours.
      const entries = target === undefined || position === null ? null : await historyOf(deps, target, id, position);
      const refolded = await inTransaction(db, async () => {
        if (position !== null) await moveShards(db, [lease], layout, position);
        const done =
          target === undefined || position === null || entries === null
            ? null
            : await refoldOne(deps, { target, id, entries, upTo: position }, { isLive: true });
        await answerAsked(db, view, id, askedAt);
        await done?.tell();
        return done;
      });
      refolded?.keepState();
      done++;
    }
  }
}

export interface RefoldDeps {
  readonly db: Db;
  /** Reads what has been committed: the audit there is at least as far as the shards. */
  readonly reader: Db;
  readonly log: Log;
  readonly gate: Gate;
  /** The same error has come again and again: it is taken for one of the data. */
  readonly insists?: boolean;
}

/** Folds again the parked entities that a page has brought events for, once the page is written. */
export async function mend(
  deps: RefoldDeps,
  waiting: readonly { readonly target: ViewTarget; readonly id: string }[],
  { leases, layout }: { readonly leases: readonly Lease[]; readonly layout: Layout | null; readonly member: Member },
  upTo: Position,
): Promise<void> {
  const { db } = deps;
  for (const { target, id } of waiting) {
    const askedAt = await askedAtOf(deps.reader, target.projection.name, id);
    const entries = await historyOf(deps, target, id, upTo);
    const refolded = await inTransaction(db, async () => {
      await moveShards(db, leases, layout, upTo);
      const done = await refoldOne(deps, { target, id, entries, upTo }, { isLive: true });
      await answerAsked(db, target.projection.name, id, askedAt);
      await done.tell();
      return done;
    });
    refolded.keepState();
  }
}

/** The events of an entity up to a position, as views count them: found by the audit, read from the log. */
export async function eventsOf(
  { log, reader }: { readonly log: Log; readonly reader: Db },
  entity: EntityRef,
  upTo: Position,
): Promise<LogEntry[]> {
  const names = await eventNamesOf(reader, entity, upTo);
  const counts = counting(log, (settled) => settledAt(reader, settled));
  const out: LogEntry[] = [];
  for (let at = 0; at < names.length; at += READS_AT_ONCE) {
    const found = await Promise.all(
      names.slice(at, at + READS_AT_ONCE).map(async ({ origin, seq }) => {
        let found: LogEntry | null = null;
        for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 })) found = entry;
        return found;
      }),
    );
    for (const entry of found) {
      const counted = entry === null ? null : (await counts.judge(entry)).counted;
      if (counted !== null) out.push(counted);
    }
  }
  return out;
}

/**
 * All events of an entity that a view folds, with their places where it asks for them. Read them before the transaction that folds them. What is asked for because of a note is folded by a process that may not
 * have come to the note: all notes in the audit count. `placedUpTo`: those up to there only, where the log no longer has the others.
 */
export async function historyOf(
  deps: { readonly log: Log; readonly reader: Db; readonly placedUpTo?: Position | null },
  { projection }: ViewTarget,
  id: string,
  upTo: Position,
): Promise<CountedEntry[]> {
  const entries = await eventsOf(deps, { type: projection.entity, id }, upTo);
  if (projection.orderHubs.size === 0) return entries;
  const places = await placesAt(
    deps.reader,
    entries.map(({ position }) => position),
    deps.placedUpTo ?? null,
  );
  return entries.map((entry) => ({ ...entry, places: places.get(entry.position) }));
}

/** An entity to fold again. */
export interface ToRefold {
  readonly target: ViewTarget;
  readonly id: string;
  /** Its history, as `historyOf` gives it. */
  readonly entries: readonly CountedEntry[];
  /** The position up to which the history goes. */
  readonly upTo: Position;
}

/**
 * Folds an entity from all of its events, inside the caller's transaction, and replaces its row, past, decisions, claims and what it adds to totals.
 *
 *   parked or wrong ─▶ folded again ─▶ its last version fits ─▶ shown, no longer parked; versions that cannot be kept are passed over, with a note
 *                                           ├ only an earlier one does ─▶ that is shown; parked at the event after it
 *                                           └ the database does not take it ─▶ left as it was, parked
 *
 * `isLive`: people are told, replaced versions and decisions are kept as superseded, and notes go to the audit.
 */
export async function refoldOne(
  deps: RefoldDeps,
  { target, id, entries, upTo }: ToRefold,
  { isLive }: { readonly isLive: boolean },
): Promise<RefoldedOne> {
  const { db, gate } = deps;
  await gate.ensure(entries.map(({ head }) => head.schema));
  // Parked entities are listed by a name that PostgreSQL can hold; the log has the entity's own name.
  const name = entries[0]?.head.entity.id ?? id;
  const folded = await attempt(deps, target, async () =>
    changesOf({ target, gate }, { id: name, entries, shown: await shownNow(db, target, id) }),
  );
  const written = "error" in folded ? folded : await writeRefolded(deps, folded.value, { target, id, entries, upTo }, isLive);
  if ("error" in written) await attempt(deps, target, () => stayParked(db, target, parkedFor(id, entries.at(-1), written.error)));
  else if (isLive) await attempt(deps, target, () => notePassedOver(db, target.projection.name, written.value.passedOver));
  const isParked = "error" in written || !("value" in folded) || folded.value.parked !== null;
  return {
    async tell() {
      if (isLive && "value" in written) await tellRefolded(db, target, { id: name, upTo, cases: written.value.cases });
    },
    keepState() {
      for (const each of new Set([id, name])) target.states.refolded(each, isParked);
    },
  };
}

/** An entity that was folded again. */
export interface RefoldedOne {
  /** Tells whoever follows the view. Call it last in the transaction. */
  tell(): Promise<void>;
  /** Call it once the transaction is committed. */
  keepState(): void;
}

/** Notes that the rows of an entity have changed at no position of their own, and tells whoever follows them. */
async function tellRefolded(
  db: Db,
  { projection: { name, entity } }: ViewTarget,
  { id, upTo, cases }: { readonly id: string; readonly upTo: Position; readonly cases: readonly CaseChange[] },
): Promise<void> {
  await noteChanges(db, [{ kind: "row", view: name, entity: { type: entity, id } }, ...cases.map(caseNote)]);
  await tellChanged(db, { views: [name], cases: cases.length > 0, syncs: false, range: [upTo, upTo] });
}

/** What writing a refolded entity left out, and the cases that followed. */
interface WrittenAgain {
  readonly passedOver: readonly PassedOver[];
  readonly cases: readonly CaseChange[];
}

/** Does, in a savepoint, what the data may make fail. Returns what came of it. Throws failures of operation. */
async function attempt<T>({ db, insists }: RefoldDeps, target: ViewTarget, work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await inSavepoint(db, work) };
  } catch (error) {
    if (!(await isOfData(db, [target], error, insists))) throw error;
    return { error: error ?? new Error("it threw nothing") };
  }
}

/** Replaces what stands by what folding gave; versions of the past that the database refuses are left out. */
async function writeRefolded(
  deps: RefoldDeps,
  folded: Refolded,
  { target, id, entries, upTo }: ToRefold,
  isLive: boolean,
): Promise<Outcome<WrittenAgain>> {
  const { db } = deps;
  const { changes } = folded;
  const whole = await attempt(deps, target, () => replaceEntity(db, id, folded, { upTo, isLive }));
  if ("value" in whole) return { value: { passedOver: changes.passedOver, cases: whole.value.cases } };
  if (changes.history.length === 0) return whole;
  const left = await attempt(deps, target, () => replaceEntity(db, id, folded, { upTo, isLive, leavesHistory: true }));
  if ("error" in left) return left;
  const passedOver = [...changes.passedOver];
  const { versions, knownFrom, cases } = left.value;
  for (const version of versions) {
    const kept = await attempt(deps, target, () => writeHistory(db, target, [version], knownFrom));
    const entry = entries.find(({ position }) => position === version.position);
    if ("error" in kept && entry !== undefined) passedOver.push({ entry, error: wordsOf(kept.error) });
  }
  return { value: { passedOver, cases } };
}

/** What would become of a parked entity if it were folded again. `untold`: a failure of operation kept it from being tried. */
export type Rehearsed =
  | { readonly kind: "shown" }
  | { readonly kind: "parked"; readonly event: string; readonly error: string }
  | { readonly kind: "untold"; readonly why: string };

/** A parked entity to rehearse. `mark`: the event that it is parked at, and where it stays if the database refuses what folding gives. */
export interface ToRehearse extends Omit<ToRefold, "upTo"> {
  readonly mark: string;
}

/** Folds a parked entity again as `refoldOne` does, and undoes it at once, inside the caller's transaction. Returns whether the reason for parking it still stands. */
export async function rehearseRefold(
  { db, gate }: Pick<RefoldDeps, "db" | "gate">,
  { target, id, entries, mark }: ToRehearse,
): Promise<Rehearsed> {
  const upTo = entries.at(-1)?.position;
  if (upTo === undefined) return { kind: "untold", why: "the log has no event of it" };
  const stops: ParkedRow[] = [];
  try {
    await rehearse(db, async () => {
      await waitAtMost(db, REHEARSAL_LOCK_MS);
      await gate.ensure(entries.map(({ head }) => head.schema));
      const folded = changesOf({ target, gate }, { id, entries, shown: await shownNow(db, target, id) });
      if (folded.parked !== null) stops.push(folded.parked);
      await replaceEntity(db, id, folded, { upTo, isLive: true });
    });
  } catch (error) {
    // A missing right says nothing of the row, even where a projector would have that right.
    return sqlState(error) !== LACKS_A_RIGHT && (await isOfData(db, [target], error))
      ? { kind: "parked", event: mark, error: wordsOf(error) }
      : { kind: "untold", why: messageOf(error) };
  }
  const [stop] = stops;
  if (stop === undefined) return { kind: "shown" };
  const { origin, seq } = stop.entry.head;
  return { kind: "parked", event: `${origin}/${seq}`, error: stop.error };
}

/** What folding an entity again changes in its view, and where its fold stops. */
function changesOf(
  { target, gate }: { readonly target: ViewTarget; readonly gate: Gate },
  { id, entries, shown }: { readonly id: string; readonly entries: readonly CountedEntry[]; readonly shown: FullRow | null },
): Refolded {
  const { projection, pins } = target;
  const reads = entries.map((entry) => () => toFoldEvent(entry, dataOf(entry), gate, pins));
  const anew = foldAnew(projection, id, reads, (row) => checkFunctions(target, id, row));
  const { changes } = foldView({
    ...{ target, gate },
    states: { get: () => undefined, isParked: () => false },
    entries: entries.slice(0, anew.shown).map((entry, index) => ({ entry, index })),
    replaces: { id, shown },
  });
  const [broken] = changes.parked;
  if (broken !== undefined) throw new Error(broken.error);
  return { changes, parked: anew.stop === null ? null : parkedAt(anew, id, entries) };
}

const dataOf = ({ content }: LogEntry): JsonObject => (content.kind === "accepted" ? content.data : {});

function parkedAt({ steps, stop }: Anew, entityId: string, entries: readonly LogEntry[]): ParkedRow {
  const { at: index, error } = stop!;
  const before = steps.slice(0, index).findLast(({ folded }) => folded !== null)?.folded;
  return parkedRow(entityId, entries[index]!, error, before?.state);
}

/** What the view shows of an entity at present. What the entity added to totals, and what it claims, follow from that. */
async function shownNow(db: Db, { projection, namespace }: ViewTarget, id: string): Promise<FullRow | null> {
  const row = await shownRow(db, projection, namespace, id);
  if (row === null) return null;
  const { state, values, deleted, conflicts } = row;
  try {
    return rowWith(projection, id, unpackState(state));
  } catch {
    // The state cannot be read or shown any more, but the columns can be read.
    return { values, deleted, conflicts, tables: {} };
  }
}

/** The row of an entity that stays parked as it was, with the database's new error. */
function parkedFor(entityId: string, entry: LogEntry | undefined, error: unknown): Parameters<typeof stayParked>[2] {
  const said = { entityId, error: wordsOf(error), stack: error instanceof Error ? (error.stack ?? "") : "" };
  return entry === undefined ? said : { ...said, entry, state: null };
}
