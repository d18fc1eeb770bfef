import { date, defineProjection, integer, lastWriteWins, max, set, text } from "@tributary-sync/hub/projections";

/** One row a visit. Where two wrote at once, the later word stands; of two counts of people, the higher. */
export default defineProjection({
  name: "visits",
  entity: "visit",
  columns: {
    visit_no: text({ index: true }),
    household: text({ index: true }),
    visited_on: date(),
    people: integer(),
    note: text(),
  },
  resolve: { people: max, others: lastWriteWins },
  events: { "visit.recorded": set(), "visit.corrected": set() },
});
