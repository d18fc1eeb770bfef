/** How GraphQL reads and decides: through a few connections, each question as the person who asks. In come a viewer and a question; out comes what PostgreSQL itself shows that viewer. */
import { isTributaryError, messageOf, TributaryError, turns, type Viewer } from "../../core/index.ts";
import { asViewer, type Connections, type Db, isOfValues, LACKS_A_RIGHT, openConnections, sqlState } from "../../views/index.ts";
import { type Reading, whoseTurn } from "../reading.ts";

/** Bounds of reading. */
export interface DatabaseLimits {
  /** Connections for questions. */
  readonly connections: number;
  /** A statement that takes longer is given up. Milliseconds. */
  readonly statementMs: number;
  /** Questions that wait for a connection; one more is refused. */
  readonly waiting: number;
}
export const DATABASE_LIMITS: DatabaseLimits = { connections: 4, statementMs: 15_000, waiting: 500 };
/** Connections on which decisions are made: they are few, and a decision holds one until the hub has it. */
const DECIDING = 2;

/** Its functions throw `backend-unreachable` and `backend-failed`, and what `work` throws if it is one of our own errors; of the driver's they say nothing. */
export interface Database extends Reading {
  /** As `read`, for somebody who decides, which may wait until the hub has what was written. */
  decide<T>(viewer: Viewer, work: (db: Db) => Promise<T>): Promise<T>;
  /** Runs `work` as the hub itself. For what was looked up before as the person who asks. */
  asHub<T>(work: (db: Db) => Promise<T>): Promise<T>;
}

export function openDatabase(
  postgresUrl: string,
  say: (event: Record<string, unknown>) => void,
  limits: Partial<DatabaseLimits> = {},
): Database {
  const { connections, statementMs, waiting } = { ...DATABASE_LIMITS, ...limits };
  const questions = openConnections(postgresUrl, { name: "tributary-api graphql", size: connections, timeoutMs: statementMs });
  const decisions = openConnections(postgresUrl, { name: "tributary-api desk", size: DECIDING, timeoutMs: statementMs });
  // One organisation's people never have all of them.
  const inTurns = turns({ max: connections, maxEach: Math.max(1, connections - 1), maxWaitingEach: waiting });
  let asked = 0;
  const on = async <T>(of: Connections, work: (db: Db) => Promise<T>): Promise<T> => {
    if (asked >= connections + waiting)
      throw new TributaryError("backend-failed", `${asked} questions wait for the database already`, "Ask again in a moment.");
    asked++;
    try {
      return await of.use(work);
    } catch (error) {
      throw asOurs(error, statementMs, say);
    } finally {
      asked--;
    }
  };
  return {
    read: (viewer, work) => inTurns.run(whoseTurn(viewer), () => on(questions, (db) => asViewer(db, viewer, () => work(db)))),
    decide: (viewer, work) => on(decisions, (db) => asViewer(db, viewer, () => work(db))),
    asHub: (work) => on(questions, work),
    async close() {
      await Promise.all([questions.close(), decisions.close()]);
    },
  };
}

/** PostgreSQL's code for a statement that was given up. */
const GIVEN_UP = "57014";

/** What the driver says may name tables, addresses and values: it goes to the hub's log, and whoever asked is told in our words. */
function asOurs(error: unknown, statementMs: number, say: (event: Record<string, unknown>) => void): unknown {
  const because = { cause: error };
  if (isTributaryError(error) && error.code === "backend-unreachable") {
    say({ event: "api-database-away", message: messageOf(error) });
    return new TributaryError("backend-unreachable", "the hub's database does not answer", "Ask again in a moment.", because);
  }
  if (isTributaryError(error)) return error;
  if (sqlState(error) === GIVEN_UP)
    return new TributaryError(
      "backend-failed",
      `the database did not answer within ${statementMs / 1000} s (the setting statementMs)`,
      "Ask for less: fewer rows, a condition on a column that has an index, no count.",
      because,
    );
  if (sqlState(error) === LACKS_A_RIGHT)
    return new TributaryError(
      "not-permitted",
      "the database shows this to whoever sees the rows of every organisation only",
      "People of the hub's own organisation in the role auditor or admin do.",
      because,
    );
  if (isOfValues(error))
    return new TributaryError(
      "input-malformed",
      "a value of the question is not one that the database can read",
      "Ask with values as the schema shows them, and with cursors as they were given.",
      because,
    );
  say({ event: "api-question-failed", message: messageOf(error), state: sqlState(error) });
  return new TributaryError("backend-failed", "the question failed", "Try again; the hub's log has the details.", because);
}
