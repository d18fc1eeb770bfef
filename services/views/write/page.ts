import { askWaiting } from "../asked.ts";
import type { PageChanges } from "../changes.ts";
import { type Db, inTransaction } from "../connect.ts";
import { type Layout, type Lease, type Member, moveShards } from "../leases.ts";
import { SHARDS } from "../shards.ts";
import { copyAudit } from "./audit.ts";
import { writeCaseNotes } from "./case-notes.ts";
import { type CaseChange, type ChangeNote, caseNote, noteChanges } from "./change-notes.ts";
import { confirmPurges } from "./debts.ts";
import { writeFeed } from "./feed.ts";
import { writeOrigins } from "./origins.ts";
import { writeOwners } from "./owners.ts";
import { askPlaced, lockOrder } from "./places.ts";
import { writeQuarantine } from "./quarantine.ts";
import { settleQuarantine } from "./settlement.ts";
import { tellChanged } from "./tell.ts";
import { writeViews } from "./view.ts";

/**
 * Writes a page in one transaction: shards, audit, views, decisions, cases, quarantine, origins. The shards move only if they still belong to this
 * process, so a page can never be written twice, nor by two processes.
 */
export async function writePage(db: Db, page: PageChanges, { leases, layout, member }: Hold): Promise<void> {
  await inTransaction(db, async () => {
    await moveShards(db, leases, layout, page.through);
    if (page.entries.length > 0) await writeChanges(db, page, { alone: leases.length === SHARDS, by: member.number });
  });
}

/** What a process holds while it writes. */
export interface Hold {
  readonly leases: readonly Lease[];
  readonly layout: Layout | null;
  readonly member: Member;
}

/** Writes all that a page changes besides the shards' positions, inside the caller's transaction. */
export async function writeChanges(
  db: Db,
  page: PageChanges,
  { alone, by }: { readonly alone: boolean; readonly by: number },
): Promise<void> {
  await copyAudit(db, page);
  // Before the views: a case of an organisation counts the entities that are its own.
  await writeOwners(db, page.entries, page.settlements);
  const cases = await writeViews(db, page.views, { tells: true, alone });
  await writeQuarantine(db, page.entries);
  await settleQuarantine(db, page.settlements);
  await writeCaseNotes(db, page.caseNotes);
  await writeOrigins(db, page.origins);
  await confirmPurges(db, page.entries);
  await writeFeed(db, page.placements, page.caseNotes);
  // Late: it waits for other processes that do the same, and none of those waits for anything that this one holds.
  await askAgain(db, page, by);
  await tellPage(db, page, cases);
}

/** Asks for the entities that are to be folded again because of a page, inside the caller's transaction. */
export async function askAgain(
  db: Db,
  { waiting, ordering }: Pick<PageChanges, "waiting" | "ordering">,
  by: number,
): Promise<void> {
  if (ordering !== null) await lockOrder(db, ordering);
  await askWaiting(db, waiting, by);
  if (ordering !== null) await askPlaced(db, ordering, by);
}

/** Tells what a page changed. What is not found again by its position is noted: cases, and what became of rows by the release of an event. */
export async function tellPage(
  db: Db,
  {
    entries,
    through,
    views,
    settlements,
    caseNotes,
  }: Pick<PageChanges, "entries" | "through" | "views" | "settlements" | "caseNotes">,
  cases: readonly CaseChange[],
): Promise<void> {
  const decided = (await touchedBy(db, caseNotes)).map((id) => ({ id, opened: false }));
  const released = settlements.flatMap(({ release }): ChangeNote[] =>
    release === null ? [] : [{ kind: "row", view: null, entity: release.entity }],
  );
  await noteChanges(db, [...released, ...[...cases, ...decided].map(caseNote)]);
  await tellChanged(db, {
    views: views.flatMap(({ target, rows }) => (rows.length > 0 ? [target.projection.name] : [])),
    cases: cases.length + decided.length > 0,
    syncs: entries.length > 0,
    range: [entries[0]?.position ?? through, through],
  });
}

/** The cases that people's notes change: those that they are on, and of an organisation's case the one across all, which may be accepted with it. */
async function touchedBy(db: Db, caseNotes: PageChanges["caseNotes"]): Promise<readonly string[]> {
  if (caseNotes.length === 0) return [];
  const ids = caseNotes.map(({ head }) => head.entity.id);
  const { rows } = await db.query<{ id: string }>(
    "SELECT DISTINCT of AS id FROM tributary.case_row WHERE id = ANY ($1) AND of IS NOT NULL",
    [ids],
  );
  return [...ids, ...rows.map(({ id }) => id)];
}
