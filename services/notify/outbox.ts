import type { Client } from "pg";
import type { Notice } from "./message.ts";

/** A listing shows this many at most, the newest. */
const MAX_LISTED_ROWS = 500;
/** One digest at a time for a target; an arbitrary number of ours, beside a hash of the target's name. */
const DIGEST_LOCK = 7_401_103;

export const CHANNEL = "tributary_notification";
export type NotificationState = "waiting" | "sent" | "failed";

/** A notification that a transaction has taken. */
export interface Taken extends Notice {
  readonly id: string;
  readonly tries: number;
}

export interface Settled {
  readonly id: string;
  readonly state: NotificationState;
  readonly nextTryAt: Date;
  readonly lastError: string | null;
}

export interface Listed {
  readonly id: string;
  readonly key: string;
  readonly target: string;
  readonly subject: string;
  readonly state: NotificationState;
  readonly tries: number;
  readonly createdAt: string;
  readonly nextTryAt: string | null;
  readonly sentAt: string | null;
  readonly lastError: string | null;
}

export interface Due {
  readonly target: string;
  readonly oldest: Date;
}

/** Targets that have something due, and since when the oldest of it waits. */
export async function dueTargets(db: Client, now: Date): Promise<readonly Due[]> {
  const { rows } = await db.query<Due>(
    `SELECT target, min(created_at) AS oldest FROM tributary.notification WHERE state = 'waiting' AND next_try_at <= $1
     GROUP BY target ORDER BY target`,
    [now],
  );
  return rows;
}

const COLUMNS = `n.id::text, n.key, n.subject, n.body, n.tries, n.created_at AS "createdAt"`;

/** Takes due rows, oldest first. Rows that another notifier holds are passed over: it is sending them. */
export async function takeDue(db: Client, target: string, now: Date, limit: number): Promise<readonly Taken[]> {
  const { rows } = await db.query<Taken>(
    `SELECT ${COLUMNS} FROM tributary.notification n WHERE target = $1 AND state = 'waiting' AND next_try_at <= $2
     ORDER BY n.id LIMIT $3 FOR UPDATE SKIP LOCKED`,
    [target, now, limit],
  );
  return rows;
}

/**
 * Takes what one digest tells: all from the oldest on, through the last whole period since. So there is none before the oldest is a period old, one
 * after a long silence, and the same set again, thus the same key, when a sending is repeated within the period.
 */
export async function takeDigest(
  db: Client,
  {
    target,
    now,
    periodMs,
    limit,
  }: { readonly target: string; readonly now: Date; readonly periodMs: number; readonly limit: number },
): Promise<readonly Taken[]> {
  // Two notifiers would else part one digest between them.
  const lock = await db.query<{ got: boolean }>("SELECT pg_try_advisory_xact_lock($1, hashtext($2)) AS got", [
    DIGEST_LOCK,
    target,
  ]);
  if (!lock.rows[0]!.got) return [];
  const { rows } = await db.query<Taken>(
    `SELECT ${COLUMNS} FROM tributary.notification n,
       (SELECT min(created_at) AS oldest FROM tributary.notification WHERE target = $1 AND state = 'waiting' AND next_try_at <= $2) o
     WHERE n.target = $1 AND n.state = 'waiting' AND n.next_try_at <= $2
       AND n.created_at < o.oldest + floor(extract(epoch FROM $2::timestamptz - o.oldest) / $3::float8) * make_interval(secs => $3::float8)
     ORDER BY n.id LIMIT $4 FOR UPDATE OF n SKIP LOCKED`,
    [target, now, periodMs / 1_000, limit],
  );
  return rows;
}

/** Writes down what became of a try, in the transaction that took the rows. */
export async function settle(db: Client, rows: readonly Settled[], now: Date): Promise<void> {
  await db.query(
    `UPDATE tributary.notification n SET state = s.state, tries = n.tries + 1, next_try_at = s.next_try_at, last_error = s.last_error,
       sent_at = CASE WHEN s.state = 'sent' THEN $5::timestamptz END
     FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[]) AS s(id, state, next_try_at, last_error) WHERE n.id = s.id`,
    [
      rows.map(({ id }) => id),
      rows.map(({ state }) => state),
      rows.map(({ nextTryAt }) => nextTryAt),
      rows.map(({ lastError }) => lastError),
      now,
    ],
  );
}

