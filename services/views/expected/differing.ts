import type { Db } from "../connect.ts";
import { inSavepoint } from "../connect.ts";
import { isOfData, LACKS_A_RIGHT, sqlState } from "../failures.ts";
import { q } from "../names.ts";

/** Differences that one question returns; all are counted. */
export const MAX_RETURNED = 100;

/** Rows that differ, some of them named. */
export interface Differences {
  readonly count: number;
  readonly named: readonly { readonly key: string; readonly what: string }[];
}

/** A column of a table as text. */
export const text = (table: string, column: string): string => `${table}.${q(column)}::text`;
/** The names of the columns that differ, as an array. */
export const differing = (columns: readonly string[], a: string, b: string): string =>
  `array_remove(ARRAY[${columns.map((name) => `CASE WHEN ${text(a, name)} IS DISTINCT FROM ${text(b, name)} THEN '${name}' END`).join(", ")}], NULL)`;

/** Whether the database takes something; what it refuses for what is in it leaves nothing. Whatever else is in the way is thrown. */
export async function takes(db: Db, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await inSavepoint(db, work);
    return true;
  } catch (error) {
    // Lost: nothing that the data are to blame for.
    await db.query("SELECT 1").catch(() => {
      throw error;
    });
    if (sqlState(error) !== null && !(await isRefusal(db, error))) throw error;
    return false;
  }
}

/** Whether the database refuses something for what is in it. A right that is lacking says nothing of that, even where a projector would have it. */
export const isRefusal = async (db: Db, error: unknown): Promise<boolean> =>
  sqlState(error) !== LACKS_A_RIGHT && (await isOfData(db, [], error));
