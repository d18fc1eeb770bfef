import type { OriginRow } from "../changes.ts";
import type { Db } from "../connect.ts";

/** Updates what is known of each origin. */
export async function writeOrigins(db: Db, unordered: readonly OriginRow[]): Promise<void> {
  // In one order everywhere, since processes that fold other shards write the same origins.
  const origins = [...unordered].sort((a, b) => (a.origin < b.origin ? -1 : 1));
  const at = (ms: number): string => new Date(ms).toISOString();
  await db.query({
    name: "origins",
    text: `INSERT INTO tributary.origin
      SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::timestamptz[], $11::timestamptz[])
      ON CONFLICT (origin) DO UPDATE SET through = greatest(tributary.origin.through, excluded.through),
        position = greatest(tributary.origin.position, excluded.position),
        events = tributary.origin.events + excluded.events, quarantined = tributary.origin.quarantined + excluded.quarantined,
        clock_wrong = tributary.origin.clock_wrong + excluded.clock_wrong,
        first_recorded_at = least(tributary.origin.first_recorded_at, excluded.first_recorded_at),
        last_recorded_at = greatest(tributary.origin.last_recorded_at, excluded.last_recorded_at)`,
    values: [
      origins.map((o) => o.origin),
      origins.map((o) => o.org),
      origins.map((o) => o.site),
      origins.map((o) => o.device),
      origins.map((o) => o.through),
      origins.map((o) => o.position),
      origins.map((o) => o.events),
      origins.map((o) => o.quarantined),
      origins.map((o) => o.clockWrong),
      origins.map((o) => at(o.firstRecordedMs)),
      origins.map((o) => at(o.lastRecordedMs)),
    ],
  });
}
