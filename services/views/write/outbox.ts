import type { JsonValue } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import type { KeptNotification, NotificationState } from "../read/outbox.ts";
import { millis } from "../read/sql.ts";

/** One digest at a time for a target; an arbitrary number of ours, beside a hash of the target's name. */
const DIGEST_LOCK = 7_401_103;

/** The channel on which notifiers hear that there is something new to send. */
export const NOTIFICATION_CHANNEL = "tributary_notification";

/** A notification that a transaction has taken. */
export interface Taken {
  readonly id: string;
  readonly key: string;
  readonly subject: string;
  readonly body: JsonValue;
  readonly tries: number;
  readonly createdAt: string;
}

const TAKEN = `SELECT n.id::text, n.key, n.subject, n.body, n.tries, ${millis("n.created_at")} AS "createdAt"`;

/** Takes notifications that are due at an instant, oldest first. Those that another notifier is sending are passed over. */
export async function takeDue(db: Db, target: string, now: string, limit: number): Promise<readonly Taken[]> {
  const { rows } = await db.query<Taken & Record<string, unknown>>(
    `${TAKEN} FROM tributary.notification n
     WHERE target = $1 AND state = 'waiting' AND next_try_at <= $2::timestamptz
     ORDER BY n.id LIMIT $3 FOR UPDATE SKIP LOCKED`,
    [target, now, limit],
  );
  return rows;
}

/** Which digest is taken: for a target, at an instant, over whole periods, with at most `limit` notices. */
export interface DigestQuestion {
  readonly target: string;
  readonly now: string;
  readonly periodMs: number;
  readonly limit: number;
}

/**
 * Takes what one digest tells: all from the oldest notice on, through the last whole period since. So there is no digest before the oldest notice is a period old, one
 * after a long silence, and the same set, thus the same key, when a sending is repeated within the period.
 */
export async function takeDigest(db: Db, { target, now, periodMs, limit }: DigestQuestion): Promise<readonly Taken[]> {
  // Otherwise two notifiers would share one digest between them.
  const lock = await db.query<{ got: boolean }>("SELECT pg_try_advisory_xact_lock($1, hashtext($2)) AS got", [
    DIGEST_LOCK,
    target,
  ]);
  if (!lock.rows[0]!.got) return [];
  const { rows } = await db.query<Taken & Record<string, unknown>>(
    `${TAKEN} FROM tributary.notification n,
       (SELECT min(created_at) AS oldest FROM tributary.notification
        WHERE target = $1 AND state = 'waiting' AND next_try_at <= $2::timestamptz) o
     WHERE n.target = $1 AND n.state = 'waiting' AND n.next_try_at <= $2::timestamptz
       AND n.created_at < o.oldest + floor(extract(epoch FROM $2::timestamptz - o.oldest) / $3::float8) * make_interval(secs => $3::float8)
     ORDER BY n.id LIMIT $4 FOR UPDATE OF n SKIP LOCKED`,
    [target, now, periodMs / 1_000, limit],
  );
  return rows;
}

/** What became of an attempt to deliver a notification. */
export interface Attempted {
  readonly id: string;
  readonly state: NotificationState;
  readonly nextTryAt: string;
  readonly lastError: string | null;
}

/** Writes down what became of attempts at an instant, in the transaction that took the rows. */
export async function noteAttempts(db: Db, rows: readonly Attempted[], now: string): Promise<void> {
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

/** Marks notifications for targets that the settings do not name as failed, without a try: `tries` stays 0. Returns how many. */
export async function failUnknown(db: Db, known: readonly string[]): Promise<number> {
  // A notification that another notifier is sending has a target that it knows: it is passed over, not waited for.
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'failed', tries = 0,
       last_error = 'the notification settings name no target ' || target || '; it is sent when they do and the notifier starts again'
     WHERE id IN (SELECT id FROM tributary.notification WHERE state = 'waiting' AND NOT target = ANY ($1) FOR UPDATE SKIP LOCKED)`,
    [known],
  );
  return rowCount ?? 0;
}

/** Puts back notifications that failed without a try and whose target is now named; they are due from an instant on. Returns how many. */
export async function restoreKnown(db: Db, known: readonly string[], now: string): Promise<number> {
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'waiting', next_try_at = $2::timestamptz, last_error = NULL
     WHERE state = 'failed' AND tries = 0 AND target = ANY ($1)`,
    [known, now],
  );
  return rowCount ?? 0;
}

/** Sets failed notifications back to waiting, with `tries` at 0, and wakes the notifiers. Returns how many. */
export async function retryFailed(db: Db, which: { readonly target?: string; readonly id?: number }): Promise<number> {
  const { rowCount } = await db.query(
    `UPDATE tributary.notification SET state = 'waiting', tries = 0, next_try_at = now()
     WHERE state = 'failed' AND ($1::text IS NULL OR target = $1) AND ($2::bigint IS NULL OR id = $2)`,
    [which.target ?? null, which.id ?? null],
  );
  await db.query(`NOTIFY ${NOTIFICATION_CHANNEL}`);
  return rowCount ?? 0;
}

/** Puts notifications of a backup back, as they were; those that are there already stay. Returns how many are new. */
export async function putBackNotifications(db: Db, rows: readonly KeptNotification[]): Promise<number> {
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

/** Notes the position up to which people had been told of everything when a backup was made. */
export async function noteTold(db: Db, through: string): Promise<void> {
  await db.query("DELETE FROM tributary.told");
  await db.query("INSERT INTO tributary.told VALUES ($1)", [through]);
}

/** Forgets that note once the fold has come past its position. Returns whether no note is left. */
export async function forgetTold(db: Db): Promise<boolean> {
  await db.query("DELETE FROM tributary.told WHERE through <= (SELECT position FROM tributary.checkpoint)");
  const { rows } = await db.query("SELECT FROM tributary.told LIMIT 1");
  return rows.length === 0;
}

/** Calls `onRing` whenever there is something new to send, as long as the connection holds; calls `onLost` when it is lost. */
export async function listenForNotifications(db: Db, onRing: () => void, onLost: () => void): Promise<void> {
  db.on("error", onLost).on("end", onLost).on("notification", onRing);
  await db.query(`LISTEN ${NOTIFICATION_CHANNEL}`);
}
