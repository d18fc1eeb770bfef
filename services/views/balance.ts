/** Balances the books of a view: compares what its tables hold with a build that was just folded from the log. */

import type { Position } from "../core/index.ts";
import type { Projection, Totals } from "../merge/engine.ts";
import type { Generation } from "./catalog.ts";
import { differingKeys, differingLeaves, leavesOf, type Part } from "./checksums.ts";
import { comparedColumns } from "./compare.ts";
import { type Db, inSavepoint } from "./connect.ts";
import { isOfData } from "./failures.ts";
import { at, LIVE, q } from "./names.ts";

/** How many of the rows that differ are named; all are counted and put right. */
const MAX_NAMED = 50;

/** What balancing the books of a view found. */
export interface Reconciled {
  readonly view: string;
  readonly rows: number;
  /** How many checksums were compared; one where nothing differs. */
  readonly comparisons: number;
  readonly differing: number;
  readonly named: readonly string[];
  readonly repaired: boolean;
  /** Rows that differ and stay as they are, since the live tables refuse the right ones. */
  readonly refused: readonly string[];
  /** Why the view was not compared; `null`: it was. */
  readonly notCompared: string | null;
  readonly position: Position | null;
}

/** The tables of a view whose rows follow from the log alone. The past is not among them: it also depends on when events were folded. */
function partsOf(view: Projection | Totals): Part[] {
  if (view.kind === "totals") return [{ table: view.name, key: "id", columns: comparedColumns(view) }];
  return [
    // The state too: later events are folded into it.
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

/** Compares a build with the live view; with `repair`, puts right what differs. Runs inside the caller's transaction, which holds the shards still. */
export async function balance(
  db: Db,
  { view, namespace }: Generation,
  declared: Projection | Totals,
  { position, repair }: { readonly position: Position | null; readonly repair: boolean },
): Promise<Reconciled> {
  const parts = partsOf(declared);
  const wrong = new Set<string>();
  // The rows of parked entities stand as of before the event that stopped them, in the live view or the build: `parked list` tells that, and it is not an error.
  const parked = await parkedOf(db, view);
  let comparisons = 1;
  let rows = 0;
  for (const [i, part] of parts.entries()) {
    const [live, built] = [await leavesOf(db, LIVE, part), await leavesOf(db, namespace, part)];
    const found = differingLeaves(live.sums, built.sums);
    // All parts of a view share one checksum at the top.
    comparisons += found.comparisons - 1;
    if (i === 0) rows = built.rows;
    if (found.differing.length > 0)
      for (const key of await differingKeys(db, namespace, part, found.differing)) if (!parked.has(key)) wrong.add(key);
  }
  const differs = declared.kind === "totals" ? await parkedInOne(db, [...declared.sources.keys()]) : 0;
  const ids = differs > 0 ? [] : [...wrong].sort();
  const refused = repair ? await putRight(db, namespace, parts, ids) : [];
  return {
    view,
    rows,
    comparisons,
    differing: ids.length,
    named: ids.slice(0, MAX_NAMED),
    repaired: repair && ids.length > 0 && refused.length === 0,
    refused,
    notCompared: differs === 0 ? null : `${differs} entities that it adds up are parked`,
    position,
  };
}

/** Replaces wrong rows by those of the build. Returns the ids of the rows that the live tables refuse, which stay as they are. */
async function putRight(db: Db, namespace: string, parts: readonly Part[], ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const put = async (some: readonly string[]): Promise<void> => {
    for (const { table, key } of parts) {
      await db.query(`DELETE FROM ${at(LIVE, table)} WHERE ${q(key)} = ANY($1)`, [some]);
      await db.query(`INSERT INTO ${at(LIVE, table)} SELECT * FROM ${at(namespace, table)} WHERE ${q(key)} = ANY($1)`, [some]);
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
      ...(await putRight(db, namespace, parts, ids.slice(0, middle))),
      ...(await putRight(db, namespace, parts, ids.slice(middle))),
    ];
  }
}

/** Entities of a view that are parked in the live view or in the build that is compared with it. */
async function parkedOf(db: Db, view: string): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT DISTINCT p.entity_id AS id FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     WHERE view = $1 AND g.state IN ('live', 'reconciling')`,
    [view],
  );
  return new Set(rows.map(({ id }) => id));
}

/** How many entities are parked in only one of live view and build, because only one refuses something of them: what they add to totals then differs, too. */
async function parkedInOne(db: Db, views: readonly string[]): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM (SELECT 1 FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
       WHERE view = ANY($1) AND g.state IN ('live', 'reconciling') GROUP BY view, p.entity_id HAVING count(*) = 1) one`,
    [views],
  );
  return rows[0]!.count;
}

/** Keeps what balancing found, for whoever asks when the books were balanced last. */
export async function noteReconciled(db: Db, { position, view, rows, comparisons, named, repaired }: Reconciled): Promise<void> {
  await db.query(
    "INSERT INTO tributary.reconciliation (position, view, rows, comparisons, differing, repaired) VALUES ($1, $2, $3, $4, $5, $6)",
    [position, view, rows, comparisons, JSON.stringify(named), repaired],
  );
}
