/** Asks for entities to be folded again whose events have got a place in a hub's order. */
import type { EntityRef, OrderedRun, Position } from "../../core/index.ts";
import { askInOrder } from "../asked.ts";
import type { Ordering } from "../changes.ts";
import type { Db } from "../connect.ts";
import { isPlacedBy } from "../read/places.ts";

/**
 * Whoever writes a note of places, or an event that a note may place, holds this lock; an arbitrary number of ours.
 *
 * It is taken before any entity is asked to be folded again (`tributary.refold`), never after: a note asks for entities of all shards, and would wait for a row that a page of another process has asked for, while
 * that page waits for this lock. Between this lock and the end of the transaction nothing is waited for but rows of `tributary.refold`.
 */
const ORDER_LOCK = 7_401_117;
/** What an event is about for views: a release from quarantine, what it releases. */
const ABOUT = `LEFT JOIN tributary.quarantine q ON q.settled_position = a.position AND q.state = 'released'`;
const [TYPE, ID] = ["coalesce(q.entity_type, a.entity_type)", "coalesce(q.entity_id, a.entity_id)"];

/** Keeps others from writing what this page's notes may place, or notes that may place this page's events, until the caller's transaction ends. Call it before `askWaiting`. */
export async function lockOrder(db: Db, { noted, unplaced }: Ordering): Promise<void> {
  if (noted.length === 0 && unplaced.length === 0) return;
  await db.query(`SELECT pg_advisory_xact_lock${noted.length > 0 ? "" : "_shared"}($1)`, [ORDER_LOCK]);
}

/**
 * Asks for what a page's notes of places and what it has of unplaced events concern, once both are in the audit. Of a note and an event that two processes write at the same time, whoever is second finds
 * what the first has written. `by`: the projector that asks, and folds what is its own right after the page. Call it with the order locked (`lockOrder`).
 */
export async function askPlaced(db: Db, { noted, unplaced, views }: Ordering, by: number): Promise<void> {
  if (noted.length === 0 && unplaced.length === 0) return;
  const types = [...new Set(views.map(({ entity }) => entity))];
  const concerned = [...(await entitiesPlaced(db, noted, types)), ...(await entitiesNoted(db, unplaced, types))];
  const asked = views.flatMap(({ view, entity }) =>
    concerned.filter(({ type }) => type === entity).map((each) => ({ view, entity: each })),
  );
  await askInOrder(db, asked, by);
}

/** The entities of these types that events of runs are about, as far as the audit has them. `upTo`: events up to there only. */
export async function entitiesPlaced(
  db: Db,
  runs: readonly OrderedRun[],
  types: readonly string[],
  upTo: Position | null = null,
): Promise<EntityRef[]> {
  if (runs.length === 0) return [];
  const { rows } = await db.query<{ type: string; id: string }>(
    `SELECT DISTINCT ${TYPE} AS type, ${ID} AS id FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS x (origin, lower, upper)
     JOIN tributary.audit a ON a.origin = x.origin AND a.seq BETWEEN x.lower AND x.upper AND ($5::bigint IS NULL OR a.position <= $5) ${ABOUT}
     WHERE ${TYPE} = ANY($4) ORDER BY 1, 2`,
    [runs.map(({ origin }) => origin), runs.map(({ from }) => from), runs.map(({ through }) => through), types, upTo],
  );
  return rows;
}

/** The entities of these types of those events that some note places already. */
async function entitiesNoted(db: Db, events: Ordering["unplaced"], types: readonly string[]): Promise<EntityRef[]> {
  if (events.length === 0) return [];
  const { rows } = await db.query<{ type: string; id: string }>(
    `SELECT DISTINCT ${TYPE} AS type, ${ID} AS id FROM unnest($1::text[], $2::bigint[]) AS x (origin, seq) JOIN tributary.audit a USING (origin, seq) ${ABOUT}
     WHERE ${TYPE} = ANY($3) AND EXISTS (SELECT 1 FROM tributary.audit n WHERE ${isPlacedBy("n", "a")}) ORDER BY 1, 2`,
    [events.map(({ origin }) => origin), events.map(({ seq }) => seq), types],
  );
  return rows;
}
