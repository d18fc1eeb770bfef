import type { Client } from "pg";
import { type Clips, clipsToStored, type JsonObject, type LogEntry, partsOf } from "../core/index.ts";
import { type Cell, copyText, line } from "./copy.ts";
import type { Prepared } from "./prepare.ts";

const COLUMNS = [
  "origin",
  "seq",
  "position",
  "id",
  "type",
  "entity_type",
  "entity_id",
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
  "data",
  "correlation_id",
  "causation_id",
  "prev",
  "hash",
  "quarantine_code",
  "projection_error",
] as const;
type Column = (typeof COLUMNS)[number];

const copyTo = (table: string, columns: readonly string[]): string => `COPY ${table} (${columns.join(", ")}) FROM STDIN`;
const HELD_COLUMNS = [...COLUMNS, "held_otherwise"];
const COPY = copyTo("tributary.audit", COLUMNS);
const COPY_PLACEHOLDERS = copyTo("tributary.audit", HELD_COLUMNS);

/** Columns of an audit row that follow from its event. What made a projection fail on it depends on the declarations of the time. */
export const AUDIT_COLUMNS: readonly string[] = HELD_COLUMNS.filter((name) => name !== "projection_error");

/** Writes a page's audit rows, as they are. */
export function copyAudit(
  db: Client,
  { entries, projectionErrors }: Pick<Prepared, "entries" | "projectionErrors">,
): Promise<void> {
  return copyText(db, COPY, entries.map((entry, i) => line(cellsOf(entry, projectionErrors.get(i)))).join(""));
}

/** Audit rows as they are written, into another table of the same columns and one more, which says whether the event should have one. */
export const copyAuditTo = (
  db: Client,
  table: string,
  entries: readonly { readonly entry: LogEntry; readonly isFolded: boolean }[],
) =>
  copyText(
    db,
    copyTo(table, [...COLUMNS, "is_folded"]),
    entries.map(({ entry, isFolded }) => line([...cellsOf(entry, undefined), isFolded ? "t" : "f"])).join(""),
  );

