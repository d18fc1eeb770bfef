import { finished } from "node:stream/promises";
import type { Client } from "pg";
import { from as copyFrom } from "pg-copy-streams";
import {
  HUB_SITE,
  type Position,
  partsOf,
  QUARANTINE_ENTITY,
  releaseOf,
  type Settled,
  settledBy,
  TributaryError,
} from "../core/index.ts";
import type { LogEntry } from "../log/index.ts";
import type { Author, Sibling } from "../merge/index.ts";
import type { DecisionRow, Prepared } from "./prepare.ts";
import { upsertView } from "./views.ts";

const CHECKPOINT = "main";

/** The last position projected; `null` when nothing has been. */
export async function readCheckpoint(db: Client): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint WHERE name = $1", [
    CHECKPOINT,
  ]);
  if (rows.length === 0)
    await db.query("INSERT INTO tributary.checkpoint VALUES ($1, NULL) ON CONFLICT DO NOTHING", [CHECKPOINT]);
  return rows[0]?.position == null ? null : (BigInt(rows[0].position) as Position);
}

/**
 * Writes a page in one transaction: checkpoint, audit, views, decisions, quarantine, origins. The checkpoint moves only from
 * where this projector left it, so that a page can never be written twice.
 */
export async function write(db: Client, prepared: Prepared, after: Position | null): Promise<void> {
  await db.query("BEGIN");
  try {
    const moved = await db.query({
      name: "checkpoint",
      text: "UPDATE tributary.checkpoint SET position = $2 WHERE name = $1 AND position IS NOT DISTINCT FROM $3",
      values: [CHECKPOINT, prepared.through.toString(), after?.toString() ?? null],
    });
    if (moved.rowCount !== 1) {
      throw new TributaryError(
        "already-running",
        "another projector has moved the checkpoint",
        "Only one may write; stop the other.",
      );
    }
    await copyAudit(db, prepared);
    await writeViews(db, prepared);
    await writeDecisions(db, prepared);
    await writeQuarantine(db, prepared.entries);
    await settleQuarantine(db, prepared.entries);
    await writeOrigins(db, prepared);
    await db.query("COMMIT");
  } catch (error) {
    await db.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** Views and decisions alone: for a view that is built anew. */
export async function writeViews(db: Client, prepared: Prepared, schema = "views"): Promise<void> {
  for (const [projection, rows] of prepared.views) {
    const upsert = upsertView(projection, schema);
    await db.query({ name: `view:${schema}.${projection.name}`, text: upsert.text, values: upsert.values(rows) });
  }
}

export async function writeDecisions(db: Client, { settled, decisions }: Prepared): Promise<void> {
  if (settled.length > 0) {
    await db.query(
      `UPDATE tributary.decision d SET settled_position = s.position
       FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS s (view, entity_id, register, position)
       WHERE d.view = s.view AND d.entity_id = s.entity_id AND d.register = s.register AND d.settled_position IS NULL`,
      [
        settled.map((s) => s.view),
        settled.map((s) => s.entityId),
        settled.map((s) => s.register),
        settled.map((s) => s.position),
      ],
    );
  }
  if (decisions.length > 0) await copyText(db, DECISION_COPY, decisions.map(decisionLine).join(""));
}

const AUDIT_COPY = `COPY tributary.audit (origin, seq, position, id, type, entity_type, entity_id, org, site, device, actor, occurred_at,
  recorded_at, hlc, clock_offset_ms, schema_subject, schema_version, basis, data, correlation_id, causation_id, prev, hash,
  quarantine_code, projection_error) FROM STDIN`;
const DECISION_COPY =
  "COPY tributary.decision (view, entity_id, register, position, rule, rule_version, reason, winner, losers, settled_position) FROM STDIN";

const SPECIAL = /[\\\n\r\t]/;
const ESCAPES: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
/** A value in COPY's text form. PostgreSQL's text has no U+0000; what carries one is shown with the replacement character. */
function cell(value: string | number | bigint | null | undefined): string {
  if (value === null || value === undefined) return "\\N";
  let text = String(value);
  if (text.includes("\0")) text = text.replaceAll("\0", "\uFFFD");
  return SPECIAL.test(text) ? text.replace(/[\\\n\r\t]/g, (c) => ESCAPES[c]!) : text;
}
const line = (cells: readonly (string | number | bigint | null | undefined)[]): string => `${cells.map(cell).join("\t")}\n`;

async function copyText(db: Client, sql: string, text: string): Promise<void> {
  const copying = db.query(copyFrom(sql));
  copying.end(Buffer.from(text));
  await finished(copying);
}

function copyAudit(db: Client, { entries, projectionErrors }: Prepared): Promise<void> {
  return copyText(db, AUDIT_COPY, entries.map((entry, i) => auditLine(entry, projectionErrors.get(i))).join(""));
}

function auditLine({ head, content, clock, position, recordedAtMs }: LogEntry, projectionError: string | undefined): string {
  const { org, site, device } = partsOf(head.origin);
  return line([
    head.origin,
    head.seq,
    position,
    head.id,
    head.type,
    head.entity.type,
    head.entity.id,
    org,
    site,
    device,
    head.actor,
    head.occurredAt,
    new Date(recordedAtMs).toISOString(),
    head.hlc,
    clock === null ? null : Math.round(clock.offsetMs),
    head.schema.subject,
    head.schema.version,
    JSON.stringify(head.basis),
    content.kind === "accepted" ? JSON.stringify(content.data) : null,
    head.correlationId,
    head.causationId,
    head.prev,
    head.hash,
    content.kind === "quarantined" ? content.reason.code : null,
    projectionError,
  ]);
}

const authored = ({ by, value }: Sibling): { value: unknown; by: Author } => ({ value, by });

const decisionLine = ({ view, entityId, position, decision, settledPosition }: DecisionRow): string =>
  line([
    view,
    entityId,
    decision.register,
    position,
    decision.rule,
    decision.ruleVersion,
    decision.reason,
    JSON.stringify(authored(decision.winner)),
    JSON.stringify(decision.losers.map(authored)),
    settledPosition,
  ]);

async function writeQuarantine(db: Client, entries: readonly LogEntry[]): Promise<void> {
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
    `COPY tributary.quarantine (origin, seq, position, id, type, entity_type, entity_id, site, actor, recorded_at, schema_subject,
       schema_version, code, reason, path, raw, hash) FROM STDIN`,
    lines.join(""),
  );
}

/** Where in the log a quarantined event was settled, as far as it has been written; `null` while it is held. */
export async function settledAt(db: Client, { origin, seq, hash }: Settled): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>(
    "SELECT settled_position AS position FROM tributary.quarantine WHERE origin = $1 AND seq = $2 AND hash = $3",
    [origin, seq, hash],
  );
  return rows[0]?.position == null ? null : (BigInt(rows[0].position) as Position);
}

