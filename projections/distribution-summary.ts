import { decimal, defineTotals, integer, text } from "../services/merge/index.ts";

/** What each site handed out in each month: right also when a hand-out comes late, or is corrected. */
export default defineTotals({
  name: "distribution_summary",
  keys: { site: text({ index: true }), month: text({ index: true }), item: text(), unit: text() },
  sums: { quantity: decimal(), handouts: integer() },
  from: {
    distributions: ({ site, distributed_on, item, unit, quantity }) => ({
      site: site ?? null,
      month: typeof distributed_on === "string" ? distributed_on.slice(0, 7) : null,
      item: item ?? null,
      unit: unit ?? null,
      quantity: quantity ?? 0,
      handouts: 1,
    }),
  },
});
