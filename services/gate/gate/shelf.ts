import { type JsonValue, messageOf, type OutOfRange, type SchemaRef } from "../../core/index.ts";
import { type Compiled, compile } from "../compiled.ts";
import type { SchemaStore, SchemaVersion } from "../schema.ts";
import { bounded, type Problem } from "../words.ts";

/** The store's schemas, compiled when first used. */
export interface Shelf {
  readonly store: SchemaStore;
  find(schema: SchemaRef): SchemaVersion | undefined;
  newest(subject: string): SchemaVersion | undefined;
  /** The compiled schema, or a text that says why there is none. */
  compiledOf(schema: SchemaRef): Compiled | string;
}

export function shelfOf(store: SchemaStore): Shelf {
  const compiled = new Map<SchemaVersion, Compiled | string>();
  const find = ({ subject, version }: SchemaRef): SchemaVersion | undefined => store.versions(subject)[version - 1];
  return {
    store,
    find,
    newest: (subject) => store.versions(subject).at(-1),
    compiledOf(ref) {
      const schema = find(ref);
      if (schema === undefined) return `the hub does not know ${ref.subject} version ${ref.version}`;
      let known = compiled.get(schema);
      if (known === undefined) {
        try {
          known = compile(schema);
        } catch (error) {
          known = `events cannot be written with ${ref.subject} version ${ref.version}: ${messageOf(error)}`;
        }
        compiled.set(schema, known);
      }
      return known;
    },
  };
}

/** A schema whose events may be about any entity says this instead of its type. */
export const ANY_ENTITY = "*";

export const unknown = (message: string): Problem => ({ code: "schema-unknown", message, path: null });
export const outOfRange = (found: OutOfRange | null): Problem | null =>
  found === null
    ? null
    : { code: "out-of-range", message: bounded(found.message), path: found.path === null ? null : bounded(found.path) };
/** What keeps a schema from carrying events of this type about this kind of entity. */
export const misplaced = (type: string, entity: string, { annotations, subject }: SchemaVersion): Problem | null => {
  if (!annotations.events.includes(type))
    return { code: "type-not-allowed", message: `${subject} is not for events of type ${type}`, path: null };
  return annotations.entity === entity || annotations.entity === ANY_ENTITY
    ? null
    : { code: "entity-not-allowed", message: `${subject} is about a ${annotations.entity}, not a ${entity}`, path: null };
};

/**
 * What is wrong with a value for one field of an entity, by the newest schemas that its events are written with; `null` when some schema has the field
 * and none objects.
 */
export function checkField({ store, newest, compiledOf }: Shelf, entity: string, name: string, value: JsonValue): Problem | null {
  let isKnown = false;
  for (const subject of store.subjects()) {
    const schema = newest(subject);
    if (schema === undefined) continue;
    const { annotations, version } = schema;
    if (annotations.entity !== entity || annotations.events.length === 0) continue;
    const reader = compiledOf({ subject, version });
    const problem = typeof reader === "string" ? undefined : reader.checkField(name, value);
    if (problem === undefined) continue;
    if (problem !== null) return { ...problem, path: `/values${problem.path ?? ""}` };
    isKnown = true;
  }
  if (isKnown) return null;
  return { code: "invalid", message: `${name} is not a field that events about a ${entity} may write`, path: `/values/${name}` };
}
