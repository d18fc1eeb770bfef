import { decimal, defineTotals, text } from "../services/merge/index.ts";

/** What each site's store should hold: what came in, less what was handed out. */
export default defineTotals({
  name: "stock_ledger",
  keys: { site: text({ index: true }), item: text({ index: true }), unit: text() },
  sums: { received: decimal(), handed_out: decimal(), balance: decimal() },
  from: {
    stock_movements: ({ site, item, unit, quantity }) => ({
      site: site ?? null,
      item: item ?? null,
      unit: unit ?? null,
      received: quantity ?? 0,
      handed_out: 0,
      balance: quantity ?? 0,
    }),
    distributions: ({ site, item, unit, quantity }) => ({
      site: site ?? null,
      item: item ?? null,
      unit: unit ?? null,
      received: 0,
      handed_out: quantity ?? 0,
      balance: -Number(quantity ?? 0),
    }),
  },
  invariants: {
    // A store of which no delivery was ever recorded keeps its books elsewhere.
    never_below_zero: {
      problem: ({ balance, received, item, site }) =>
        Number(received) > 0 && Number(balance) < 0 ? `the store of ${site} is ${-Number(balance)} short of ${item}` : null,
    },
  },
});
