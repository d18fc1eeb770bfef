import { date, decimal, defineProjection, map, text } from "../services/merge/index.ts";

/** One row a hand-out: who got what, how much, when and where. */
export default defineProjection({
  name: "distributions",
  entity: "distribution",
  columns: {
    distribution_no: text(),
    registration_no: text({ index: true }),
    item: text({ index: true }),
    quantity: decimal(),
    unit: text(),
    distributed_on: date({ index: true }),
    voucher_no: text(),
    site: text({ index: true }),
  },
  groups: {
    amount: ["item", "quantity", "unit"],
  },
  events: {
    "distribution.recorded": map(({ data, site }) => ({ ...data, site })),
  },
  invariants: {
    // What no merge can keep: each site's hand-out is right by itself.
    ration_once: {
      atMost: 1,
      key: ({ registration_no, item, distributed_on }) =>
        registration_no === null || item === null || distributed_on === null
          ? null
          : [registration_no, item, distributed_on.slice(0, 7)],
      says: "one household was given the same item twice in a month",
    },
    voucher_once: { atMost: 1, key: ({ voucher_no }) => voucher_no, says: "one voucher was used twice" },
  },
});