/** Notes what releases and rejections say of events in quarantine. The first word holds. */
async function settleQuarantine(db: Client, entries: readonly LogEntry[]): Promise<void> {
  for (const { head, content, position, recordedAtMs } of entries) {
    if (content.kind !== "accepted" || head.entity.type !== QUARANTINE_ENTITY || partsOf(head.origin).site !== HUB_SITE) continue;
    const settled = settledBy(head.type, content.data);
    if (settled === null) continue;
    const release = releaseOf(head.type, content.data);
    await db.query(
      `UPDATE tributary.quarantine SET state = $4, settled_position = $5, settled_at = $6, settled_by = $7, settled_note = $8,
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
        head.actor,
        (release === null ? content.data.reason : release.note) ?? null,
        release?.schema.subject ?? null,
        release?.schema.version ?? null,
        release === null ? null : JSON.stringify(release.data).replaceAll("\\u0000", "\\ufffd"),
        release?.type ?? null,
        release?.entity.type ?? null,
        release?.entity.id ?? null,
      ],
    );
  }
}

async function writeOrigins(db: Client, { origins }: Prepared): Promise<void> {
  const at = (ms: number): string => new Date(ms).toISOString();
  await db.query({
    name: "origins",
    text: `INSERT INTO tributary.origin
      SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::timestamptz[], $11::timestamptz[])
      ON CONFLICT (origin) DO UPDATE SET through = excluded.through, position = excluded.position,
        events = tributary.origin.events + excluded.events, quarantined = tributary.origin.quarantined + excluded.quarantined,
        clock_wrong = tributary.origin.clock_wrong + excluded.clock_wrong, last_recorded_at = excluded.last_recorded_at`,
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
