import type { Client } from "pg";
import {
  CASE_ENTITY,
  CASE_NOTES,
  HUB_SITE,
  type Settled as Judged,
  type LogEntry,
  type Position,
  partsOf,
  QUARANTINE_ENTITY,
  releaseOf,
  settledBy,
} from "../core/index.ts";
import type { Author, Sibling } from "../merge/engine.ts";
import { askWaiting } from "./asked.ts";
import { copyAudit } from "./audit.ts";
import { type CaseNow, registerCases, writeCases, writeInvariants, writeTotals } from "./cases.ts";
import { inTransaction } from "./connect.ts";
import { copyText, line, withoutNul } from "./copy.ts";
import { type Lease, type Member, moveShards } from "./leases.ts";
import { decisionNotices, type Notice, writeNotices } from "./notices.ts";
import type { DecisionRow, HistoryRow, OriginRow, ParkedRow, Prepared, Settled, ViewChanges, ViewTarget } from "./prepare.ts";
import { asPosition, SHARDS } from "./shards.ts";
import { at, copyRows, replaceMany, upsertRows } from "./tables.ts";

/**
 * Writes a page in one transaction: shards, audit, views, decisions, cases, quarantine, origins. The shards move only if they are still this
 * process's, so that a page can never be written twice, nor by two.
 */
export async function write(db: Client, prepared: Prepared, { leases, layout, member }: Hold): Promise<void> {
  await inTransaction(db, async () => {
    await moveShards(db, leases, layout, prepared.through);
    if (prepared.entries.length > 0) await writePage(db, prepared, { alone: leases.length === SHARDS, by: member.number });
  });
}

/** What a process holds while it writes. */
export interface Hold {
  readonly leases: readonly Lease[];
  readonly layout: string;
  readonly member: Member;
}

/** All that a page writes besides its place in the log, inside the caller's transaction. */
export async function writePage(
  db: Client,
  prepared: Prepared,
  { alone, by }: { readonly alone: boolean; readonly by: number },
): Promise<void> {
  await copyAudit(db, prepared);
  await writeViews(db, prepared.views, { tells: true, alone });
  await writeQuarantine(db, prepared.entries);
  await settleQuarantine(db, prepared.entries);
  await writeCaseNotes(db, prepared.entries);
  await writeOrigins(db, prepared.origins);
  await askWaiting(db, prepared.waiting, by);
}

/**
 * Writes what a page changes in views: rows, their past, decisions, claims, totals, cases, and with `tells` whom to notify. `alone`: nobody else writes to
 * these tables until the transaction has ended, so that nothing need be locked.
 */
export async function writeViews(
  db: Client,
  views: readonly ViewChanges[],
  { tells, alone }: { readonly tells: boolean; readonly alone: boolean },
): Promise<void> {
  const cases: CaseNow[] = [];
  const notices: Notice[] = [];
  for (const changes of views) {
    cases.push(...(await writeView(db, changes, alone)));
    if (tells) notices.push(...decisionNotices(changes));
  }
  cases.push(...(await writeTotals(db, views)));
  if (cases.length > 0) notices.push(...(await writeCases(db, cases)));
  if (tells) await writeNotices(db, notices);
}

/** Writes what a page changes in one view. */
async function writeView(db: Client, changes: ViewChanges, alone: boolean): Promise<CaseNow[]> {
  const { target, rows, history, decisions, settled, parked } = changes;
  const { projection, place } = target;
  const [fresh, known] = [rows.filter(({ isNew }) => isNew), rows.filter(({ isNew }) => !isNew)];
  if (known.length > 0) await db.query(upsertRows(projection, place, known));
  if (fresh.length > 0) {
    const { sql, lines } = copyRows(projection, place, fresh);
    await copyText(db, sql, lines.map(line).join(""));
  }
  for (const name of Object.keys(projection.tables))
    for (const statement of replaceMany(projection, name, place, rows)) await db.query(statement);
  await writeHistory(db, target, history);
  await writeDecisions(db, settled, decisions);
  if (parked.length > 0) await writeParked(db, target, parked);
  return [...registerCases(changes), ...(await writeInvariants(db, changes, alone))];
}

