import { aboutEntity } from "./sql.ts";

/**
 * Which events of the audit count, as pieces of SQL: those that the gate admitted, and those that were released from quarantine. `a` is the event's
 * row in the audit, `q` its release.
 */

const OWN_DATA = "coalesce((a.held_otherwise ->> 'data')::json, a.data)";

/** The data that an event was admitted with, or released with. NULL: it was released with data that the table refuses; only the log has them. */
export const COUNTED_DATA = `coalesce(${OWN_DATA}, q.released_data)`;

/** The position from which on an event counts: its own, or that of its release. */
export const COUNTED_AT = "coalesce(q.settled_position, a.position)";

/** All events that count. Further conditions follow with AND. */
export const COUNTED_FROM = `
  FROM tributary.audit a
  LEFT JOIN tributary.quarantine q ON q.origin = a.origin AND q.seq = a.seq AND q.state = 'released'
  WHERE (${OWN_DATA} IS NOT NULL OR q.state IS NOT NULL)`;

/** The condition that such an event is about an entity ($1 its type, $2 its id) and counts up to a position; NULL: any position. */
export const countedOf = (upTo: string): string =>
  `${aboutEntity("a")} AND (${upTo}::bigint IS NULL OR ${COUNTED_AT} <= ${upTo}::bigint)`;
