import { askWaiting } from "../asked.ts";
import type { PageChanges } from "../changes.ts";
import { type Db, inTransaction } from "../connect.ts";
import { type Layout, type Lease, type Member, moveShards } from "../leases.ts";
import { SHARDS } from "../shards.ts";
import { copyAudit } from "./audit.ts";
import { writeCaseNotes } from "./case-notes.ts";
import { confirmPurges } from "./debts.ts";
import { writeFeed } from "./feed.ts";
import { writeOrigins } from "./origins.ts";
import { writeOwners } from "./owners.ts";
import { askPlaced, lockOrder } from "./places.ts";
import { writeQuarantine } from "./quarantine.ts";
import { settleQuarantine } from "./settlement.ts";
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
  await writeViews(db, page.views, { tells: true, alone });
  await writeQuarantine(db, page.entries);
  await settleQuarantine(db, page.settlements);
  await writeCaseNotes(db, page.caseNotes);
  await writeOrigins(db, page.origins);
  await confirmPurges(db, page.entries);
  await writeFeed(db, page.placements, page.caseNotes);
  // Last: it waits for other processes that do the same, and none of those waits for anything that this one holds.
  await askAgain(db, page, by);
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
