/**
 * What of the gate needs Node: schemas and casters read from folders, and the registry, which examines strangers' schemas in threads. The rest
 * (`index.ts`) runs in a browser too.
 */
export { loadCasters } from "./files/casters.ts";
export { loadSchemas, schemaFiles } from "./files/schemas.ts";
export { openRegistry } from "./registry/open.ts";
