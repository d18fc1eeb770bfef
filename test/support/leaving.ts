/** A device that holds people of Kampala, and what stands of them in its files. */
import { existsSync, readFileSync } from "node:fs";
import type { Field } from "../../services/field/index.ts";
import { openMemoryHub } from "./memory-hub.ts";
import { pulling } from "./pull.ts";
import { openAt, policyOf, registered, updated, VIEWS } from "./replicas.ts";

export const KAMPALA_ONLY = policyOf("kampala", ["kampala"], { district: "Kampala" });
export const MARK = "Zanzibar";

/** The bytes of a device's files. */
export const bytesAt = ({ store: { path } }: Field): string =>
  ["", "-wal"]
    .map((end) => `${path}${end}`)
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, "latin1"))
    .join("");
export const typesOf = (field: Field): (string | null)[] => [...field.events()].map(({ type }) => type);

/** A device that holds a person of Kampala, and what moves that person elsewhere. */
export async function withPerson(now?: () => number) {
  const hub = await openMemoryHub({ views: VIEWS, ...(now === undefined ? {} : { now }) });
  await hub.setPolicy(KAMPALA_ONLY);
  const juba = hub.device("juba");
  await juba.write(registered(1, "Kampala"));
  await juba.write(registered(2, "Kampala", { village: MARK }));
  await hub.seal();
  const field = openAt(hub, "kampala");
  const pulls = pulling(hub);
  await pulls.pull(field);
  const leave = async (n: number): Promise<void> => {
    await juba.write(updated(n, { district: "Gulu" }));
    await hub.seal();
  };
  return { hub, juba, field, leave, ...pulls };
}
