import type { Client } from "pg";
import type { Hash, LogEntry, OriginId, Position } from "../core/index.ts";
import type { FullRow, Totals } from "../merge/engine.ts";
import { AUDIT_COLUMNS, AUDIT_NOTE, copyAuditTo, MAX_NOTE, placeholderForms, plainForm, withPlaceholders } from "./audit.ts";
import { comparedColumns } from "./compare.ts";
import { inSavepoint } from "./connect.ts";
import { copyText } from "./copy.ts";
import { isOfData, LACKS_A_RIGHT, sqlState } from "./failures.ts";
import { additionsOf } from "./prepare.ts";
import { type Addition, addTotals, at, LIVE, q } from "./tables.ts";
import { settleQuarantine, writeQuarantine } from "./write.ts";

/**
 * What a projector would have written of the log, in temporary tables, and how it differs from what stands. PostgreSQL compares: both sides went through the same
 * statements and the same types. Inside the caller's transaction; it holds a page of the log in memory, and nothing that grows with it.
 */

const LIVE_AUDIT = "tributary.audit";
/** How long a try waits for somebody who writes the same row. */
const TRY_LOCK_MS = 2_000;
const AUDIT = "pg_temp.expected_audit";
const QUARANTINE = "pg_temp.expected_quarantine";
const ENDS = "pg_temp.expected_ends";
/** The schema that totals are added up in. */
const TEMPORARY = "pg_temp";
/** Differences that one question returns; all are counted. */
const MAX_RETURNED = 100;
/** Contributions to totals that are added in one statement. */
const MAX_ADDITIONS = 2_000;

/** An event on its way into the comparison. `isFolded`: its shard has come past it, so that it must stand in the audit. */
export interface Expected {
  readonly entry: LogEntry;
  readonly isFolded: boolean;
}

export interface AuditDifference {
  readonly origin: OriginId;
  readonly seq: number;
  /** Columns that hold something else; `null`: there is no row. */
  readonly columns: readonly string[] | null;
}

/** Audit rows of an origin beyond its last event in the log. */
export interface BeyondLog {
  readonly origin: OriginId;
  readonly events: number;
  readonly first: number;
  readonly last: number;
  /** The `prev` of the first. */
  readonly prev: string;
  /** They stand without a gap. */
  readonly isRun: boolean;
}

/** Rows that differ, some of them named. */
export interface Differences {
  readonly count: number;
  readonly named: readonly { readonly key: string; readonly what: string }[];
}

export interface Books {
  audit(page: readonly Expected[]): Promise<readonly AuditDifference[]>;
  /** Notes quarantined events and settlements that were folded, in log order. */
  quarantine(entries: readonly LogEntry[]): Promise<void>;
  /** What stands in the audit that the log does not have. */
  beyond(ends: ReadonlyMap<OriginId, { readonly events: number; readonly head: Hash }>): Promise<readonly BeyondLog[]>;
  quarantineDifferences(): Promise<Differences>;
  placeholders(): Promise<Placeholders>;
}

/** What stands with placeholders. */
export interface Placeholders {
  /** Audit rows. */
  readonly rows: number;
  /** Those of them that say nothing of their events. */
  readonly mute: number;
  /** Those of the mute of which it could not be tried whether the table holds more: for lack of a right, or because others were in the way. */
  readonly untried: number;
  /** Entries of the list of quarantined events. */
  readonly held: number;
}

const text = (table: string, column: string): string => `${table}.${q(column)}::text`;
/** The names of the columns that differ, as an array. */
const differing = (columns: readonly string[], a: string, b: string): string =>
  `array_remove(ARRAY[${columns.map((name) => `CASE WHEN ${text(a, name)} IS DISTINCT FROM ${text(b, name)} THEN '${name}' END`).join(", ")}], NULL)`;

