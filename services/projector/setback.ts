/**
 * Whether the log still holds all that was folded. A log that was restored from a backup ends before what the audit has, or goes on with other events at
 * the same positions. In come audit and log; out go views that show what folding the log gives, and what was beyond, kept as evidence. Nothing is guessed: the last event
 * that both have is found by its hash.
 *
 *   following ── link lost, session opened ──▶ comparing ── all stands ──▶ following
 *                                                  └ set back ─▶ shards taken from all ─▶ views rebuilt beside the live ones, up to the last common event
 *                                                       ─▶ in one transaction: evidence kept, audit and the rest cut, shards set back, views swapped ─▶ following
 */
import type { Incarnation, Position } from "../core/index.ts";
import { beginIncarnation, currentIncarnation, incarnations, type Log } from "../log/index.ts";
import {
  type Audited,
  alone,
  auditedAfter,
  auditedUpTo,
  clearFeedBeyond,
  cutBeyond,
  type Db,
  foldedIncarnations,
  furthest,
  generationsOf,
  incarnationOf,
  inTransaction,
  lastAudited,
  lastOfOrigins,
  noteIncarnation,
  setPositionsBack,
  takeShardsFromAll,
  tellSwapped,
} from "../views/index.ts";
import type { RebuildDeps } from "./building.ts";
import { takeForks } from "./forks.ts";
import { rebuild, stopping } from "./rebuild.ts";

/** How many origins' last events are looked up in the log: those of the origins that wrote last. */
const HEADS = 64;
/** How many audit rows are compared with the log at a time. This many before a supposed last common event are compared too: events that were sent again may by chance stand where they stood. */
const WINDOW = 1_000;

/** How far the log was set back. `common`: the position of the last event that audit and log both have (`null`: none). */
interface SetBack {
  readonly common: Position | null;
  /** The last position that had been folded. */
  readonly folded: Position;
}

/** Whether an event stands in the log where it was folded. Where the audit row has a placeholder for the hash, its position decides alone. */
async function stands(log: Pick<Log, "readOrigin">, { origin, seq, position, hash }: Audited): Promise<boolean> {
  let found = false;
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 }))
    found = entry.head.seq === seq && entry.position === position && (entry.head.hash === hash || hash.length !== 64);
  return found;
}

/** The lives of the log that were never folded, except its first: that one says nothing of what the log holds. */
async function unseenLives(db: Db, log: Pick<Log, "journal">): Promise<Incarnation[]> {
  const seen = await foldedIncarnations(db);
  return (await incarnations(log.journal)).filter(({ id, how }) => !seen.has(id) && how !== "first");
}

/** Whether the log may have been set back since it was folded. This is quick: it is asked each time that the log was away. */
export async function mayBeSetBack(db: Db, log: Log, all = false): Promise<boolean> {
  const [present, folded] = [await currentIncarnation(log.journal), await incarnationOf(db)];
  if (folded !== null && present.id !== folded) return true;
  const reached = await furthest(db);
  if (reached !== null && reached > ((await log.end()) ?? -1n)) return true;
  const standing = await Promise.all((await lastOfOrigins(db, all ? null : HEADS)).map((audited) => stands(log, audited)));
  return standing.includes(false);
}

/** Where audit and log part; `null`: the log holds all that was folded. */
async function whereSetBack(db: Db, log: Log, all: boolean): Promise<SetBack | null> {
  const last = await lastAudited(db, null, null);
  if (last === null) return null;
  // The log was restored up to where a life began; what stands beyond was written since.
  const began = (await unseenLives(db, log))[0]?.position ?? null;
  const heads = await Promise.all((await lastOfOrigins(db, all ? null : HEADS)).map((audited) => stands(log, audited)));
  if (!heads.includes(false) && (await stands(log, last))) {
    if (began === null || last.position < began) return null;
    if ((await firstDifferenceFrom(db, log, began)) === null) return null;
  }
  const common = await lastCommon(db, log, began);
  return common === last.position ? null : { common, folded: last.position };
}

/** The position of the last event that audit and log both have, by binary search over the audit; `null`: they have none in common. */
async function lastCommon(db: Db, log: Log, before: Position | null): Promise<Position | null> {
  let above = before === null ? null : before - 1n;
  for (;;) {
    const found = await lastStanding(db, log, above);
    if (found === null) return null;
    const differs = await firstDifference(log, await auditedUpTo(db, found, WINDOW), found);
    if (differs === null) return found;
    above = differs - 1n;
  }
}

async function lastStanding(db: Db, log: Log, upTo: bigint | null): Promise<Position | null> {
  const last = await lastAudited(db, null, upTo);
  if (last === null) return null;
  if (await stands(log, last)) return last.position;
  // Invariant: no audited event lies in (common, low]; none above `high` stands.
  let [common, low, high]: [Position | null, bigint, bigint] = [null, -1n, last.position - 1n];
  while (low < high) {
    const middle = low + (high - low + 1n) / 2n;
    const at = await lastAudited(db, low, middle);
    if (at === null) low = middle;
    else if (await stands(log, at)) [common, low] = [at.position, middle];
    else high = at.position - 1n;
  }
  return common;
}

