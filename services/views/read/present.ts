import { createHash } from "node:crypto";
import type { Db } from "../connect.ts";
import { asPosition, NOWHERE, SHARDS } from "../shards.ts";
import type { Present } from "./resume.ts";

/** How things stand in the caller's snapshot. What is read in the same snapshot is complete up to there. */
export async function presentOf(db: Db): Promise<Present> {
  const { rows } = await db.query<{
    readonly life: string;
    readonly number: string;
    readonly trimmed: string;
    readonly layout: string | null;
    readonly positions: readonly (string | null)[] | null;
  }>(
    `SELECT concat_ws(' ', (SELECT life FROM tributary.change_head), (SELECT id FROM tributary.incarnation ORDER BY number DESC LIMIT 1)) AS life,
       coalesce((SELECT number FROM tributary.change_head), 0) AS number, coalesce((SELECT trimmed FROM tributary.change_head), 0) AS trimmed,
       (SELECT max(layout) FROM tributary.shard) AS layout, (SELECT array_agg(position::text ORDER BY shard) FROM tributary.shard) AS positions`,
  );
  const { life = "", number = "0", trimmed = "0", layout, positions } = rows[0] ?? {};
  return {
    life: createHash("sha256").update(life).digest("hex").slice(0, 12),
    number: BigInt(number),
    trimmed: BigInt(trimmed),
    layout: layout ?? "",
    // Shards that were lost are found again by a projector; until then nobody knows how far they were.
    positions: positions?.length === SHARDS ? positions.map(asPosition) : NOWHERE,
  };
}
