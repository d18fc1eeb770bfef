import { join } from "node:path";
import { expect, it } from "vitest";
import schemasView from "../../projections/schemas.ts";
import { openField } from "../../services/field/index.ts";
import { openMemoryHub } from "../support/memory-hub.ts";
import { memoryWay } from "../support/memory-way.ts";
import { people } from "../support/people.ts";
import { tempDir } from "../support/temp.ts";

const SCHEMAS = join(import.meta.dirname, "../../schemas");
const FORM = JSON.stringify({
  tributary: { entity: "visit", events: ["visit.made"] },
  type: "object",
  properties: { place: { type: "string" } },
  required: ["place"],
  additionalProperties: false,
});

it("a device writes with a form that its hub has registered since, offline, once it has pulled: no policy is needed for that", async () => {
  const hub = await openMemoryHub({ views: [people, schemasView] });
  await hub.device("hub", "console").write({
    type: "schema.registered",
    entity: { type: "schema", id: "visit" },
    data: { subject: "visit", version: 1, kind: "json", fingerprint: "f", text: FORM, references: [], authority: "relief" },
    actor: "Rose",
  });
  await hub.seal();
  using field = openField({
    path: `${tempDir()}/t.db`,
    name: { org: "relief", site: "kampala", device: "t1" },
    schemas: SCHEMAS,
    views: [people, schemasView],
    now: hub.now,
  });
  const visit = { type: "visit.made", entity: { type: "visit", id: "1" }, data: { place: "Bwaise" }, actor: "Okello" };
  await expect(field.append(visit)).rejects.toThrow();
  // The pages of this hub bring no schemas of their own: all that the device learns is in events.
  await field.pull(memoryWay(hub, field).options);
  await field.append(visit);
  await expect(field.append({ ...visit, data: {} })).rejects.toMatchObject({ code: "event-invalid" });
  expect(field.query("schemas")).toMatchObject([{ id: "visit", versions: 1, authority: "relief" }]);
});
