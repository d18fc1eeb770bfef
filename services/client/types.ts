/** What `tributary types` writes of a project, and what the client's calls make of it. */
import type { EventInput } from "./answers.ts";
import type { JsonObject, JsonValue } from "./json.ts";

/** The types of a project's events, by event type, and the kinds of its views' columns, by view; `null`: the hub's database alone knows the view's columns. */
export interface HubTypes {
  readonly events: object;
  readonly columns: object;
}

/** What holds of any project. */
export interface AnyHubTypes extends HubTypes {
  readonly events: Readonly<Record<string, { readonly entity: string; readonly data: JsonObject }>>;
  readonly columns: Readonly<Record<string, null>>;
}

/** The kinds of columns. Days and instants are texts in ISO 8601. */
export interface ColumnValues {
  readonly text: string;
  readonly integer: number;
  readonly number: number;
  readonly decimal: number;
  readonly boolean: boolean;
  readonly date: string;
  readonly instant: string;
  readonly json: JsonValue;
}
export type ColumnKind = keyof ColumnValues;

interface Equal<V> {
  readonly eq?: V | undefined;
  /** Does not equal; true of a row without a value. */
  readonly ne?: V | undefined;
  readonly in?: readonly V[] | undefined;
  /** Whether there is no value. */
  readonly isNull?: boolean | undefined;
}
interface Ordered<V> {
  readonly lt?: V | undefined;
  readonly le?: V | undefined;
  readonly gt?: V | undefined;
  readonly ge?: V | undefined;
}
interface Containing {
  /** Contains the text; small and capital letters A to Z count as the same. */
  readonly contains?: string | undefined;
}
/** JSON that a column can be compared with. Rows without a value are asked for by `isNull`. */
type Given = Exclude<JsonValue, null>;

/** What a column must be, by its kind. All members that are given must hold. */
export type ColumnCondition<K> = K extends "text"
  ? Equal<string> & Ordered<string> & Containing
  : K extends "boolean"
    ? Equal<boolean>
    : K extends "json"
      ? Equal<Given> & Containing
      : K extends ColumnKind
        ? Equal<ColumnValues[K]> & Ordered<ColumnValues[K]>
        : Equal<Given> & Ordered<Given> & Containing;

export type EventName<T extends HubTypes> = keyof T["events"] & string;
export type ViewName<T extends HubTypes> = keyof T["columns"] & string;

/** The columns of a view, by name. */
export type ColumnsOf<T extends HubTypes, V extends ViewName<T>> = T["columns"][V] extends object
  ? T["columns"][V]
  : Readonly<Record<string, unknown>>;
export type ColumnName<T extends HubTypes, V extends ViewName<T>> = keyof ColumnsOf<T, V> & string;

type ValueOf<K> = K extends ColumnKind ? ColumnValues[K] | null : JsonValue;

/** A row as the hub shows it. Each row has an `id`; every other column may be without a value. */
export type RowOf<T extends HubTypes, V extends ViewName<T>> = {
  readonly [C in ColumnName<T, V>]: C extends "id" ? string : ValueOf<ColumnsOf<T, V>[C]>;
};

/** Conditions by column; all must hold. */
export type Where<T extends HubTypes, V extends ViewName<T>> = {
  readonly [C in ColumnName<T, V>]?: ColumnCondition<ColumnsOf<T, V>[C]> | undefined;
};

type EntityOf<E> = E extends { readonly entity: infer N extends string } ? N : string;
type DataOf<E> = E extends { readonly data: infer D } ? D : JsonObject;

/** An event of a type, with the data that the newest version of its form takes. Where it names a version itself, no compiler knows what that takes. */
export type EventOf<T extends HubTypes, E extends EventName<T>> = Omit<EventInput, "type" | "entity" | "data" | "schema"> & {
  readonly type: E;
  readonly entity: { readonly type: EntityOf<T["events"][E]>; readonly id: string };
} & (
    | { readonly data: DataOf<T["events"][E]>; readonly schema?: undefined }
    | { readonly data: JsonObject; readonly schema: NonNullable<EventInput["schema"]> }
  );
export type AnyEventOf<T extends HubTypes> = { [E in EventName<T>]: EventOf<T, E> }[EventName<T>];
