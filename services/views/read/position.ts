import type { IncarnationId, Position } from "../../core/index.ts";
import type { Db } from "./db.ts";

const asPosition = (text: string | null | undefined): Position | null => (text == null ? null : (BigInt(text) as Position));

/** How far all shards have folded the log: what lies beyond is known in parts only. `null`: nothing is known as a whole yet. */
export async function commonPosition(db: Db): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
  return asPosition(rows[0]?.position);
}

/** The part of a question about the past that can be answered: no further than all shards have come. */
export async function upToCommon(db: Db, asked: Position): Promise<Position> {
  const common = await commonPosition(db);
  return common !== null && common < asked ? common : asked;
}

/** The life of the log that the views were folded of; `null`: nothing was folded yet. */
export async function presentIncarnation(db: Db): Promise<IncarnationId | null> {
  const { rows } = await db.query<{ id: IncarnationId }>("SELECT id FROM tributary.incarnation ORDER BY number DESC LIMIT 1");
  return rows[0]?.id ?? null;
}
