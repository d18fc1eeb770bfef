import type { Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";

/** The channel on which PostgreSQL tells that live views have changed. */
export const CHANGED_CHANNEL = "tributary_changed";
/** PostgreSQL takes 7,999 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;

/** What a transaction changed, as it is told. */
export interface Told {
  /** Entity views of which rows have changed; `null`: any. */
  readonly views: readonly string[] | null;
  readonly cases: boolean;
  /** Whether events of origins were folded. */
  readonly syncs: boolean;
  /** The positions of the events; `null`: there were none. */
  readonly range: readonly [from: Position, to: Position] | null;
}

const payloadOf = ({ views, cases, syncs, range }: Told): string => {
  const [from, to] = (range ?? []).map(String);
  return JSON.stringify({ views, cases, syncs, from, to });
};

/** What is told where only cases have changed. */
export const CASES_TOLD = payloadOf({ views: [], cases: true, syncs: false, range: null });

/** Tells whoever follows live views what the caller's transaction changed, once it is committed. Tells nothing where nothing did. */
export async function tellChanged(db: Db, told: Told): Promise<void> {
  if (told.views?.length === 0 && !told.cases && !told.syncs) return;
  const whole = payloadOf(told);
  await db.query({
    name: "tell",
    text: "SELECT pg_notify($1, $2)",
    values: [CHANGED_CHANNEL, Buffer.byteLength(whole) > MAX_PAYLOAD_BYTES ? payloadOf({ ...told, views: null }) : whole],
  });
}
