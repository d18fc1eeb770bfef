/** Where events stand in the orders of hubs, by the hub that let them in and by the notes of places that the audit has. */
import {
  HUB_SITE,
  type IncarnationId,
  ORDER_DEVICE,
  ORDER_ENTITY,
  ORDER_NOTED,
  type OriginId,
  type PlacedRun,
  type Places,
  type Position,
  placesOf,
  type Seq,
  type TakenIn,
} from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { asPosition, positionOf } from "../shards.ts";

/** This hub, by the id of its log's first incarnation. */
const HOME = "(SELECT id FROM tributary.incarnation ORDER BY number LIMIT 1)";
/** Which hub let an event in, and where its log has it. */
const takenBy = (a: string): string => `coalesce(${a}.taken_by, ${HOME})`;
const takenAt = (a: string): string => `CASE WHEN ${a}.taken_by IS NULL THEN ${a}.position ELSE ${a}.taken_at END`;
/** A bound of the run that a note names; NULL: it names none. */
const bound = (n: string, name: "from" | "through"): string =>
  `CASE WHEN ${n}.data ->> '${name}' ~ '^[0-9]{1,16}$' THEN (${n}.data ->> '${name}')::bigint END`;
/** The condition that an event is a note of places, as `orderedRunOf` says it. */
const isNote = (n: string): string =>
  `${n}.entity_type = '${ORDER_ENTITY}' AND ${n}.type = '${ORDER_NOTED}' AND ${n}.site = '${HUB_SITE}' AND ${n}.device = '${ORDER_DEVICE}' AND ${n}.data ->> 'origin' = ${n}.entity_id`;
/** Origin and seq as one number, so that an index finds runs by it: the origin's hash, and 16 digits for the seq. Two origins may have the same hash. */
const numberOf = (origin: string, seq: string): string => `hashtext(${origin})::numeric * 10000000000000000 + ${seq}`;
/** The run that a note places, in these numbers, as the index `audit_placing` has it. */
const placing = (n: string): string => {
  const [from, through] = [bound(n, "from"), bound(n, "through")];
  return `CASE WHEN ${from} <= ${through} THEN numrange(${numberOf(`${n}.entity_id`, from)}, ${numberOf(`${n}.entity_id`, through)}, '[]') END`;
};
/** The condition that a note places an event. */
export const isPlacedBy = (n: string, a: string): string =>
  `${isNote(n)} AND ${placing(n)} @> ${numberOf(`${a}.origin`, `${a}.seq`)} AND ${n}.entity_id = ${a}.origin`;

/** The hub whose events the audit has, by the id of its log's first incarnation; `null`: none was noted yet. */
export async function homeHub(db: Db): Promise<IncarnationId | null> {
  const { rows } = await db.query<{ id: IncarnationId | null }>(`SELECT ${HOME} AS id`);
  return rows[0]?.id ?? null;
}

/** All runs that notes up to a position place (`null`: any position), in the order of the notes. `after`: of notes after this position only. */
export async function placedRuns(db: Db, upTo: Position | null, after: Position | null = null): Promise<PlacedRun[]> {
  const { rows } = await db.query<{ origin: OriginId; from: string; through: string; hub: IncarnationId; at: string }>(
    `SELECT n.entity_id AS origin, ${bound("n", "from")} AS from, ${bound("n", "through")} AS through, ${takenBy("n")} AS hub, ${takenAt("n")} AS at
     FROM tributary.audit n WHERE ${isNote("n")} AND ($1::bigint IS NULL OR n.position <= $1) AND ($2::bigint IS NULL OR n.position > $2) AND ${bound("n", "from")} <= ${bound("n", "through")}
       AND ${takenBy("n")} IS NOT NULL AND ${takenAt("n")} IS NOT NULL
     ORDER BY n.position`,
    [upTo, after],
  );
  return rows.map(
    ({ origin, from, through, hub, at }): PlacedRun => ({
      ...{ origin, hub, from: Number(from) as Seq, through: Number(through) as Seq },
      position: positionOf(at),
    }),
  );
}

interface PlacedRow {
  readonly position: string;
  readonly origin: OriginId;
  readonly seq: string;
  readonly hub: IncarnationId | null;
  readonly at: string | null;
  readonly noteHub: IncarnationId | null;
  readonly noteAt: string | null;
}

