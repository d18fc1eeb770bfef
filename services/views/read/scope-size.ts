import type { ScopeValue } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { jsonOf, quoted } from "./columns.ts";
import { columnTypes } from "./rows.ts";

/** What a set of entities amounts to. */
export interface ScopeSize {
  readonly entities: number;
  readonly events: number;
  /** The bytes of the events' data as JSON; less than that travels, because pages are packed. */
  readonly bytes: number;
}

/** Of a view the rows that have one of the values in each scope column, deleted ones too. A column that is not named may have any value. */
export async function scopeSize(
  db: Db,
  {
    view,
    entityType,
    where,
  }: { readonly view: string; readonly entityType: string; readonly where: Readonly<Record<string, readonly ScopeValue[]>> },
): Promise<ScopeSize> {
  const types = await columnTypes(db, view);
  const values: unknown[] = [entityType];
  const conditions = Object.entries(where).map(([column, allowed]) => {
    const cell = `coalesce(to_jsonb(${jsonOf(`t.${quoted(column)}`, types.get(column) ?? "")}), 'null')`;
    return `${cell} = ANY($${values.push(allowed.map((value) => JSON.stringify(value)))}::jsonb[])`;
  });
  const { rows } = await db.query<ScopeSize & Record<string, unknown>>(
    `WITH held AS MATERIALIZED (SELECT t.id FROM views.${quoted(view)} t WHERE ${["true", ...conditions].join(" AND ")})
     SELECT (SELECT count(*) FROM held)::float8 AS entities, count(a.position)::float8 AS events,
       coalesce(sum(octet_length(a.data::text)), 0)::float8 AS bytes
     FROM held JOIN tributary.audit a ON a.entity_type = $1 AND a.entity_id = held.id`,
    values,
  );
  return rows[0] ?? { entities: 0, events: 0, bytes: 0 };
}
