import { userInfo } from "node:os";
import type { Client } from "pg";
import { countedEvents, readersOf } from "../audit/index.ts";
import { type JsonObject, type JsonValue, RESOLVED, TributaryError, type Vector } from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";
import type { Gate } from "../gate/index.ts";
import { entityViews, foldAnew, rowOf } from "../merge/engine.ts";
import type { View } from "../merge/index.ts";
import type { Input } from "./args.ts";
import { writeAtDesk } from "./desk.ts";
import { viewsOf } from "./folders.ts";
import { namedAmong, type ParkedRow, parkedRows, seenOf } from "./parked.ts";
import { withHubGate } from "./registry.ts";
import { changesOf } from "./set-values.ts";
import { withViews } from "./with-views.ts";

/** A parked entity, with what is known of it. */
export interface ParkedEntity {
  readonly row: ParkedRow;
  readonly seen: Vector;
}

/**
 * The parked entities that all of these names mean, each once; none where a name means something else, such as an event that is held in quarantine: that is what
 * was meant then. Throws `usage` where some are the one and some the other.
 */
export async function parkedNamed(db: Client, names: readonly string[]): Promise<readonly ParkedEntity[]> {
  const { found, missing } = namedAmong(await parkedRows(db), names);
  if (found.length === 0) return [];
  if (missing.length > 0)
    throw new TributaryError(
      "usage",
      `${missing.join(", ")} is not parked, and the others are`,
      "Correct what is parked and release what is in quarantine with a command each.",
    );
  const each = new Map(found.map((row) => [`${row.entityType}/${row.entity}`, row]));
  const entities: ParkedEntity[] = [];
  for (const row of each.values()) entities.push({ row, seen: await seenOf(db, row) });
  return entities;
}

/**
 * Writes what `--set` says as a decision of the hub's people about each parked entity: an ordinary event whose basis covers all that the hub has of it, the event it
 * is parked at among them. So it is audited, replicated, and the same in every replay.
 */
export async function correctParked(
  input: Input,
  entities: readonly ParkedEntity[],
  replacement: JsonObject | null,
): Promise<number> {
  const { text, out } = input;
  const values = Object.fromEntries([...Object.entries(replacement ?? {}), ...changesOf(input.list("set"))]);
  const names = entities.map(({ row }) => `${row.entityType}/${row.entity}`);
  if (Object.keys(values).length === 0)
    throw new TributaryError(
      "usage",
      `${names.join(", ")} is parked: its event has come through the gate, and cannot be released as it is`,
      "Say what is right with --set field=value; or, where nothing of it is wrong, mend what keeps the view from taking it and run `tributary parked retry`.",
    );
  if (text("as") !== undefined)
    throw new TributaryError("usage", "--as is for events in quarantine", "A correction is checked with the entity's own forms.");
  return withHubGate(text("data"), async ({ gate, dir, state }) => {
    const projections = await viewsOf(text("data"));
    const events: NewEvent[] = [];
    for (const { row } of entities) {
      const whole = await withViews(text("data"), (db) => completed({ db, gate, projections }, row, values));
      checkValues(gate, row, whole);
      const note = text("note");
      events.push({
        type: RESOLVED,
        entity: { type: row.entityType, id: row.entity },
        actor: text("actor") ?? userInfo().username,
        data: { values: whole, ...(note === undefined ? {} : { note }) },
      });
    }
    if (!input.flag("dry-run")) {
      const shown = entities.map(({ row, seen }) => ({ entity: { type: row.entityType, id: row.entity }, seen }));
      const { sync } = await writeAtDesk(dir, state, gate, events, shown);
      const [refused] = sync.quarantined;
      if (refused !== undefined)
        throw new TributaryError(
          "event-invalid",
          `the hub refused a correction: ${refused.reason}`,
          "See `tributary quarantine list`.",
        );
    }
    out.result({ released: names, corrected: names, held: [], dryRun: input.flag("dry-run") });
    out.line(
      `${input.flag("dry-run") ? "Would correct" : "Corrected"} ${names.join(", ")}: ${Object.keys(values).join(", ")}. The views fold it anew; \`tributary parked list\` shows in a moment whether it fits.`,
    );
    return 0;
  });
}

/**
 * Columns that change together are written together, or those that are left out would be emptied: they are completed with what all of the entity's events make of
 * them. Throws `usage` where that is what the view cannot show either.
 */
async function completed(
  { db, gate, projections }: { readonly db: Client; readonly gate: Gate; readonly projections: readonly View[] },
  { entityType, entity }: ParkedRow,
  values: JsonObject,
): Promise<JsonObject> {
  const out: Record<string, JsonValue> = { ...values };
  const readers = await readersOf(db);
  for (const projection of entityViews(projections).filter((view) => view.entity === entityType)) {
    const halves = [...projection.registers.values()].filter(
      ({ columns }) =>
        columns.some((column) => Object.hasOwn(values, column)) && columns.some((column) => !Object.hasOwn(values, column)),
    );
    if (halves.length === 0) continue;
    const pins = readers.get(projection.name) ?? {};
    const events = await countedEvents({ db, gate, pins }, { type: entityType, id: entity }, null);
    const { steps } = foldAnew(
      projection,
      entity,
      events.map((event) => () => event),
    );
    const state = steps.findLast(({ folded }) => folded !== null)?.folded?.state;
    const known = state === undefined ? {} : rowOf(projection, state).values;
    for (const { columns } of halves)
      for (const column of columns) {
        if (Object.hasOwn(values, column)) continue;
        const value = known[column] ?? null;
        if (value !== null && !projection.columns[column]!.fits(value))
          throw new TributaryError(
            "usage",
            `${columns.join(", ")} change together in ${projection.name}, and what ${column} holds does not fit either`,
            `Give it too: --set ${column}=value, or --set ${column}= to empty it.`,
          );
        out[column] = value;
      }
  }
  return out;
}

/** Holds a correction to what the entity's forms say of its fields. */
function checkValues(gate: Gate, { entityType }: ParkedRow, values: JsonObject): void {
  for (const [field, value] of Object.entries(values)) {
    const problem = value === null ? null : gate.checkField(entityType, field, value);
    if (problem !== null)
      throw new TributaryError(
        "event-invalid",
        problem.message,
        `The forms of a ${entityType} say what each field may be: \`tributary schema list\`.`,
      );
  }
}
