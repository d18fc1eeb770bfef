/**
 * The sealer: lines up to the position that all shards have reached get a seal. Each projector has one; PostgreSQL lets one of them seal at a time.
 *
 * In one transaction: lines, digests and segments are written; the heads are written into the log as facts; the transaction is committed. So the fact comes first, and no reader is ever shown
 * a head that the log does not have. If the process ends between the two, the log has a number whose heads nobody saw. That number is used up: the next seal finds that the log has gone on, and takes a number
 * after it. The other way round, losing PostgreSQL between the two would let one number come twice, with two heads.
 */
import { type Hash, messageOf, type Position, TributaryError } from "../core/index.ts";
import { pause, sha256Hex } from "../core/node.ts";
import { type HeadsSoFar, type Log, noteHeads, readHeads } from "../log/index.ts";
import type { View } from "../merge/engine.ts";
import {
  type BeforeSealing,
  beforeSealing,
  boundShut,
  connectViews,
  type Db,
  type EventName,
  type FeedStanding,
  feedStanding,
  inTransaction,
  type LinesToSeal,
  linesToSeal,
  lockSealing,
  openFeedAgain,
  placeCaseNotes,
  refuseNewer,
  SEALER_NAME,
  type Sealed,
  seal,
  shutFeed,
  writeBeginning,
  writeSeal,
  writeSealed,
} from "../views/index.ts";
import { makeFeed } from "./feed-maker.ts";

/** How often we look whether there is something to seal. */
const LOOK_MS = 200;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** The most lines under one seal: what a transaction holds in memory. */
const MAX_LINES = 20_000;

export interface SealerOptions {
  readonly postgresUrl: string;
  readonly log: Pick<Log, "journal" | "at" | "readAll">;
  /** All views as they are declared: the lines that are due for them are made before anything is sealed. Default: others make them. */
  readonly projections?: readonly View[];
  readonly say?: (event: Record<string, unknown>) => void;
  readonly signal: AbortSignal;
}

/** Makes lines that are due, and seals, until `signal` aborts. What fails is told and tried again. */
export async function keepSealing({
  postgresUrl,
  log,
  projections: views,
  say = () => {},
  signal,
}: SealerOptions): Promise<void> {
  const sealer = sealerOver(log);
  let db: Db | null = null;
  let pauseMs = MIN_PAUSE_MS;
  while (!signal.aborted) {
    try {
      if (db === null) {
        db = await connectViews(postgresUrl, SEALER_NAME);
        // A newer version ended the connection before this one: it makes and seals lines otherwise.
        await refuseNewer(db);
      }
      if (views !== undefined) await makeFeed({ db, views, say }, { signal });
      const lines = await sealer.seal(db);
      pauseMs = MIN_PAUSE_MS;
      // Not at once after a few: each seal is a fact in the log.
      if (lines < MAX_LINES) await pause(LOOK_MS, signal);
    } catch (error) {
      await db?.end().catch(() => {});
      db = null;
      if (signal.aborted) break;
      say({ event: "sealing-interrupted", message: messageOf(error), pauseMs });
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    }
  }
  await db?.end().catch(() => {});
}

/** What was to be sealed has changed meanwhile: lines were taken back, or the log's facts went on. All is undone, and looked at again. */
class Overtaken extends Error {}

/** Where the next seal stands in the log: its number comes after `seal`, its facts after `revision`. */
interface Next {
  readonly seal: number;
  readonly revision: number;
}

export interface Sealer {
  /** Seals what may be sealed, at most `maxLines` lines. Returns how many lines were: 0 where there are none, another process is at it, or something has changed meanwhile. */
  seal(db: Db): Promise<number>;
}

/** `maxLines`: the most lines under one seal. `maxHeads`: the most heads in one fact. */
export function sealerOver(
  log: SealerOptions["log"],
  { maxLines = MAX_LINES, maxHeads }: { readonly maxLines?: number; readonly maxHeads?: number } = {},
): Sealer {
  /** What the log's facts say, where the database does not know, or says otherwise; `null`: not read. */
  let facts: HeadsSoFar | null = null;
  let isOvertaken = false;
  const deps = { log, maxLines, maxHeads };
  const sealOnce = async (db: Db): Promise<number> => {
    if (!(await lockSealing(db))) return 0;
    const standing = await feedStanding(db);
    if (!canSeal(standing)) return 0;
    if (standing.isShut) await boundShut(db);
    // A note is placed by its entity's bucket, which may not be made yet.
    if (!standing.isMaking) await placeCaseNotes(db, standing.common);
    const doesKnow = !standing.isNew && standing.revision !== null && !isOvertaken;
    // What the database knows of the facts need not be read again: there may be very many.
    const from = standing.isNew || standing.revision === null ? 0 : standing.revision + 1;
    facts = doesKnow ? null : (facts ?? (await readHeads(log.journal, from)));
    // The log or the database has seals, and there are none to be seen.
    const isAnew = standing.isNew && facts !== null && (facts.seal > 0 || standing.number > 0);
    if (isAnew && !standing.isWaiting) return 0;
    const lines =
      isAnew && facts !== null
        ? await beginAnew(db, deps, standing, facts)
        : (await sealNext(db, deps, standing, nextAfter(standing, facts))).lines;
    if (standing.isShut || isAnew) await openFeedAgain(db);
    return lines;
  };
  return {
    async seal(db) {
      if (!canSeal(await feedStanding(db))) return 0;
      try {
        const lines = await inTransaction(db, () => sealOnce(db));
        if (lines > 0) isOvertaken = false;
        return lines;
      } catch (error) {
        if (!(error instanceof Overtaken)) throw error;
        [facts, isOvertaken] = [null, true];
        return 0;
      }
    },
  };
}

