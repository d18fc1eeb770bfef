import { isJsonObject, type JsonObject, type JsonValue } from "../core/index.ts";
import { type Column, MAX_AMOUNT, MAX_INDEXED_CHARS } from "./columns.ts";
import { type Misfit, misfitFinder } from "./misfit.ts";
import type { ProjectedEvent, Projection } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/** What this folder needs of a form. Forms belong to `gate`, which this folder does not import. */
export interface FormLike {
  readonly subject: string;
  readonly version: number;
  readonly entity: string;
  readonly events: readonly string[];
  readonly members: readonly string[];
  examples(): readonly JsonObject[];
  lets(data: JsonObject): boolean;
  read(data: JsonObject): JsonObject;
}

/** A column that cannot hold all that a form lets through. */
export interface NarrowColumn {
  readonly view: string;
  readonly column: string;
  readonly subject: string;
  readonly version: number;
  /** The form's member that the value came from; `null` where none can be named. */
  readonly member: string | null;
  /** `distributions.distributed_on holds days; the form distribution lets any text`. */
  readonly message: string;
  /** A document that the form lets through and the column does not, and why. */
  readonly example: JsonObject;
  readonly problem: string;
}

/**
 * Compares forms with declarations: names the columns that are narrower than their form. Each finding has a document that shows it: the form's own validator
 * takes it, and the column refuses it. So no finding is a false alarm. What the documents tried here do not show is not reported. Edges of the calendar (the
 * year 0, leap seconds) are not tried: every form for days lets them through, and the door checks each value anyway.
 */
export function narrowColumns(views: readonly View[], forms: readonly FormLike[]): NarrowColumn[] {
  const out: NarrowColumn[] = [];
  for (const view of entityViews(views))
    for (const form of forms)
      if (form.entity === view.entity && form.events.some((type) => view.eventTypes.has(type))) out.push(...compare(view, form));
  return out;
}

/** Values of every kind; first those that people write by mistake. */
const TRIED: readonly JsonValue[] = [
  "03/05/2026",
  "text",
  "x".repeat(MAX_INDEXED_CHARS + 1),
  1e300,
  1e20,
  0.5,
  20260503,
  true,
  "2026-05-03",
  "2026-05-03T08:00:00Z",
  [],
  {},
];
/** Values of which one fits almost any column. */
const PLAIN: readonly JsonValue[] = ["2026-05-03", "2026-05-03T08:00:00Z", "text", 1, true, null, [], {}];
/** At most so many locations in a document are tried, and so deep. */
const MAX_LOCATIONS = 200;
const MAX_DEPTH = 4;

type Location = readonly string[];

function compare(view: Projection, form: FormLike): NarrowColumn[] {
  const found = new Map<string, NarrowColumn>();
  const misfits = misfitFinder([view]);
  const look = (data: JsonObject): Misfit | null => {
    for (const type of form.events) {
      const misfit = misfits(asEvent(form, type, data));
      if (misfit !== null) return misfit;
    }
    return null;
  };
  const note = (misfit: Misfit, example: JsonObject): void => {
    if (found.has(misfit.column)) return;
    const member = misfit.path === null ? null : misfit.path.slice(1).replaceAll("~1", "/").replaceAll("~0", "~");
    const { subject, version } = form;
    found.set(misfit.column, {
      view: view.name,
      column: misfit.column,
      subject,
      version,
      member,
      message: `${view.name}.${misfit.column} holds ${holds(view.columns[misfit.column]!)}; ${letsThrough(form, example, member)}`,
      example,
      problem: misfit.message,
    });
  };
  const examples = form.examples();
  const fullest = examples.reduce<JsonObject | null>(
    (best, each) => (best === null || locationsOf(each).length > locationsOf(best).length ? each : best),
    null,
  );
  if (fullest === null) return [];
  const base = mended(form, fullest, look);
  for (const location of locationsOf(base, form.members)) {
    for (const value of TRIED) {
      const data = withValue(base, location, value);
      if (!form.lets(data)) continue;
      const misfit = look(data);
      if (misfit !== null) note(misfit, data);
    }
  }
  for (const example of examples) {
    const misfit = look(example);
    if (misfit !== null) note(misfit, example);
  }
  return [...found.values()];
}

