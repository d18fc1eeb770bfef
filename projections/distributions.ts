import { date, defineProjection, number, set, text } from "../services/merge/index.ts";

/** One row a hand-out: who got what, how much, when. */
export default defineProjection({
  name: "distributions",
  entity: "distribution",
  columns: {
    distribution_no: text(),
    registration_no: text({ index: true }),
    item: text({ index: true }),
    quantity: number(),
    unit: text(),
    distributed_on: date({ index: true }),
    voucher_no: text(),
  },
  groups: {
    amount: ["item", "quantity", "unit"],
  },
  events: {
    "distribution.recorded": set(),
  },
});
