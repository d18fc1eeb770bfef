/** Pieces of SQL that several queries share. Instants and days leave PostgreSQL as text: the driver would make local times of them. */

/** An instant to the second, as `2026-05-03T08:00:00Z`. */
export const seconds = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** An instant to the millisecond, as `2026-05-03T08:00:00.000Z`. */
export const millis = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** The same for an instant that may lie before the year 1: PostgreSQL goes from the year 1 before Christ to the year 1, and ISO 8601 has a year 0 between. */
export const anyMillis = (column: string): string =>
  `CASE WHEN ${column} < '0001-01-01Z' THEN '0000' ELSE to_char(${column} AT TIME ZONE 'UTC', 'YYYY') END ||
    to_char(${column} AT TIME ZONE 'UTC', '-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** What a column of an audit row holds, or was to hold where it has a placeholder. */
export const heldIn = (table: string, column: string, read: string = `${table}.${column}`): string =>
  `coalesce(${table}.held_otherwise ->> '${column}', ${read})`;

/** The condition that an audit row is about an entity: $1 its type, $2 its id. `table`: the name or alias of the table. */
export const aboutEntity = (table: string): string =>
  `(${table}.entity_type = $1 AND ${table}.entity_id = $2 OR ${table}.held_otherwise IS NOT NULL AND ${table}.held_otherwise ->> 'entity_id' = $2
    AND ${heldIn(table, "entity_type")} = $1)`;
