import { defineJoin } from "../services/merge/index.ts";

/** Hand-outs with the people who got them, as both are known now. */
export default defineJoin({
  name: "handouts",
  from: "distributions",
  join: { person: { view: "beneficiaries", on: { id: "registration_no" } } },
  columns: {
    id: "id",
    distributed_on: "distributed_on",
    site: "site",
    item: "item",
    quantity: "quantity",
    unit: "unit",
    registration_no: "registration_no",
    given_name: "person.given_name",
    family_name: "person.family_name",
    village: "person.village",
  },
});
