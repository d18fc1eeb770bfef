import { aboutEntity } from "./sql.ts";

/**
 * Which events of the audit count, as pieces of SQL: those that the gate admitted, and those that were released from quarantine. `a` is the event's
 * row in the audit, `q` its release.
 */

const OWN_DATA = "coalesce((a.held_otherwise ->> 'data')::json, a.data)";

/** An event's data: as it was admitted with, or as it was released with. NULL: it was released with what the table refuses; only the log has that. */
export const COUNTED_DATA = `coalesce(${OWN_DATA}, q.released_data)`;

/** From where on an event counts: from its own position, or from that of its release. */
export const COUNTED_AT = "coalesce(q.settled_position, a.position)";

/** All events that count. Further conditions follow with AND. */
export const COUNTED_FROM = `
  FROM tributary.audit a
  LEFT JOIN tributary.quarantine q ON q.origin = a.origin AND q.seq = a.seq AND q.state = 'released'
  WHERE (${OWN_DATA} IS NOT NULL OR q.state IS NOT NULL)`;

/** Of these, those of an entity ($1 its type, $2 its id) up to a position; NULL: all. */
export const countedOf = (upTo: string): string =>
  `${aboutEntity("a")} AND (${upTo}::bigint IS NULL OR ${COUNTED_AT} <= ${upTo}::bigint)`;
