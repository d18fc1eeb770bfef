import { dataOutOfRange, type JsonObject, type JsonValue, type SchemaRef } from "../../core/index.ts";
import type { SchemaVersion } from "../schema.ts";
import type { Problem } from "../words.ts";
import { checkField, misplaced, outOfRange, type Shelf, unknown } from "./shelf.ts";

/** What is asked by tools that show schemas, or help people to mend data. */
export interface ToolsGate {
  /** What is wrong with data of a schema and event type; `null` when it can be accepted. */
  check(schema: SchemaRef, type: string, entity: string, data: JsonObject): Problem | null;
  /**
   * What is wrong with a value for one field of an entity, by the newest schemas that its events are written with; `null` when some schema has the field
   * and none objects. For values that do not come as a whole form.
   */
  checkField(entity: string, name: string, value: JsonValue): Problem | null;
  /** Every problem of the data that can be told at once, for the person who is to mend it. */
  problems(schema: SchemaRef, data: JsonObject): readonly Problem[];
  newest(subject: string): SchemaVersion | undefined;
  /** The newest version of every subject that events are written with. */
  subjects(): readonly SchemaVersion[];
  /** The newest version of the subject that declares this event type. */
  subjectFor(eventType: string): SchemaVersion | undefined;
}

export function toolsGate(shelf: Shelf): ToolsGate {
  const { store, newest, compiledOf } = shelf;
  return {
    check(schema, type, entity, data) {
      const writer = compiledOf(schema);
      return typeof writer === "string"
        ? unknown(writer)
        : (misplaced(type, entity, writer.schema) ?? writer.check(data) ?? outOfRange(dataOutOfRange(data)));
    },

    checkField: (entity, name, value) => checkField(shelf, entity, name, value),

    problems(schema, data) {
      const writer = compiledOf(schema);
      if (typeof writer === "string") return [unknown(writer)];
      const outside = outOfRange(dataOutOfRange(data));
      return outside === null ? writer.checkAll(data) : [...writer.checkAll(data), outside];
    },
    newest,
    subjects: () =>
      store
        .subjects()
        .map(newest)
        .filter((schema) => schema !== undefined)
        .filter(({ annotations }) => annotations.events.length > 0),
    subjectFor(eventType) {
      for (const subject of store.subjects()) {
        const last = newest(subject);
        if (last?.annotations.events.includes(eventType)) return last;
      }
      return undefined;
    },
  };
}
