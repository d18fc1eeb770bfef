import type { Client } from "pg";
import type { JsonObject } from "../core/index.ts";
import type { ViewChanges } from "./prepare.ts";

/** Something that a target of the hub's notification settings is to be told. Sent by `services/notify`. */
export interface Notice {
  /** Names what happened, so that it is said once. */
  readonly key: string;
  readonly target: string;
  /** One line for people, without field values. */
  readonly subject: string;
  /** Field values stand in `values` alone, which most targets never see. */
  readonly body: JsonObject;
}

/** Whom to tell of conflicts that a rule has decided. Those that wait for a person are told of as cases. */
export function decisionNotices({ target: { projection }, decisions }: ViewChanges): Notice[] {
  return decisions.flatMap(({ entityId, position, decision }) =>
    decision.isOpen
      ? []
      : projection.notified(decision.register).map((target) => ({
          key: `${target}/decision/${projection.name}/${entityId}/${decision.register}/${position}`,
          target,
          subject: `Conflict decided: ${projection.entity}/${entityId}, ${decision.register}`,
          body: {
            kind: "decision",
            view: projection.name,
            entity: `${projection.entity}/${entityId}`,
            register: decision.register,
            rule: decision.rule,
            text: `${decision.losers.length + 1} values written side by side were decided by ${decision.rule}`,
            position,
            values: { winner: decision.winner.value, losers: decision.losers.map(({ value }) => value) },
          },
        })),
  );
}

/** Puts notices into the outbox, in the transaction of what they tell of. Of what people were told before a restore they are not told again. */
export async function writeNotices(db: Client, notices: readonly Notice[]): Promise<void> {
  if (notices.length === 0) return;
  await db.query(
    `INSERT INTO tributary.notification (key, target, subject, body)
     SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::json[]) AS n (key, target, subject, body)
     WHERE NOT EXISTS (SELECT FROM tributary.told t WHERE (n.body->>'position')::bigint <= t.through)
     ON CONFLICT (key) DO NOTHING`,
    [
      notices.map(({ key }) => key),
      notices.map(({ target }) => target),
      notices.map(({ subject }) => subject),
      notices.map(({ body }) => JSON.stringify(body)),
    ],
  );
  await db.query("SELECT pg_notify('tributary_notification', '')");
}
