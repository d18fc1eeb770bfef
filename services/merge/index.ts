/**
 * What a projection or an app names: views and how they are declared, columns, resolvers, fields that merge. In come
 * declarations, checked as they are made; out come views. What folds events by them stands in `engine.ts`.
 */
export { boolean, type Column, date, decimal, integer, json, number, text, timestamp } from "./columns.ts";
export {
  addWinsSet,
  collaborativeText,
  composeEdit,
  counter,
  type EditableText,
  editText,
  type ListEntry,
  listEntries,
  lwwMap,
  orderedList,
  removeWinsSet,
  sequencedText,
} from "./crdt/index.ts";
export { fitsViews } from "./misfit.ts";
export { type Columns, type Declaration, defineProjection, map, type Projection, remove, set } from "./projection.ts";
export {
  authorityOf,
  byField,
  type CustomRule,
  clientWins,
  custom,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  logOrder,
  manual,
  max,
  min,
  type Resolver,
  serverWins,
  sitePriority,
  union,
  updateWins,
  versionCompare,
} from "./resolvers.ts";
export { defineJoin, defineSql, defineTotals, type View } from "./views.ts";
