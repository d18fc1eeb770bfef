import type { Viewer } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { ORGS, type RoleKind, roleSql } from "../names.ts";
import { inSnapshot } from "./snapshot.ts";

/**
 * Runs `work` in a snapshot that shows what somebody may see, and nothing else: PostgreSQL itself leaves out rows of other organisations, whatever is asked. Reading functions
 * that open a snapshot of their own stay in this one.
 */
export function asViewer<T>(db: Db, { orgs }: Viewer, work: () => Promise<T>): Promise<T> {
  return inSnapshot(db, async () => {
    // The role comes last: neither role may do more than the hub's user, and nothing in `work` can take another one, since all that `work` sends are statements of `views`.
    const kind: RoleKind = orgs === null ? "overseer" : "reader";
    await db.query(
      `SELECT set_config($1, $2, true), set_config('row_security', 'on', true), set_config('role', ${roleSql("$3::text")}, true)`,
      [ORGS, (orgs ?? []).join(","), kind],
    );
    return work();
  });
}
