/**
 * What a page need not say of entities that have left. A replica that comes with an old head must see each line, or it could not tell that it has all of them; but of somebody who leaves with a line of the same page, it
 * needs no more of an event than its hash. So the text of such an event is not sent, nor why it was held, unless another section of the page has the event for somebody who stays.
 *
 *   event, event, exit ─▶ without texts        event │ exit in a later page ─▶ with its text: until then the replica shows the entity        event, exit, enter again ─▶ with its text
 */
import type { PagedEvent, PagedLine, Section } from "./protocol/index.ts";

/** The sections of a page without the texts that nobody needs. */
export function withoutLeft(sections: readonly Section[]): readonly Section[] {
  const bare = new Set<PagedLine>();
  for (const section of sections)
    if (section.kind === "lines") {
      const left = leavingIn(section.lines);
      for (const line of section.lines) if (line.kind === "event" && left.has(line.entityId)) bare.add(line);
    }
  if (bare.size === 0) return sections;
  const needed = new Set<string>();
  for (const section of sections) {
    const of =
      section.kind === "lines"
        ? section.lines.filter((line) => !bare.has(line))
        : section.kind === "members"
          ? section.members
          : [];
    for (const { events } of of) for (const event of events) needed.add(keyOf(event));
  }
  const without = (event: PagedEvent): PagedEvent => (needed.has(keyOf(event)) ? event : { ...event, text: null, held: null });
  return sections.map((section) =>
    section.kind === "lines"
      ? {
          ...section,
          lines: section.lines.map((line) => (bare.has(line) ? { ...line, events: line.events.map(without) } : line)),
        }
      : section,
  );
}

/** The entities whose last line says that they leave. */
function leavingIn(lines: readonly PagedLine[]): ReadonlySet<string> {
  const left = new Set<string>();
  for (const { kind, entityId } of lines)
    if (kind === "exit") left.add(entityId);
    else left.delete(entityId);
  return left;
}

const keyOf = ({ head: { origin, seq } }: PagedEvent): string => `${origin}/${seq}`;