/** A form in which the audit may have an event that it cannot hold as it is, as a statement that writes it to a table. */
export interface PlaceholderForm {
  /** What the columns were to hold stands beside them. */
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

/** The row as it is where the table takes it, as a statement that writes it. */
export const plainForm = (table: string, entry: LogEntry): PlaceholderForm => ({
  says: true,
  sql: copyTo(table, COLUMNS),
  text: () => line(cellsOf(entry, undefined)),
});

/** ISO 8601 has a year 0; PostgreSQL calls it the year 1 before Christ. */
const sqlInstant = (iso: string): string => (iso.startsWith("0000-") ? `0001${iso.slice(4)} BC` : iso);

const noteCell = (clips: Clips | undefined): Cell => (clips === undefined ? null : JSON.stringify(clipsToStored(clips)));

function cellsOf({ head, content, clock, clips, position, recordedAtMs }: LogEntry, projectionError: string | undefined): Cell[] {
  const { org, site, device } = partsOf(head.origin);
  return [
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
    sqlInstant(head.occurredAt),
    new Date(recordedAtMs).toISOString(),
    head.hlc,
    clock === null ? null : Math.round(clock.offsetMs),
    head.schema.subject,
    head.schema.version,
    JSON.stringify(head.basis),
    noteCell(clips),
    content.kind === "accepted" ? JSON.stringify(content.data) : null,
    head.correlationId,
    head.causationId,
    head.prev,
    head.hash,
    content.kind === "quarantined" ? content.reason.code : null,
    projectionError,
  ];
}

const MAX_INT8 = 9_223_372_036_854_775_807n;
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const NO_UUID = "00000000-0000-0000-0000-000000000000";
/** Stands where the column cannot hold what it should. */
const PLACEHOLDER = "\uFFFD";
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const OPTIONAL: ReadonlySet<Column> = new Set([
  "clock_offset_ms",
  "clipped",
  "data",
  "correlation_id",
  "causation_id",
  "quarantine_code",
]);
/** Characters of a note on an audit row. */
export const MAX_NOTE = 4_000;
/** What a note on a row with placeholders has of why. */
export const AUDIT_NOTE = "audit: ";

/** Writes one event's audit row in the fullest form that the table takes; each try is undone where it fails. Returns why it takes none at all, or `null`. */
export async function writeAuditRow(
  entry: LogEntry,
  notes: readonly string[],
  tried: (sql: string, text: string) => Promise<unknown>,
): Promise<unknown> {
  const note = (more: readonly unknown[]): string | undefined =>
    [...notes, ...more.map((error) => `${AUDIT_NOTE}${error instanceof Error ? error.message : String(error)}`)]
      .join("; ")
      .slice(0, MAX_NOTE) || undefined;
  const asItIs = tryCells(() => cellsOf(entry, note([])));
  const first = asItIs instanceof Error ? asItIs : await tried(COPY, line(asItIs));
  if (first === null) return null;
  const fitted = await tried(COPY_PLACEHOLDERS, placeholders(entry, note([first]), false));
  if (fitted === null) return null;
  const bare = await tried(COPY_PLACEHOLDERS, placeholders(entry, note([first]), true));
  if (bare === null) return null;
  // The words themselves may be what is refused, and so may what the columns were to hold.
  const mute = await tried(COPY_PLACEHOLDERS, placeholders(entry, REFUSED, true, false));
  return mute === null ? null : bare;
}

const REFUSED = `${AUDIT_NOTE}the table took nothing of what the event says; the log has it`;

/** Whether the audit takes a row that no event has any part in; undone by the caller. Where it does not, no event is to blame. */
export async function writeCanary(db: Client): Promise<void> {
  const cells: Record<Column, Cell> = {
    ...(Object.fromEntries(COLUMNS.map((column) => [column, "-"])) as Record<Column, Cell>),
    seq: -1,
    position: -1,
    id: NO_UUID,
    occurred_at: new Date(0).toISOString(),
    recorded_at: new Date(0).toISOString(),
    clock_offset_ms: null,
    schema_version: 1,
    basis: "{}",
    clipped: "{}",
    data: "{}",
  };
  await copyText(db, COPY, line(COLUMNS.map((column) => cells[column])));
}

function tryCells(cells: () => Cell[]): Cell[] | Error {
  try {
    return cells();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * An audit row with placeholders for what its columns cannot hold; `isBare`: for all that is not the event's place, since nobody knows what the table
 * refuses. What the columns were to hold stands beside them, unless `says` is false.
 */
function placeholders(entry: LogEntry, note: string | undefined, isBare: boolean, says = true): string {
  const { head, content, clock, clips, position, recordedAtMs } = entry;
  const { org, site, device } = partsOf(head.origin);
  const otherwise: Record<string, string> = {};
  const recordedAt = Number.isFinite(recordedAtMs) ? new Date(recordedAtMs).toISOString() : new Date(0).toISOString();
  const put = (column: Column, value: unknown, isHeld: boolean, instead: Cell): Cell => {
    if (value === null || value === undefined) return OPTIONAL.has(column) ? null : instead;
    if (isHeld && !isBare) return value as Cell;
    if (value !== instead) otherwise[column] = visible(value);
    return instead;
  };
  // U+0000 alone is replaced on the way, as everywhere.
  const text = (column: Column, value: unknown): Cell => put(column, value, typeof value === "string", PLACEHOLDER);
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
    clock_offset_ms: put(
      "clock_offset_ms",
      offset,
      Number.isSafeInteger(offset),
      offset !== null && offset < 0 ? -MAX_INT8 : MAX_INT8,
    ),
    schema_subject: text("schema_subject", head.schema.subject),
    schema_version: put("schema_version", head.schema.version, Number.isFinite(head.schema.version), 0),
    basis: json("basis", head.basis, "{}"),
    // Always: the hub's own words, which any json column takes, and the fold goes by them also where the basis stands with a placeholder.
    clipped: noteCell(clips),
    data: json("data", content.kind === "accepted" ? content.data : null, null),
    correlation_id: text("correlation_id", head.correlationId),
    causation_id: text("causation_id", head.causationId),
    prev: text("prev", head.prev),
    hash: text("hash", head.hash),
    quarantine_code: text("quarantine_code", content.kind === "quarantined" ? content.reason.code : null),
    projection_error: note,
  };
  return line([...COLUMNS.map((column) => cells[column]), JSON.stringify(says ? otherwise : {})]);
}

/** As text that any column takes: what cannot be seen is escaped as JSON escapes it. */
function visible(value: unknown): string {
  const text = String(value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: U+0000 is what is looked for.
  return text.replace(/\u0000/g, "\\u0000");
}

/** A quarantined event in a form that its table takes whatever it refuses of it: all but its place and what is wrong with it are placeholders. */
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
