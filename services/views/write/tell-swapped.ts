import type { Db } from "../connect.ts";
import { noteChanges } from "./change-notes.ts";
import { tellChanged } from "./tell.ts";

/** Notes that these views show other rows than before, and perhaps other cases, at no position of their own; and tells whoever follows them. Call it last in the transaction. */
export async function tellSwapped(db: Db, views: readonly string[]): Promise<void> {
  await noteChanges(db, [...views.map((view) => ({ kind: "view", view }) as const), { kind: "cases" }]);
  await tellChanged(db, { views, cases: true, syncs: false, range: null });
}
