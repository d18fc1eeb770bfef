/** People by their district, on a hub in memory and on devices with replicas. */
import { join } from "node:path";
import type { JsonObject } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { type MemoryHub, openMemoryHub } from "./memory-hub.ts";
import { bucketOf } from "./pull.ts";
import { tempDir } from "./temp.ts";

export const people = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text({ index: true }), village: text(), phone: text() },
  scopeBy: ["district"],
  events: {
    "beneficiary.registered": set("given_name", "district", "village"),
    "beneficiary.updated": set("district", "village", "phone"),
  },
});
export const VIEWS: readonly View[] = [people];
export const number = (n: number): string => `TST-${String(n).padStart(6, "0")}`;
export const registered = (n: number, district: string, more: JsonObject = {}): NewEvent => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id: number(n) },
  actor: "tester",
  data: { registration_no: number(n), given_name: `Amina ${n}`, sex: "female", registered_on: "2026-01-05", district, ...more },
});
export const updated = (n: number, data: JsonObject): NewEvent => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id: number(n) },
  actor: "tester",
  data,
});
export const KAMPALA = bucketOf("beneficiary", "Kampala");
export const NAIROBI = bucketOf("beneficiary", "Nairobi");

export const policyOf = (name: string, sites: readonly string[], where: JsonObject, more: JsonObject = {}) => ({
  name,
  for: { sites: sites.map((site) => `relief.${site}`) },
  entities: { beneficiary: { where, direction: "both", ...more } },
});

export async function hubWith(...policies: readonly unknown[]): Promise<MemoryHub> {
  const hub = await openMemoryHub({ views: VIEWS });
  for (const policy of policies) await hub.setPolicy(policy);
  return hub;
}

export const openAt = (
  hub: MemoryHub,
  site: string,
  { path = join(tempDir(), "f.db"), views = VIEWS as readonly View[] } = {},
): Field => openField({ path, name: { org: "relief", site, device: "t1" }, schemas: hub.gate, now: hub.now, views });
