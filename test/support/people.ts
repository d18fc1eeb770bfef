/** People by their district, for tests of what comes down. */
import { type BucketId, bucketIdOf, type JsonObject } from "../../services/core/index.ts";
import type { NewEvent } from "../../services/field/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";

export const people = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text(), village: text(), phone: text() },
  scopeBy: ["district"],
  events: {
    "beneficiary.registered": set("given_name", "district", "village"),
    "beneficiary.updated": set("district", "village", "phone"),
  },
});

export const inDistrict = (...values: (string | null)[]): BucketId =>
  bucketIdOf({ entityType: "beneficiary", columns: ["district"], values });
export const inVillage = (...values: (string | null)[]): BucketId =>
  bucketIdOf({ entityType: "beneficiary", columns: ["village"], values });
export const inQuarantineOf = (site: string): BucketId => bucketIdOf({ entityType: "quarantine", values: [site] });

export const registered = (id: string, district: string, more: JsonObject = {}): NewEvent => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data: { registration_no: id, given_name: "Amina", sex: "female", registered_on: "2026-01-05", district, ...more },
});
export const updated = (id: string, data: JsonObject): NewEvent => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data,
});
export const personNo = (n: number): string => `TST-${String(n).padStart(6, "0")}`;

/** Gives the sites (or whoever `holders` names) the people of some districts. */
export const districtPolicy = (
  name: string,
  holders: JsonObject | "everyone",
  districts: readonly string[],
  more: JsonObject = {},
): JsonObject => ({
  name,
  for: holders,
  entities: { beneficiary: { ...(districts.length === 0 ? {} : { where: { district: districts } }), ...more } },
});
/** A telephone number from a small number. */
export const phoneNo = (n: number): string => `+2567${String(n).padStart(8, "0")}`;