/** The places of the events at these positions, by what notes up to a position say (`null`: any position). What has no known place is not there. */
export async function placesAt(
  db: Db,
  positions: readonly Position[],
  upTo: Position | null,
): Promise<ReadonlyMap<Position, Places>> {
  const { rows } = await db.query<PlacedRow & Record<string, unknown>>(
    `SELECT a.position, a.origin, a.seq, ${takenBy("a")} AS hub, ${takenAt("a")} AS at, ${takenBy("n")} AS "noteHub", ${takenAt("n")} AS "noteAt"
     FROM unnest($1::bigint[]) AS x (position) JOIN tributary.audit a USING (position)
     LEFT JOIN tributary.audit n ON ${isPlacedBy("n", "a")} AND ($2::bigint IS NULL OR n.position <= $2)`,
    [positions, upTo],
  );
  const known = new Map<Position, { readonly taken: TakenIn | null; readonly name: PlacedRow; readonly runs: PlacedRun[] }>();
  for (const row of rows) {
    const at = positionOf(row.position);
    const taken = row.hub === null ? null : { hub: row.hub, position: asPosition(row.at) };
    const one = known.get(at) ?? { taken, name: row, runs: [] };
    known.set(at, one);
    const [from, position] = [Number(row.seq) as Seq, asPosition(row.noteAt)];
    if (row.noteHub !== null && position !== null)
      one.runs.push({ hub: row.noteHub, position, origin: row.origin, from, through: from });
  }
  const places = new Map<Position, Places>();
  for (const [at, { taken, name, runs }] of known) {
    const found = placesOf({ origin: name.origin, seq: Number(name.seq) as Seq }, taken, runs);
    if (found !== undefined) places.set(at, found);
  }
  return places;
}

/** An event that another hub let in, and where this hub's log has it. */
export interface TakenEvent {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly position: Position;
}

/** The condition that another hub let an event in, and that this hub notes its place. */
const IS_TAKEN = `taken_by IS NOT NULL AND taken_by <> ${HOME} AND NOT (site = '${HUB_SITE}' AND device = '${ORDER_DEVICE}')`;

/**
 * The first events after a position (`null`: from the beginning) that another hub let in, in the order of this hub's log, as far as all shards have come. Other hubs' own notes of places are not
 * among them: hubs that noted places of one another's notes would never come to an end.
 */
export async function takenAfter(db: Db, after: Position | null, limit: number): Promise<TakenEvent[]> {
  const { rows } = await db.query<{ origin: OriginId; seq: string; position: string }>(
    `SELECT origin, seq, position FROM tributary.audit
     WHERE ${IS_TAKEN} AND position > coalesce($1, -1) AND position <= (SELECT position FROM tributary.checkpoint)
     ORDER BY position LIMIT $2`,
    [after, limit],
  );
  return rows.map(({ origin, seq, position }) => ({ origin, seq: Number(seq) as Seq, position: positionOf(position) }));
}

/** What other hubs let in, as somebody who has come to a position sees it. */
export interface TakenNews {
  /** The life of the log that the views were folded from. */
  readonly incarnation: IncarnationId | null;
  /** The last event that another hub let in, of whatever kind, as far as all shards have come; `null`: there is none. */
  readonly through: Position | null;
  /** Whether anything of that after the position is to be noted. */
  readonly isNew: boolean;
  /** Whether anything was ever taken in that another hub let in. */
  readonly isAny: boolean;
}

/** Whether other hubs let anything in after a position (`null`: from the beginning) that `takenAfter` would tell: one statement, which looks at nothing but what came from other hubs since. */
export async function takenNews(db: Db, after: Position | null): Promise<TakenNews> {
  const { rows } = await db.query<{
    incarnation: IncarnationId | null;
    through: string | null;
    is_new: boolean;
    is_any: boolean;
  }>({
    name: "taken-news",
    text: `SELECT (SELECT id FROM tributary.incarnation ORDER BY number DESC LIMIT 1) AS incarnation,
        (SELECT max(position) FROM tributary.audit WHERE taken_by IS NOT NULL AND position <= c.position) AS through,
        EXISTS (SELECT FROM tributary.audit WHERE ${IS_TAKEN} AND position > coalesce($1::bigint, -1) AND position <= c.position) AS is_new,
        EXISTS (SELECT FROM tributary.audit WHERE taken_by IS NOT NULL) AS is_any
      FROM tributary.checkpoint c`,
    values: [after],
  });
  const [row] = rows;
  return {
    incarnation: row?.incarnation ?? null,
    through: asPosition(row?.through),
    isNew: row?.is_new ?? false,
    isAny: row?.is_any ?? false,
  };
}

/** Where the audit has an event; `null`: it has none of this name. */
export async function positionAt(
  db: Db,
  { origin, seq }: { readonly origin: OriginId; readonly seq: Seq },
): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>(
    "SELECT position FROM tributary.audit WHERE origin = $1 AND seq = $2",
    [origin, seq],
  );
  return asPosition(rows[0]?.position);
}
