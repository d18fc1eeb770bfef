/**
 * What other programs ask of a hub over HTTP, as tables of routes. In come requests, already parted into route and body; out come answers. Nothing is
 * answered before it is known who asks.
 */
export { DATABASE_LIMITS, type Database, type DatabaseLimits, openDatabase } from "./graphql/database.ts";
export type { ApiHub } from "./graphql/hub.ts";
export { GRAPHQL_LIMITS, type GraphqlLimits } from "./graphql/limits.ts";
export { FIELD_RIGHTS } from "./graphql/rights.ts";
export { GRAPHQL_PATH, graphqlSurface } from "./graphql/surface.ts";
export { anybodyKnown, type Me, meSurface } from "./me.ts";
export { openReading, type Reading, type ReadingOptions } from "./reading.ts";
export { type Authorize, registrySurface } from "./registry/surface.ts";
export { type ViewsApiOptions, viewsSurface } from "./views/surface.ts";
