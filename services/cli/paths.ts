/** Where the hub and a device keep their data, from an option, the environment or the default. */
import { join, resolve } from "node:path";

/** The hub's data folder. */
export const hubDir = (given: string | undefined): string => resolve(given ?? process.env.TRIBUTARY_DATA ?? ".tributary/hub");
/** The file that says whom the hub tells of conflicts, and how; `docs/notifications.md`. */
export const settingsFile = (data: string | undefined): string =>
  process.env.TRIBUTARY_NOTIFICATIONS ?? join(hubDir(data), "notifications.json");
/** The file that says which roles have which rights, and whose word about people is believed; `docs/rights.md`. */
export const peopleFile = (data: string | undefined): string => process.env.TRIBUTARY_PEOPLE || join(hubDir(data), "people.json");
/** The device's database. */
export const fieldPath = (given: string | undefined): string => {
  const path = given ?? process.env.TRIBUTARY_FIELD ?? ".tributary/field.db";
  return path === ":memory:" ? path : resolve(path);
};
