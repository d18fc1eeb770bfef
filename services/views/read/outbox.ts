import type { JsonValue } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { millis, seconds } from "./sql.ts";

/** A listing shows at most this many notifications, the newest. */
const MAX_LISTED_ROWS = 500;

export type NotificationState = "waiting" | "sent" | "failed";

/** A notification as a listing shows it. */
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

/** The newest notifications in the states asked for. */
export async function listNotifications(db: Db, states: readonly NotificationState[]): Promise<readonly Listed[]> {
  const { rows } = await db.query<Listed & Record<string, unknown>>(
    `SELECT id::text, key, target, subject, state, tries, last_error AS "lastError", ${seconds("created_at")} AS "createdAt",
       ${seconds("CASE WHEN state = 'waiting' THEN next_try_at END")} AS "nextTryAt", ${seconds("sent_at")} AS "sentAt"
     FROM tributary.notification WHERE state = ANY ($1) ORDER BY notification.id DESC LIMIT $2`,
    [states, MAX_LISTED_ROWS],
  );
  return rows;
}

/** A target that has something due, and since when its oldest notification waits. */
export interface Due {
  readonly target: string;
  readonly oldest: string;
}

/** The targets that have something due at an instant. */
export async function dueTargets(db: Db, now: string): Promise<readonly Due[]> {
  const { rows } = await db.query<Due & Record<string, unknown>>(
    `SELECT target, ${millis("min(created_at)")} AS oldest
     FROM tributary.notification WHERE state = 'waiting' AND next_try_at <= $1::timestamptz
     GROUP BY target ORDER BY target`,
    [now],
  );
  return rows;
}

/** A notification as a backup keeps it. */
export interface KeptNotification {
  readonly key: string;
  readonly target: string;
  readonly subject: string;
  readonly body: JsonValue;
  readonly createdAt: string;
  readonly state: NotificationState;
  readonly tries: number;
  readonly nextTryAt: string;
  readonly lastError: string | null;
  readonly sentAt: string | null;
}

const KEPT_PAGE_ROWS = 2_000;

/** All notifications, oldest first. They are of one moment if the caller's transaction sees one moment. */
export async function* keptNotifications(db: Db): AsyncGenerator<KeptNotification> {
  for (let after = "0"; ; ) {
    const { rows } = await db.query<KeptNotification & { readonly id: string } & Record<string, unknown>>(
      `SELECT id::text, key, target, subject, body, state, tries, last_error AS "lastError", ${millis("created_at")} AS "createdAt",
         ${millis("next_try_at")} AS "nextTryAt", ${millis("sent_at")} AS "sentAt"
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

/** Whether the outbox exists: before the first fold there is none. */
export async function hasOutbox(db: Db): Promise<boolean> {
  const { rows } = await db.query("SELECT WHERE to_regclass('tributary.notification') IS NOT NULL");
  return rows.length > 0;
}

/** The position of the last folded event up to `end`: people were told what happened up to it, or the outbox holds the notice. `null`: nothing was folded. */
export async function toldThrough(db: Db, end: string): Promise<string | null> {
  const { rows } = await db.query<{ through: string | null }>(
    `SELECT max(a.position)::text AS through FROM tributary.audit a, tributary.checkpoint c
     WHERE a.position <= c.position AND a.position <= $1`,
    [end],
  );
  return rows[0]!.through;
}
