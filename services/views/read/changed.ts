/** What changed in a live view between two moments, read in the caller's snapshot, which shows only what its viewer may see. */
import type { EntityRef, JsonValue } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { shardOf } from "../shards.ts";
import { jsonOf, quoted } from "./columns.ts";
import { type Stated, statedSql } from "./conditions.ts";
import { leastOf, type Present, type Resume, seenOf } from "./resume.ts";
import { planOf, typesOf, withoutInner } from "./rows.ts";
import { typeFor } from "./rows-page.ts";

/** A row that changed. */
export interface ChangedRow {
  readonly id: string;
  readonly values: Readonly<Record<string, JsonValue>>;
}

/** Rows by their ids; `null`: it does not match, or there is no such row any more. */
export type ChangedRows = ReadonlyMap<string, ChangedRow | null>;

/** A view of entities whose rows are followed. */
export interface Followed {
  readonly view: string;
  /** The type of its entities. */
  readonly entity: string;
  /** The columns of the view's table as it is now, with their types. Throws `not-found` where there is none. */
  types(db: Db, now: Present): Promise<ReadonlyMap<string, string>>;
}

/** Conditions that all hold. */
export type Where = readonly Stated[];

/** A view to follow. Its columns are looked up once for each layout of the tables: PostgreSQL takes longer over that than over the rows. */
export function followedView(view: string, entity: string): Followed {
  let known: { readonly layout: string; readonly types: ReadonlyMap<string, string> } | null = null;
  return {
    ...{ view, entity },
    async types(db, { layout }) {
      if (known?.layout !== layout) known = { layout, types: withoutInner(await typesOf(db, view)) };
      return known.types;
    },
  };
}

/** The most that is looked at at once; more of it is not told, and the follower reads again. */
export interface MostChanged {
  /** Entities with events since then, whoever has been told of them. */
  readonly entities: number;
  /** Rows that are told. */
  readonly rows: number;
}

/** Whether more than so many events were folded since. Call it as the hub's own user, for whom counting is quick. */
export async function isFarBehind(db: Db, from: Resume, events: number): Promise<boolean> {
  const { rows } = await db.query("SELECT FROM tributary.audit WHERE position > $1 ORDER BY position OFFSET $2 LIMIT 1", [
    leastOf(from),
    events,
  ]);
  return rows.length > 0;
}

/** Throws `not-found` where there is no such view, and `input-malformed` for what its columns cannot be asked. */
export async function checkFollowed(db: Db, followed: Followed, where: Where, now: Present): Promise<void> {
  const { view } = followed;
  const types = await followed.types(db, now);
  for (const each of where) statedSql(each, typeFor(types, view, each.column), () => "$1");
}

/** Conditions of so many followers are asked of a row by one statement. */
const WHERES_AT_ONCE = 200;

/** The rows that changed between two moments, as they are now, for each of several conditions. `null`: all may have changed, or too many have; read the view again. */
export async function changedRows(
  db: Db,
  followed: Followed,
  wheres: readonly Where[],
  { from, now, most }: { readonly from: Resume; readonly now: Present; readonly most: MostChanged },
): Promise<readonly ChangedRows[] | null> {
  const { view, entity } = followed;
  const noted = await notedOf(db, followed, { from, now, most: most.rows });
  if (noted === null) return null;
  const moved = await entitiesSince(db, [entity], { from, now, most: most.entities });
  if (moved === null) return null;
  const ids = new Map<string, bigint | null>(moved.map(({ id, seen }) => [id, seen]));
  for (const id of noted) ids.set(id, null);
  if (ids.size > most.rows) return null;
  if (ids.size === 0) return wheres.map(() => new Map());
  const out: ChangedRows[] = [];
  const types = await followed.types(db, now);
  for (let at = 0; at < wheres.length; at += WHERES_AT_ONCE)
    out.push(...(await rowsOf(db, { view, types, ids }, wheres.slice(at, at + WHERES_AT_ONCE))));
  // A row that was folded again may be gone altogether. That its entity was noted was shown to whom it belongs only.
  return out.map((rows) => new Map([...rows, ...noted.flatMap((id) => (rows.has(id) ? [] : [[id, null] as const]))]));
}

interface Sought {
  readonly view: string;
  readonly types: ReadonlyMap<string, string>;
  /** Ids, each with the position up to which its row has been seen; `null`: it has changed in any case. */
  readonly ids: ReadonlyMap<string, bigint | null>;
}

