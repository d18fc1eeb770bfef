import type { Hash } from "../core/index.ts";
import type { AnchorComparison } from "../log/index.ts";
import { inComparison, type Parked } from "../views/index.ts";
import { openAnchored } from "./anchored.ts";
import { compareAll } from "./compare-all.ts";
import { type Compared, compared, type VerifyDeps } from "./compared.ts";
import { readLog } from "./read-log.ts";
import { auditSays, logSays, parkedSay, summaryOf, viewsSay } from "./says.ts";
import { schemaCheck } from "./schemas.ts";
import { type SignatureReport, signatureCheck } from "./signatures.ts";
import { openSpill } from "./spill.ts";
import { openFindings, type Problem, type Verdicts } from "./verdicts.ts";

export interface OriginReport {
  readonly origin: string;
  readonly events: number;
  readonly quarantined: number;
  readonly head: Hash;
  readonly chainIntact: boolean;
}

export interface VerifyReport {
  /** For each part, whether it is as it should be, what is said of it, and what to do. */
  readonly verdicts: Verdicts;
  readonly summary: string;
  readonly events: number;
  readonly origins: readonly OriginReport[];
  readonly chainsIntact: boolean;
  /** The last position looked at. */
  readonly through: string | null;
  /** View rows that were compared with the fold of the log; `null` when views were not asked for. */
  readonly rowsCompared: number | null;
  /** Views that were left out: they were built by another declaration, so their rows cannot be what the present one gives. */
  readonly notCompared: readonly string[];
  readonly signatures: SignatureReport;
  /** `null`: no anchor was given. */
  readonly anchor: AnchorComparison | null;
  /** Entities that are parked, with the reason. They show what they showed before the event that stopped them. */
  readonly parked: readonly Parked[];
  readonly problemCount: number;
  readonly problems: readonly Problem[];
}

/**
 * Reads the whole log once and checks that each origin's events stand in order, once, chained and signed; and, when views are given, that audit, list of
 * quarantined events, views, their past and totals are what the log gives, all of one moment of the database.
 *
 *   log ── page by page ─▶ links, signatures, anchor ─▶ audit rows (PostgreSQL compares) ─▶ spilled to disk by entity ─▶ views, entity by entity ─▶ totals
 *
 * Memory does not grow with the log, except for one short entry for each origin. Only temporary tables and a temporary file are written. Parked entities
 * are folded again, and audit rows that hold nothing of their events are written as they should be, to see whether the database still refuses them; that is undone at once. A build of
 * views that wants to be swapped in waits until this has ended.
 */
export async function verify(deps: VerifyDeps): Promise<VerifyReport> {
  const { views } = deps;
  if (views === undefined) return judgeAll(deps, null);
  const { db } = views;
  using spill = openSpill();
  return await inComparison(db, async () => judgeAll(deps, await compared(views, spill)));
}

async function judgeAll(deps: VerifyDeps, besides: Compared | null): Promise<VerifyReport> {
  const { log, hubKeys, anchor } = deps;
  const findings = openFindings();
  const { report } = findings;
  const signatures = await signatureCheck(log, (where, what) => report("log", where, what), hubKeys);
  const anchored = anchor !== undefined && "anchor" in anchor ? openAnchored(anchor.anchor) : null;
  const schemas = schemaCheck(log.journal, (where, what) => report("log", where, what));
  const read = await readLog(deps, besides, { report, signatures, schemas, anchored });
  await schemas.end();
  const signed = signatures.end();
  const comparison = anchored === null ? null : await anchored.end(log);
  if (anchor !== undefined && "problem" in anchor) report("anchor", "anchor", `it cannot be believed: ${anchor.problem}`);
  if (comparison !== null && comparison.state !== "holds" && comparison.state !== "declared")
    report("anchor", comparison.named.join(", ") || "the log", comparison.says);
  const found =
    besides === null
      ? null
      : {
          ...besides,
          counted: await compareAll(deps, besides, read, report),
          placeholders: await besides.books.placeholders(),
        };
  const verdicts = findings.verdicts({
    log: logSays(read, signed),
    audit: found === null ? null : auditSays(read, found.placeholders),
    views: found === null ? null : viewsSay(found.counted, found),
    totals: found === null ? null : `${found.counted.totalRows} totals add up`,
    parked: found === null ? null : parkedSay(found.parked, found.counted),
    anchor: comparison === null ? null : comparison.says,
  });
  return {
    verdicts,
    summary: summaryOf(findings, verdicts, besides, found?.placeholders ?? null),
    events: read.events,
    origins: [...read.origins].map(([origin, { events, quarantined, head, intact }]) => ({
      origin,
      events,
      quarantined,
      head,
      chainIntact: intact,
    })),
    chainsIntact: [...read.origins.values()].every(({ intact }) => intact),
    through: read.through?.toString() ?? null,
    rowsCompared: found?.counted.rows ?? null,
    notCompared: besides?.notCompared ?? [],
    signatures: signed,
    anchor: comparison,
    parked: besides?.parked ?? [],
    problemCount: findings.count(),
    problems: findings.listed(),
  };
}
