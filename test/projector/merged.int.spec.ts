import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { explainEntity, verify } from "../../services/audit/index.ts";
import type { JsonObject } from "../../services/core/index.ts";
import type { Field } from "../../services/field/index.ts";
import {
  addWinsSet,
  collaborativeText,
  composeEdit,
  counter,
  editText,
  listEntries,
  lwwMap,
  orderedList,
  removeWinsSet,
  sequencedText,
} from "../../services/merge/crdt/index.ts";
import { unpackState } from "../../services/merge/engine.ts";
import { decimal, defineProjection, json, set, text } from "../../services/merge/index.ts";
import { newDir } from "../support/home.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";

const plans = defineProjection({
  name: "plans",
  entity: "plan",
  columns: { spent: decimal(), tags: json(), members: json(), contacts: json(), steps: json(), note: text(), letter: text() },
  resolve: {
    spent: counter,
    tags: addWinsSet,
    members: removeWinsSet,
    contacts: lwwMap,
    steps: orderedList,
    note: collaborativeText,
    letter: sequencedText,
  },
  events: { "plan.changed": set() },
});

let hub: TestHub;
let one: Field;
let two: Field;
let schemas: string;
const entity = { type: "plan", id: "P-1" };

beforeAll(async () => {
  schemas = newDir("schemas");
  mkdirSync(join(schemas, "plan"));
  writeFileSync(
    join(schemas, "plan/v1.schema.json"),
    JSON.stringify({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      tributary: { entity: "plan", events: ["plan.changed"], title: "Plan", personal: [] },
      type: "object",
    }),
  );
  hub = await openTestHub({ schemas });
  await hub.projector.close();
  hub.projector = await hub.startProjector([plans]);
  [one, two] = [hub.field("one", "t1", { schemas }), hub.field("two", "t1", { schemas })];
});
afterAll(async () => {
  await hub?.close();
  rmSync(schemas, { recursive: true, force: true });
});

const change = (field: Field, data: JsonObject) => field.append({ type: "plan.changed", entity, data, actor: "someone" });
const send = async (...fields: Field[]): Promise<void> => {
  for (const field of fields) await field.sync({ url: hub.backends.nats.url, token: await hub.token(field.status().site) });
  await hub.projected();
};
const row = async (): Promise<Record<string, unknown>> =>
  (await hub.db.query("SELECT *, spent::float8 AS spent FROM views.plans WHERE id = 'P-1'")).rows[0];
const merged = async () => unpackState((await row()).state as string).merged;

it("what two offline sites add up, collect, list and type is merged without a decision, as the log says", async () => {
  await change(one, {
    spent: 0.1,
    tags: ["water", "school"],
    members: ["amina", "deng"],
    contacts: { set: { clinic: "1", police: "2" } },
    steps: ["dig", "pump"],
    note: editText(undefined, (note) => note.insert(0, "Well at Gudele"))!,
    letter: composeEdit("", "Dear all"),
  });
  await send(one);
  const known = await merged();
  two.noteSeen(entity, one.seen(entity));
  const [dig] = listEntries(known.steps!);
  await change(one, {
    spent: 0.2,
    tags: { remove: ["water"] },
    members: { remove: ["deng"] },
    contacts: { set: { clinic: "11" } },
    steps: { insert: [{ after: dig!.id, values: ["line"] }] },
    note: editText(known.note, (note) => note.insert(note.length, ", dry"))!,
    letter: composeEdit("Dear all", "Dear all, thanks"),
  });
  await change(two, {
    spent: -0.05,
    tags: ["water", "road"],
    members: ["deng", "lado"],
    contacts: { set: { school: "3" }, remove: ["police"] },
    steps: { remove: [dig!.id] },
    note: editText(known.note, (note) => note.insert(0, "New: "))!,
    letter: composeEdit("Dear all", "My dear all"),
  });
  await send(two, one);
  expect(await row()).toMatchObject({
    spent: 0.25,
    tags: ["road", "school", "water"],
    members: ["amina", "lado"],
    contacts: { clinic: "11", school: "3" },
    steps: ["line", "pump"],
    note: "New: Well at Gudele, dry",
    letter: "My dear all, thanks",
    conflicts: 0,
  });
  const report = await verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: [plans] } });
  expect(report.problems).toEqual([]);
  expect(report.rowsCompared).toBe(1);
});

it("an edit that does not fit its text is not lost silently: the row counts it as contested, and the story names it", async () => {
  await change(one, { letter: [500, "far behind the end"] });
  await send(one);
  expect(await row()).toMatchObject({ letter: "My dear all, thanks", conflicts: 1 });
  const [told] = await explainEntity({ db: hub.db, gate: hub.gate, projections: [plans] }, "plan/P-1", "letter");
  expect(told!.registers).toMatchObject([
    { value: "My dear all, thanks", leftOut: [expect.stringContaining("does not fit the text")] },
  ]);
});

it("a kind that its column cannot show is refused when the declaration is loaded", () => {
  expect(() =>
    defineProjection({
      name: "plans",
      entity: "plan",
      columns: { spent: text() },
      resolve: { spent: counter },
      events: { "plan.changed": set() },
    }),
  ).toThrow("spent merges by counter, which a text column cannot show");
});
