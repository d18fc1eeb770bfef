import { type JsonObject, type Position, TributaryError } from "../../core/index.ts";
import type { Projection } from "../../merge/engine.ts";
import type { Db } from "../connect.ts";
import { isKnownNow } from "../names.ts";
import { quoted } from "./columns.ts";
import { millis } from "./sql.ts";

/** A version of one row, as an event left it. */
export interface RowVersion {
  /** The event's position in the log. */
  readonly position: string;
  /** When the hub recorded that event. ISO 8601. */
  readonly recordedAt: string;
  readonly deleted: boolean;
  readonly values: JsonObject;
}

/**
 * The versions that a row had, as they are known now: the newest first, at most `limit`, of events before the position `before` (`null`: from the newest on). Throws `not-found` where the view
 * keeps no past.
 */
export async function versionsOf(
  db: Db,
  { name, keepsHistory }: Pick<Projection, "name" | "keepsHistory">,
  { id, before, limit }: { readonly id: string; readonly before: Position | null; readonly limit: number },
): Promise<readonly RowVersion[]> {
  if (!keepsHistory)
    throw new TributaryError(
      "not-found",
      `the past of ${name} is not kept`,
      "Views of entities keep it, unless their declaration says history: false.",
    );
  const { rows } = await db.query<RowVersion & Record<string, unknown>>(
    `SELECT h.position::text AS position, ${millis("h.recorded_at")} AS "recordedAt", h.deleted, h.values
     FROM views.${quoted(`${name}_history`)} h
     WHERE ${isKnownNow("h")} AND h.id = $1 AND ($2::bigint IS NULL OR h.position < $2) ORDER BY h.position DESC LIMIT $3`,
    [id, before, limit],
  );
  return rows;
}
