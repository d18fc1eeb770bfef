import type { Db } from "../connect.ts";
import { type CaseNow, caseIdOf, markOf, overallIdOf } from "./case-of.ts";
import type { CaseChange } from "./change-notes.ts";
import type { Notice } from "./notices.ts";

export interface WrittenCases {
  /** About cases that are new or have changed. */
  readonly notices: readonly Notice[];
  readonly changed: readonly CaseChange[];
}

/** Opens, changes and closes cases. */
export async function writeCases(db: Db, found: readonly CaseNow[]): Promise<WrittenCases> {
  // Where a case occurs several times, the last holds. Cases are written in one order everywhere, so that no two processes ever wait for each other.
  const last = new Map(found.map((one) => [`${one.view}/${caseIdOf(one)}`, one]));
  const cases = [...last].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
  const changed = await closeCases(
    db,
    cases.filter(({ about }) => about === null),
  );
  const open = cases.filter(({ about }) => about !== null);
  if (open.length === 0) return { notices: [], changed };
  const { rows } = await db.query<CaseChange & { readonly [name: string]: unknown }>(
    `INSERT INTO tributary.case_row AS c (view, generation, id, kind, entity_type, subject, rule, says, about, mark, changed_position, org, of,
       opened_at, opened_position)
     SELECT x.*, now(), x.changed_position FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[],
       $7::text[], $8::text[], $9::json[], $10::text[], $11::bigint[], $12::text[], $13::text[])
       AS x (view, generation, id, kind, entity_type, subject, rule, says, about, mark, changed_position, org, of)
     ON CONFLICT (view, generation, id) DO UPDATE SET says = excluded.says, about = excluded.about, mark = excluded.mark,
       changed_position = excluded.changed_position, closed_position = NULL,
       opened_position = CASE WHEN c.closed_position IS NULL THEN c.opened_position ELSE excluded.opened_position END,
       opened_at = CASE WHEN c.closed_position IS NULL THEN c.opened_at ELSE excluded.opened_at END
     WHERE c.mark <> excluded.mark OR c.closed_position IS NOT NULL
     RETURNING id, opened_position = changed_position AS opened`,
    [
      open.map(({ view }) => view),
      open.map(({ generation }) => generation),
      open.map(caseIdOf),
      open.map(({ kind }) => kind),
      open.map(({ entityType }) => entityType),
      open.map(({ subject }) => subject),
      open.map(({ rule }) => rule),
      open.map(({ says }) => says),
      open.map(({ about }) => JSON.stringify(about)),
      open.map(markOf),
      open.map(({ position }) => position),
      open.map(({ org }) => org ?? null),
      open.map((one) => (one.org === undefined ? null : overallIdOf(one))),
    ],
  );
  for (const { id, opened } of rows) changed.push({ id, opened });
  const told = new Set(rows.map(({ id }) => id));
  const notices = open.flatMap((one) => {
    const id = caseIdOf(one);
    if (!told.has(id)) return [];
    return one.targets.map(
      (target): Notice => ({
        key: `${target}/case/${id}/${markOf(one)}`,
        target,
        subject: `Case ${id}: ${one.view}, ${one.kind === "register" ? `${one.subject}, ${one.rule}` : one.rule}`,
        body: {
          kind: "case",
          case: id,
          view: one.view,
          entity: `${one.entityType}/${one.subject}`,
          [one.kind]: one.rule,
          rule: one.kind === "register" ? "manual" : one.rule,
          text: one.kind === "register" ? one.says : "an invariant is violated",
          position: one.position.toString(),
          values: { says: one.says, about: one.about },
        },
      }),
    );
  });
  return { notices, changed };
}

/** Closes cases. Returns those that were open. */
async function closeCases(db: Db, closed: readonly CaseNow[]): Promise<CaseChange[]> {
  if (closed.length === 0) return [];
  const { rows } = await db.query<{ id: string }>(
    `UPDATE tributary.case_row c SET closed_position = x.position
     FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[]) AS x (view, generation, id, position)
     WHERE c.view = x.view AND c.generation = x.generation AND c.id = x.id AND c.closed_position IS NULL RETURNING c.id`,
    [
      closed.map(({ view }) => view),
      closed.map(({ generation }) => generation),
      closed.map(caseIdOf),
      closed.map(({ position }) => position),
    ],
  );
  return rows.map(({ id }) => ({ id, opened: false }));
}
