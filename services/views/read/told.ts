import { z } from "zod";
import type { Db } from "../connect.ts";
import { CHANGED_CHANNEL } from "../write/tell.ts";

/** What a transaction has changed, as PostgreSQL tells it. */
const toldSchema = z.object({ views: z.array(z.string()).nullable(), cases: z.boolean(), syncs: z.boolean() });
export type ToldChange = z.infer<typeof toldSchema>;

/** Said by somebody else on this channel: anything may have changed. */
const ANYTHING: ToldChange = { views: null, cases: true, syncs: true };

/** Listens for what changes in live views, on a connection that does nothing else. `onLost`: the connection is gone. */
export async function listenForChanges(db: Db, onChange: (told: ToldChange) => void, onLost: () => void): Promise<void> {
  db.on("error", onLost).on("end", onLost);
  db.on("notification", ({ payload = "" }) => onChange(toldIn(payload)));
  await db.query(`LISTEN ${CHANGED_CHANNEL}`);
}

function toldIn(payload: string): ToldChange {
  try {
    return toldSchema.parse(JSON.parse(payload));
  } catch {
    // Whatever it says, to look once more does no harm.
    return ANYTHING;
  }
}
