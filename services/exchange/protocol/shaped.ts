/**
 * Data by its members: events of one form have the same members in the same order, so their names stand once in a page, and the values of a member stand one below the other, where equal and
 * similar ones compress to little. What the event's head says already is not said again. Only canonical text travels so, and comes out as it went in.
 */
import {
  type Dictionary,
  dictionary,
  type EventBody,
  isJsonObject,
  MAX_BATCH_BYTES,
  pick,
  type Reader,
  type Writer,
} from "../../core/index.ts";
import { tooMany } from "./frame.ts";
import { MAX_PAGE_EVENTS } from "./messages.ts";

type Head = Pick<EventBody, "entity" | "occurredAt">;

/** Stands for the entity's id, and for the day on which it happened. No JSON begins with these. */
const ID = "=";
const DAY = "@";
/** Ends each value: canonical JSON has no line break. */
const END = "\n";
const DAY_CHARS = 10;

/** Data by its members, while a page is written. */
export interface ShapedData {
  /** Takes an event's data in. `false`: its text cannot travel by its members, and has to travel as it is. */
  add(head: Head, text: string): boolean;
  write(out: Writer): void;
}

export function shapedData(): ShapedData {
  const members: Dictionary = dictionary();
  const objects: Dictionary = dictionary();
  const lists: number[][] = [];
  const object: number[] = [];
  const values: string[][] = [];
  let chars = 0;
  return {
    add(head, text) {
      const said = membersOf(text);
      if (said === null) return false;
      chars += text.length;
      if (chars > MAX_BATCH_BYTES) throw tooMany("characters of data", chars, MAX_BATCH_BYTES);
      const list = said.map(([name]) => members.of(name));
      const [id, day] = [JSON.stringify(head.entity.id), dayOf(head)];
      while (values.length < members.list.length) values.push([]);
      const index = objects.of(list.join());
      if (index === lists.length) lists.push(list);
      object.push(index);
      for (const [i, [, value]] of said.entries()) pick(values, pick(list, i)).push(shortened(value, id, day) + END);
      return true;
    },
    write(out) {
      out.array(members.list, out.string);
      out.array(lists, (list) => out.array(list, out.long));
      out.array(object, out.long);
      out.array(values, (each) => out.string(each.join("")));
    },
  };
}

/** The members of canonical text as JSON, name and value; `null` for any other text, and for what is not an object. */
function membersOf(text: string): (readonly [name: string, value: string])[] | null {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isJsonObject(data)) return null;
  const members = Object.entries(data).map(([name, value]) => [JSON.stringify(name), JSON.stringify(value)] as const);
  return textOf(members) === text ? members : null;
}

const textOf = (members: readonly (readonly [name: string, value: string])[]): string =>
  `{${members.map(([name, value]) => `${name}:${value}`).join(",")}}`;

const dayOf = ({ occurredAt }: Head): string => `"${occurredAt.slice(0, DAY_CHARS)}"`;

/** A text's closing quotation mark goes without saying. `id` and `day`: what the head says, as JSON. */
function shortened(value: string, id: string, day: string): string {
  if (!value.startsWith('"')) return value;
  if (value === id) return ID;
  return value === day ? DAY : value.slice(0, -1);
}

function lengthened(value: string, head: Head): string {
  if (value.startsWith('"')) return `${value}"`;
  return value === ID ? JSON.stringify(head.entity.id) : value === DAY ? dayOf(head) : value;
}

/** Reads what `ShapedData.write` wrote. `next` gives the texts in the order in which they were added. */
export interface ShapedReader {
  next(head: Head): string;
  /** Throws `RangeError` if not all has been taken. */
  end(): void;
}

export function readShaped(from: Reader): ShapedReader {
  const names = from.array(MAX_BATCH_BYTES, from.string);
  const objects = from.array(MAX_PAGE_EVENTS, () => from.array(names.length, from.long));
  const object = from.array(MAX_PAGE_EVENTS, from.long);
  const columns = from.array(names.length, from.string).map(valuesIn);
  let [at, chars] = [0, 0];
  return {
    next(head) {
      const members = pick(objects, pick(object, at++)).map((index) => {
        const name = pick(names, index);
        const value = lengthened(pick(columns, index).next(), head);
        // A long name may be named often.
        chars += name.length + value.length;
        if (chars > MAX_BATCH_BYTES) throw new RangeError(`its data has more than ${MAX_BATCH_BYTES} characters`);
        return [name, value] as const;
      });
      return textOf(members);
    },
    end() {
      if (at !== object.length || columns.some((column) => !column.isEmpty())) throw new RangeError("it has data left over");
    },
  };
}

/** The values of a member, one after the other. */
function valuesIn(column: string): { next(): string; isEmpty(): boolean } {
  let at = 0;
  return {
    next() {
      const end = column.indexOf(END, at);
      if (end < 0) throw new RangeError("a value is missing");
      const value = column.slice(at, end);
      at = end + 1;
      return value;
    },
    isEmpty: () => at === column.length,
  };
}
