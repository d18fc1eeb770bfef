import type { Reference, SchemaVersion } from "../schema.ts";
import type { VersionText } from "./examination.ts";

/** A schema as it goes to the thread that examines it. */
export const textOf = ({ subject, version, kind, text, references }: SchemaVersion): VersionText => ({
  subject,
  version,
  kind,
  text,
  references,
});

/** All that schemas refer to, directly or not, each after what it refers to itself. */
export function referredBy(
  schemas: readonly SchemaVersion[],
  lookUp: (reference: Reference) => SchemaVersion | undefined,
): VersionText[] {
  const out = new Map<string, VersionText>();
  const visit = ({ references }: SchemaVersion): void => {
    for (const reference of references) {
      const key = `${reference.subject}@${reference.version}`;
      const found = out.has(key) ? undefined : lookUp(reference);
      if (found === undefined) continue;
      visit(found);
      out.set(key, textOf(found));
    }
  };
  for (const schema of schemas) visit(schema);
  return [...out.values()];
}
