import type { Client } from "pg";
import { type Position, TributaryError } from "../core/index.ts";
import { heapKeeper } from "../core/node.ts";
import type { Totals } from "../merge/engine.ts";
import type { Projection } from "../merge/index.ts";
import { comparedColumns, hashOf } from "./compare.ts";
import { inSavepoint, inTransaction } from "./connect.ts";
import { isOfData } from "./failures.ts";
import {
  beginBuild,
  dropGeneration,
  familyOf,
  type Generation,
  generationsOf,
  isBuiltAs,
  livePositions,
  pinsFor,
} from "./generations.ts";
import { StaleViewError } from "./prepare.ts";
import {
  holdShards,
  isWaitedFor,
  openBuild,
  type Progress,
  type RebuildDeps,
  type RebuildOptions,
  unhurried,
} from "./rebuild.ts";
import { least } from "./shards.ts";
import { at, LIVE, q } from "./tables.ts";

/** Leaves of the checksum tree: rows are dealt out to them by the hash of their id. */
const LEAVES = 4_096;
/** Each inner node has so many children, so that a differing leaf is found in three steps. */
const FAN = 16;
/** Entities of each view that are held in memory, and events that are folded at a time. With a rebuild's 50,000 and 5,000 it took 975 MiB at 300,000 events. */
const HOT_ENTITIES = 2_000;
const BATCH_EVENTS = 1_000;
/** How often is looked whether a projector waits. */
const LOOK_MS = 500;
/** Rows that are named, of those that differ; all are counted, and mended. */
const MAX_NAMED = 50;

export interface Reconciled {
  readonly view: string;
  readonly rows: number;
  /** Checksums that were compared: one where all is well. */
  readonly comparisons: number;
  readonly differing: number;
  readonly named: readonly string[];
  readonly repaired: boolean;
  /** Rows that differ and that the live tables refuse, which therefore stay as they are. */
  readonly refused: readonly string[];
  /** Why it was not compared; `null`: it was. */
  readonly notCompared: string | null;
  readonly position: string | null;
}

/**
 * Balances the books: folds the log of `names` (and what is built with them) anew beside the live views, and compares both by checksums, from the whole
 * down to the rows that differ. With `repair` those rows, their rows of many, claims and totals are put right in the transaction that compared.
 * Nothing else of the live views is touched; projectors wait while checksums are compared, readers never.
 */
export async function reconcile(
  deps: RebuildDeps,
  options: Pick<RebuildOptions, "names" | "maxEventsPerSecond" | "onProgress" | "signal"> & { readonly repair: boolean },
): Promise<Reconciled[]> {
  const { db, gate, views } = deps;
  const family = familyOf(views, options.names);
  const standing = await generationsOf(db, "live");
  for (const view of family)
    if (!isBuiltAs(view, standing))
      throw new TributaryError(
        "projection-malformed",
        `${view.name} is declared otherwise than the live view was built`,
        "`tributary rebuild` brings the view in line with its declaration; books are balanced after that.",
      );
  // Read as the live views read: what a newer version would show besides is no difference.
  const builds = await beginBuild(
    db,
    gate,
    family,
    true,
    "reconciling",
    (view) => standing.get(view.name)?.readers ?? pinsFor(gate, view),
  );
  try {
    const build = await openBuild({ ...deps, maxHotEntities: HOT_ENTITIES }, family, builds);
    const keepHeap = heapKeeper();
    const giveWay = waysToGive(deps.reader);
    const onProgress = (progress: Progress): void => {
      keepHeap();
      giveWay();
      options.onProgress?.(progress);
    };
    await unhurried(deps, build, { ...options, batchEvents: BATCH_EVENTS, onProgress });
    return await inTransaction(db, async () => {
      await holdShards(db);
      const live = await livePositions(db);
      await build.foldRest(live);
      const out: Reconciled[] = [];
      for (const each of builds)
        out.push(await balance(db, each, family.find(({ name }) => name === each.view)!, least(live), options.repair));
      // States that projectors hold in memory may be of the rows that were wrong: they look again.
      if (out.some(({ repaired }) => repaired)) await db.query("UPDATE tributary.shard SET layout = layout + 1");
      for (const { position, view, rows, comparisons, named, repaired } of out) {
        await db.query(
          "INSERT INTO tributary.reconciliation (position, view, rows, comparisons, differing, repaired) VALUES ($1, $2, $3, $4, $5, $6)",
          [position, view, rows, comparisons, JSON.stringify(named), repaired],
        );
      }
      return out;
    });
  } catch (error) {
    if (!(error instanceof StaleViewError)) throw error;
    throw new TributaryError(
      "schema-incompatible",
      `the live views cannot read what has just been registered: ${error.message}`,
      "A running projector builds them anew by itself; balance the books after that.",
      { cause: error },
    );
  } finally {
    for (const each of builds) await dropGeneration(db, each).catch(() => {});
  }
}

