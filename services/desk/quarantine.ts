import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type OriginId,
  QUARANTINE_ENTITY,
  REJECTED,
  RELEASED,
  type SchemaRef,
  TributaryError,
} from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";
import type { Gate, Problem } from "../gate/index.ts";
import { fitsViews } from "../merge/engine.ts";
import { type QuarantineFilter, type QuarantineRow, quarantine, quarantinedEvent } from "../views/index.ts";
import { type By, type Desk, noted } from "./desk.ts";

/** Which quarantined events are meant: those named, as `origin/seq`; or all that are held and pass a filter. */
export type Which = { readonly names: readonly string[] } | { readonly filter: Omit<QuarantineFilter, "state"> };

/** A change of one field; `null` removes the field. */
export type Change = readonly [field: string, value: JsonValue];

/** A quarantined event, looked at with the schemas and views as they are now. */
export interface Examined {
  readonly event: QuarantineRow;
  /** `null`: its raw data are not a JSON object. */
  readonly data: JsonObject | null;
  readonly schema: SchemaRef;
  /** All that is wrong with the event now. */
  readonly problems: readonly Problem[];
}

/** A quarantined event's name. */
export const nameOf = ({ origin, seq }: Pick<QuarantineRow, "origin" | "seq">): string => `${origin}/${seq}`;

/** Looks at a quarantined event again: what did not fit when it came may fit now. Throws `not-found`. */
export async function examine(desk: Pick<Desk, "db" | "gate" | "projections">, name: string): Promise<Examined> {
  const event = await named(desk, name);
  return examined(desk, event, parsedObject(event.raw));
}

export interface ReleaseRequest extends By {
  readonly which: Which;
  /** Changes of single fields. */
  readonly changes: readonly Change[];
  /** New data in the place of all of the old; `null`: the data stay. */
  readonly replacement: JsonObject | null;
  /** Checks and reads the data with this version instead of its own. */
  readonly schema?: SchemaRef;
  /** Only says what would be released. */
  readonly dryRun: boolean;
}

export interface ReleaseResult {
  readonly released: readonly string[];
  /** The events that still do not fit, with what is wrong. */
  readonly held: readonly { readonly event: string; readonly problem: string }[];
  readonly dryRun: boolean;
}

/**
 * Releases quarantined events, as they are or mended. An event that fits now is released by an event of the hub's own origin, and counts as its author's, in its own causal order.
 * Events that still do not fit stay held. Throws `not-found`; `usage` for an event that was released or rejected before.
 */
export async function release(desk: Desk, request: ReleaseRequest): Promise<ReleaseResult> {
  const { events, held } = releasesOf(desk, await chosen(desk, request.which), request);
  if (!request.dryRun && events.length > 0) await writeAccepted(desk, events, "a release");
  return { released: events.map(({ entity }) => entity.id), held, dryRun: request.dryRun };
}

/** The releases of the events that fit now, and what is wrong with the others. */
export function releasesOf(
  desk: Pick<Desk, "gate" | "projections">,
  rows: readonly QuarantineRow[],
  request: Omit<ReleaseRequest, "which" | "dryRun">,
): { readonly events: readonly NewEvent[] } & Pick<ReleaseResult, "held"> {
  const events: NewEvent[] = [];
  const held: { event: string; problem: string }[] = [];
  for (const row of rows) {
    const base = request.replacement ?? parsedObject(row.raw);
    const data = base === null ? null : mended(base, request.changes);
    const { schema, problems } = examined(desk, row, data, request.schema);
    if (data === null) held.push({ event: nameOf(row), problem: "its data are not a JSON object: give all of the data again" });
    else if (problems.length > 0) held.push({ event: nameOf(row), problem: problems.map(({ message }) => message).join("; ") });
    else events.push(releaseOf(row, schema, data, request));
  }
  return { events, held };
}

export interface RejectRequest {
  readonly which: Which;
  readonly reason: string;
  readonly actor: string;
}

