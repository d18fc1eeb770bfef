import { defineProjection, json, map, set, text, timestamp } from "../services/merge/index.ts";

/** One row a site that a token was issued for. */
export default defineProjection({
  name: "sites",
  entity: "site",
  columns: {
    org: text(),
    site: text(),
    title: text(),
    roles: json(),
    registered_at: timestamp(),
    registered_by: text(),
  },
  events: {
    "site.registered": map(({ data, actor, occurredAt }) => ({
      org: data.org as string,
      site: data.site as string,
      title: (data.title ?? null) as string | null,
      registered_at: occurredAt,
      registered_by: actor,
    })),
    "site.roles-set": set("roles"),
  },
});
