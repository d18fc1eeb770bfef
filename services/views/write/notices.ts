import { createHash } from "node:crypto";
import type { JsonObject } from "../../core/index.ts";
import type { Decision } from "../../merge/engine.ts";
import type { ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";

/** Something that a target of the hub's notification settings is to be told. Sent by `services/notify`. */
export interface Notice {
  /** Names what happened, so that people are told only once. It is made of events, not of their positions: a log that was set back gives those again to other events. */
  readonly key: string;
  /** The key that the same notice had in earlier versions, made of its position. */
  readonly formerKey?: string;
  readonly target: string;
  /** One line for people, without field values. */
  readonly subject: string;
  /** Field values stand in `values` alone, which most targets never see. */
  readonly body: JsonObject;
}

/** The notices about conflicts that a rule has decided. Those that wait for a person are told as cases. */
export function decisionNotices({ target: { projection }, decisions }: ViewChanges): Notice[] {
  return decisions.flatMap(({ entityId, position, decision }) =>
    decision.isOpen
      ? []
      : projection.notified(decision.register).map((target) => ({
          key: `${target}/decision/${projection.name}/${entityId}/${decision.register}/${markOf(decision)}`,
          formerKey: `${target}/decision/${projection.name}/${entityId}/${decision.register}/${position}`,
          target,
          subject: `Conflict decided: ${projection.entity}/${entityId}, ${decision.register}`,
          body: {
            kind: "decision",
            view: projection.name,
            entity: `${projection.entity}/${entityId}`,
            register: decision.register,
            rule: decision.rule,
            text: `${decision.losers.length + 1} values written side by side were decided by ${decision.rule}`,
            position: position.toString(),
            values: { winner: decision.winner.value, losers: decision.losers.map(({ value }) => value) },
          },
        })),
  );
}

/** A decision's own mark: who won against whom, and why. */
const markOf = ({ winner, losers, reason }: Decision): string =>
  createHash("sha256")
    .update(JSON.stringify([reason, ...[winner, ...losers].map(({ by }) => `${by.origin}/${by.seq}`)]))
    .digest("hex")
    .slice(0, 16);

/** Puts notices into the outbox, in the transaction that writes what they tell. What people were told before a restore is not told again. */
export async function writeNotices(db: Db, unordered: readonly Notice[]): Promise<void> {
  if (unordered.length === 0) return;
  // In one order everywhere, so that no two processes ever wait for each other.
  const notices = [...unordered].sort((a, b) => (a.key < b.key ? -1 : 1));
  await db.query(
    `INSERT INTO tributary.notification (key, target, subject, body)
     SELECT x.key, x.target, x.subject, x.body FROM unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::text[]) AS x (key, target, subject, body, former)
     WHERE NOT EXISTS (SELECT 1 FROM tributary.notification n WHERE n.key = x.former)
       AND NOT EXISTS (SELECT FROM tributary.told t WHERE (x.body->>'position')::bigint <= t.through)
     ON CONFLICT (key) DO NOTHING`,
    [
      notices.map(({ key }) => key),
      notices.map(({ target }) => target),
      notices.map(({ subject }) => subject),
      notices.map(({ body }) => JSON.stringify(body)),
      notices.map(({ formerKey }) => formerKey ?? null),
    ],
  );
  await db.query("SELECT pg_notify('tributary_notification', '')");
}
