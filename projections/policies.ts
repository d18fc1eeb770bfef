import { defineProjection, json, map, remove, text, timestamp } from "../services/merge/index.ts";

/** One row a policy: whom it gives something, and which entities. A policy changes as one. */
export default defineProjection({
  name: "policies",
  entity: "policy",
  columns: {
    holders: json(),
    entities: json(),
    set_at: timestamp(),
    set_by: text(),
  },
  whole: true,
  events: {
    "policy.set": map(({ data, actor, occurredAt }) => ({
      holders: data.for ?? null,
      entities: data.entities ?? null,
      set_at: occurredAt,
      set_by: actor,
    })),
    "policy.removed": remove(),
  },
});
