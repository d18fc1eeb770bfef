import { expect, it } from "vitest";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, NAIROBI, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

it("an own event keeps its text where one page takes its bucket back and brings its entity in another", async () => {
  const hub = await hubWith(
    policyOf("kampala", ["kampala"], { district: "Kampala" }),
    policyOf("nairobi", ["kampala"], { district: "Nairobi" }),
  );
  using field = openAt(hub, "kampala");
  const { pull, step } = pulling(hub);
  const juba = hub.device("juba");
  await juba.write(registered(2, "Nairobi"));
  await field.append(registered(1, "Kampala", { village: "Katwe" }));
  await pushToMemory(hub, field);
  await hub.seal();
  await pull(field);
  await juba.write(updated(1, { district: "Nairobi" }));
  await hub.seal();
  await step(field, {}, false);
  expect(replicaOf(field).asks()[NAIROBI]).toMatchObject({ kind: "follow" });
  await hub.setPolicy(policyOf("kampala", [], { district: "Kampala" }));
  await hub.seal();
  const taken = await step(field);
  expect(taken?.withdrawn.length ?? 0).toBe(1);
  await pull(field);
  const person = { type: "beneficiary", id: number(1) };
  expect(
    replicaOf(field)
      .history(person)
      .map(({ text }) => text.includes("Katwe")),
  ).toEqual([true, false]);
  expect(replicaOf(field).row("people", number(1))?.row.values).toMatchObject({ village: "Katwe", district: "Nairobi" });
  expect(expectSame(hub, field, "beneficiary")).toBe(2);
});
