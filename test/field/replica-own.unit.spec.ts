import { join } from "node:path";
import { expect, it } from "vitest";
import { openField } from "../../services/field/index.ts";
import { hubWith, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

it("a device shows what it writes at once, also after another program of it wrote without views", async () => {
  const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
  const path = join(tempDir(), "f.db");
  using field = openAt(hub, "kampala", { path });
  await field.append(registered(1, "Kampala"));
  using other = openField({ path, schemas: hub.gate, now: hub.now });
  await other.append(registered(2, "Kampala"));
  await field.append(updated(1, { village: "Katwe" }));
  const shown = field.query("people").map(({ id, village }) => [id, village]);
  expect(shown.sort()).toEqual([
    [number(1), "Katwe"],
    [number(2), null],
  ]);
});
