import type { IncarnationId, OriginId, Seq, SettledMark } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { incarnationOf } from "../incarnations.ts";

/**
 * Of some events those that were settled in quarantine, and how. `null`: the views are of another life of the log than this one, so what they say may be of
 * events that the log has lost.
 */
export async function settledEvents(
  db: Db,
  events: readonly { readonly origin: OriginId; readonly seq: Seq }[],
  incarnation: IncarnationId,
): Promise<readonly SettledMark[] | null> {
  if ((await incarnationOf(db)) !== incarnation) return null;
  const { rows } = await db.query<{ origin: OriginId; seq: Seq; state: SettledMark["state"]; reason: string | null }>(
    `SELECT q.origin, q.seq::float8 AS seq, q.state, q.settled_note AS reason
     FROM unnest($1::text[], $2::bigint[]) AS asked (origin, seq) JOIN tributary.quarantine q USING (origin, seq)
     WHERE q.state <> 'held' ORDER BY q.origin, q.seq`,
    [events.map(({ origin }) => origin), events.map(({ seq }) => seq)],
  );
  return rows.map(({ origin, seq, state, reason }) =>
    state === "released" ? { state, origin, seq } : { state, origin, seq, reason },
  );
}
