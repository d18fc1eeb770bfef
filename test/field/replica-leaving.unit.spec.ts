import { expect, it } from "vitest";
import { openEntities } from "../../services/field/replica/entities.ts";
import { purgeMembers } from "../../services/field/replica/purge.ts";
import { openReplicaRows } from "../../services/field/replica/rows.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, KAMPALA, NAIROBI, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

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

it("a bucket that is taken back is looked at once, however many of its entities stay in one of states", async () => {
  const hub = await hubWith(policyOf("kampala", ["kampala"], { district: "Kampala" }));
  const juba = hub.device("juba");
  for (const n of [1, 2, 3, 4]) await juba.write(registered(n, "Kampala"));
  await hub.seal();
  using field = openAt(hub, "kampala");
  await pulling(hub).pull(field);
  const { store } = field;
  const real = openReplicaRows(store.db);
  const count = { buckets: 0, phases: 0 };
  const rows: typeof real = {
    ...real,
    buckets() {
      count.buckets++;
      return real.buckets();
    },
    setPhase(...of) {
      count.phases++;
      real.setPhase(...of);
    },
  };
  const from = real.bucketBy(KAMPALA)!;
  const to = { bucket: NAIROBI, entityType: "beneficiary", values: ["Nairobi"], columns: ["district"], priority: 0 };
  real.addBucket({ ...to, statesOnly: true }, 9, from.cursor);
  const target = real.bucketBy(NAIROBI)!;
  const members = real.membersIn(from.n, "");
  for (const member of members) real.setMember(target.n, member);
  const entities = openEntities({ store, rows: real, gate: hub.gate, viewsOf: () => [] });
  const purge = purgeMembers({ store, rows, entities }, from, members, { seal: 1, reason: "withdrawn" });
  expect(purge).toMatchObject({ entities: 0, events: 4 });
  expect(real.bucketBy(NAIROBI)?.phase).toBe("compare");
  expect(count).toEqual({ buckets: 1, phases: 1 });
});