/** Adds versions to the past of a view's rows. */
export async function writeHistory(db: Client, { projection, place }: ViewTarget, history: readonly HistoryRow[]): Promise<void> {
  if (history.length === 0) return;
  await copyText(
    db,
    `COPY ${at(place, `${projection.name}_history`)} (id, position, recorded_at, deleted, values) FROM STDIN`,
    history.map(historyLine).join(""),
  );
}

const historyLine = ({ id, position, recordedAtMs, row }: HistoryRow): string =>
  line([id, position, new Date(recordedAtMs).toISOString(), row.deleted ? "t" : "f", JSON.stringify(row.values)]);

async function writeDecisions(db: Client, settled: readonly Settled[], decisions: readonly DecisionRow[]): Promise<void> {
  if (settled.length > 0) {
    await db.query(
      `UPDATE tributary.decision_row d SET settled_position = s.position
       FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[]) AS s (view, generation, entity_id, register, position)
       WHERE d.view = s.view AND d.generation = s.generation AND d.entity_id = s.entity_id AND d.register = s.register
         AND d.settled_position IS NULL`,
      [
        settled.map((s) => s.view),
        settled.map((s) => s.generation),
        settled.map((s) => s.entityId),
        settled.map((s) => s.register),
        settled.map((s) => s.position),
      ],
    );
  }
  if (decisions.length > 0) await copyText(db, DECISION_COPY, decisions.map(decisionLine).join(""));
}

export async function writeParked(
  db: Client,
  { projection, generation }: ViewTarget,
  parked: readonly ParkedRow[],
): Promise<void> {
  for (const { entityId, entry, error, stack, state } of parked) {
    await db.query(
      `INSERT INTO tributary.parked (view, generation, entity_id, position, origin, seq, type, error, stack, state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
       ON CONFLICT (view, generation, entity_id) DO UPDATE SET position = excluded.position, origin = excluded.origin, seq = excluded.seq,
         type = excluded.type, error = excluded.error, stack = excluded.stack, state = excluded.state, parked_at = excluded.parked_at`,
      [
        projection.name,
        generation,
        withoutNul(entityId),
        entry.position.toString(),
        entry.head.origin,
        entry.head.seq,
        entry.head.type,
        withoutNul(error),
        withoutNul(stack),
        state === null ? null : withoutNul(state),
      ],
    );
  }
}

const DECISION_COPY =
  "COPY tributary.decision_row (view, generation, entity_id, register, position, rule, rule_version, reason, value, winner, losers, is_open, settled_position) FROM STDIN";

const authored = ({ by, value }: Sibling): { value: unknown; by: Author } => ({ value, by });

const decisionLine = ({ view, generation, entityId, position, decision, settledPosition }: DecisionRow): string =>
  line([
    view,
    generation,
    entityId,
    decision.register,
    position,
    decision.rule,
    decision.ruleVersion,
    decision.reason,
    JSON.stringify(decision.value),
    JSON.stringify(authored(decision.winner)),
    JSON.stringify(decision.losers.map(authored)),
    decision.isOpen ? "t" : "f",
    settledPosition,
  ]);

const QUARANTINE = "tributary.quarantine";

/** Keeps quarantined events. `table`: another one of the same columns. */
export async function writeQuarantine(db: Client, entries: readonly LogEntry[], table = QUARANTINE): Promise<void> {
  const lines = entries.flatMap(({ head, content, position, recordedAtMs }) =>
    content.kind === "accepted"
      ? []
      : [
          line([
            head.origin,
            head.seq,
            position,
            head.id,
            head.type,
            head.entity.type,
            head.entity.id,
            partsOf(head.origin).site,
            head.actor,
            new Date(recordedAtMs).toISOString(),
            head.schema.subject,
            head.schema.version,
            content.reason.code,
            content.reason.message,
            content.reason.path,
            content.text,
            head.hash,
          ]),
        ],
  );
  if (lines.length === 0) return;
  await copyText(
    db,
    `COPY ${table} (origin, seq, position, id, type, entity_type, entity_id, site, actor, recorded_at, schema_subject,
       schema_version, code, reason, path, raw, hash) FROM STDIN`,
    lines.join(""),
  );
}

/** Where in the log a quarantined event was settled, as far as it has been written; `null` while it is held. */
export async function settledAt(db: Client, { origin, seq, hash }: Judged): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>(
    "SELECT settled_position AS position FROM tributary.quarantine WHERE origin = $1 AND seq = $2 AND hash = $3",
    [origin, seq, hash],
  );
  return asPosition(rows[0]?.position);
}

