import type { LogEntry, Settlement } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { NO_UUID, PLACEHOLDER, withPlaceholders } from "../write/placeholders.ts";
import { writeQuarantine } from "../write/quarantine.ts";
import { settleQuarantine } from "../write/settlement.ts";
import { type Differences, MAX_RETURNED, takes, text } from "./differing.ts";

const QUARANTINE = "pg_temp.expected_quarantine";

/** Makes the table that expected quarantined events go into. */
export async function makeExpectedQuarantine(db: Db): Promise<void> {
  await db.query(
    "CREATE TEMPORARY TABLE expected_quarantine (LIKE tributary.quarantine INCLUDING DEFAULTS, PRIMARY KEY (origin, seq))",
  );
}

/** Notes quarantined events and settlements that were folded, in log order. */
export async function expectQuarantine(db: Db, held: readonly LogEntry[], settlements: readonly Settlement[]): Promise<void> {
  if (held.length > 0 && !(await takes(db, () => writeQuarantine(db, held, QUARANTINE))))
    for (const entry of held)
      if (!(await takes(db, () => writeQuarantine(db, [entry], QUARANTINE))))
        await takes(db, () => writeQuarantine(db, [withPlaceholders(entry)], QUARANTINE));
  // Settlements come after the events that they settle.
  for (const each of settlements)
    if (!(await takes(db, () => settleQuarantine(db, [each], { table: QUARANTINE }))))
      await takes(db, () => settleQuarantine(db, [each], { isBare: true, table: QUARANTINE }));
}

/** The columns of a quarantined event, and those of its settlement. */
const HELD =
  "position id type entity_type entity_id site actor recorded_at schema_subject schema_version code reason path raw hash".split(
    " ",
  );
const SETTLED = "state settled_position settled_at settled_by settled_note released_subject released_version released_data".split(
  " ",
);
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

/** SQL for: a column differs although no note on the event's audit row says that the table refused it. */
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

/** How the list of quarantined events differs from what was expected. */
export async function quarantineDifferences(db: Db): Promise<Differences> {
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
