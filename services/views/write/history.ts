import type { HistoryRow, ViewBuild } from "../changes.ts";
import type { Db } from "../connect.ts";
import { copyText, line } from "../copy.ts";
import { at } from "../names.ts";

/** Adds versions to the past of a view's rows. */
export async function writeHistory(db: Db, { projection, place }: ViewBuild, history: readonly HistoryRow[]): Promise<void> {
  if (history.length === 0) return;
  await copyText(
    db,
    `COPY ${at(place, `${projection.name}_history`)} (id, position, recorded_at, deleted, values) FROM STDIN`,
    history.map(historyLine).join(""),
  );
}

const historyLine = ({ id, position, recordedAtMs, row }: HistoryRow): string =>
  line([id, position, new Date(recordedAtMs).toISOString(), row.deleted ? "t" : "f", JSON.stringify(row.values)]);