export async function openBooks(db: Client): Promise<Books> {
  await db.query("DROP TABLE IF EXISTS pg_temp.expected_audit, pg_temp.expected_quarantine, pg_temp.expected_ends");
  await db.query("CREATE TEMPORARY TABLE expected_audit (LIKE tributary.audit, is_folded boolean)");
  await db.query(
    "CREATE TEMPORARY TABLE expected_quarantine (LIKE tributary.quarantine INCLUDING DEFAULTS, PRIMARY KEY (origin, seq))",
  );
  await db.query("CREATE TEMPORARY TABLE expected_ends (origin text PRIMARY KEY, through bigint NOT NULL)");
  let untried = 0;
  const onUntried = (): void => void untried++;
  return {
    audit: (page) => auditDifferences(db, page, onUntried),
    quarantine: (entries) => expectQuarantine(db, entries),
    beyond: (ends) => beyondLog(db, ends),
    quarantineDifferences: () => quarantineDifferences(db),
    placeholders: async () => ({ ...(await placeholdersIn(db)), untried }),
  };
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

async function auditDifferences(db: Client, page: readonly Expected[], onUntried: () => void): Promise<AuditDifference[]> {
  const found: AuditDifference[] = [];
  await db.query(`TRUNCATE ${AUDIT}`);
  // What a column cannot hold is found event by event.
  const odd = (await takes(db, () => copyAuditTo(db, AUDIT, page))) ? [] : await copyEach(db, page);
  const { rows } = await db.query<DifferingRow>(AUDIT_SQL);
  const byName = new Map(page.map((each) => [`${each.entry.head.origin}/${each.entry.head.seq}`, each.entry]));
  for (const { origin, seq, stands, isOtherwise, columns } of rows) {
    const entry = byName.get(`${origin}/${seq}`);
    // Where it stands with placeholders it cannot equal the event: it must be one of the forms that a projector gives it.
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

/** Whether the database takes something; what it refuses for what is in it leaves nothing. Whatever else is in the way is thrown. */
async function takes(db: Client, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await inSavepoint(db, work);
    return true;
  } catch (error) {
    // Lost: nothing that the data are to blame for.
    await db.query("SELECT 1").catch(() => {
      throw error;
    });
    if (sqlState(error) !== null && !(await isRefusal(db, error))) throw error;
    return false;
  }
}

/** Whether the database refuses something for what is in it. A right that is lacking says nothing of that, even where a projector would have it. */
const isRefusal = async (db: Client, error: unknown): Promise<boolean> =>
  sqlState(error) !== LACKS_A_RIGHT && (await isOfData(db, [], error));

/** Copies what can be copied; returns the rest. */
async function copyEach(db: Client, page: readonly Expected[]): Promise<Expected[]> {
  const odd: Expected[] = [];
  for (const each of page) if (!(await takes(db, () => copyAuditTo(db, AUDIT, [each])))) odd.push(each);
  return odd;
}

/**
 * How an audit row differs from the placeholder form nearest to it: no columns where it is one of them, with a note of why. `null`: there is no row. The forms that say
 * what the columns were to hold lose nothing; the one that says nothing is believed only while the table itself refuses to hold more.
 */
async function otherwise(db: Client, entry: LogEntry, onUntried: () => void): Promise<readonly string[] | null> {
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

const UNDONE = new Error("undone");
const NOT_ALONE = new Error("the row could not be taken out");

/**
 * Whether the audit itself, with all that somebody has put on it, takes a row that says what the event says. Tried, and undone at once. Only what PostgreSQL says of the
 * row that is written is a refusal: that the one before could not be taken out is none.
 */
async function holdsMore(db: Client, entry: LogEntry): Promise<"holds" | "refuses" | "untried"> {
  const { origin, seq } = entry.head;
  let isUntried = false;
  for (const { sql, text } of [plainForm(LIVE_AUDIT, entry), ...placeholderForms(LIVE_AUDIT, entry).filter(({ says }) => says)]) {
    let isAlone = false;
    try {
      await inSavepoint(db, async () => {
        await db.query(`SET LOCAL lock_timeout = ${TRY_LOCK_MS}`);
        const { rowCount } = await db.query(`DELETE FROM ${LIVE_AUDIT} WHERE origin = $1 AND seq = $2`, [origin, seq]);
        if (rowCount !== 1) throw NOT_ALONE;
        isAlone = true;
        await copyText(db, sql, text());
        await db.query("SET CONSTRAINTS ALL IMMEDIATE");
        throw UNDONE;
      });
    } catch (error) {
      if (error === UNDONE) return "holds";
      // Lost: nothing can be told any more.
      await db.query("SELECT 1").catch(() => {
        throw error;
      });
      isUntried ||= !isAlone || !(await isRefusal(db, error));
    }
  }
  return isUntried ? "untried" : "refuses";
}

async function expectQuarantine(db: Client, entries: readonly LogEntry[]): Promise<void> {
  const held = entries.filter(({ content }) => content.kind === "quarantined");
  if (held.length > 0 && !(await takes(db, () => writeQuarantine(db, held, QUARANTINE))))
    for (const entry of held)
      if (!(await takes(db, () => writeQuarantine(db, [entry], QUARANTINE))))
        await takes(db, () => writeQuarantine(db, [withPlaceholders(entry)], QUARANTINE));
  // What settles an event comes after it.
  for (const entry of entries.filter(({ content }) => content.kind === "accepted"))
    if (!(await takes(db, () => settleQuarantine(db, [entry], false, QUARANTINE))))
      await takes(db, () => settleQuarantine(db, [entry], true, QUARANTINE));
}

/** Columns of a quarantined event, and of what was said of it. */
const HELD =
  "position id type entity_type entity_id site actor recorded_at schema_subject schema_version code reason path raw hash".split(
    " ",
  );
const SETTLED = "state settled_position settled_at settled_by settled_note released_subject released_version released_data".split(
  " ",
);
const PLACEHOLDER = "\uFFFD";
const NO_UUID = "00000000-0000-0000-0000-000000000000";
const AS_PLACEHOLDER: Readonly<Record<string, string>> = {
  id: `'${NO_UUID}'`,
  actor: `'${PLACEHOLDER}'`,
  entity_type: `'${PLACEHOLDER}'`,
  entity_id: `'${PLACEHOLDER}'`,
  raw: `'${PLACEHOLDER}'`,
  path: "NULL",
};
const BARE: ReadonlySet<string> = new Set([
  "settled_by",
  "settled_note",
  "released_subject",
  "released_version",
  "released_data",
]);

/** A column differs, and not because the table has refused it, which the audit row of the event in question has a note of. */
const differsUnnoted = (name: string): string => {
  const placeholder = AS_PLACEHOLDER[name];
  const noted = (at: string, what: string): string =>
    `EXISTS (SELECT 1 FROM tributary.audit n WHERE n.position = q.${at} AND n.projection_error LIKE '%${what}: %')`;
  const refused =
    placeholder !== undefined
      ? `(q.${name}::text IS NOT DISTINCT FROM ${placeholder} AND ${noted("position", "quarantine")})`
      : BARE.has(name)
        ? `(q.${name} IS NULL AND ${noted("settled_position", "settlement")})`
        : "false";
  return `CASE WHEN ${text("q", name)} IS DISTINCT FROM ${text("e", name)} AND NOT ${refused} THEN '${name}' END`;
};

async function quarantineDifferences(db: Client): Promise<Differences> {
  await db.query(`ANALYZE ${QUARANTINE}`);
  const { rows } = await db.query<{ key: string; what: string; total: string }>(
    `SELECT coalesce(e.origin, q.origin) || '/' || coalesce(e.seq, q.seq) AS key, d.what, count(*) OVER () AS total
     FROM ${QUARANTINE} e FULL JOIN tributary.quarantine q ON q.origin = e.origin AND q.seq = e.seq
     CROSS JOIN LATERAL (SELECT CASE
       WHEN q.origin IS NULL THEN 'the list of quarantined events lacks it'
       WHEN e.origin IS NULL THEN 'it is listed as quarantined, and the log does not hold it back'
       ELSE array_to_string(ARRAY[${[...HELD, ...SETTLED].map(differsUnnoted).join(", ")}], ', ') END AS what) d
     WHERE d.what <> '' ORDER BY 1 LIMIT ${MAX_RETURNED}`,
  );
  return { count: Number(rows[0]?.total ?? 0), named: rows };
}

async function placeholdersIn(db: Client): Promise<Omit<Placeholders, "untried">> {
  const { rows } = await db.query<{ rows: number; mute: number; held: number }>(
    `SELECT count(*)::int AS rows, (count(*) FILTER (WHERE held_otherwise::text = '{}'))::int AS mute,
       (SELECT count(*)::int FROM tributary.quarantine WHERE raw = $1) AS held
     FROM tributary.audit WHERE held_otherwise IS NOT NULL`,
    [PLACEHOLDER],
  );
  return rows[0]!;
}

async function beyondLog(db: Client, ends: ReadonlyMap<OriginId, { readonly events: number }>): Promise<BeyondLog[]> {
  const names = [...ends.keys()];
  for (let from = 0; from < names.length; from += MAX_ADDITIONS) {
    const some = names.slice(from, from + MAX_ADDITIONS);
    await db.query(`INSERT INTO ${ENDS} SELECT * FROM unnest($1::text[], $2::bigint[])`, [
      some,
      some.map((origin) => ends.get(origin)!.events - 1),
    ]);
  }
  await db.query(`ANALYZE ${ENDS}`);
  const { rows } = await db.query<Record<"origin" | "events" | "first" | "last" | "prev", string> & { isRun: boolean }>(
    `SELECT a.origin, count(*) AS events, min(a.seq) AS first, max(a.seq) AS last, (array_agg(a.prev ORDER BY a.seq))[1] AS prev,
       max(a.seq) - min(a.seq) = count(*) - 1 AS "isRun"
     FROM tributary.audit a LEFT JOIN ${ENDS} e ON e.origin = a.origin WHERE e.origin IS NULL OR a.seq > e.through GROUP BY a.origin ORDER BY a.origin`,
  );
  return rows.map(({ origin, events, first, last, prev, isRun }) => ({
    origin: origin as OriginId,
    events: Number(events),
    first: Number(first),
    last: Number(last),
    prev,
    isRun,
  }));
}

/** How a projector stands: how far each shard is folded. */
export async function foldedTo(db: Client): Promise<ReadonlyMap<number, Position | null>> {
  const { rows } = await db.query<{ shard: number; position: string | null }>("SELECT shard, position FROM tributary.shard");
  return new Map(rows.map(({ shard, position }) => [shard, position === null ? null : (BigInt(position) as Position)]));
}

/** Totals that are added up anew from the rows that count, and how they differ from those that stand. */
export interface TotalsBooks {
  /** The row that a view shows of an entity. */
  add(source: string, id: string, row: FullRow): Promise<void>;
  differences(): Promise<ReadonlyMap<string, Differences & { readonly rows: number }>>;
}

export async function openTotals(db: Client, all: readonly Totals[]): Promise<TotalsBooks> {
  const waiting = new Map<Totals, Addition[]>(all.map((totals) => [totals, []]));
  for (const { name } of all) {
    await db.query(`DROP TABLE IF EXISTS ${at(TEMPORARY, name)}`);
    await db.query(`CREATE TEMPORARY TABLE ${q(name)} (LIKE ${at(LIVE, name)} INCLUDING INDEXES)`);
  }
  const flush = async (totals: Totals): Promise<void> => {
    const additions = waiting.get(totals)!.splice(0);
    if (additions.length > 0) await db.query(addTotals(totals, TEMPORARY, additions));
  };
  return {
    async add(source, id, row) {
      for (const totals of all) {
        if (!totals.sources.has(source)) continue;
        const added = waiting.get(totals)!;
        added.push(...additionsOf(totals, source, id, null, row));
        if (added.length >= MAX_ADDITIONS) await flush(totals);
      }
    },
    async differences() {
      const found = new Map<string, Differences & { readonly rows: number }>();
      for (const totals of all) {
        await flush(totals);
        found.set(totals.name, await totalsDifferences(db, totals));
      }
      return found;
    },
  };
}

async function totalsDifferences(db: Client, totals: Totals): Promise<Differences & { readonly rows: number }> {
  const columns = comparedColumns(totals);
  const { rows: counted } = await db.query<{ count: string }>(`SELECT count(*) FROM ${at(LIVE, totals.name)}`);
  await db.query(`ANALYZE ${at(TEMPORARY, totals.name)}`);
  const { rows } = await db.query<{ key: string; what: string; total: string }>(
    `SELECT coalesce(e.id, v.id) AS key, d.what, count(*) OVER () AS total
     FROM ${at(TEMPORARY, totals.name)} e FULL JOIN ${at(LIVE, totals.name)} v ON v.id = e.id
     CROSS JOIN LATERAL (SELECT CASE WHEN v.id IS NULL THEN 'the total is missing' WHEN e.id IS NULL THEN 'no row adds to this total'
       ELSE array_to_string(ARRAY[${columns
         .map(
           (name) =>
             `CASE WHEN ${text("v", name)} IS DISTINCT FROM ${text("e", name)} THEN '${name} is ' || coalesce(${text("v", name)}, 'nothing') || ' and adds up to ' || coalesce(${text("e", name)}, 'nothing') END`,
         )
         .join(", ")}], ', ') END AS what) d
     WHERE d.what <> '' ORDER BY 1 LIMIT ${MAX_RETURNED}`,
  );
  return { rows: Number(counted[0]!.count), count: Number(rows[0]?.total ?? 0), named: rows };
}
