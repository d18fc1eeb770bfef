/** What can be followed. Each topic knows which transactions may concern it, and reads what has changed between two moments, in a snapshot of its viewer. */
import { TributaryError } from "../../core/index.ts";
import type { View } from "../../merge/engine.ts";
import {
  type CaseRow,
  type ChangedRow,
  changedCases,
  changedRows,
  checkFollowed,
  type Db,
  isChanged,
  type MostChanged,
  mustBeView,
  type Present,
  type Resume,
  type Stated,
  type SyncedOrigin,
  syncsBetween,
  type ToldChange,
} from "../../views/index.ts";
import type { Found } from "./pending.ts";

/** Two moments, and how much may lie between them. */
export interface Span {
  readonly from: Resume;
  readonly now: Present;
  readonly most: MostChanged;
}

export interface Topic<T> {
  /** Followers of equal keys follow the same. */
  readonly key: string;
  /** Whether only those who see everything may follow it. */
  readonly isForOverseers: boolean;
  concerns(told: ToldChange): boolean;
  /** Throws where there is no such thing to follow. */
  check(db: Db): Promise<void>;
  read(db: Db, span: Span): Promise<Found<T>>;
}

const found = <T>(entries: ReadonlyMap<string, T> | null): Found<T> =>
  entries === null ? { kind: "reset" } : { kind: "changes", entries };

/** The rows of a view of entities that match conditions. */
function rowsOf(view: View & { readonly kind: "entity" }, where: readonly Stated[]): Topic<ChangedRow | null> {
  const followed = { view: view.name, entity: view.entity, where };
  return {
    key: JSON.stringify(["rows", view.name, where]),
    isForOverseers: false,
    concerns: ({ views }) => views === null || views.includes(view.name),
    check: (db) => checkFollowed(db, followed),
    read: async (db, span) => found(await changedRows(db, followed, span)),
  };
}

/** A view whose rows have no events of their own: only that they may have changed is told. */
function wholeOf(view: View, views: readonly View[]): Topic<ChangedRow | null> {
  const names = madeOf(view, views);
  const entities = views.flatMap((each) => (each.kind === "entity" && names.has(each.name) ? [each.entity] : []));
  const made = { views: [...names], entities: [...new Set(entities)] };
  return {
    key: JSON.stringify(["whole", view.name]),
    isForOverseers: true,
    concerns: (told) => told.views === null || told.views.some((name) => names.has(name)),
    check: (db) => mustBeView(db, view.name),
    read: async (db, span) => found(new Map((await isChanged(db, made, span)) ? [["", null]] : [])),
  };
}

/** A view, and all that it is made of. */
function madeOf(view: View, views: readonly View[]): ReadonlySet<string> {
  const names = new Set([view.name]);
  // A set that grows while it is gone through is gone through to its end.
  for (const name of names) {
    const of = views.find((each) => each.name === name);
    for (const source of of?.kind === "totals" ? of.sources : of?.kind === "sql" ? of.needs : []) names.add(source);
  }
  return names;
}

/** The topic of a view. Throws `not-found` where none of this name is declared, `usage` for conditions on a view whose rows cannot be followed. */
export function viewTopic(views: readonly View[], name: string, where: readonly Stated[]): Topic<ChangedRow | null> {
  const view = views.find((each) => each.name === name);
  if (view === undefined)
    throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${views.map((each) => each.name).join(", ")}.`);
  if (view.kind === "entity") return rowsOf(view, where);
  if (where.length > 0)
    throw new TributaryError(
      "usage",
      `of ${name} only that it has changed is told, so it takes no conditions`,
      "Follow it without conditions, and read it again when it has changed.",
    );
  return wholeOf(view, views);
}

/** Cases: all that happens to them, or only that they are opened. */
export const caseTopic = (opened: boolean): Topic<CaseRow> => ({
  key: opened ? "opened" : "cases",
  isForOverseers: false,
  concerns: ({ cases }) => cases,
  check: async () => {},
  read: async (db, { from, now, most }) => found(await changedCases(db, { opened, from, now, most: most.rows })),
});

/** What origins have sent, once the views show it. */
export const syncTopic: Topic<SyncedOrigin> = {
  key: "syncs",
  isForOverseers: false,
  concerns: ({ syncs }) => syncs,
  check: async () => {},
  read: async (db, { from, now, most }) => found(await syncsBetween(db, { from, now, most: most.rows })),
};
