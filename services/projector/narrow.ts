/**
 * What becomes of a page that cannot be written as it is. In come its events; all is written but what the database refuses, with the reason beside it.
 * No page fails for ever, and no event holds up another.
 *
 *   page ── refused ──▶ halves ── refused ──▶ … ──▶ one event ──▶ its parts, each by itself ──▶ a view that refuses it: its entity is parked there
 *             └ the other half is written                                                   └▶ a table of the hub's own: placeholders, and a note
 *
 * This costs nothing until something is refused, and then about 2 log₂ n transactions for each such event of a page of n.
 */
import { type LogEntry, messageOf, type Position } from "../core/index.ts";
import { packState } from "../merge/engine.ts";
import {
  askPlaced,
  askWaiting,
  type ChangeNote,
  confirmPurges,
  type Db,
  inSavepoint,
  lockOrder,
  noteChanges,
  type PageChanges,
  type ParkedRow,
  rehearse,
  settleQuarantine,
  tellPage,
  type ViewChanges,
  withPlaceholders,
  wordsOf,
  writeAuditRow,
  writeCanary,
  writeCaseNotes,
  writeChanges,
  writeFeed,
  writeOrigins,
  writeOwners,
  writeParked,
  writeQuarantine,
  writeViews,
} from "../views/index.ts";
import type { Judged } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { foldPage, originsOf, type PageDeps, type ViewTarget, type Waiting } from "./page.ts";
import { placementsOf } from "./placements.ts";
import { orderingOf, withPlaces } from "./placing.ts";

export interface Narrowing {
  readonly db: Db;
  readonly deps: PageDeps;
  /** The views as the database has them now, read over the connection that writes. */
  targets(): Promise<readonly ViewTarget[]>;
  /** Runs `work` so that either all it writes stays, with the position moved to `through`, or none of it. */
  scope<T>(part: readonly LogEntry[], through: Position, work: () => Promise<T>): Promise<T>;
  /** Folds parked entities again that have new events; called after each part that was written. */
  mend(waiting: readonly Waiting[], through: Position): Promise<void>;
  /** Set where the live views are written, and with them audit, quarantine and the rest. `by`: this projector's number. `null`: a build, which has views only. */
  readonly live: { readonly alone: boolean; readonly by: number } | null;
  /** The same error has come again and again at this page. */
  readonly insists: boolean;
  readonly say: (event: Record<string, unknown>) => void;
}

/** Writes a page that was refused, except what the database refuses of it. Throws only failures of operation. */
export async function narrow(io: Narrowing, entries: readonly LogEntry[], through: Position): Promise<void> {
  if (entries.length <= 1) {
    await alone(io, entries, through);
    return;
  }
  const middle = Math.ceil(entries.length / 2);
  for (const [part, upTo] of [
    [entries.slice(0, middle), entries[middle - 1]!.position],
    [entries.slice(middle), through],
  ] as const) {
    try {
      await whole(io, part, upTo);
    } catch (error) {
      if (!(await isOfData(io.db, await io.targets(), error, io.insists))) throw error;
      await narrow(io, part, upTo);
    }
  }
}

/** Writes a part as if it were a page. */
async function whole(io: Narrowing, part: readonly LogEntry[], through: Position): Promise<void> {
  const { db, deps, live } = io;
  const waiting = await io.scope(part, through, async () => {
    const prepared = await foldPage(deps, await io.targets(), part, through);
    if (live === null) await writeViews(db, prepared.views, { tells: false, alone: true });
    else await writeChanges(db, prepared, live);
    return prepared.waiting;
  });
  await io.mend(waiting, through);
}

/** Writes one event part by part; what is refused is parked, or stands with placeholders. Where there is no event, only the position moves. */
async function alone(io: Narrowing, entries: readonly LogEntry[], through: Position): Promise<void> {
  const waiting = await io.scope(entries, through, async () => {
    const [entry] = entries;
    return entry === undefined ? [] : writeParts(io, entry, through);
  });
  await io.mend(waiting, through);
}

