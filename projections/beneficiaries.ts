import { boolean, date, defineProjection, integer, lastWriteWins, remove, set, text } from "../services/merge/index.ts";

/** One row a person or household, as registered and kept up to date by any site. */
export default defineProjection({
  name: "beneficiaries",
  entity: "beneficiary",
  columns: {
    registration_no: text({ index: true }),
    given_name: text(),
    family_name: text(),
    sex: text(),
    birth_date: date(),
    household_size: integer(),
    phone: text(),
    district: text(),
    village: text(),
    status: text({ index: true }),
    preferred_language: text(),
    consent: boolean(),
    registered_on: date(),
  },
  groups: {
    location: ["district", "village"],
  },
  resolve: { others: lastWriteWins },
  // Which sites may hold a person is decided by where the person lives.
  scopeBy: ["district"],
  events: {
    "beneficiary.registered": set(),
    "beneficiary.updated": set(),
    "beneficiary.removed": remove(),
  },
});