/** The rows of these ids that have changed, for each of several conditions. */
async function rowsOf(db: Db, { view, types, ids }: Sought, wheres: readonly Where[]): Promise<readonly ChangedRows[]> {
  const { columns } = planOf({ view, page: {} }, types);
  const values: unknown[] = [[...ids.keys()]];
  const bind = (value: JsonValue): string => `$${values.push(value)}`;
  const holds = (where: Where): string =>
    `(${["true", ...where.map((each) => statedSql(each, typeFor(types, view, each.column), bind))].join(" AND ")}) IS TRUE`;
  const select = columns.map((name, i) => `${jsonOf(`t.${quoted(name)}`, types.get(name) ?? "")} AS c${i}`);
  const { rows } = await db.query<Record<string, JsonValue>>(
    `SELECT ${["t.id AS id", "t.last_position::text AS at", `ARRAY[${wheres.map(holds).join(", ")}] AS matches`, ...select].join(", ")}
     FROM views.${quoted(view)} t WHERE t.id = ANY($1) ORDER BY t.id`,
    values,
  );
  const out = wheres.map(() => new Map<string, ChangedRow | null>());
  for (const row of rows) {
    const id = String(row.id);
    const seen = ids.get(id) ?? null;
    // An event that has not changed the row: it is parked at it, or the view does not take it.
    if (seen !== null && BigInt(String(row.at)) <= seen) continue;
    const shown = { id, values: Object.fromEntries(columns.map((name, i) => [name, row[`c${i}`] ?? null])) };
    const matches = Array.isArray(row.matches) ? row.matches : [];
    for (const [i, each] of out.entries()) each.set(id, matches[i] === true ? shown : null);
  }
  return out;
}

/** The entities of a view whose rows were noted as changed; `null`: all of them, or too many. */
async function notedOf(
  db: Db,
  { view, entity }: Followed,
  { from, now, most }: { readonly from: Resume; readonly now: Present; readonly most: number },
): Promise<readonly string[] | null> {
  if (from.number === now.number) return [];
  const { rows } = await db.query<{ kind: string; id: string }>(
    `SELECT DISTINCT kind, id FROM tributary.change WHERE number > $1 AND number <= $2
       AND (kind = 'view' AND view = $3 OR kind = 'row' AND entity_type = $4 AND (view IS NULL OR view = $3)) LIMIT $5`,
    [from.number, now.number, view, entity, most + 1],
  );
  if (rows.length > most || rows.some(({ kind }) => kind === "view")) return null;
  return rows.map(({ id }) => id);
}

/** An entity with events since then. */
interface Moved {
  readonly id: string;
  /** The position up to which the follower has seen its row. */
  readonly seen: bigint;
}

/** The entities of these types that have events between two moments; `null`: too many. */
async function entitiesSince(
  db: Db,
  types: readonly string[],
  { from, now, most }: { readonly from: Resume; readonly now: Present; readonly most: number },
): Promise<readonly Moved[] | null> {
  if (now.positions.every((at, shard) => (at ?? -1n) === seenOf(from, shard))) return [];
  const { rows } = await db.query<EntityRef & { readonly at: string; readonly [name: string]: unknown }>(
    `SELECT entity_type AS type, entity_id AS id, max(position)::text AS at FROM tributary.audit
     WHERE entity_type = ANY($1) AND position > $2 AND quarantine_code IS NULL GROUP BY 1, 2 LIMIT $3`,
    [types, leastOf(from), most + 1],
  );
  if (rows.length > most) return null;
  return rows.flatMap(({ type, id, at }) => {
    const last = BigInt(at);
    // The log's own name of the entity had a character that PostgreSQL cannot hold, so its shard is not known: it is told of once all shards are there.
    const isNameKnown = !id.includes("\ufffd");
    if (!isNameKnown && last > leastOf(now)) return [];
    const seen = isNameKnown ? seenOf(from, shardOf({ type, id })) : leastOf(from);
    return last > seen ? [{ id, seen }] : [];
  });
}

/** What a view is made of. */
export interface MadeOf {
  readonly views: readonly string[];
  /** The types of the entities of these views. */
  readonly entities: readonly string[];
}

/** Whether what a view is made of has changed between two moments. */
export async function isChanged(
  db: Db,
  { views, entities }: MadeOf,
  { from, now, most }: { readonly from: Resume; readonly now: Present; readonly most: MostChanged },
): Promise<boolean> {
  if (from.number !== now.number) {
    const { rows } = await db.query(
      `SELECT FROM tributary.change WHERE number > $1 AND number <= $2
         AND (kind IN ('view', 'row') AND view = ANY($3) OR kind = 'row' AND view IS NULL AND entity_type = ANY($4)) LIMIT 1`,
      [from.number, now.number, views, entities],
    );
    if (rows.length > 0) return true;
  }
  return (await entitiesSince(db, entities, { from, now, most: most.entities }))?.length !== 0;
}
