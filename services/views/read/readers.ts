import type { Db } from "../connect.ts";

/** By subject, the version of its schema that a view reads with. */
export type Readers = Readonly<Record<string, number>>;

/** The versions of schemas that each live view reads with. */
export async function readersOf(db: Db): Promise<Map<string, Readers>> {
  const { rows } = await db.query<{ name: string; readers: Readers | null }>("SELECT name, readers FROM tributary.view");
  return new Map(rows.map(({ name, readers }) => [name, readers ?? {}]));
}
