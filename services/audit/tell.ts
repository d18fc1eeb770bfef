import { GENESIS, type Hash, type OriginId, type Seq } from "../core/index.ts";
import type { Books } from "../views/index.ts";
import type { Report } from "./verdicts.ts";

/** Events that differ between log and audit, even in their hashes: one of the two was rewritten. */
export interface Rewritten {
  first: Seq;
  last: Seq;
  count: number;
  readonly columns: readonly string[];
}

/** How far an origin's chain goes in the log. */
interface ChainEnd {
  readonly events: number;
  readonly head: Hash;
}

/** How the list of quarantined events differs from what the log gives. */
export async function tellQuarantine(books: Books, report: Report): Promise<void> {
  const { count, named } = await books.quarantineDifferences();
  for (const { key, what } of named)
    report(
      "quarantine",
      key,
      /^(it is|the list)/.test(what) ? what : `its entry in the list of quarantined events was altered: ${what}`,
    );
  if (count > named.length) report("quarantine", "quarantine", `${count - named.length} more entries of the list differ`);
}

/** Whose entities are noted otherwise than their first events say: then some people are shown what is not theirs, or not shown what is. */
export async function tellOwners(books: Books, report: Report): Promise<void> {
  const { count, named } = await books.ownerDifferences();
  for (const { key, what } of named) report("audit", key, what);
  if (count > named.length)
    report("audit", "owners", `of ${count - named.length} more entities it is not noted rightly whose they are`);
}

export function noteRewritten(all: Map<OriginId, Rewritten>, origin: OriginId, seq: Seq, columns: readonly string[]): void {
  const known = all.get(origin) ?? { first: seq, last: seq, count: 0, columns };
  known.last = seq;
  known.count++;
  all.set(origin, known);
}

/** Log and audit have different events, each with a hash that fits. A signature tells which of them the device wrote. Without one, nobody can tell. */
export function tellRewritten(
  origin: OriginId,
  { first, last, count, columns }: Rewritten,
  signed: Seq | null,
  report: Report,
): void {
  const where = count === 1 ? `${origin}/${first}` : `${origin}/${first}–${last}`;
  const what = `${count === 1 ? "another event than" : `${count} other events than`} the audit has (${columns.join(", ")})`;
  if (signed !== null && signed >= last)
    report(
      "audit",
      where,
      `its audit rows were altered, hashes too: the log has ${what}, and the device's signature is good for the log's`,
    );
  else
    report(
      "log",
      where,
      `the log has ${what}, with hashes that fit: it was rewritten after it was folded, or else the audit was; no signature says which`,
    );
}

/** Audit rows that the log does not explain. Those that continue the log's chain where it ends were once in the log. */
export async function tellBeyond(books: Books, origins: ReadonlyMap<OriginId, ChainEnd>, report: Report): Promise<void> {
  for (const { origin, events, first, last, prev, isRun } of await books.beyond(origins)) {
    const where = events === 1 ? `${origin}/${first}` : `${origin}/${first}–${last}`;
    const end = origins.get(origin) ?? { events: 0, head: GENESIS };
    if (isRun && first === end.events && prev === end.head)
      report(
        "log",
        where,
        `the log lacks ${events === 1 ? "this event" : `these ${events} events`}. The audit has ${events === 1 ? "it" : "them"}, and the log's chain ends right before: somebody removed ${events === 1 ? "it" : "them"} from its end, or the log was set back`,
      );
    else report("audit", where, "the audit has it, and the log does not: it was made up");
  }
}