/** A document like this one in which every value fits, as far as possible. Then whatever is changed in it is what does not fit. */
function mended(form: FormLike, document: JsonObject, look: (data: JsonObject) => Misfit | null): JsonObject {
  let data = document;
  for (let left = form.members.length; left > 0; left--) {
    const misfit = look(data);
    if (misfit === null) break;
    const better = locationsOf(data).flatMap((location) => PLAIN.map((value) => withValue(data, location, value)));
    const next = better.find((each) => form.lets(each) && look(each)?.column !== misfit.column);
    if (next === undefined) break;
    data = next;
  }
  return data;
}

/** An event of a form, as views see it. */
export function asEvent(form: FormLike, type: string, data: JsonObject): ProjectedEvent {
  let read = data;
  try {
    read = form.read(data);
  } catch {
    // As in the fold, data that cannot be read is not shown to the views.
  }
  return {
    type,
    data: read,
    entity: { type: form.entity, id: "example" },
    actor: "somebody",
    occurredAt: "2026-05-03T08:00:00.000Z",
    site: "somewhere",
  };
}

function locationsOf(data: JsonObject, members: readonly string[] = []): Location[] {
  const out: Location[] = members.filter((name) => !Object.hasOwn(data, name)).map((name) => [name]);
  const visit = (value: JsonValue, location: Location): void => {
    if (out.length >= MAX_LOCATIONS) return;
    if (location.length > 0) out.push(location);
    if (typeof value !== "object" || value === null || location.length >= MAX_DEPTH) return;
    for (const [name, member] of Object.entries(value as JsonObject)) visit(member, [...location, name]);
  };
  visit(data, []);
  return out;
}

function withValue(data: JsonObject, [name, ...rest]: Location, value: JsonValue): JsonObject {
  const before = data[name!] ?? null;
  const after =
    rest.length === 0
      ? value
      : Array.isArray(before)
        ? Object.values(withValue(Object.fromEntries(before.entries()) as JsonObject, rest, value))
        : withValue(isJsonObject(before) ? before : {}, rest, value);
  return { ...data, [name!]: after };
}

function holds({ type, index }: Column): string {
  switch (type) {
    case "text":
      return index ? `texts of at most ${MAX_INDEXED_CHARS} characters` : "texts";
    case "integer":
      return `whole numbers up to ${Number.MAX_SAFE_INTEGER}`;
    case "number":
      return "numbers";
    case "decimal":
      return `amounts up to ${String(MAX_AMOUNT).replace("+", "")}`;
    case "boolean":
      return "true or false";
    case "date":
      return "days";
    case "instant":
      return "times";
    case "json":
      return "JSON";
  }
}

/** What a form lets through at a member, in words, judged by the document that does not fit. */
function letsThrough(form: FormLike, example: JsonObject, member: string | null): string {
  const value = member === null ? undefined : example[member];
  if (member === null || value === undefined)
    return `its declaration makes something else of data of the form ${form.subject} like ${shortened(JSON.stringify(example))}`;
  const also = (other: JsonValue): boolean => form.lets({ ...example, [member]: other });
  const kind = ((): string => {
    switch (typeof value) {
      case "string":
        if (value.length > MAX_INDEXED_CHARS) return "texts of any length";
        return also("text") && also("03/05/2026") ? "any text" : `texts like ${JSON.stringify(value)}`;
      case "number":
        return Math.abs(value) > Number.MAX_SAFE_INTEGER
          ? also(0.5)
            ? "any number"
            : "any whole number"
          : also(0.5)
            ? "numbers"
            : "whole numbers";
      case "boolean":
        return "true and false";
      default:
        return Array.isArray(value) ? "lists" : "groups of fields";
    }
  })();
  return `the form ${form.subject} lets ${kind}`;
}

const MAX_SHOWN = 80;
const shortened = (text: string): string => (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text);
