import { type JsonObject, type LogEntry, partsOf } from "../../core/index.ts";
import { type Cell, line } from "../copy.ts";
import { COLUMNS, type Column, cellsOf, copyTo, HELD_COLUMNS, noteCell, sqlInstant } from "./audit-row.ts";

/** A form in which the audit may keep an event that it cannot hold as it is: a statement that writes it to a table. */
export interface PlaceholderForm {
  /** Whether the row also says what the columns were to hold. */
  readonly says: boolean;
  readonly sql: string;
  readonly text: () => string;
}

/** All such forms, fullest first. */
export const placeholderForms = (table: string, entry: LogEntry): readonly PlaceholderForm[] =>
  (
    [
      [false, true],
      [true, true],
      [true, false],
    ] as const
  ).map(([isBare, says]) => ({
    says,
    sql: copyTo(table, HELD_COLUMNS),
    text: () => placeholders(entry, undefined, isBare, says),
  }));

/** The form without placeholders: a statement that writes the row as it is. */
export const plainForm = (table: string, entry: LogEntry): PlaceholderForm => ({
  says: true,
  sql: copyTo(table, COLUMNS),
  text: () => line(cellsOf(entry, undefined)),
});

const MAX_INT8 = 9_223_372_036_854_775_807n;
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
/** Stands for an id that is not a UUID. */
export const NO_UUID = "00000000-0000-0000-0000-000000000000";
/** Stands where the column cannot hold what it should. */
export const PLACEHOLDER = "\uFFFD";
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;

/**
 * An audit row with placeholders for what its columns cannot hold. `isBare`: for everything but where the event stands, since nobody knows what the table
 * refuses. The row also says what the columns were to hold, unless `says` is false.
 */
export function placeholders(entry: LogEntry, note: string | undefined, isBare: boolean, says = true): string {
  const { head, content, clock, clips, taken, position, recordedAtMs } = entry;
  const { org, site, device } = partsOf(head.origin);
  const otherwise: Record<string, string> = {};
  const recordedAt = Number.isFinite(recordedAtMs) ? new Date(recordedAtMs).toISOString() : new Date(0).toISOString();
  const put = (column: Column, value: unknown, isHeld: boolean, instead: Cell): Cell => {
    if (value === null || value === undefined) return instead;
    if (isHeld && !isBare) return value as Cell;
    if (value !== instead) otherwise[column] = visible(value);
    return instead;
  };
  // Only U+0000 is replaced on the way, as everywhere.
  const text = (column: Column, value: string): Cell => put(column, value, typeof value === "string", PLACEHOLDER);
  /** What an event may lack: the compiler does not let `text` have it, which never leaves a column empty. */
  const textOrNone = (column: Column, value: string | null | undefined): Cell =>
    value === null || value === undefined ? null : text(column, value);
  const json = (column: Column, value: JsonObject | null, instead: Cell): Cell =>
    put(column, value === null ? null : JSON.stringify(value), true, instead);
  const offset = clock === null ? null : Math.round(clock.offsetMs);
  const cells: Record<Column, Cell> = {
    origin: head.origin,
    seq: head.seq,
    position,
    id: put("id", head.id, UUID.test(head.id), NO_UUID),
    type: text("type", head.type),
    entity_type: text("entity_type", head.entity.type),
    entity_id: text("entity_id", head.entity.id),
    org,
    site,
    device,
    actor: text("actor", head.actor),
    occurred_at: put("occurred_at", sqlInstant(head.occurredAt), INSTANT.test(head.occurredAt), recordedAt),
    recorded_at: recordedAt,
    hlc: text("hlc", head.hlc),
    clock_offset_ms:
      offset === null ? null : put("clock_offset_ms", offset, Number.isSafeInteger(offset), offset < 0 ? -MAX_INT8 : MAX_INT8),
    schema_subject: text("schema_subject", head.schema.subject),
    schema_version: put("schema_version", head.schema.version, Number.isFinite(head.schema.version), 0),
    basis: json("basis", head.basis, "{}"),
    // Never a placeholder: any json column takes the hub's own words, and the fold needs them also where the basis is a placeholder.
    clipped: noteCell(clips),
    // Checked when it was read from the log, and needed for the fold.
    taken_by: taken?.hub,
    taken_at: taken?.position,
    data: json("data", content.kind === "accepted" ? content.data : null, null),
    correlation_id: textOrNone("correlation_id", head.correlationId),
    causation_id: textOrNone("causation_id", head.causationId),
    prev: text("prev", head.prev),
    hash: text("hash", head.hash),
    quarantine_code: textOrNone("quarantine_code", content.kind === "quarantined" ? content.reason.code : null),
    projection_error: note,
  };
  return line([...COLUMNS.map((column) => cells[column]), JSON.stringify(says ? otherwise : {})]);
}

/** A value as text that any column takes: U+0000 is escaped as in JSON. */
function visible(value: unknown): string {
  const text = String(value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: U+0000 is what is looked for.
  return text.replace(/\u0000/g, "\\u0000");
}

/** A quarantined event in a form that its table takes whatever it refuses: everything is a placeholder but where the event stands and what is wrong with it. */
export function withPlaceholders(entry: LogEntry): LogEntry {
  const { head, content } = entry;
  return {
    ...entry,
    head: {
      ...head,
      id: (UUID.test(head.id) ? head.id : NO_UUID) as typeof head.id,
      actor: PLACEHOLDER,
      entity: { type: PLACEHOLDER, id: PLACEHOLDER },
      schema: { ...head.schema, version: Number.isFinite(head.schema.version) ? head.schema.version : 0 },
    },
    content: content.kind === "accepted" ? content : { ...content, reason: { ...content.reason, path: null }, text: PLACEHOLDER },
  };
}
