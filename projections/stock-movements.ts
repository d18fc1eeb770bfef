import { date, decimal, defineProjection, map, remove, text } from "../services/merge/index.ts";

/** One row a delivery into a site's store, or a correction after counting. */
export default defineProjection({
  name: "stock_movements",
  entity: "stock-movement",
  columns: {
    movement_no: text(),
    site: text({ index: true }),
    item: text({ index: true }),
    quantity: decimal(),
    unit: text(),
    moved_on: date(),
    waybill: text(),
  },
  groups: {
    amount: ["item", "quantity", "unit"],
  },
  events: {
    "stock.received": map(({ data, site }) => ({ ...data, site })),
    "stock.adjusted": map(({ data, site }) => ({ ...data, site })),
    "stock.cancelled": remove(),
  },
});
