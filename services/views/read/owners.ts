import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";

/** Whether whoever looks is shown an entity: it belongs to an organisation whose rows they see. An entity that there is not is shown to nobody. */
export async function isShown(db: Db, { type, id }: EntityRef): Promise<boolean> {
  const { rows } = await db.query("SELECT FROM tributary.owner WHERE entity_type = $1 AND entity_id = $2", [type, id]);
  return rows.length > 0;
}
