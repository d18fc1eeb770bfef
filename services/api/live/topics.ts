/** What can be followed. Each topic knows which transactions may concern it, and reads what has changed between two moments, in a snapshot of its viewer. */
import { messageOf, TributaryError } from "../../core/index.ts";
import type { View } from "../../merge/engine.ts";
import {
  type CaseRow,
  type ChangedRow,
  changedCases,
  changedRows,
  checkFollowed,
  type Db,
  followedView,
  inSavepoint,
  isChanged,
  type MostChanged,
  mustBeView,
  type Present,
  type Resume,
  type SyncedOrigin,
  sqlState,
  syncsBetween,
  type ToldChange,
  type Where,
} from "../../views/index.ts";
import type { Answer, Found } from "./pending.ts";

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
  /** Throws where there is no such thing to follow, or these conditions cannot be asked of it. */
  check(db: Db, where: Where, now: Present): Promise<void>;
  /** What has changed, for each of these conditions. */
  read(db: Db, wheres: readonly Where[], span: Span): Promise<readonly Answer<T>[]>;
}

const RESET = { kind: "reset" } as const;
const found = <T>(entries: ReadonlyMap<string, T>): Found<T> => ({ kind: "changes", entries });

/** What takes no conditions is the same for all. */
const forAll = <T>(wheres: readonly Where[], entries: ReadonlyMap<string, T> | null): readonly Found<T>[] =>
  wheres.map(() => (entries === null ? RESET : found(entries)));

/** Values that PostgreSQL cannot compare are errors of this class. */
const isOfValues = (error: unknown): boolean => sqlState(error)?.startsWith("22") === true;

/** The rows of a view of entities. */
function rowsOf(view: View & { readonly kind: "entity" }): Topic<ChangedRow | null> {
  const followed = followedView(view.name, view.entity);
  const read = async (db: Db, wheres: readonly Where[], span: Span): Promise<readonly Answer<ChangedRow | null>[]> => {
    const rows = await changedRows(db, followed, wheres, span);
    return rows === null ? wheres.map(() => RESET) : rows.map(found);
  };
  /** Each by itself: a condition that fails at some row fails for those who ask it only. */
  const apart = async (db: Db, wheres: readonly Where[], span: Span): Promise<readonly Answer<ChangedRow | null>[]> => {
    const answers: Answer<ChangedRow | null>[] = [];
    for (const where of wheres) {
      try {
        answers.push(...(await inSavepoint(db, () => read(db, [where], span))));
      } catch (error) {
        if (!isOfValues(error)) throw error;
        answers.push({ kind: "refused", error: cannotCompare(view.name, error) });
      }
    }
    return answers;
  };
  return {
    key: JSON.stringify(["rows", view.name]),
    isForOverseers: false,
    concerns: ({ views }) => views === null || views.includes(view.name),
    check: (db, where, now) => checkFollowed(db, followed, where, now),
    async read(db, wheres, span) {
      try {
        return await inSavepoint(db, () => read(db, wheres, span));
      } catch (error) {
        if (!isOfValues(error)) throw error;
        return apart(db, wheres, span);
      }
    },
  };
}

const cannotCompare = (view: string, cause: unknown): TributaryError =>
  new TributaryError(
    "input-malformed",
    `a row of ${view} cannot be compared with what is asked: ${messageOf(cause)}`,
    "Ask another condition.",
    { cause },
  );

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
    read: async (db, wheres, span) => forAll(wheres, new Map((await isChanged(db, made, span)) ? [["", null]] : [])),
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
export function viewTopic(views: readonly View[], name: string, where: Where): Topic<ChangedRow | null> {
  const view = views.find((each) => each.name === name);
  if (view === undefined)
    throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${views.map((each) => each.name).join(", ")}.`);
  if (view.kind === "entity") return rowsOf(view);
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
  read: async (db, wheres, { from, now, most }) => forAll(wheres, await changedCases(db, { opened, from, now, most: most.rows })),
});

/** What origins have sent, once the views show it. */
export const syncTopic: Topic<SyncedOrigin> = {
  key: "syncs",
  isForOverseers: false,
  concerns: ({ syncs }) => syncs,
  check: async () => {},
  read: async (db, wheres, { from, now, most }) => forAll(wheres, await syncsBetween(db, { from, now, most: most.rows })),
};
