import type { Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { commonPosition } from "../shard-positions.ts";

/** The position up to which a question about the past can be answered: the one asked for, but no further than all shards have come. */
export async function upToCommon(db: Db, asked: Position): Promise<Position> {
  const common = await commonPosition(db);
  return common !== null && common < asked ? common : asked;
}