/** Looks now and then whether a projector waits for the lock; what is returned throws when one does. Books can be balanced later, and nothing is folded meanwhile. */
function waysToGive(db: Client): () => void {
  let lookedAtMs = performance.now();
  let isWaited = false;
  return () => {
    if (isWaited)
      throw new TributaryError(
        "already-running",
        "a projector waits to bring the views in line, and goes first",
        "Balance the books again when `tributary lag` says that the views follow.",
      );
    if (performance.now() - lookedAtMs < LOOK_MS) return;
    lookedAtMs = performance.now();
    isWaitedFor(db).then(
      (waited) => {
        isWaited = waited;
      },
      () => {},
    );
  };
}

/** A table that is compared: its rows belong to what stands in `key`. */
interface Part {
  readonly table: string;
  readonly key: string;
  readonly columns: readonly string[];
}

/** The tables of a view that the log explains row by row. Its past is not among them: it says when things were folded, too. */
function partsOf(view: Projection | Totals): Part[] {
  if (view.kind === "totals") return [{ table: view.name, key: "id", columns: comparedColumns(view) }];
  return [
    // The state too: what comes later is built on it.
    { table: view.name, key: "id", columns: [...comparedColumns(view), "first_position", "last_position", "state"] },
    ...Object.entries(view.tables).map(([name, { columns }]) => ({
      table: `${view.name}_${name}`,
      key: "id",
      columns: ["n", ...Object.keys(columns)],
    })),
    ...(Object.keys(view.invariants).length === 0
      ? []
      : [{ table: `${view.name}_claims`, key: "entity_id", columns: ["invariant", "key", "events"] }]),
  ];
}

async function balance(
  db: Client,
  { view, place }: Generation,
  declared: Projection | Totals,
  position: Position | null,
  repair: boolean,
): Promise<Reconciled> {
  const parts = partsOf(declared);
  const wrong = new Set<string>();
  // Their rows stand as of before what they stopped at, here or there: that is told by `parked list`, and is no wrong row.
  const parked = await parkedOf(db, view);
  let comparisons = 1;
  let rows = 0;
  for (const [i, part] of parts.entries()) {
    const [live, built] = [await leavesOf(db, LIVE, part), await leavesOf(db, place, part)];
    const found = differingLeaves(live.sums, built.sums);
    // One checksum stands over all parts of a view.
    comparisons += found.comparisons - 1;
    if (i === 0) rows = built.rows;
    if (found.differing.length > 0)
      for (const key of await differingKeys(db, place, part, found.differing)) if (!parked.has(key)) wrong.add(key);
  }
  const differs = declared.kind === "totals" ? await parkedInOne(db, [...declared.sources.keys()]) : 0;
  const ids = differs > 0 ? [] : [...wrong].sort();
  const refused = repair ? await putRight(db, place, parts, ids) : [];
  return {
    view,
    rows,
    comparisons,
    differing: ids.length,
    named: ids.slice(0, MAX_NAMED),
    repaired: repair && ids.length > 0 && refused.length === 0,
    refused,
    notCompared: differs === 0 ? null : `${differs} entities that it adds up are parked`,
    position: position?.toString() ?? null,
  };
}

