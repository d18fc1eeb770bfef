/**
 * What is to be done to bring the feeds of buckets in line with the views: after a swap, after the books were balanced, where a view says by other columns than before which bucket an entity is in, and where
 * there is no feed yet. It is noted in the transaction that makes it necessary, and done in parts (`feed-in-line.ts`). What was sealed never changes.
 */
import type { Position } from "../core/index.ts";
import { type Projection, scopedViews, type View } from "../merge/engine.ts";
import { type Generation, generationsOf, isBuiltAs } from "./catalog.ts";
import type { Db } from "./connect.ts";
import { lockFeed } from "./write/feed.ts";

/** Under this name stands that the feed has the quarantined events and the notes on cases. No entity type has it. */
export const OTHERS = "";

/** What is to be done to an entity type's lines: 018_scopes.sql says it of each. */
export type Due = "new" | "moved" | "same" | "gone";

/** How an entity type's lines are made. */
export interface Made {
  readonly type: string;
  readonly view: string;
  /** The view's scope columns, as JSON. */
  readonly columns: string;
  readonly due: Due | null;
  readonly doneTo: string | null;
}

export const columnsOf = ({ scopeBy }: Projection): string => JSON.stringify(scopeBy ?? []);

/** How the lines of each entity type are made. */
export async function scopesMade(db: Db): Promise<Map<string, Made>> {
  const { rows } = await db.query<Made & Record<string, unknown>>(
    `SELECT entity_type AS type, view, columns::text AS columns, due, done_to AS "doneTo" FROM tributary.feed_scope ORDER BY entity_type`,
  );
  return new Map(rows.map((made) => [made.type, made]));
}

/** Whether the feed is made for the scope columns of these views, or that has begun. */
export async function isFeedInLine(db: Db, views: readonly View[]): Promise<boolean> {
  const made = await scopesMade(db);
  const homes = scopedViews(views);
  const isMade = ([type, home]: [string, Projection]): boolean => {
    const of = made.get(type);
    return of?.columns === columnsOf(home) && of.due !== "gone";
  };
  const isKnown = ({ type, due }: Made): boolean => type === OTHERS || due === "gone" || homes.has(type);
  return made.has(OTHERS) && [...homes].every(isMade) && [...made.values()].every(isKnown);
}

/** Whether anything is still to be done. */
export async function isFeedDue(db: Db): Promise<boolean> {
  const { rows } = await db.query({ name: "feed-due", text: "SELECT FROM tributary.feed_scope WHERE due IS NOT NULL LIMIT 1" });
  return rows.length > 0;
}

/** Whether lines were made by a live view that these views lack: a process that does not declare it leaves them as they are. */
export const isOthers = (made: Made | undefined, views: readonly View[], live: ReadonlyMap<string, Generation>): boolean =>
  made !== undefined && live.has(made.view) && !views.some(({ name }) => name === made.view);

/**
 * Notes what is to be done, inside the caller's transaction, which holds the shards still. `views`: all that are declared; `rebuilt`: those whose rows may have changed otherwise than by events. Where a
 * view has another scope than before, replicas are told nothing until all is made and sealed.
 */
export async function beginFeed(db: Db, views: readonly View[], rebuilt: ReadonlySet<string>): Promise<void> {
  const made = await scopesMade(db);
  const live = await generationsOf(db, "live");
  const homes = scopedViews(views);
  let isChanged = false;
  for (const home of homes.values()) {
    const before = made.get(home.entity);
    const isSame = before?.columns === columnsOf(home) && before.due !== "gone";
    // What is due for a view that was the home before is due for this one now: nobody else would do it.
    const isOurs = isSame && (before.due === null || before.view === home.name);
    if (!isBuiltAs(home, live) || isOthers(before, views, live) || (isOurs && !rebuilt.has(home.name))) continue;
    isChanged ||= before !== undefined && before.columns !== columnsOf(home);
    await noteDue(db, { type: home.entity, view: home.name, columns: columnsOf(home), due: dueOf(before, isSame) });
  }
  for (const before of made.values())
    if (before.type !== OTHERS && !homes.has(before.type) && !isOthers(before, views, live))
      await noteDue(db, { ...before, due: "gone" });
  if (!made.has(OTHERS)) await noteDue(db, { type: OTHERS, view: "", columns: "[]", due: "new" });
  if (isChanged) await shutFeed(db);
}

/** What was begun and is not done yet is part of what is to be done now. */
function dueOf(before: Made | undefined, isSame: boolean): Due {
  if (before === undefined || before.due === "new" || before.due === "gone") return "new";
  return isSame && before.due !== "moved" ? "same" : "moved";
}

async function noteDue(db: Db, { type, view, columns, due }: Omit<Made, "doneTo">): Promise<void> {
  await db.query(
    `INSERT INTO tributary.feed_scope (entity_type, view, columns, due, done_to) VALUES ($1, $2, $3, $4, '')
     ON CONFLICT (entity_type) DO UPDATE SET view = excluded.view, columns = excluded.columns, due = excluded.due, done_to = excluded.done_to`,
    [type, view, columns, due],
  );
}

/** Tells replicas nothing from the end of the caller's transaction on, until all lines that are due are made and sealed. */
export async function shutFeed(db: Db): Promise<void> {
  await db.query("INSERT INTO tributary.feed_shut (through) VALUES (NULL) ON CONFLICT (one) DO UPDATE SET through = NULL");
}

/** Empties the feed, so that it is made again. Seals stay: their numbers go on. So does what replicas owe. */
export async function clearFeed(db: Db): Promise<void> {
  await lockFeed(db);
  for (const table of ["feed", "member", "held", "segment", "feed_note", "feed_scope"])
    await db.query(`DELETE FROM tributary.${table}`);
}

/** Empties the feed if it, or a seal, goes beyond a position that the log is set back to (`null`: the log's beginning). */
export async function clearFeedBeyond(db: Db, to: Position | null): Promise<void> {
  const { rows } = await db.query<{ beyond: boolean }>(
    `SELECT EXISTS (SELECT FROM tributary.feed WHERE position > $1) OR EXISTS (SELECT FROM tributary.seal WHERE through > $1) AS beyond`,
    [to ?? -1n],
  );
  if (rows[0]?.beyond) await clearFeed(db);
}
