/**
 * What other programs ask of a hub over HTTP, as tables of routes. In come requests, already parted into route and body; out come answers. Nothing is
 * answered before it is known who asks. Live queries are async iterables, for whatever transport carries them.
 */
export { DATABASE_LIMITS, type Database, type DatabaseLimits, openDatabase } from "./graphql/database.ts";
export type { ApiHub } from "./graphql/hub.ts";
export { GRAPHQL_LIMITS, type GraphqlLimits } from "./graphql/limits.ts";
export { FIELD_RIGHTS } from "./graphql/rights.ts";
export { GRAPHQL_PATH, graphqlSurface } from "./graphql/surface.ts";
export type { FollowOptions } from "./live/board.ts";
export type { Who } from "./live/follower.ts";
export { LIMITS as LIVE_LIMITS, type Limits as LiveLimits } from "./live/limits.ts";
export {
  type CasesTold,
  type Live,
  type LiveOptions,
  openLive,
  type RowsFollowed,
  type RowsTold,
  type Standing,
  type SyncsTold,
} from "./live.ts";
export { anybodyKnown, type Me, meSurface } from "./me.ts";
export { openReading, type Reading, type ReadingOptions } from "./reading.ts";
export { type Authorize, registrySurface } from "./registry/surface.ts";
export { type ViewsApiOptions, viewsSurface } from "./views/surface.ts";
