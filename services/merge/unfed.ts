import type { FormLike } from "./narrow.ts";
import { RESOLVED } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/** An event type that a view takes and that never comes. */
export interface UnfedEvent {
  readonly view: string;
  readonly type: string;
  /** In words: `visits takes visit.maid; no form declares it`. */
  readonly says: string;
}

/** The event types that views take but that no form declares, or declares for another entity only. Such events never come; mostly a name is misspelt. */
export function unfedEvents(
  views: readonly View[],
  forms: readonly Pick<FormLike, "subject" | "entity" | "events">[],
): UnfedEvent[] {
  const unfed: UnfedEvent[] = [];
  for (const { name, entity, eventTypes } of entityViews(views)) {
    for (const type of eventTypes) {
      const declaring = forms.filter(({ events }) => events.includes(type));
      if (type === RESOLVED || declaring.some((form) => form.entity === entity || form.entity === "*")) continue;
      const [other] = declaring;
      const why =
        other === undefined
          ? "no form declares it"
          : `the form ${other.subject} declares it for ${other.entity}, not for ${entity}`;
      unfed.push({ view: name, type, says: `${name} takes ${type}; ${why}` });
    }
  }
  return unfed;
}
