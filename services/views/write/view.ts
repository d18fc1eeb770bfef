import type { ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import type { CaseNow } from "./case-of.ts";
import { writeCases } from "./cases.ts";
import type { CaseChange } from "./change-notes.ts";
import { writeInvariants } from "./claims.ts";
import { writeDecisions } from "./decisions.ts";
import { writeHistory } from "./history.ts";
import { replaceMany } from "./many.ts";
import { decisionNotices, type Notice, writeNotices } from "./notices.ts";
import { writeParked } from "./parked.ts";
import { registerCases } from "./register-cases.ts";
import { writeRows } from "./rows.ts";
import { writeTotals } from "./totals.ts";

/**
 * Writes what a page changes in views: rows, their past, decisions, claims, totals, cases, and with `tells` also notices. `alone`: nobody else writes to
 * these tables until the transaction has ended, so nothing needs a lock. Returns the cases that were opened, changed or closed.
 */
export async function writeViews(
  db: Db,
  views: readonly ViewChanges[],
  { tells, alone }: { readonly tells: boolean; readonly alone: boolean },
): Promise<readonly CaseChange[]> {
  const cases: CaseNow[] = [];
  const notices: Notice[] = [];
  for (const changes of views) {
    cases.push(...(await writeView(db, changes, { tells, alone })));
    if (tells) notices.push(...decisionNotices(changes));
  }
  cases.push(...(await writeTotals(db, views)));
  const written = cases.length === 0 ? null : await writeCases(db, cases);
  if (tells) await writeNotices(db, [...notices, ...(written?.notices ?? [])]);
  return written?.changed ?? [];
}

/** Writes what a page changes in one view. Returns the cases that follow. */
async function writeView(
  db: Db,
  changes: ViewChanges,
  how: { readonly tells: boolean; readonly alone: boolean },
): Promise<CaseNow[]> {
  const { target, rows, history, decisions, ended, parked } = changes;
  const { projection, namespace } = target;
  await writeRows(db, projection, namespace, rows);
  for (const name of Object.keys(projection.tables)) await replaceMany(db, projection, { name, namespace }, rows);
  await writeHistory(db, target, history);
  await writeDecisions(db, ended, decisions);
  if (parked.length > 0) await writeParked(db, target, parked);
  return [...registerCases(changes), ...(await writeInvariants(db, changes, how))];
}
