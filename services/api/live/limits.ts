/** Settings of live queries. Whoever meets one is told its name. */
export interface Limits {
  /** A follower whose resume position lies further back in the log reads again. Events. */
  readonly eventsBehind: number;
  /** Where more rows, cases or origins have changed at once, followers read again. */
  readonly changedAtOnce: number;
  /** A follower that leaves more than this untaken is cut. Rows, cases or origins. */
  readonly untaken: number;
  /** How often it is asked whether a follower may still see what it follows. Milliseconds. */
  readonly askEveryMs: number;
  /** All are looked at so often, even where nothing was told; followers are given a new resume position then. Milliseconds. */
  readonly restMs: number;
  /** Connections to PostgreSQL that reading uses at most. */
  readonly connections: number;
  /** A question to PostgreSQL that takes longer fails, and is tried again. Milliseconds. */
  readonly queryMs: number;
}

export const LIMITS: Limits = {
  eventsBehind: 50_000,
  changedAtOnce: 5_000,
  untaken: 10_000,
  askEveryMs: 2_000,
  restMs: 30_000,
  connections: 4,
  queryMs: 10_000,
};
