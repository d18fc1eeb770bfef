import type { JsonObject, JsonValue } from "../core/index.ts";
import { asEvent, type FormLike } from "./narrow.ts";
import type { Projection } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/** A scope column that follows from a member which holds personal data. Whoever sees the names of buckets would learn the value. */
export interface PersonalScope {
  readonly view: string;
  readonly column: string;
  readonly subject: string;
  readonly version: number;
  readonly member: string;
}

/** A form, with the members that it says hold personal data. */
export interface PersonalForm extends FormLike {
  readonly personal: readonly string[];
}

/** What a member is changed to. If a column changes with it, the column follows from it. */
const TRIED: readonly JsonValue[] = ["one", "another", "2001-02-03", "1999-12-31", 1, 2, true, false, null];

/**
 * Names the scope columns whose values change when a personal member of a form does, whatever rule or function is between them. Documents are tried that the form's own validator
 * takes, so no finding is a false alarm; what they do not show is not found.
 */
export function personalScopes(views: readonly View[], forms: readonly PersonalForm[]): PersonalScope[] {
  const out: PersonalScope[] = [];
  for (const view of entityViews(views))
    for (const form of forms)
      if (form.entity === view.entity)
        for (const column of view.scopeBy ?? [])
          for (const member of form.personal)
            if (follows(view, column, form, member))
              out.push({ view: view.name, column, subject: form.subject, version: form.version, member });
  return out;
}

function follows(view: Projection, column: string, form: PersonalForm, member: string): boolean {
  const types = form.events.filter((type) => view.eventTypes.has(type));
  if (types.length === 0) return false;
  return form.examples().some((example) => {
    const documents = TRIED.map((value): JsonObject => ({ ...example, [member]: value })).filter(form.lets);
    return types.some((type) => {
      const shown = documents.map((data) => JSON.stringify(shownBy(view, column, form, { type, data })));
      return new Set(shown).size > 1;
    });
  });
}

/** What a scope column shows of an event's data alone; `null` where the declaration's functions cannot be called with it. */
function shownBy(
  view: Projection,
  column: string,
  form: FormLike,
  { type, data }: { readonly type: string; readonly data: JsonObject },
): JsonValue {
  try {
    const values = view.valuesOf(asEvent(form, type, data)) ?? {};
    const derived = view.derived[column];
    if (derived === undefined) return values[column] ?? null;
    const row = Object.fromEntries(Object.keys(view.columns).map((name) => [name, values[name] ?? null]));
    return derived.of({ ...row, id: "example" }) ?? null;
  } catch {
    return null;
  }
}
