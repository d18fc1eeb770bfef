import { isJsonObject, type JsonObject } from "../core/index.ts";
import { examplesOf } from "./compatibility.ts";
import { type Compiled, compile } from "./compiled.ts";
import { membersOf, type SchemaStore, type SchemaVersion, unfitForEvents } from "./schema.ts";

/** What a form lets through, for those who want to try it: the newest version of a subject that events are written with. */
export interface Form {
  readonly subject: string;
  readonly version: number;
  readonly entity: string;
  readonly events: readonly string[];
  /** The top-level members that it names. */
  readonly members: readonly string[];
  /** Those of them that hold personal data, as it says itself. */
  readonly personal: readonly string[];
  /** Documents that it lets through, the plainest first. Made when first asked for: making them takes milliseconds. */
  examples(): readonly JsonObject[];
  lets(data: JsonObject): boolean;
  /** The data as views see it. */
  read(data: JsonObject): JsonObject;
}

/** How many examples of a form are looked at, at most. */
const MAX_EXAMPLES = 100;

/** The forms of a store. */
export function formsOf(store: SchemaStore): Form[] {
  return store.subjects().flatMap((subject) => {
    const schema = store.versions(subject).at(-1);
    return schema === undefined ? [] : formOf(schema);
  });
}

function formOf(schema: SchemaVersion): Form[] {
  const { subject, version, annotations } = schema;
  const { entity, events } = annotations;
  if (entity === null || events.length === 0 || unfitForEvents(schema) !== null) return [];
  let made: Compiled | null = null;
  const compiled = (): Compiled => {
    made ??= compile(schema);
    return made;
  };
  const lets = (data: JsonObject): boolean => compiled().check(data) === null;
  let examples: readonly JsonObject[] | null = null;
  return [
    {
      subject,
      version,
      entity,
      events,
      members: membersOf(schema),
      personal: annotations.personal ?? [],
      examples() {
        examples ??= examplesOf(schema)
          .filter((example): example is JsonObject => isJsonObject(example) && lets(example))
          .slice(0, MAX_EXAMPLES);
        return examples;
      },
      lets,
      read: (data) => compiled().readFrom(compiled(), data),
    },
  ];
}