type Ready = FeedStanding & { readonly common: Position };
/**
 * A shut feed is sealed once all of it is made, and so is one that begins: by a part of a bucket, replicas would delete the rest. A shut feed without lines is looked at too, so that it is opened again.
 */
const canSeal = (standing: FeedStanding): standing is Ready =>
  standing.common !== null &&
  !(standing.isMaking && (standing.isShut || standing.isNew)) &&
  (standing.isWaiting || standing.isShut);

/** Where the log's facts were read, they count: somebody may have written since the last seal, or the log may have been set back. */
const nextAfter = ({ number, revision }: FeedStanding, facts: HeadsSoFar | null): Next => ({
  seal: Math.max(number, facts?.seal ?? 0),
  revision: facts?.revision ?? revision ?? -1,
});

interface Deps {
  readonly log: SealerOptions["log"];
  readonly maxLines: number;
  readonly maxHeads: number | undefined;
}

/**
 * Begins the seals of a feed that is made anew: PostgreSQL was lost, or the log was set back. Nothing is sealed before the views are where they were. The seals that follow bring all lines in parts; until then
 * replicas are told nothing: one that compared itself with a part of a bucket would delete the rest.
 */
async function beginAnew(db: Db, deps: Deps, standing: Ready, facts: HeadsSoFar): Promise<number> {
  const { common } = standing;
  if (await isBehind(deps.log, common, facts.through)) return 0;
  let next = nextAfter(standing, facts);
  await shutFeed(db);
  await boundShut(db);
  if (facts.heads.size > 0) {
    const begun = { number: next.seal + 1, through: common };
    next = await note(db, deps, next, { ...begun, heads: await writeBeginning(db, facts.heads, begun) });
  }
  // What was sealed before may go beyond a log that was set back.
  return (await sealNext(db, deps, { ...standing, through: null }, next)).lines;
}

/** Whether the log has events after `position`, up to `through`. */
async function isBehind(log: Pick<Log, "readAll">, position: Position, through: Position | null): Promise<boolean> {
  if (through === null || through <= position) return false;
  for await (const entry of log.readAll({ from: position, to: through })) if (entry.position > position) return true;
  return false;
}

/** Seals the next lines. */
async function sealNext(db: Db, deps: Deps, standing: Ready, next: Next): Promise<{ lines: number; next: Next }> {
  const { rows, through } = await withHashes(deps.log, await linesToSeal(db, standing, deps.maxLines));
  if (rows.length === 0) return { lines: 0, next };
  const number = next.seal + 1;
  const before: BeforeSealing = await beforeSealing(db, rows);
  const sealed: Sealed = seal(rows, before, { number, through }, sha256Hex);
  if (!(await writeSealed(db, sealed))) throw new Overtaken("lines were sealed or taken back meanwhile");
  return { lines: rows.length, next: await note(db, deps, next, { number, through, heads: sealed.heads }) };
}

/** Writes a seal down: in the log first, then in the database. */
async function note(
  db: Db,
  { log, maxHeads }: Deps,
  { revision: after }: Next,
  { number, through, heads }: { readonly number: number; readonly through: Position; readonly heads: Sealed["heads"] },
): Promise<Next> {
  const written = { seal: number, through, heads: new Map(heads.map(({ bucket, head }) => [bucket, head])) };
  const revision = await noteHeads(log.journal, after, written, maxHeads);
  if (revision === null) throw new Overtaken("somebody else has written heads");
  await writeSeal(db, { number, through, revision });
  return { seal: number, revision };
}

/** Lines with the hashes that the audit could not hold: the log has them. */
async function withHashes(log: Pick<Log, "at">, lines: LinesToSeal): Promise<LinesToSeal> {
  if (lines.unknown.length === 0) return lines;
  const hashes = new Map<string, Hash>();
  const nameOf = ({ origin, seq }: EventName): string => `${origin}/${seq}`;
  for (const name of lines.unknown) {
    const entry = await log.at(name.origin, name.seq);
    if (entry === null)
      throw new TributaryError(
        "data-corrupt",
        `the log lacks event ${name.seq} of ${name.origin}, which is in the feed`,
        "Run `tributary audit verify`: it tells what else is missing.",
      );
    hashes.set(nameOf(name), entry.head.hash);
  }
  const rows = lines.rows.map((row) =>
    row.event === null || row.hash !== null ? row : { ...row, hash: hashes.get(nameOf(row.event)) ?? null },
  );
  return { ...lines, rows, unknown: [] };
}
