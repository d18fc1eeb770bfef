import pg from "pg";
import { messageOf, TributaryError } from "../core/index.ts";

const CONNECT_TIMEOUT_MS = 5_000;
/** The projector's lock: one writer a database. An arbitrary number of ours. */
const WRITER_LOCK = 7_401_102;
/** After a crash the database may take a moment to notice; a start right after waits this long for the lock. */
const LOCK_WAIT_MS = 5_000;
const LOCK_PAUSE_MS = 100;

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

/** Makes this connection the only writer; throws `already-running`, naming the other, when there is one. */
export async function becomeWriter(client: pg.Client, waitMs = LOCK_WAIT_MS): Promise<void> {
  for (const until = performance.now() + waitMs; ; ) {
    const { rows } = await client.query<{ got: boolean }>("SELECT pg_try_advisory_lock($1) AS got", [WRITER_LOCK]);
    if (rows[0]?.got) return;
    if (performance.now() > until) break;
    await new Promise((resolve) => setTimeout(resolve, LOCK_PAUSE_MS));
  }
  const { rows } = await client.query<{ application_name: string; pid: number; client_addr: string | null; since: string }>(
    `SELECT a.application_name, a.pid, a.client_addr::text, a.backend_start::text AS since FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted AND l.objid = $1`,
    [WRITER_LOCK],
  );
  const other = rows[0];
  throw new TributaryError(
    "already-running",
    other === undefined
      ? "another projector holds this database's lock"
      : `another projector writes to this database: ${other.application_name} from ${other.client_addr ?? "this machine"}, since ${other.since}`,
    "Only one may write; stop the other first. Nothing was written by this one.",
  );
}
