/**
 * What a projection names: views and how they are declared, columns, and the rules that decide. In come declarations, which are checked at once; out
 * come views. Fields that merge by themselves stand in `crdt/index.ts`; what folds events by the views, and the types of it all, in `engine.ts`.
 */
export { boolean, date, decimal, integer, json, number, text, timestamp } from "./columns.ts";
export { defineProjection, map, remove, set } from "./projection.ts";
export {
  authorityOf,
  byField,
  clientWins,
  custom,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  logOrder,
  manual,
  max,
  min,
  serverWins,
  sitePriority,
  union,
  updateWins,
  versionCompare,
} from "./resolvers.ts";
export { defineJoin, defineSql, defineTotals } from "./views.ts";