/** Puts rows in the place of those that are wrong; returns those that the live tables refuse, which stay as they are. */
async function putRight(db: Client, place: string, parts: readonly Part[], ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const put = async (some: readonly string[]): Promise<void> => {
    for (const { table, key } of parts) {
      await db.query(`DELETE FROM ${at(LIVE, table)} WHERE ${q(key)} = ANY($1)`, [some]);
      await db.query(`INSERT INTO ${at(LIVE, table)} SELECT * FROM ${at(place, table)} WHERE ${q(key)} = ANY($1)`, [some]);
    }
  };
  try {
    await inSavepoint(db, () => put(ids));
    return [];
  } catch (error) {
    if (!(await isOfData(db, [], error))) throw error;
    if (ids.length === 1) return [...ids];
    const middle = Math.ceil(ids.length / 2);
    return [
      ...(await putRight(db, place, parts, ids.slice(0, middle))),
      ...(await putRight(db, place, parts, ids.slice(middle))),
    ];
  }
}

/** Entities of a view that are parked, live or in a build that is compared with it. */
async function parkedOf(db: Client, view: string): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT DISTINCT p.entity_id AS id FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     WHERE view = $1 AND g.state IN ('live', 'reconciling')`,
    [view],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Entities that are parked in one of live view and build alone, by whatever only one of them refuses: what they add to totals is in one of them alone, too. */
async function parkedInOne(db: Client, views: readonly string[]): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM (SELECT 1 FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
       WHERE view = ANY($1) AND g.state IN ('live', 'reconciling') GROUP BY view, p.entity_id HAVING count(*) = 1) one`,
    [views],
  );
  return rows[0]!.count;
}

/** The leaf of the checksum tree that a row falls into. */
const leafOf = (key: string): string => `(hashtextextended(t.${q(key)}, 1) & ${LEAVES - 1})::int`;

/** The checksum of each leaf: the exclusive or of its rows' hashes, and how many they are. */
async function leavesOf(
  db: Client,
  place: string,
  { table, key, columns }: Part,
): Promise<{ readonly sums: readonly string[]; readonly rows: number }> {
  const { rows } = await db.query<{ leaf: number; sum: string; count: string }>(
    `SELECT ${leafOf(key)} AS leaf, bit_xor(${hashOf("t", [key, ...columns])})::text AS sum, count(*) AS count FROM ${at(place, table)} t GROUP BY 1`,
  );
  const sums: string[] = Array.from({ length: LEAVES }, () => "");
  let total = 0;
  for (const { leaf, sum, count } of rows) {
    sums[leaf] = `${sum}/${count}`;
    total += Number(count);
  }
  return { sums, rows: total };
}

/** Leaves whose checksums differ, found from the root down; what agrees above is not looked into. */
export function differingLeaves(
  a: readonly string[],
  b: readonly string[],
): { readonly differing: number[]; readonly comparisons: number } {
  let comparisons = 0;
  const differing: number[] = [];
  const look = (from: number, width: number): void => {
    comparisons++;
    const isEqual = a.slice(from, from + width).join(";") === b.slice(from, from + width).join(";");
    if (isEqual) return;
    if (width === 1) differing.push(from);
    else for (let child = 0; child < FAN; child++) look(from + (child * width) / FAN, width / FAN);
  };
  look(0, a.length);
  return { differing, comparisons };
}

/** What rows of these leaves belong to, where live and built are not the same. */
async function differingKeys(
  db: Client,
  place: string,
  { table, key, columns }: Part,
  leaves: readonly number[],
): Promise<string[]> {
  const inLeaves = (from: string): string =>
    `(SELECT t.${q(key)} AS key, bit_xor(${hashOf("t", columns)}) AS sum, count(*) AS count FROM ${at(from, table)} t
      WHERE ${leafOf(key)} = ANY($1) GROUP BY 1)`;
  const { rows } = await db.query<{ key: string }>(
    `SELECT coalesce(l.key, b.key) AS key FROM ${inLeaves(LIVE)} l FULL JOIN ${inLeaves(place)} b ON l.key = b.key
     WHERE l.key IS NULL OR b.key IS NULL OR l.sum <> b.sum OR l.count <> b.count`,
    [leaves],
  );
  return rows.map(({ key }) => key);
}
