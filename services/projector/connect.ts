import pg from "pg";
import { messageOf, TributaryError } from "../core/index.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** Connects to PostgreSQL; throws `backend-unreachable`. `name` is shown in pg_stat_activity. */
export async function connectViews(url: string, name: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  // A connection lost while idle is reported here; the next query fails and says so.
  client.on("error", () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw new TributaryError(
      "backend-unreachable",
      `PostgreSQL does not answer: ${messageOf(error)}`,
      "Start it, or check TRIBUTARY_POSTGRES_URL.",
      {
        cause: error,
      },
    );
  }
}
