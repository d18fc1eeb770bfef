/** Events about schemas: what a hub registers, as other hubs and devices learn of it. */

/** The entity that a subject is: `schema/<subject>`. */
export const SCHEMA_ENTITY = "schema";
