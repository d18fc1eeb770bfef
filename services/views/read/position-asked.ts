import { isIncarnationId, type Position, position, TributaryError } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { incarnationOf } from "../incarnations.ts";

const MAX_POSITION = 9_223_372_036_854_775_807n;

/**
 * A position that somebody names, as `POSITION` or `INCARNATION:POSITION`. A log that was set back gives the same positions again, so a position of another
 * incarnation than the views' own is refused.
 */
export async function positionAsked(db: Db, text: string): Promise<Position> {
  const [, life, number] = /^(?:([^:]*):)?(\d{1,19})$/.exec(text) ?? [];
  if (number === undefined || BigInt(number) > MAX_POSITION || (life !== undefined && !isIncarnationId(life)))
    throw new TributaryError(
      "usage",
      `${JSON.stringify(text)} is not a position`,
      "Write a whole number, or INCARNATION:POSITION with the log's incarnation; `tributary audit entity` shows the position of each event.",
    );
  const present = await incarnationOf(db);
  if (life !== undefined && life !== present)
    throw new TributaryError(
      "usage",
      `${text} is a position of another incarnation of the log: the views are of ${present ?? "one without a name"}`,
      "The log was set back since, and gives the same positions to other events. `tributary audit entity --json` shows the events' positions as they are now; `tributary lag` shows how many events were beyond its end.",
    );
  return position(BigInt(number));
}
