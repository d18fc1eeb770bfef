/**
 * What becomes of a page that cannot be written as it is. In come its events; out goes all of it but what the database refuses, with the reason beside it.
 * Never a page that fails for ever, never another's event held up.
 *
 *   page ── refused ──▶ halves ── refused ──▶ … ──▶ one event ──▶ its parts, each by itself ──▶ a view that refuses it: its entity is parked there
 *             └ the other half is written                                                   └▶ a table of the hub's own: placeholders, and a note
 *
 * Costs nothing until something is refused; then about 2 log₂ n transactions for each such event of a page of n.
 */
import { type LogEntry, messageOf, type Position } from "../core/index.ts";
import { packState } from "../merge/engine.ts";
import {
  askWaiting,
  type Db,
  inSavepoint,
  type ParkedRow,
  rehearse,
  settleQuarantine,
  type ViewChanges,
  withPlaceholders,
  wordsOf,
  writeAuditRow,
  writeCanary,
  writeCaseNotes,
  writeChanges,
  writeOrigins,
  writeParked,
  writeQuarantine,
  writeViews,
} from "../views/index.ts";
import type { Judged } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { foldPage, originsOf, type PageDeps, type ViewTarget, type Waiting } from "./page.ts";

export interface Narrowing {
  readonly db: Db;
  readonly deps: PageDeps;
  /** Views as the database has them now, read by the connection that writes. */
  targets(): Promise<readonly ViewTarget[]>;
  /** Runs `work` so that all it writes stays, with the place in the log moved to `through`, or none of it. */
  scope<T>(part: readonly LogEntry[], through: Position, work: () => Promise<T>): Promise<T>;
  /** Folds parked entities that were written about anew; called after each part that stands. */
  mend(waiting: readonly Waiting[], through: Position): Promise<void>;
  /** The live views are written: audit, quarantine and the rest with them, by this projector. `null`: a build, views alone. */
  readonly live: { readonly alone: boolean; readonly by: number } | null;
  /** The error has come again and again at this place. */
  readonly insists: boolean;
  readonly say: (event: Record<string, unknown>) => void;
}

/** Writes a page that was refused, less what is refused of it. Throws only what is of operation. */
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

/** Writes a part as any page. */
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

/** Writes one event part by part; what is refused is parked, or stands with placeholders. No event: only the place in the log moves. */
async function alone(io: Narrowing, entries: readonly LogEntry[], through: Position): Promise<void> {
  const waiting = await io.scope(entries, through, async () => {
    const [entry] = entries;
    return entry === undefined ? [] : writeParts(io, entry, through);
  });
  await io.mend(waiting, through);
}

/** Does what may be refused; returns the refusal, or `null`. What is of operation is thrown. */
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
  const { waiting, notes } = await writeEach(io, targets, { entry, ...judged }, through);
  if (live === null) return waiting;
  const part = async (what: string, work: () => Promise<unknown>, less?: () => Promise<unknown>): Promise<void> => {
    const refused = await tried(io, targets, work);
    if (refused === null) return;
    notes.push(`${what}: ${messageOf(refused)}`);
    if (less !== undefined) await tried(io, targets, less);
  };
  await part(
    "quarantine",
    () => writeQuarantine(db, [entry]),
    () => writeQuarantine(db, [withPlaceholders(entry)]),
  );
  const settlements = judged.settlement === null ? [] : [judged.settlement];
  await part(
    "settlement",
    () => settleQuarantine(db, settlements),
    () => settleQuarantine(db, settlements, { isBare: true }),
  );
  await part("case note", () => writeCaseNotes(db, judged.isCaseNote ? [entry] : []));
  await part("origin", () => writeOrigins(db, originsOf([entry])));
  await part("folding anew", () => askWaiting(db, waiting, live.by));
  const unaudited = await writeAuditRow(db, entry, notes, (work) => tried(io, targets, work));
  if (unaudited !== null) {
    // Where the audit takes no event at all, this one is not to blame, and nothing must go on without it.
    if ((await rehearsed(io, targets, () => writeCanary(db))) !== null) throw unaudited;
    notes.push(`audit: ${messageOf(unaudited)}; it has no row of the event`);
  }
  io.say({ event: "event-narrowed", of: `${entry.head.origin}/${entry.head.seq}`, position: entry.position.toString(), notes });
  return waiting;
}

/** What one event changes in a view, and what the view knew of its entity before. */
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
): Promise<{ readonly waiting: readonly Waiting[]; readonly notes: string[] }> {
  const { db, deps, live } = io;
  const waiting: Waiting[] = [];
  const notes: string[] = [];
  if (counted === null) return { waiting, notes };
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
  return { waiting, notes };
}

/** Writes what views take, together, as totals over several of them want it; returns those that the database refuses. */
async function writeTaken(
  io: Narrowing,
  targets: readonly ViewTarget[],
  taken: readonly (Taken & { readonly changes: ViewChanges })[],
): Promise<(Taken & { readonly error: unknown })[]> {
  const options = { tells: io.live !== null, alone: io.live?.alone ?? true };
  const write = (some: typeof taken): Promise<void> =>
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
  // Each is taken by itself, and all together are not: what they share, perhaps a total.
  if (rest !== null) refused.push(...fine.map((each) => ({ ...each, error: rest })));
  return refused;
}

/** By what words something would be refused; `null`: not at all. Nothing of it stays. */
async function rehearsed(io: Narrowing, targets: readonly ViewTarget[], work: () => Promise<unknown>): Promise<unknown> {
  try {
    await rehearse(io.db, work);
    return null;
  } catch (error) {
    if (!(await isOfData(io.db, targets, error, io.insists))) throw error;
    return error;
  }
}
