import type { Db } from "../connect.ts";
import { type CaseRow, casesByIds } from "./cases.ts";
import type { Present, Resume } from "./resume.ts";

/** The cases that were opened, changed or closed between two moments, as they are now; only `opened` ones, where that is asked. `null`: all may have changed, or too many have. */
export async function changedCases(
  db: Db,
  { opened, from, now, most }: { readonly opened: boolean; readonly from: Resume; readonly now: Present; readonly most: number },
): Promise<ReadonlyMap<string, CaseRow> | null> {
  if (from.number === now.number) return new Map();
  const { rows } = await db.query<{ kind: string; id: string }>(
    `SELECT DISTINCT kind, id FROM tributary.change WHERE number > $1 AND number <= $2 AND kind = ANY($3) LIMIT $4`,
    [from.number, now.number, opened ? ["cases", "opened"] : ["cases", "opened", "case"], most + 1],
  );
  if (rows.length > most || rows.some(({ kind }) => kind === "cases")) return null;
  if (rows.length === 0) return new Map();
  const found = await casesByIds(
    db,
    rows.map(({ id }) => id),
  );
  return new Map(found.flatMap((each) => (opened && each.state === "closed" ? [] : [[each.id, each] as const])));
}