/** Does what may be refused. Returns the refusal, or `null`. Throws failures of operation. */
async function tried(io: Narrowing, targets: readonly ViewTarget[], work: () => Promise<unknown>): Promise<unknown> {
  try {
    await inSavepoint(io.db, work);
    return null;
  } catch (error) {
    if (!(await isOfData(io.db, targets, error, io.insists))) throw error;
    return error ?? new Error("it threw nothing");
  }
}

async function writeParts(io: Narrowing, entry: LogEntry, through: Position): Promise<readonly Waiting[]> {
  const { db, live } = io;
  const targets = await io.targets();
  const judged = await io.deps.counts.judge(entry);
  const settlements = judged.settlement === null ? [] : [judged.settlement];
  const unowned = live === null ? null : await tried(io, targets, () => writeOwners(db, [entry], settlements));
  const { waiting, notes, written } = await writeEach(io, targets, { entry, ...judged }, through);
  if (live === null) return waiting;
  const part = async (what: string, work: () => Promise<unknown>, less?: () => Promise<unknown>): Promise<void> => {
    const refused = await tried(io, targets, work);
    if (refused === null) return;
    notes.push(`${what}: ${messageOf(refused)}`);
    if (less !== undefined) await tried(io, targets, less);
  };
  if (unowned !== null) notes.push(`owner: ${messageOf(unowned)}`);
  await part(
    "quarantine",
    () => writeQuarantine(db, [entry]),
    () => writeQuarantine(db, [withPlaceholders(entry)]),
  );
  await part(
    "settlement",
    () => settleQuarantine(db, settlements),
    () => settleQuarantine(db, settlements, { isBare: true }),
  );
  const { isCaseNote } = judged;
  await part("case note", () => writeCaseNotes(db, judged.isCaseNote ? [entry] : []));
  await part("purge", () => confirmPurges(db, [entry]));
  await part("origin", () => writeOrigins(db, originsOf([entry])));
  // An entity that the view of its buckets does not take stays where it is.
  const placements = placementsOf([entry], [judged], targets, written);
  await part("feed", () => writeFeed(db, placements, judged.isCaseNote ? [entry] : []));
  const views = targets.map(({ projection }) => projection);
  const { placing } = io.deps;
  const ordering = orderingOf(placing, views, [entry], withPlaces(placing, views, [entry], [judged.counted]));
  // Before anything is asked for, as in a whole page.
  if (ordering !== null) await lockOrder(db, ordering);
  await part("folding again", () => askWaiting(db, waiting, live.by));
  const unaudited = await writeAuditRow(db, entry, notes, (work) => tried(io, targets, work));
  if (unaudited !== null) {
    // Where the audit takes no event at all, this one is not to blame, and the projector must not go on without audit rows.
    if ((await rehearsed(io, targets, () => writeCanary(db))) !== null) throw unaudited;
    notes.push(`audit: ${messageOf(unaudited)}; it has no row of the event`);
  }
  if (ordering !== null) await part("places", () => askPlaced(db, ordering, live.by));
  await tellParts(io, { entry, through, settlements, isCaseNote, views: written });
  io.say({ event: "event-narrowed", of: `${entry.head.origin}/${entry.head.seq}`, position: entry.position.toString(), notes });
  return waiting;
}

/** Tells what an event changed. Its audit row may be missing or stand with placeholders, so its entity is noted; which cases it changed is not looked at closely. */
async function tellParts(
  { db }: Narrowing,
  {
    entry,
    through,
    settlements,
    isCaseNote,
    views,
  }: Pick<PageChanges, "through" | "settlements" | "views"> & { readonly entry: LogEntry; readonly isCaseNote: boolean },
): Promise<void> {
  const rows = views.flatMap(({ target: { projection }, rows }) =>
    rows.map(({ id }): ChangeNote => ({ kind: "row", view: projection.name, entity: { type: projection.entity, id } })),
  );
  await noteChanges(db, [...rows, ...(views.length > 0 ? [{ kind: "cases" } as const] : [])]);
  await tellPage(db, { entries: [entry], through, views, settlements, caseNotes: isCaseNote ? [entry] : [] }, []);
}