/** The position of the first audited event from `from` on that the log does not have at its position, found page by page; `null`: the log has them all. */
export async function firstDifferenceFrom(
  db: Db,
  log: Pick<Log, "readAll">,
  from: Position,
  pageRows = WINDOW,
): Promise<Position | null> {
  for (let after: bigint = from - 1n; ; ) {
    const page = await auditedAfter(db, after, pageRows);
    const last = page.at(-1);
    if (last === undefined) return null;
    after = last.position;
    const differs = await firstDifference(log, page, last.position);
    if (differs !== null || page.length < pageRows) return differs;
  }
}

/** The position of the first of these events that the log does not have there; `null`: it has them all. The log may have more: events that shards have not folded yet. */
async function firstDifference(log: Pick<Log, "readAll">, folded: readonly Audited[], upTo: Position): Promise<Position | null> {
  if (folded[0] === undefined) return null;
  let at = 0;
  for await (const { head, position } of log.readAll({ from: folded[0].position, to: upTo })) {
    const next = folded[at];
    if (next === undefined || position > next.position) break;
    if (position === next.position && (next.origin !== head.origin || next.seq !== head.seq)) break;
    if (position === next.position) at++;
  }
  return folded[at]?.position ?? null;
}

/** Notes all lives of the log; the last is the one that is folded. */
async function noteLives(db: Db, log: Log, common: Position | null, beyond: number): Promise<void> {
  const lives = await incarnations(log.journal);
  for (const [at, { id, how }] of lives.entries()) {
    const isPresent = at === lives.length - 1;
    await noteIncarnation(db, { id, how, common: isPresent ? common : null, beyond: isPresent ? beyond : 0 });
  }
}

export interface KeepUpDeps extends RebuildDeps {
  readonly say: (event: Record<string, unknown>) => void;
  /** Throws where views are declared otherwise than they stand and this process may not rebuild them. */
  readonly mayChange: () => Promise<readonly string[]>;
  /** An event was found in the audit already: all origins must be looked at. */
  readonly isDoubted: boolean;
}

/**
 * Sees to it that the views show what the log holds. Compares both; where the log was set back, keeps what was beyond as evidence and folds again after the last
 * common event. One process does this, under the lock that swaps use; others wait, and find it done.
 */
export async function keepUpWithLog(deps: KeepUpDeps): Promise<void> {
  const { db, log, isDoubted } = deps;
  if (await mayBeSetBack(db, log, isDoubted)) await alone(db, true, () => comeBack(deps));
  await noteLives(db, log, null, 0);
}

async function comeBack(deps: KeepUpDeps): Promise<void> {
  const { db, log, say, isDoubted } = deps;
  const found = await whereSetBack(db, log, isDoubted);
  const before = await incarnationOf(db);
  if (found === null) {
    await positionsBack(deps);
    const lives = await incarnations(log.journal);
    // The log has lost only the facts about its lives.
    if (before !== null && !lives.some(({ id }) => id === before)) await newLife(deps, null);
    return;
  }
  const { common, folded } = found;
  // Nobody goes on meanwhile: a process that holds shards finds them taken, and comes to wait here.
  await takeShardsFromAll(db);
  const life = await newLife(deps, folded);
  const said = { folded: folded.toString(), common: common?.toString() ?? null, incarnation: life.id, how: life.how };
  say({ event: "log-behind-audit", ...said });
  let beyond = 0;
  await rebuild(
    {
      ...deps,
      setBack: {
        atMost: (position) => (position === null || common === null ? null : position > common ? common : position),
        async cut(swapping) {
          beyond = await cutBeyond(swapping, before, common);
          await takeForks(swapping, log, true);
          await noteLives(swapping, log, common, beyond);
        },
      },
    },
    { names: deps.views.map(({ name }) => name), retired: await deps.mayChange(), fresh: true, ...stopping(deps) },
  );
  say({ event: "log-folded-anew", ...said, beyond });
}

/** The life of a log that was set back: the one that was declared for it, or a new one that begins because the setback was noticed. */
async function newLife({ db, log }: KeepUpDeps, folded: Position | null): Promise<Incarnation> {
  const present = await currentIncarnation(log.journal);
  if ((await unseenLives(db, log)).some(({ id }) => id === present.id)) return present;
  return beginIncarnation(log.journal, present.id, {
    how: "detected",
    by: "projector",
    note: "the log holds less than what had been folded of it",
    ...(folded === null ? {} : { seenEnd: folded.toString() }),
  });
}

/** Sets shards back where no folded event is lost but the log ends before the position that it had been read to: new events may stand before that position. */
async function positionsBack({ db, say }: KeepUpDeps): Promise<void> {
  const to = (await lastAudited(db, null, null))?.position ?? null;
  const shards = await inTransaction(db, async () => {
    const moved = await setPositionsBack(db, to);
    if (moved > 0) {
      // A page that another process wrote before the feed is made again would be all that the feed says of its entities.
      await takeShardsFromAll(db);
      await clearFeedBeyond(db, to);
      await tellSwapped(db, [...(await generationsOf(db, "live")).keys()]);
    }
    return moved;
  });
  if (shards > 0) say({ event: "positions-set-back", to: to?.toString() ?? null });
}
