/** A row of a file as an event, with everything that is wrong with it. */
import type { EntityRef, JsonObject } from "../../core/index.ts";
import { type Gate, type Problem, readDay } from "../../gate/index.ts";
import type { Checked, NewEvent, Outbox } from "../outbox.ts";
import type { ImportOptions } from "./options.ts";
import { keyOf, keyProblem, type Plan } from "./plan.ts";
import { type Line, shapeProblem } from "./table.ts";

/** `checked` is `null` where the row does not have the table's form, or names no entity. */
export interface Row {
  readonly line: Line;
  readonly entity: EntityRef;
  readonly checked: Checked | null;
  readonly problems: readonly string[];
}

/** Makes events of rows. */
export function rowMaker(
  { gate, outbox }: { readonly gate: Gate; readonly outbox: Outbox },
  { header, key, entity: entityType, reader, schema, type }: Plan,
  { actor, dates }: ImportOptions,
): (line: Line) => Row {
  const { occurredOn } = schema.annotations;

  const eventOf = (entity: EntityRef, data: JsonObject): NewEvent => {
    const at = occurredOn === undefined ? null : instantOf(data[occurredOn]);
    return { type, entity, data, actor, ...(at === null ? {} : { occurredAt: at }) };
  };

  /** The event with a day that only a view asks for, read in the file's order; `null`: the value is not a day. */
  const dayMended = (event: NewEvent, { path }: Problem): NewEvent | null => {
    const name = memberAt(path);
    const value = name === null ? undefined : event.data[name];
    if (name === null || typeof value !== "string" || dates === undefined) return null;
    const day = readDay(value, dates)?.value;
    return day === undefined || day === value ? null : eventOf(event.entity, { ...event.data, [name]: day });
  };

  const mended = (given: NewEvent): Checked => {
    let event = given;
    for (let tries = Object.keys(given.data).length; ; tries--) {
      const checked = outbox.check(event);
      const { problem } = checked;
      const better = problem?.code === "unfit-for-view" && tries > 0 ? dayMended(checked.event, problem) : null;
      if (better === null) return checked;
      event = better;
    }
  };

  /** All that is wrong with an event by its form and by the views. */
  const allOf = ({ event, problem: first }: Checked): readonly Problem[] => {
    if (first === null) return [];
    if (first.code !== "unfit-for-view") {
      const found = gate.problems(schema, event.data);
      return found.length === 0 ? [first] : found;
    }
    const found: Problem[] = [];
    const rest: Record<string, JsonObject[string]> = { ...event.data };
    // A view names one value at a time: the next one is found by leaving that value out.
    for (
      let next: Problem | null = first;
      next?.code === "unfit-for-view";
      next = outbox.check({ ...event, data: rest }).problem
    ) {
      found.push(next);
      const name = memberAt(next.path);
      if (name === null || !Object.hasOwn(rest, name)) break;
      delete rest[name];
    }
    return found;
  };

  return (line) => {
    const entity = { type: entityType, id: keyOf(header, key, line) };
    const wrong = shapeProblem(header, line) ?? keyProblem(key, entity.id);
    if (wrong !== null) return { line, entity, checked: null, problems: [wrong] };
    const cells = Object.fromEntries([...header.at].map(([name, at]) => [name, (line.cells[at] ?? "").trim()]));
    const { data, problems: ofCells } = reader.read({ ...cells, [key]: entity.id });
    const checked = mended(eventOf(entity, data));
    const named = new Set(ofCells.map(({ path }) => path));
    // A cell that could not be read does not fit the form either: it is named once.
    const others = allOf(checked).filter(({ path }) => path === null || !named.has(path));
    const messages = [...ofCells, ...others].map(({ message }) => message);
    return { line, entity, checked, problems: [...new Set(messages)] };
  };
}

/** The top-level member of the data that a problem is about, if it is about one. */
const memberAt = (path: string | null): string | null => {
  const name = path === null ? undefined : /^\/([^/]+)$/.exec(path)?.[1];
  return name === undefined ? null : name.replaceAll("~1", "/").replaceAll("~0", "~");
};

const DAY_MS = 86_400_000;
const DAY = /^(?!0000)\d{4}-\d{2}-\d{2}$/;
/** Noon, so that the day is the same wherever it is read, from Honolulu to Tongatapu. */
const NOON = "T12:00:00.000Z";
/** Counts up to this are days since 1970; beyond it they are milliseconds, and beyond the next bound microseconds. */
const MAX_DAYS = 3_000_000;
const MAX_MS = 3e14;

/** The time at which a row says it happened, ISO 8601 with milliseconds; `null`: it does not say, or no event can have that time. */
function instantOf(value: unknown): string | null {
  if (typeof value === "string" && DAY.test(value)) return Number.isNaN(Date.parse(value)) ? null : `${value}${NOON}`;
  const ms =
    typeof value === "string" && /T.*(Z|[+-]\d{2}:\d{2})$/i.test(value)
      ? Date.parse(value)
      : typeof value === "number" && Number.isSafeInteger(value)
        ? Math.abs(value) <= MAX_DAYS
          ? value * DAY_MS + DAY_MS / 2
          : Math.abs(value) <= MAX_MS
            ? value
            : value / 1000
        : Number.NaN;
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) || at.getUTCFullYear() < 1 || at.getUTCFullYear() > 9999 ? null : at.toISOString();
}