/** What one event changes in a view, and the state of its entity before. */
interface Taken {
  readonly target: ViewTarget;
  readonly changes: ViewChanges | null;
  readonly state: string | null;
}

/** Writes one event into each view that takes it, and parks its entity in the others. */
async function writeEach(
  io: Narrowing,
  targets: readonly ViewTarget[],
  { entry, counted }: Pick<Judged, "counted"> & { readonly entry: LogEntry },
  through: Position,
): Promise<{ readonly waiting: readonly Waiting[]; readonly notes: string[]; readonly written: readonly ViewChanges[] }> {
  const { db, deps, live } = io;
  const waiting: Waiting[] = [];
  const notes: string[] = [];
  if (counted === null) return { waiting, notes, written: [] };
  const refused: (Taken & { readonly error: unknown })[] = [];
  const taken: (Taken & { readonly changes: ViewChanges })[] = [];
  const { id, type } = counted.head.entity;
  for (const target of targets.filter(({ projection }) => projection.entity === type)) {
    let state: string | null = null;
    const error = await tried(io, [target], async () => {
      await target.states.load([id]);
      const held = target.states.get(id);
      state = held === undefined ? null : packState(held.state);
      const prepared = await foldPage(deps, [target], [entry], through);
      for (const changes of prepared.views) taken.push({ target, changes, state });
      waiting.push(...prepared.waiting);
      notes.push(...prepared.projectionErrors.values());
    });
    if (error !== null) refused.push({ target, changes: null, state, error });
  }
  refused.push(...(await writeTaken(io, targets, taken)));
  for (const { target, error, state } of refused) {
    const row: ParkedRow = {
      entityId: id,
      entry: counted,
      error: wordsOf(error),
      stack: error instanceof Error ? (error.stack ?? "") : "",
      state,
    };
    notes.push(`${target.projection.name}: ${row.error}`);
    const unparked = await tried(io, [target], () => writeParked(db, target, [row]));
    if (unparked !== null) notes.push(`${target.projection.name}, parking it: ${messageOf(unparked)}`);
  }
  if (live === null && refused.length > 0)
    io.say({ event: "event-narrowed", of: `${entry.head.origin}/${entry.head.seq}`, position: entry.position.toString(), notes });
  const written = taken.flatMap(({ target, changes }) => (refused.some((other) => other.target === target) ? [] : [changes]));
  return { waiting, notes, written };
}

/** Writes what all views take in one go, as totals over several views need it. Returns the views that the database refuses. */
async function writeTaken(
  io: Narrowing,
  targets: readonly ViewTarget[],
  taken: readonly (Taken & { readonly changes: ViewChanges })[],
): Promise<(Taken & { readonly error: unknown })[]> {
  const options = { tells: io.live !== null, alone: io.live?.alone ?? true };
  const write = (some: typeof taken): Promise<unknown> =>
    writeViews(
      io.db,
      some.map(({ changes }) => changes),
      options,
    );
  if (taken.length === 0) return [];
  const together = await tried(io, targets, () => write(taken));
  if (together === null) return [];
  const refused: (Taken & { readonly error: unknown })[] = [];
  for (const each of taken) {
    const error = taken.length === 1 ? together : await rehearsed(io, targets, () => write([each]));
    if (error !== null) refused.push({ ...each, error });
  }
  const fine = taken.filter(({ target }) => !refused.some((other) => other.target === target));
  const rest = fine.length === 0 ? null : await tried(io, targets, () => write(fine));
  // Each is taken alone, and all together are not: something that they share is refused, perhaps a total.
  if (rest !== null) refused.push(...fine.map((each) => ({ ...each, error: rest })));
  return refused;
}

/** Does something and undoes it. Returns the refusal; `null`: it would be taken. Throws failures of operation. */
async function rehearsed(io: Narrowing, targets: readonly ViewTarget[], work: () => Promise<unknown>): Promise<unknown> {
  try {
    await rehearse(io.db, work);
    return null;
  } catch (error) {
    if (!(await isOfData(io.db, targets, error, io.insists))) throw error;
    return error;
  }
}
