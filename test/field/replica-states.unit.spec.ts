import { join } from "node:path";
import { expect, it } from "vitest";
import { type Field, openField } from "../../services/field/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { defineProjection, lastWriteWins, logOrder, set, text } from "../../services/merge/index.ts";
import { type MemoryHub, openMemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { withholding } from "../support/opener.ts";
import { pulling, replicaOf } from "../support/pull.ts";
import { number, openAt, policyOf, registered, updated } from "../support/replicas.ts";
import { tempDir } from "../support/temp.ts";

const declaredAs = (name: string, ...more: readonly string[]) =>
  defineProjection({
    ...{ name, entity: "beneficiary", scopeBy: ["district"] },
    columns: {
      ...{ given_name: text(), district: text(), village: text(), phone: text() },
      ...Object.fromEntries(more.map((column) => [column, text()])),
    },
    resolve: { village: logOrder(), others: lastWriteWins },
    events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  });
const [people, others] = [declaredAs("people"), declaredAs("others")];
const newer = { people: declaredAs("people", "status"), others: declaredAs("others", "status") };

/** A hub that gives states only, and a device that wrote about a person whom the hub's state has, with what the device wrote, and then with a later village. */
async function withOwn(views: readonly View[], open: (hub: MemoryHub, path: string) => Field) {
  const hub = await openMemoryHub({ views });
  await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }, { statesOnly: true }));
  const juba = hub.device("juba");
  await juba.write(registered(1, "Kampala"));
  await hub.seal();
  const path = join(tempDir(), "f.db");
  const field = open(hub, path);
  const pulls = pulling(hub);
  await pulls.pull(field);
  await field.append(updated(1, { village: "Own" }));
  await pushToMemory(hub, field);
  await juba.write(updated(1, { village: "Later" }));
  await hub.seal();
  await pulls.pull(field);
  return { hub, path, field, ...pulls };
}

/** Another program of the device writes without views, and the device shows it. */
async function writeBeside(hub: MemoryHub, { field, path }: { readonly field: Field; readonly path: string }): Promise<void> {
  using other = openField({ path, schemas: hub.gate, now: hub.now });
  await other.append(updated(1, { phone: "+256771234567" }));
  replicaOf(field).refresh();
}
const valuesIn = (field: Field, view = "people") => replicaOf(field).row(view, number(1))?.row.values;

it("what a device wrote stays in a row of which the hub's states are not taken, since the hub folds by older rules", async () => {
  const { hub, ...at } = await withOwn([people], (of, path) => openAt(of, "kampala", { path, views: [newer.people] }));
  using field = at.field;
  expect(valuesIn(field)).toMatchObject({ village: "Own" });
  await writeBeside(hub, at);
  expect(valuesIn(field)).toMatchObject({ village: "Own", phone: "+256771234567" });
});

it("what a device wrote is shown once in each of its views, whether or not the hub's state of the other is taken", async () => {
  const { hub, ...at } = await withOwn([people, others], (of, path) =>
    openAt(of, "kampala", { path, views: [people, newer.others] }),
  );
  using field = at.field;
  const shown = () => [valuesIn(field)?.village, valuesIn(field, "others")?.village];
  expect(shown()).toEqual(["Later", "Own"]);
  await writeBeside(hub, at);
  expect(shown()).toEqual(["Later", "Own"]);
  expect(valuesIn(field)).toMatchObject({ given_name: "Amina 1", phone: "+256771234567" });
});

it("what a device wrote stands on top of a state of which it may not see all", async () => {
  const { hub, ...at } = await withOwn([people], (of, path) =>
    openField({
      path,
      ...{ name: { org: "relief", site: "kampala", device: "t1" }, schemas: of.gate, now: of.now, views: [people] },
      opener: withholding(["given_name"]),
    }),
  );
  using field = at.field;
  await writeBeside(hub, at);
  expect(valuesIn(field)).toMatchObject({ village: "Later", phone: "+256771234567", given_name: null });
  expect(replicaOf(field).row("people", number(1))?.row.withheld).toEqual(["given_name"]);
});

it("what a device wrote is shown when it declares a view anew without a link, and the other view is as it was", async () => {
  const { hub, path, ...at } = await withOwn([people, others], (of, to) =>
    openAt(of, "kampala", { path: to, views: [people, others] }),
  );
  at.field.close();
  using field = openAt(hub, "kampala", { path, views: [newer.people, others] });
  expect(valuesIn(field)).toMatchObject({ village: "Own" });
  expect(valuesIn(field, "others")).toMatchObject({ given_name: "Amina 1", village: "Later" });
  await writeBeside(hub, { field, path });
  expect(valuesIn(field)).toMatchObject({ village: "Own", phone: "+256771234567" });
  expect(valuesIn(field, "others")).toMatchObject({ given_name: "Amina 1", village: "Later", phone: "+256771234567" });
});
