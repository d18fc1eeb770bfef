import type { Db } from "../connect.ts";

/** The version of each subject's schema that a view reads with, by subject. */
export type Readers = Readonly<Record<string, number>>;

/** The versions of schemas that each live view reads with. */
export async function readersOf(db: Db): Promise<Map<string, Readers>> {
  const { rows } = await db.query<{ name: string; readers: Readers | null }>("SELECT name, readers FROM tributary.view");
  return new Map(rows.map(({ name, readers }) => [name, readers ?? {}]));
}
