import type { LogEntry, OriginId } from "../../core/index.ts";
import { type Db, rehearse, waitAtMost } from "../connect.ts";
import { copyText } from "../copy.ts";
import { AUDIT_NOTE, copyAuditTo, MAX_NOTE } from "../write/audit.ts";
import { AUDIT_COLUMNS, AUDIT as LIVE_AUDIT } from "../write/audit-row.ts";
import { placeholderForms, plainForm } from "../write/placeholders.ts";
import { differing, isRefusal, takes } from "./differing.ts";

/** How long a try waits for a process that writes the same row. */
const TRY_LOCK_MS = 2_000;
/** The temporary table of expected audit rows. */
const AUDIT = "pg_temp.expected_audit";

/** An event on its way into the comparison. `isFolded`: its shard has come past it, so the audit must have it. */
export interface Expected {
  readonly entry: LogEntry;
  readonly isFolded: boolean;
}

export interface AuditDifference {
  readonly origin: OriginId;
  readonly seq: number;
  /** The columns that hold something else; `null`: the audit has no row of the event. */
  readonly columns: readonly string[] | null;
}

/** Makes the table that expected audit rows go into. */
export async function makeExpectedAudit(db: Db): Promise<void> {
  await db.query("CREATE TEMPORARY TABLE expected_audit (LIKE tributary.audit, is_folded boolean)");
}

interface DifferingRow {
  readonly origin: OriginId;
  readonly seq: string;
  readonly columns: string[] | null;
  readonly stands: boolean;
  readonly isOtherwise: boolean;
}

const AUDIT_SQL = `SELECT e.origin, e.seq, a.origin IS NOT NULL AS stands, a.held_otherwise IS NOT NULL AS "isOtherwise", d.columns
  FROM ${AUDIT} e LEFT JOIN tributary.audit a ON a.origin = e.origin AND a.seq = e.seq
  CROSS JOIN LATERAL (SELECT CASE WHEN a.origin IS NOT NULL THEN ${differing(AUDIT_COLUMNS, "a", "e")} END AS columns) d
  WHERE (a.origin IS NULL AND e.is_folded) OR cardinality(d.columns) > 0 ORDER BY e.position`;

/** How the audit differs from these events. `onUntried` is called for each row for which it could not be tried whether the table holds more. */
export async function auditDifferences(db: Db, page: readonly Expected[], onUntried: () => void): Promise<AuditDifference[]> {
  const found: AuditDifference[] = [];
  await db.query(`TRUNCATE ${AUDIT}`);
  // Events that a column cannot hold are found one by one.
  const odd = (await takes(db, () => copyAuditTo(db, AUDIT, page))) ? [] : await copyEach(db, page);
  const { rows } = await db.query<DifferingRow>(AUDIT_SQL);
  const byName = new Map(page.map((each) => [`${each.entry.head.origin}/${each.entry.head.seq}`, each.entry]));
  for (const { origin, seq, stands, isOtherwise, columns } of rows) {
    const entry = byName.get(`${origin}/${seq}`);
    // A row with placeholders cannot equal the event: it must have one of the forms that a projector gives it.
    const wrong = stands && isOtherwise && entry !== undefined ? await otherwise(db, entry, onUntried) : stands ? columns : null;
    if (wrong === null || wrong.length > 0) found.push({ origin, seq: Number(seq), columns: wrong });
  }
  for (const { entry, isFolded } of odd) {
    const wrong = await otherwise(db, entry, onUntried);
    if (wrong === null ? isFolded : wrong.length > 0) found.push({ ...named(entry), columns: wrong });
  }
  return found;
}

const named = ({ head }: LogEntry) => ({ origin: head.origin, seq: head.seq as number });

/** Copies what can be copied; returns the rest. */
async function copyEach(db: Db, page: readonly Expected[]): Promise<Expected[]> {
  const odd: Expected[] = [];
  for (const each of page) if (!(await takes(db, () => copyAuditTo(db, AUDIT, [each])))) odd.push(each);
  return odd;
}

/**
 * The columns in which an audit row differs from the placeholder form nearest to it: none where it has such a form and a note of why. `null`: there is no row. The forms that say
 * what the columns were to hold lose nothing; the form that says nothing is accepted only while the table itself refuses to hold more.
 */
async function otherwise(db: Db, entry: LogEntry, onUntried: () => void): Promise<readonly string[] | null> {
  const { origin, seq } = entry.head;
  let nearest: readonly string[] | null = null;
  for (const { says, sql, text } of placeholderForms(AUDIT, entry)) {
    await db.query(`TRUNCATE ${AUDIT}`);
    if (!(await takes(db, () => copyText(db, sql, text())))) continue;
    const { rows } = await db.query<{ columns: string[]; noted: boolean }>(
      `SELECT ${differing(AUDIT_COLUMNS, "a", "e")} AS columns,
         coalesce(position($3 IN a.projection_error) > 0 OR length(a.projection_error) >= ${MAX_NOTE}, false) AS noted
       FROM tributary.audit a CROSS JOIN ${AUDIT} e WHERE a.origin = $1 AND a.seq = $2`,
      [origin, seq, AUDIT_NOTE],
    );
    const [row] = rows;
    if (row === undefined) return null;
    if (row.columns.length === 0) {
      if (!row.noted) return ["it has placeholders, and no note of why"];
      const more = says ? "refuses" : await holdsMore(db, entry);
      if (more === "untried") onUntried();
      return more === "holds" ? ["it says nothing of the event, which the table would hold"] : [];
    }
    if (nearest === null || row.columns.length < nearest.length) nearest = row.columns;
  }
  return nearest ?? ["all of it"];
}

const NOT_ALONE = new Error("the row could not be taken out");

/**
 * Whether the audit itself, with all constraints that somebody has put on it, takes a row that says what the event says. It is tried and undone at once. Only what PostgreSQL says of the
 * row that is written is a refusal; an error while the present row is taken out is not.
 */
async function holdsMore(db: Db, entry: LogEntry): Promise<"holds" | "refuses" | "untried"> {
  const { origin, seq } = entry.head;
  let isUntried = false;
  for (const { sql, text } of [plainForm(LIVE_AUDIT, entry), ...placeholderForms(LIVE_AUDIT, entry).filter(({ says }) => says)]) {
    let isAlone = false;
    try {
      await rehearse(db, async () => {
        await waitAtMost(db, TRY_LOCK_MS);
        const { rowCount } = await db.query(`DELETE FROM ${LIVE_AUDIT} WHERE origin = $1 AND seq = $2`, [origin, seq]);
        if (rowCount !== 1) throw NOT_ALONE;
        isAlone = true;
        await copyText(db, sql, text());
      });
      return "holds";
    } catch (error) {
      // The connection is lost: nothing more can be found out.
      await db.query("SELECT 1").catch(() => {
        throw error;
      });
      isUntried ||= !isAlone || !(await isRefusal(db, error));
    }
  }
  return isUntried ? "untried" : "refuses";
}
