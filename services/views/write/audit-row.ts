import { type Clips, clipsToStored, type LogEntry, partsOf } from "../../core/index.ts";
import type { Cell } from "../copy.ts";

/** The columns that the audit and the quarantine begin with: which event it is, where it stands, and what it is about. */
export const NAME_COLUMNS = ["origin", "seq", "position", "id", "type", "entity_type", "entity_id"] as const;

const named = ({ head, position }: Pick<LogEntry, "head" | "position">): Record<(typeof NAME_COLUMNS)[number], Cell> => ({
  origin: head.origin,
  seq: head.seq,
  position,
  id: head.id,
  type: head.type,
  entity_type: head.entity.type,
  entity_id: head.entity.id,
});

/** The cells of these columns. */
export function nameCells(entry: Pick<LogEntry, "head" | "position">): Cell[] {
  const cells = named(entry);
  return NAME_COLUMNS.map((column) => cells[column]);
}

/** Columns of an audit row, in the order in which they are written. */
export const COLUMNS = [
  ...NAME_COLUMNS,
  "org",
  "site",
  "device",
  "actor",
  "occurred_at",
  "recorded_at",
  "hlc",
  "clock_offset_ms",
  "schema_subject",
  "schema_version",
  "basis",
  "clipped",
  "taken_by",
  "taken_at",
  "data",
  "correlation_id",
  "causation_id",
  "prev",
  "hash",
  "quarantine_code",
  "projection_error",
] as const;
export type Column = (typeof COLUMNS)[number];
/** The same, and the column that says what a row with placeholders was to hold. */
export const HELD_COLUMNS: readonly string[] = [...COLUMNS, "held_otherwise"];

/** The COPY statement that writes these columns of a table. */
export const copyTo = (table: string, columns: readonly string[]): string => `COPY ${table} (${columns.join(", ")}) FROM STDIN`;

/** The audit. */
export const AUDIT = "tributary.audit";

/** The columns of an audit row that follow from its event. `projection_error` does not: it depends on the declarations of the time. */
export const AUDIT_COLUMNS: readonly string[] = HELD_COLUMNS.filter((name) => name !== "projection_error");

/** ISO 8601 has a year 0; PostgreSQL calls it the year 1 before Christ. */
export const sqlInstant = (iso: string): string => (iso.startsWith("0000-") ? `0001${iso.slice(4)} BC` : iso);

/** The cell that says which parts of an event's basis the hub does not count. */
export const noteCell = (clips: Clips | undefined): Cell => (clips === undefined ? null : JSON.stringify(clipsToStored(clips)));

/** The cells of an event's audit row. */
export function cellsOf(entry: LogEntry, projectionError: string | undefined): Cell[] {
  const { head, content, clock, clips, taken, recordedAtMs } = entry;
  const { org, site, device } = partsOf(head.origin);
  const cells: Record<Column, Cell> = {
    ...named(entry),
    org,
    site,
    device,
    actor: head.actor,
    occurred_at: sqlInstant(head.occurredAt),
    recorded_at: new Date(recordedAtMs).toISOString(),
    hlc: head.hlc,
    clock_offset_ms: clock === null ? null : Math.round(clock.offsetMs),
    schema_subject: head.schema.subject,
    schema_version: head.schema.version,
    basis: JSON.stringify(head.basis),
    clipped: noteCell(clips),
    taken_by: taken?.hub,
    taken_at: taken?.position,
    data: content.kind === "accepted" ? JSON.stringify(content.data) : null,
    correlation_id: head.correlationId,
    causation_id: head.causationId,
    prev: head.prev,
    hash: head.hash,
    quarantine_code: content.kind === "quarantined" ? content.reason.code : null,
    projection_error: projectionError,
  };
  return COLUMNS.map((column) => cells[column]);
}