/**
 * Notes what releases and rejections say of events in quarantine. The first word holds. `isBare`: only that and where, for a table that refuses what they say;
 * the log has it.
 */
export async function settleQuarantine(
  db: Client,
  entries: readonly LogEntry[],
  isBare = false,
  table = QUARANTINE,
): Promise<void> {
  for (const { head, content, position, recordedAtMs } of entries) {
    if (content.kind !== "accepted" || head.entity.type !== QUARANTINE_ENTITY || partsOf(head.origin).site !== HUB_SITE) continue;
    const settled = settledBy(head.type, content.data);
    if (settled === null) continue;
    const release = releaseOf(head.type, content.data);
    await db.query(
      `UPDATE ${table} SET state = $4, settled_position = $5, settled_at = $6, settled_by = $7, settled_note = $8,
         released_subject = $9, released_version = $10, released_data = $11
       WHERE origin = $1 AND seq = $2 AND hash = $3 AND state = 'held'
         AND ($12::text IS NULL OR (type = $12 AND entity_type = $13 AND entity_id = $14))`,
      [
        settled.origin,
        settled.seq,
        settled.hash,
        release === null ? "rejected" : "released",
        position.toString(),
        new Date(recordedAtMs).toISOString(),
        isBare ? null : head.actor,
        isBare ? null : ((release === null ? content.data.reason : release.note) ?? null),
        isBare ? null : (release?.schema.subject ?? null),
        isBare ? null : (release?.schema.version ?? null),
        release === null || isBare ? null : JSON.stringify(release.data).replaceAll("\\u0000", "\\ufffd"),
        release?.type ?? null,
        release?.entity.type ?? null,
        release?.entity.id ?? null,
      ],
    );
  }
}

/** Notes what people did about cases. */
export async function writeCaseNotes(db: Client, entries: readonly LogEntry[]): Promise<void> {
  for (const { head, content, position, recordedAtMs } of entries) {
    if (content.kind !== "accepted" || head.entity.type !== CASE_ENTITY || partsOf(head.origin).site !== HUB_SITE) continue;
    const kind = CASE_NOTES[head.type];
    if (kind === undefined) continue;
    const { assignee, mark, text } = content.data;
    await db.query(
      `INSERT INTO tributary.case_note (case_id, position, kind, actor, origin, recorded_at, assignee, mark, text)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        head.entity.id,
        position.toString(),
        kind,
        head.actor,
        head.origin,
        new Date(recordedAtMs).toISOString(),
        assignee ?? null,
        mark ?? null,
        typeof text === "string" ? withoutNul(text) : null,
      ],
    );
  }
}

export async function writeOrigins(db: Client, unordered: readonly OriginRow[]): Promise<void> {
  // In one order everywhere: processes that fold other shards write the same origins.
  const origins = [...unordered].sort((a, b) => (a.origin < b.origin ? -1 : 1));
  const at = (ms: number): string => new Date(ms).toISOString();
  await db.query({
    name: "origins",
    text: `INSERT INTO tributary.origin
      SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::timestamptz[], $11::timestamptz[])
      ON CONFLICT (origin) DO UPDATE SET through = greatest(tributary.origin.through, excluded.through),
        position = greatest(tributary.origin.position, excluded.position),
        events = tributary.origin.events + excluded.events, quarantined = tributary.origin.quarantined + excluded.quarantined,
        clock_wrong = tributary.origin.clock_wrong + excluded.clock_wrong,
        first_recorded_at = least(tributary.origin.first_recorded_at, excluded.first_recorded_at),
        last_recorded_at = greatest(tributary.origin.last_recorded_at, excluded.last_recorded_at)`,
    values: [
      origins.map((o) => o.origin),
      origins.map((o) => o.org),
      origins.map((o) => o.site),
      origins.map((o) => o.device),
      origins.map((o) => o.through),
      origins.map((o) => o.position),
      origins.map((o) => o.events),
      origins.map((o) => o.quarantined),
      origins.map((o) => o.clockWrong),
      origins.map((o) => at(o.firstRecordedMs)),
      origins.map((o) => at(o.lastRecordedMs)),
    ],
  });
}
