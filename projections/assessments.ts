import { date, defineProjection, integer, number, set, text } from "../services/merge/index.ts";

/** One row a needs assessment of a settlement. */
export default defineProjection({
  name: "assessments",
  entity: "assessment",
  columns: {
    assessment_no: text(),
    settlement: text({ index: true }),
    assessed_on: date({ index: true }),
    households: integer(),
    water_litres_per_person: number(),
    food_score: number(),
    severity: text({ index: true }),
    note: text(),
  },
  events: {
    "assessment.submitted": set(),
  },
});
