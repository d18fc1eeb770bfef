/**
 * A row of a table as data of a form. In come a row's cells, by column, and the file's habit; out come the data and the problems of the cells that cannot be read for
 * the form. What a cell says is kept as it is written wherever the form takes a text.
 */
import { isJsonObject, type JsonObject, type JsonValue, messageOf } from "../../core/index.ts";
import type { SchemaVersion } from "../schema.ts";
import type { Problem } from "../words.ts";
import { readClock, readDay, readTime } from "./days.ts";
import type { CellHabit, Reading } from "./habit.ts";
import { cellMembers, type Member, type Stands, type Way } from "./members.ts";
import { readNumber } from "./numbers.ts";

/** Turns rows of one form into data. */
export interface RowReader {
  /** The columns that the form knows. */
  readonly columns: ReadonlySet<string>;
  /** A cell that cannot be read for its member stays as it is written, so that nothing is lost; `problems` has the reason. */
  read(cells: Readonly<Record<string, string>>): { readonly data: JsonObject; readonly problems: readonly Problem[] };
}

const TRUE = /^(true|yes|1)$/i;
const FALSE = /^(false|no|0)$/i;
const DAY_MS = 86_400_000;

/** Makes a reader of a form's rows, in a file's habit. */
export function rowReader(schema: SchemaVersion, habit: CellHabit = {}): RowReader {
  const members = cellMembers(schema);
  const missing = new Set(habit.missing);
  return {
    columns: new Set(members.keys()),
    read(cells) {
      const data: Record<string, JsonValue> = {};
      const problems: Problem[] = [];
      for (const [name, cell] of Object.entries(cells)) {
        const member = members.get(name);
        if (member === undefined) continue;
        if (cell === "" || missing.has(cell)) {
          if (member.isNullable && (member.isRequired || schema.kind === "avro")) data[name] = null;
          continue;
        }
        const { value, problem } = readCell(member, cell, habit);
        data[name] = value;
        if (problem !== null) problems.push({ code: "invalid", message: `${name}: ${problem}`, path: `/${name}` });
      }
      return { data, problems };
    },
  };
}

/** What a cell says for a member; `problem`: why it could not be read and stays a text. */
export function readCell(
  member: Member,
  cell: string,
  habit: CellHabit,
): { readonly value: JsonValue; readonly problem: string | null } {
  let problem: string | null = null;
  for (const way of member.ways) {
    const reading = readAs(way, cell, habit);
    if (reading === null) continue;
    if (reading.problem === undefined) return { value: reading.value, problem: null };
    problem ??= reading.problem;
  }
  return { value: cell, problem };
}

function readAs(way: Way, cell: string, habit: CellHabit): Reading<JsonValue> {
  switch (way.is) {
    case "value":
      return isSame(way.value, cell, habit) ? { value: way.value } : null;
    case "text":
      return way.asks === null ? { value: cell } : readMoment(way.asks, cell, habit);
    case "boolean":
      return TRUE.test(cell) ? { value: true } : FALSE.test(cell) ? { value: false } : null;
    case "json":
      return readJson(cell);
    case "number": {
      const counted = way.stands === null ? null : countOf(way.stands, cell, habit);
      if (counted !== null) return counted;
      const reading = readNumber(cell, habit.decimal);
      return reading === null || reading.problem !== undefined || !way.isWhole || Number.isSafeInteger(reading.value)
        ? reading
        : { problem: `"${cell}" is not a whole number that can be kept` };
    }
  }
}

function isSame(value: JsonValue, cell: string, habit: CellHabit): boolean {
  if (typeof value === "string" || typeof value === "boolean") return String(value) === cell;
  return typeof value === "number" && readNumber(cell, habit.decimal)?.value === value;
}

/** A day or a time that is kept as a text. A cell that looks like neither stays as it is: the form says what is wrong with it. */
function readMoment(asks: "day" | "time" | "either", cell: string, { dates, zone }: CellHabit): Reading<string> {
  const day = asks === "time" ? null : readDay(cell, dates);
  if (day !== null || asks === "day") return day;
  // A time with its zone is kept as it is written.
  return /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/i.test(cell)
    ? { value: cell }
    : readTime(cell, dates, zone);
}

/** A day or a time that the form keeps as a count; `null`: the cell may be the count itself. */
function countOf(stands: Stands, cell: string, { dates, zone }: CellHabit): Reading<number> {
  if (stands === "clock-ms" || stands === "clock-us") {
    const ms = readClock(cell);
    return ms === null ? null : { value: stands === "clock-ms" ? ms : ms * 1000 };
  }
  const reading = stands === "days" ? readDay(cell, dates) : readTime(cell, dates, zone);
  if (reading === null || reading.problem !== undefined) return reading;
  const ms = Date.parse(reading.value);
  return { value: stands === "days" ? ms / DAY_MS : stands === "instant-ms" ? ms : ms * 1000 };
}

function readJson(cell: string): Reading<JsonValue> {
  if (!/^[[{]/.test(cell)) return null;
  try {
    const value = JSON.parse(cell) as JsonValue;
    return Array.isArray(value) || isJsonObject(value) ? { value } : null;
  } catch (error) {
    return { problem: `"${cell.slice(0, 60)}" is not JSON: ${messageOf(error)}` };
  }
}
