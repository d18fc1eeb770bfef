import { boolean, defineProjection, integer, json, map, text, timestamp } from "../services/merge/index.ts";

/** One row a subject: its newest version, who has the say over it, and what was set for it. Versions are numbered from 1 without gaps. */
export default defineProjection({
  name: "schemas",
  entity: "schema",
  columns: {
    versions: integer(),
    kind: text(),
    fingerprint: text(),
    authority: text(),
    registered_at: timestamp(),
    registered_by: text(),
    level: text(),
    mode: text(),
    normalize: boolean(),
    hidden: json(),
  },
  groups: { newest: ["versions", "kind", "fingerprint", "authority", "registered_at", "registered_by"] },
  events: {
    "schema.registered": map(({ data, actor, occurredAt }) => ({
      versions: data.version as number,
      kind: data.kind as string,
      fingerprint: data.fingerprint as string,
      authority: data.authority as string | null,
      registered_at: occurredAt,
      registered_by: actor,
    })),
    "schema.changed": map(({ data: { level, mode, normalize, hidden } }) => ({
      ...(level === undefined ? {} : { level }),
      ...(mode === undefined ? {} : { mode }),
      ...(normalize === undefined ? {} : { normalize }),
      ...(hidden === undefined ? {} : { hidden }),
    })),
    // A proposal is no version: it stands in the subject's history.
    "schema.proposed": map(() => ({})),
  },
});
