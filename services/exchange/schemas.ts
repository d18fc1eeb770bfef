import { isJsonObject, MAX_SCHEMA_NEWS, RELEASED, type SchemaNews, type SchemaRef } from "../core/index.ts";
import { type SchemaStore, schemasDigest } from "../gate/index.ts";
import type { PagedEvent, Section } from "./protocol/index.ts";

/** At most so many characters of schemas go into one page beside what it holds. */
const MAX_NEWS_LENGTH = 400_000;

function eventsIn(sections: readonly Section[]): PagedEvent[] {
  return sections.flatMap((section) =>
    section.kind === "lines"
      ? section.lines.flatMap(({ events }) => events)
      : section.kind === "members"
        ? section.members.flatMap(({ events }) => events)
        : [],
  );
}

/** The schemas that are needed to read an event: its own, and that of the data which it releases. */
function* schemasOf({ head, text }: PagedEvent): Generator<SchemaRef> {
  yield head.schema;
  if (head.type !== RELEASED || text === null) return;
  const data: unknown = JSON.parse(text);
  if (!isJsonObject(data) || !isJsonObject(data.schema)) return;
  const { subject, version } = data.schema;
  if (typeof subject === "string" && typeof version === "number") yield { subject, version };
}

/**
 * The schemas that a page's events are written in, each after those that it refers to. None for an asker that has all of the hub's (`theirs`: the digest of its own), or keeps its schemas itself
 * (`undefined`).
 */
export function schemaNews(store: SchemaStore, theirs: string | undefined, sections: readonly Section[]): SchemaNews[] {
  const events = eventsIn(sections);
  if (theirs === undefined || events.length === 0 || theirs === schemasDigest(store)) return [];
  const news = new Map<string, SchemaNews>();
  const seen = new Set<string>();
  let length = 0;
  const add = ({ subject, version }: SchemaRef): void => {
    const name = `${subject}@${version}`;
    if (seen.has(name)) return;
    seen.add(name);
    const found = store.versions(subject)[version - 1];
    if (found === undefined) return;
    const { kind, text, references } = found;
    for (const reference of references) add(reference);
    length += text.length;
    if (news.size < MAX_SCHEMA_NEWS && length <= MAX_NEWS_LENGTH)
      news.set(name, { subject, version, kind, text, references: [...references] });
  };
  for (const event of events) for (const ref of schemasOf(event)) add(ref);
  return [...news.values()];
}
