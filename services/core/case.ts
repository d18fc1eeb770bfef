/**
 * What people do about a case is an event of the hub's own origin, about the entity `case/<id>`: it is audited, replicated and replayed like any
 * other, and outlives every build of the view that the case is of.
 */
export const CASE_ENTITY = "case";
/** What each event type notes. */
export const CASE_NOTES: Readonly<Record<string, "assigned" | "commented" | "accepted">> = {
  "case.assigned": "assigned",
  "case.commented": "commented",
  "case.accepted": "accepted",
};

/** The type of the event that writes a person's decision on a conflict. It is about the entity itself: `{ values: { column: value }, deleted?, case?, note? }`. */
export const RESOLVED = "conflict.resolved";
