import type { FormLike } from "./narrow.ts";
import { RESOLVED } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/**
 * The event types that views take and no form declares, or declares for another entity only: such events never come. Mostly a slip in a name. In words:
 * `visits takes visit.maid; no form declares it`.
 */
export function unfedEvents(views: readonly View[], forms: readonly Pick<FormLike, "subject" | "entity" | "events">[]): string[] {
  const said: string[] = [];
  for (const { name, entity, eventTypes } of entityViews(views)) {
    for (const type of eventTypes) {
      const declaring = forms.filter(({ events }) => events.includes(type));
      if (type === RESOLVED || declaring.some((form) => form.entity === entity || form.entity === "*")) continue;
      const [other] = declaring;
      said.push(
        `${name} takes ${type}; ${other === undefined ? "no form declares it" : `the form ${other.subject} declares it for ${other.entity}, not for ${entity}`}`,
      );
    }
  }
  return said;
}
