/** A vaccination register as a team would write it, by file: three event types, rules of its own and a total. */
export const REGISTER: Readonly<Record<string, string>> = {
  "schemas/vaccination/v1.schema.json": JSON.stringify({
    title: "A vaccination, or its correction",
    tributary: {
      entity: "vaccination",
      events: ["vaccination.given", "vaccination.corrected"],
      key: "vaccination_no",
      personal: ["child"],
    },
    type: "object",
    properties: {
      vaccination_no: { type: "string", minLength: 1 },
      child: { type: "string", minLength: 1 },
      vaccine: { enum: ["BCG", "MEASLES", "POLIO"] },
      doses: { type: "integer", minimum: 1, maximum: 9 },
      given_on: { type: "string", format: "date" },
    },
    required: ["vaccination_no", "child", "vaccine", "doses", "given_on"],
    additionalProperties: false,
  }),
  "schemas/vaccination-cancellation/v1.schema.json": JSON.stringify({
    title: "A vaccination that was written down by mistake",
    tributary: { entity: "vaccination", events: ["vaccination.cancelled"], personal: [] },
    type: "object",
    properties: { reason: { type: "string" } },
    required: ["reason"],
    additionalProperties: false,
  }),
  "projections/vaccinations.ts": `import { custom, date, defineProjection, integer, lastWriteWins, map, remove, text } from "@tributary-sync/hub/projections";

/** Fewer doses are never more than were given. */
const fewest = custom({
  name: "fewestDoses",
  version: 1,
  resolve: (siblings) => {
    const [winner] = [...siblings].sort((a, b) => Number(a.value) - Number(b.value) || (a.by.origin < b.by.origin ? -1 : 1));
    return { winner: winner! };
  },
});

export default defineProjection({
  name: "vaccinations",
  entity: "vaccination",
  columns: { child: text({ index: true }), vaccine: text(), doses: integer(), given_on: date(), site: text({ index: true }) },
  resolve: { doses: fewest, others: lastWriteWins },
  events: {
    "vaccination.given": map(({ data, site }) => ({ child: data.child, vaccine: data.vaccine, doses: data.doses, given_on: data.given_on, site })),
    "vaccination.corrected": map(({ data }) => ({ doses: data.doses })),
    "vaccination.cancelled": remove(),
  },
});
`,
  "projections/doses.ts": `import { defineTotals, integer, text } from "@tributary-sync/hub/projections";

export default defineTotals({
  name: "doses",
  keys: { site: text({ index: true }), vaccine: text() },
  sums: { doses: integer() },
  from: { vaccinations: ({ site, vaccine, doses }) => ({ site: site ?? null, vaccine: vaccine ?? null, doses: doses ?? 0 }) },
});
`,
  // What a tablet's app does: two tablets correct one vaccination without knowing of each other, and one cancels another.
  "tablets.ts": `import { type Field, openField, TributaryError } from "@tributary-sync/field";

const [url, token] = process.argv.slice(2) as [string, string];
const open = (device: string): Field =>
  openField({ path: \`\${device}.db\`, name: { org: "moh", site: "clinic", device }, schemas: "schemas" });
const given = (no: string, doses: number) => ({ vaccination_no: no, child: "C-1", vaccine: "MEASLES", doses, given_on: "2026-05-03" });
const about = (no: string) => ({ entity: { type: "vaccination", id: no }, actor: "nurse" });

const [one, two] = [open("one"), open("two")];
await one.append({ type: "vaccination.given", ...about("V-1"), data: given("V-1", 5) });
await one.append({ type: "vaccination.given", ...about("V-2"), data: given("V-2", 2) });
await one.append({ type: "vaccination.given", ...about("V-3"), data: given("V-3", 7) });
two.noteSeen({ type: "vaccination", id: "V-1" }, one.seen({ type: "vaccination", id: "V-1" }), one.signedHeads({ type: "vaccination", id: "V-1" }));
await one.append({ type: "vaccination.corrected", ...about("V-1"), data: given("V-1", 3) });
await two.append({ type: "vaccination.corrected", ...about("V-1"), data: given("V-1", 4) });
await one.append({ type: "vaccination.cancelled", ...about("V-3"), data: { reason: "another child" } });
const refused = await one
  .append({ type: "vaccination.given", ...about("V-4"), data: given("V-4", 0) })
  .catch((error: unknown) => (error instanceof TributaryError ? error.code : String(error)));
const confirmed = [];
for (const field of [one, two]) {
  const result = await field.sync({ url, token });
  confirmed.push(result.confirmed);
  field.close();
}
console.log(JSON.stringify({ refused, confirmed }));
`,
  // A hub in a program of the team's own, with a device that syncs with it.
  "hub.ts": `import { openField } from "@tributary-sync/field";
import { startHub } from "@tributary-sync/hub";

await using hub = await startHub({ data: ".tributary/hub", schemas: "schemas", projections: "projections", listen: "127.0.0.1:0" });
const { token } = await hub.addSite("ward");
using field = openField({ path: "ward.db", name: { org: hub.org, site: "ward", device: "one" }, schemas: "schemas" });
const entity = { type: "vaccination", id: "W-1" };
const data = { vaccination_no: "W-1", child: "C-2", vaccine: "POLIO", doses: 1, given_on: "2026-05-04" };
await field.append({ type: "vaccination.given", entity, data, actor: "nurse" });
const { confirmed } = await field.sync({ url: hub.urls.http, token });
console.log(JSON.stringify({ org: hub.org, confirmed }));
`,
};

/** What an app of a consumer may say of the SDK; it must pass the strictest check, with every type that it can come to hold by name. */
export const CONSUMER = `import {
  type Appended,
  createGate,
  type ErrorCode,
  type Field,
  type FieldStatus,
  type Gate,
  isTributaryError,
  type JsonObject,
  loadSchemas,
  openField,
  type SyncOptions,
  type SyncResult,
  TributaryError,
} from "@tributary-sync/field";
import { custom, defineProjection, integer, set, text, type View } from "@tributary-sync/field/projections";
import { checkCompatibility, lintSchema, type SchemaStore } from "@tributary-sync/field/schemas";

export const store: SchemaStore = loadSchemas("schemas");
export const gate: Gate = createGate(store);
export const notes = store.subjects().flatMap((subject) => store.versions(subject).flatMap(lintSchema));
export const view: View = defineProjection({
  name: "clinics",
  entity: "clinic",
  columns: { name: text(), beds: integer() },
  resolve: { beds: custom({ name: "first", version: 1, resolve: ([winner]) => ({ winner: winner! }) }) },
  events: { "clinic.opened": set() },
});

export async function run(data: JsonObject, options: SyncOptions) {
  using field: Field = openField({ path: "x.db", schemas: gate, name: { org: "moh", site: "clinic", device: "one" } });
  const appended: Appended = await field.append({ type: "clinic.opened", entity: { type: "clinic", id: "C" }, data, actor: "a" });
  const synced: SyncResult = await field.sync({ ...options, onProgress: (progress) => progress.kind });
  const status: FieldStatus = field.status();
  return { appended, synced, status, events: [...field.events()], follower: field.follow(options), heads: field.signedHeads({ type: "clinic", id: "C" }) };
}

export const codeOf = (error: unknown): ErrorCode | null => (isTributaryError(error) ? error.code : null);
export const failure = new TributaryError("usage", "what happened", "what to do");
export const compare = checkCompatibility;
`;
