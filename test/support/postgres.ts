import { chmodSync, rmSync } from "node:fs";
import { connectViews, type Db } from "../../services/views/index.ts";
import { startDatabase } from "./cluster.ts";
import { newDir } from "./home.ts";

/** An empty PostgreSQL for one test. */
export async function openPostgres(): Promise<{
  readonly db: Db;
  readonly url: string;
  empty(): Promise<void>;
  close(): Promise<void>;
}> {
  const dir = newDir("views");
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(dir, 0o755);
  const server = await startDatabase(dir, { isEmpty: true });
  const db = await connectViews(server.url, "tributary-test");
  const empty = async (): Promise<void> => {
    const { rows } = await db.query<{ name: string }>(
      "SELECT nspname AS name FROM pg_namespace WHERE nspname IN ('tributary', 'views') OR nspname LIKE 'tributary\\_g%'",
    );
    for (const { name } of rows) await db.query(`DROP SCHEMA "${name}" CASCADE`);
  };
  await empty();
  return {
    db,
    url: server.url,
    empty,
    async close() {
      await db.end();
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
