import type { OriginId, Position, Seq } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { asPosition } from "../shards.ts";
import { leastOf, type Present, type Resume } from "./resume.ts";

/** How far the views show what an origin has sent. */
export interface SyncedOrigin {
  readonly origin: OriginId;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  /** All of its events up to this seq are folded. */
  readonly through: Seq;
  /** The position of that event. */
  readonly position: Position;
}

/** The origins of which all shards have folded further between two moments. `null`: too many. */
export async function syncsBetween(
  db: Db,
  { from, now, most }: { readonly from: Resume; readonly now: Present; readonly most: number },
): Promise<ReadonlyMap<string, SyncedOrigin> | null> {
  if (leastOf(from) >= leastOf(now)) return new Map();
  // The audit also shows what guests wrote about one's own entities; an origin is shown only to its organisation.
  const { rows } = await db.query<
    Omit<SyncedOrigin, "through" | "position"> & { readonly through: string; readonly position: string }
  >(
    `SELECT o.origin, o.org, o.site, o.device, max(a.seq) AS through, max(a.position) AS position FROM tributary.audit a JOIN tributary.origin o USING (origin)
     WHERE a.position > $1 AND a.position <= $2 GROUP BY 1, 2, 3, 4 ORDER BY 1 LIMIT $3`,
    [leastOf(from), leastOf(now), most + 1],
  );
  if (rows.length > most) return null;
  return new Map(
    rows.flatMap(({ through, position, ...of }) => {
      const at = asPosition(position);
      return at === null ? [] : [[of.origin, { ...of, through: Number(through) as Seq, position: at }] as const];
    }),
  );
}
