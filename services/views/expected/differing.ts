import type { Db } from "../connect.ts";
import { inSavepoint } from "../connect.ts";
import { isOfData, LACKS_A_RIGHT, sqlState } from "../failures.ts";
import { q } from "../names.ts";

/** How many differences one question returns; all are counted. */
export const MAX_RETURNED = 100;

/** Rows that differ, some of them named. */
export interface Differences {
  readonly count: number;
  readonly named: readonly { readonly key: string; readonly what: string }[];
}

/** A column of a table as text. */
export const text = (table: string, column: string): string => `${table}.${q(column)}::text`;
/** An SQL array of the names of the columns in which two tables' rows differ. */
export const differing = (columns: readonly string[], a: string, b: string): string =>
  `array_remove(ARRAY[${columns.map((name) => `CASE WHEN ${text(a, name)} IS DISTINCT FROM ${text(b, name)} THEN '${name}' END`).join(", ")}], NULL)`;

/** Whether the database takes what `work` writes. Where it refuses the data, nothing of them stays. Throws what else is in the way. */
export async function takes(db: Db, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await inSavepoint(db, work);
    return true;
  } catch (error) {
    // The connection is lost: the data are not to blame.
    await db.query("SELECT 1").catch(() => {
      throw error;
    });
    if (sqlState(error) !== null && !(await isRefusal(db, error))) throw error;
    return false;
  }
}

/** Whether an error is a refusal of the data. A missing right says nothing of the data, even where a projector would have that right. */
export const isRefusal = async (db: Db, error: unknown): Promise<boolean> =>
  sqlState(error) !== LACKS_A_RIGHT && (await isOfData(db, [], error));
