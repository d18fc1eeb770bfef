/**
 * What a projector would have written of the log, in temporary tables, and how the hub's tables differ from it. PostgreSQL compares: both sides went through the same
 * statements and the same types. All of it runs inside the caller's transaction, and holds no more than a page of the log in memory.
 */
import type { Hash, LogEntry, OriginId, Settlement } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { PLACEHOLDER } from "../write/placeholders.ts";
import { type AuditDifference, auditDifferences, type Expected, makeExpectedAudit } from "./audit.ts";
import { type BeyondLog, beyondLog, makeEnds } from "./beyond.ts";
import type { Differences } from "./differing.ts";
import { ownerDifferences } from "./owners.ts";
import { expectQuarantine, makeExpectedQuarantine, quarantineDifferences } from "./quarantine.ts";

export interface Books {
  audit(page: readonly Expected[]): Promise<readonly AuditDifference[]>;
  /** Notes quarantined events and settlements that were folded, in log order. */
  quarantine(held: readonly LogEntry[], settlements: readonly Settlement[]): Promise<void>;
  /** The audit rows whose events the log does not have, by origin. */
  beyond(ends: ReadonlyMap<OriginId, { readonly events: number; readonly head: Hash }>): Promise<readonly BeyondLog[]>;
  quarantineDifferences(): Promise<Differences>;
  /** Of the list of whose entities are. */
  ownerDifferences(): Promise<Differences>;
  placeholders(): Promise<Placeholders>;
}

/** How many rows stand with placeholders. */
export interface Placeholders {
  /** Audit rows. */
  readonly rows: number;
  /** Audit rows among these that say nothing of their events. */
  readonly mute: number;
  /** Mute rows for which it could not be tried whether the table holds more: a right was missing, or others were in the way. */
  readonly untried: number;
  /** Entries of the list of quarantined events. */
  readonly held: number;
}

/** Opens the books: nothing is expected yet. */
export async function openBooks(db: Db): Promise<Books> {
  await db.query("DROP TABLE IF EXISTS pg_temp.expected_audit, pg_temp.expected_quarantine, pg_temp.expected_ends");
  await makeExpectedAudit(db);
  await makeExpectedQuarantine(db);
  await makeEnds(db);
  let untried = 0;
  const onUntried = (): void => void untried++;
  return {
    audit: (page) => auditDifferences(db, page, onUntried),
    quarantine: (held, settlements) => expectQuarantine(db, held, settlements),
    beyond: (ends) => beyondLog(db, ends),
    quarantineDifferences: () => quarantineDifferences(db),
    ownerDifferences: () => ownerDifferences(db),
    placeholders: async () => ({ ...(await placeholdersIn(db)), untried }),
  };
}

async function placeholdersIn(db: Db): Promise<Omit<Placeholders, "untried">> {
  const { rows } = await db.query<{ rows: number; mute: number; held: number }>(
    `SELECT count(*)::int AS rows, (count(*) FILTER (WHERE held_otherwise::text = '{}'))::int AS mute,
       (SELECT count(*)::int FROM tributary.quarantine WHERE raw = $1) AS held
     FROM tributary.audit WHERE held_otherwise IS NOT NULL`,
    [PLACEHOLDER],
  );
  return rows[0]!;
}