/** Rejects quarantined events for good. Returns their names. Throws `not-found`; `usage` for an event that was released or rejected before. */
export async function reject(desk: Desk, { which, reason, actor }: RejectRequest): Promise<readonly string[]> {
  const rows = await chosen(desk, which);
  const events = rows.map(
    (row): NewEvent => ({
      type: REJECTED,
      entity: { type: QUARANTINE_ENTITY, id: nameOf(row) },
      actor,
      causationId: row.id,
      data: { origin: row.origin, seq: row.seq, hash: row.hash, reason },
    }),
  );
  if (events.length > 0) await desk.write(events);
  return rows.map(nameOf);
}

/** Writes events that the hub must admit. Throws `event-invalid` where it puts one in quarantine. */
export async function writeAccepted(
  desk: Pick<Desk, "write">,
  events: readonly NewEvent[],
  what: string,
  ...shown: Parameters<Desk["write"]>[1][]
) {
  const { sync } = await desk.write(events, ...shown);
  const [refused] = sync.quarantined;
  if (refused !== undefined)
    throw new TributaryError("event-invalid", `the hub refused ${what}: ${refused.reason}`, "See `tributary quarantine list`.");
}

async function named({ db }: Pick<Desk, "db">, name: string): Promise<QuarantineRow> {
  const row = await quarantinedEvent(db, name);
  if (row !== null) return row;
  throw new TributaryError(
    "not-found",
    `${name} is not in quarantine`,
    "`tributary quarantine list` lists what is; names are ORIGIN/SEQ.",
  );
}

async function chosen(desk: Pick<Desk, "db">, which: Which): Promise<readonly QuarantineRow[]> {
  if ("filter" in which) return quarantine(desk.db, { ...which.filter, state: "held" });
  const rows: QuarantineRow[] = [];
  for (const name of new Set(which.names)) {
    const row = await named(desk, name);
    if (row.state !== "held")
      throw new TributaryError(
        "usage",
        `${name} was ${row.state} by ${row.settledBy} on ${row.settledAt}`,
        "That is final; write a new event to change the entity.",
      );
    rows.push(row);
  }
  return rows;
}

/** Data with some fields changed. */
export function mended(data: JsonObject, changes: readonly Change[]): JsonObject {
  const out: Record<string, JsonValue> = { ...data };
  for (const [field, value] of changes) {
    if (value === null) delete out[field];
    else out[field] = value;
  }
  return out;
}

/** A text as a JSON object; `null`: it is not one. */
export function parsedObject(raw: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(raw);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** What would be wrong with an event that had these data, by the schemas and views that are known now. */
export function examined(
  { gate, projections }: { readonly gate: Gate; readonly projections: Desk["projections"] },
  event: QuarantineRow,
  data: JsonObject | null,
  wanted?: SchemaRef,
): Examined {
  const own = wanted ?? { subject: event.subject, version: event.version };
  const known = gate.knows(own) ? own : (gate.newest(own.subject) ?? gate.subjectFor(event.type) ?? own);
  const schema = { subject: known.subject, version: known.version };
  if (data === null) return { event, data, schema, problems: [] };
  const misplaced = gate.check(schema, event.type, event.entityType, data);
  if (misplaced !== null) {
    const all = gate.problems(schema, data);
    return { event, data, schema, problems: all.length > 0 ? all : [misplaced] };
  }
  const head = {
    type: event.type,
    entity: { type: event.entityType, id: event.entityId },
    schema,
    actor: event.actor,
    // The door has checked the origin.
    origin: event.origin as OriginId,
    occurredAt: event.recordedAt,
  };
  const unfit = fitsViews(projections, gate.read)(head, data);
  return { event, data, schema, problems: unfit === null ? [] : [unfit] };
}

const releaseOf = (row: QuarantineRow, schema: SchemaRef, data: JsonObject, { actor, note }: By): NewEvent => ({
  type: RELEASED,
  entity: { type: QUARANTINE_ENTITY, id: nameOf(row) },
  actor,
  causationId: row.id,
  data: {
    origin: row.origin,
    seq: row.seq,
    hash: row.hash,
    type: row.type,
    entity: { type: row.entityType, id: row.entityId },
    schema: { ...schema },
    data,
    ...noted(note),
  },
});
