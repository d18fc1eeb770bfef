/**
 * What `tributary types` writes of a project, and what a field app's calls make of it: `openField<Tributary>(…)` then takes only data that the event's form has, and knows the
 * columns of each view.
 */
import type { EntityRef, JsonObject, JsonValue, SchemaRef } from "../core/index.ts";
import type { NewEvent } from "./outbox.ts";
import type { Query, ReplicaRow } from "./replica/query.ts";

/** The types of a project's events, by event type, and of its views' columns, by view. */
export interface FieldTypes {
  readonly events: object;
  readonly views: object;
}

/** What holds of any project. */
export interface AnyTypes extends FieldTypes {
  readonly events: Readonly<Record<string, { readonly entity: string; readonly data: JsonObject }>>;
  readonly views: Readonly<Record<string, Readonly<Record<string, JsonValue>>>>;
}

export type EventName<T extends FieldTypes> = keyof T["events"] & string;
export type ViewName<T extends FieldTypes> = keyof T["views"] & string;

type EntityOf<E> = E extends { readonly entity: infer N extends string } ? N : string;
type DataOf<E> = E extends { readonly data: infer D } ? D : JsonObject;

/**
 * An event of a project's type: about the entity that its form says, with the data that the newest version of its form takes. Where the event names a version itself, no compiler knows what
 * that takes.
 */
export type EventOf<T extends FieldTypes, E extends EventName<T>, S extends SchemaRef | undefined = undefined> = Omit<
  NewEvent,
  "type" | "entity" | "data" | "schema"
> & {
  readonly type: E;
  readonly entity: EntityRef & { readonly type: EntityOf<T["events"][E]> };
  readonly data: S extends SchemaRef ? JsonObject : DataOf<T["events"][E]>;
  readonly schema?: S;
};
export type AnyEventOf<T extends FieldTypes> = { [E in EventName<T>]: EventOf<T, E> }[EventName<T>];

export type QueryOf<T extends FieldTypes, V extends ViewName<T>> = Query<T["views"][V]>;
export type RowOf<T extends FieldTypes, V extends ViewName<T>> = ReplicaRow<T["views"][V]>;
