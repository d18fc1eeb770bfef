import type { Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { commonPosition } from "../places.ts";

/** The part of a question about the past that can be answered: no further than all shards have come. */
export async function upToCommon(db: Db, asked: Position): Promise<Position> {
  const common = await commonPosition(db);
  return common !== null && common < asked ? common : asked;
}
