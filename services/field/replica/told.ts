import { isJsonObject, SCHEMA_REGISTERED } from "../../core/index.ts";
import type { Page, PagedEvent, Section } from "../../exchange/protocol/index.ts";
import type { SchemaTold } from "../schemas.ts";

/** The events of a page that register schemas, in its order: what they say is learnt before the page is read, since other events of it may be written with them. */
export function schemasTold({ sections }: Page): SchemaTold[] {
  return sections.flatMap(eventsOf).flatMap(({ head: { type, origin }, held, text }) => {
    if (type !== SCHEMA_REGISTERED || held !== null || text === null) return [];
    const data: unknown = JSON.parse(text);
    return isJsonObject(data) ? [{ type, origin, data }] : [];
  });
}

function eventsOf(section: Section): readonly PagedEvent[] {
  if (section.kind === "lines") return section.lines.flatMap(({ events }) => events);
  return section.kind === "members" ? section.members.flatMap(({ events }) => events) : [];
}