/** Fails what waits for targets that the settings do not name, untried: `tries` stays 0. Returns how many. */
export async function failUnknown(db: Client, known: readonly string[]): Promise<number> {
  // What another notifier is sending, it knows the target of: passed over, not waited for.
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'failed', tries = 0,
       last_error = 'the notification settings name no target ' || target || '; it is sent when they do and the notifier starts again'
     WHERE id IN (SELECT id FROM tributary.notification WHERE state = 'waiting' AND NOT target = ANY ($1) FOR UPDATE SKIP LOCKED)`,
    [known],
  );
  return rowCount ?? 0;
}

/** Puts back what was failed untried, now that its target is named. Returns how many. */
export async function restoreKnown(db: Client, known: readonly string[], now: Date): Promise<number> {
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'waiting', next_try_at = $2, last_error = NULL
     WHERE state = 'failed' AND tries = 0 AND target = ANY ($1)`,
    [known, now],
  );
  return rowCount ?? 0;
}

/** Puts failed notifications back to waiting, with all their tries before them, and wakes the notifiers. Returns how many. */
export async function retryFailed(db: Client, which: { readonly target?: string; readonly id?: number }): Promise<number> {
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'waiting', tries = 0, next_try_at = now()
     WHERE state = 'failed' AND ($1::text IS NULL OR target = $1) AND ($2::bigint IS NULL OR id = $2)`,
    [which.target ?? null, which.id ?? null],
  );
  await db.query(`NOTIFY ${CHANNEL}`);
  return rowCount ?? 0;
}

const STAMP = `'YYYY-MM-DD"T"HH24:MI:SS"Z"'`;
const stamped = (column: string, name: string): string => `to_char(${column} AT TIME ZONE 'UTC', ${STAMP}) AS "${name}"`;

/** The newest notifications in the states asked for. */
export async function listNotifications(db: Client, states: readonly NotificationState[]): Promise<readonly Listed[]> {
  const { rows } = await db.query<Listed>(
    `SELECT id::text, key, target, subject, state, tries, last_error AS "lastError", ${stamped("created_at", "createdAt")},
       ${stamped("CASE WHEN state = 'waiting' THEN next_try_at END", "nextTryAt")}, ${stamped("sent_at", "sentAt")}
     FROM tributary.notification WHERE state = ANY ($1) ORDER BY notification.id DESC LIMIT $2`,
    [states, MAX_LISTED_ROWS],
  );
  return rows;
}

/** A notification as a backup keeps it. */
export interface KeptNotification {
  readonly key: string;
  readonly target: string;
  readonly subject: string;
  readonly body: unknown;
  readonly createdAt: string;
  readonly state: NotificationState;
  readonly tries: number;
  readonly nextTryAt: string;
  readonly lastError: string | null;
  readonly sentAt: string | null;
}

const KEPT_PAGE_ROWS = 2_000;

/** All notifications, oldest first, as they stand in one moment: in a transaction of the caller's that sees one. */
export async function* keptNotifications(db: Client): AsyncGenerator<KeptNotification> {
  for (let after = "0"; ; ) {
    const { rows } = await db.query<KeptNotification & { id: string }>(
      `SELECT id::text, key, target, subject, body, created_at AS "createdAt", state, tries, next_try_at AS "nextTryAt",
         last_error AS "lastError", sent_at AS "sentAt"
       FROM tributary.notification WHERE id > $1 ORDER BY tributary.notification.id LIMIT $2`,
      [after, KEPT_PAGE_ROWS],
    );
    for (const { id, ...row } of rows) {
      after = id;
      yield row;
    }
    if (rows.length < KEPT_PAGE_ROWS) return;
  }
}

/** Puts notifications of a backup back, as they were; those that are there already stay. Returns how many are new. */
export async function putBackNotifications(db: Client, rows: readonly KeptNotification[]): Promise<number> {
  const { rowCount } = await db.query(
    `INSERT INTO tributary.notification (key, target, subject, body, created_at, state, tries, next_try_at, last_error, sent_at)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::timestamptz[], $6::text[], $7::int[], $8::timestamptz[], $9::text[],
       $10::timestamptz[]) ON CONFLICT (key) DO NOTHING`,
    [
      rows.map(({ key }) => key),
      rows.map(({ target }) => target),
      rows.map(({ subject }) => subject),
      rows.map(({ body }) => JSON.stringify(body)),
      rows.map(({ createdAt }) => createdAt),
      rows.map(({ state }) => state),
      rows.map(({ tries }) => tries),
      rows.map(({ nextTryAt }) => nextTryAt),
      rows.map(({ lastError }) => lastError),
      rows.map(({ sentAt }) => sentAt),
    ],
  );
  return rowCount ?? 0;
}
