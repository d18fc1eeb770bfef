/** Which right each field takes. It is asked for before anything is read; a field that is not named here is refused when the schema is made. */
import type { Right } from "../../core/index.ts";

/** The field's type and name, or `TYPE.*` for all fields of a type that is made of a team's views. `null`: whoever has a token may ask. */
export const FIELD_RIGHTS: Readonly<Record<string, Right | null>> = {
  "Query.me": null,
  "Query.limits": null,
  "Query.views": "views:read",
  "Views.*": "views:read",
  "Query.rows": "views:read",
  "Rows.*": "views:read",
  "Query.history": "history:read",
  "Query.decisions": "decisions:read",
  "Query.explain": "history:read",
  "Query.rowAsOf": "history:read",
  "Query.trail": "audit:read",
  "Query.cases": "cases:read",
  "Query.case": "cases:read",
  "Query.register": "decisions:read",
  "Query.quarantine": "quarantine:read",
  "Query.quarantined": "quarantine:read",
  "Query.quarantineRates": "quarantine:read",
  "Query.parked": "parked:read",
  "Query.subjects": "schemas:read",
  "Query.subject": "schemas:read",
  "Query.proposals": "schemas:read",
  "Query.checkSchema": "schemas:write",
  "Query.sites": "sites:read",
  "Query.policies": "policies:read",
  "Query.previewPolicies": "policies:read",
  "Query.replicas": "replicas:read",
  "Query.status": "status:read",
  "Mutation.decideCase": "cases:decide",
  "Mutation.decideRegister": "cases:decide",
  "Mutation.assignCase": "cases:assign",
  "Mutation.acceptCase": "cases:decide",
  "Mutation.commentCase": "cases:assign",
  "Mutation.releaseQuarantined": "quarantine:settle",
  "Mutation.rejectQuarantined": "quarantine:settle",
  "Mutation.retryParked": "quarantine:settle",
  "Mutation.registerSchema": "schemas:write",
  "Mutation.registerSite": "sites:enrol",
  "Mutation.revokeSite": "sites:revoke",
  "Mutation.setPolicy": "policies:write",
  "Mutation.removePolicy": "policies:write",
  "Mutation.append": "events:append",
};

/** The right that a field takes; `undefined`: the table has no line for it. */
export const rightOf = (type: string, field: string): Right | null | undefined =>
  Object.hasOwn(FIELD_RIGHTS, `${type}.${field}`) ? FIELD_RIGHTS[`${type}.${field}`] : FIELD_RIGHTS[`${type}.*`];
