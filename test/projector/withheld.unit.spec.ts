import { describe, expect, it } from "vitest";
import type { JsonObject, LogEntry } from "../../services/core/index.ts";
import type { Totals } from "../../services/merge/engine.ts";
import { defineProjection, defineTotals, integer, manual, set, text } from "../../services/merge/index.ts";
import { type FoldTarget, foldView, type Held } from "../../services/projector/fold-view.ts";
import { fakeLog } from "../support/fake-log.ts";
import { type OldEvent, oldWriter } from "../support/oldlog.ts";
import { withholding } from "../support/opener.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), phone: text(), age: integer(), district: text() },
  resolve: { phone: manual },
  scopeBy: ["district"],
  events: { "person.named": set() },
  invariants: {
    phone: { atMost: 1, says: "one phone, one person", key: ({ phone }) => phone },
    age: { problem: ({ age }) => (age !== null && age < 0 ? "younger than a newborn" : null) },
  },
});
const ages = defineTotals({
  name: "ages",
  keys: { name: text() },
  sums: { years: integer() },
  from: { people: ({ name, age }) => ({ name: name as string, years: age as number }) },
}) as unknown as Totals;

const named = (data: JsonObject, id = "a"): OldEvent => ({ type: "person.named", entity: { type: "person", id }, data });
async function folded(fields: readonly string[], ...sites: readonly (readonly OldEvent[])[]) {
  const { log, entries } = fakeLog();
  for (const [i, events] of sites.entries()) await oldWriter(log, `site${i}`).append(...events);
  const { open } = withholding(fields);
  const target: FoldTarget = { projection: people, generation: 1, namespace: "views", totals: [ages], pins: {}, isHome: true };
  const states = { get: (): Held | undefined => undefined, isParked: () => false };
  const all = entries.map((entry: LogEntry, index: number) => ({ entry, index }));
  return foldView({ target, states, gate: { openAs: open }, entries: all });
}

describe("a hub that may not see a field", () => {
  it("shows, counts and moves by the others, claims no key, and says nothing of rules that look at it", async () => {
    const person = named({ name: "Deng", phone: "0912", age: -1, district: "Yei" });
    const { changes, moved } = await folded(["phone"], [person], [named({ phone: "0913" })]);
    expect(moved.parked.size).toBe(0);
    expect(changes.rows).toMatchObject([{ row: { values: { name: "Deng", phone: null, age: -1 }, withheld: ["phone"] } }]);
    expect(changes.claims).toEqual([]);
    expect(changes.decisions).toEqual([]);
    expect(changes.checks.map(({ invariant, problem }) => [invariant, problem])).toEqual([["age", "younger than a newborn"]]);
    expect(changes.additions.get(ages)).toMatchObject([{ sign: 1, values: { name: "Deng", years: -1 } }]);
    expect(JSON.stringify(changes.rows, (_, value) => (typeof value === "bigint" ? `${value}` : value))).not.toContain("091");
  });

  it("leaves a case as it is, of which it cannot tell whether it is over", async () => {
    // The view with totals that look at the age stops; without them the rule itself says nothing.
    const { changes } = await folded(["age"], [named({ name: "Deng", age: -1, district: "Yei" })]);
    expect(changes.checks).toEqual([]);
  });

  it("stops at an entity whose share in a total, or whose bucket, it cannot tell, and says why", async () => {
    const person = named({ name: "Deng", age: 30, district: "Yei" });
    for (const [field, words] of [
      ["age", /ages adds up age of people\/a, which is withheld here: its totals would be wrong/],
      ["district", /people tells buckets apart by district of a, which is withheld here: no bucket is known/],
    ] as const) {
      const { changes, moved, errors } = await folded([field], [person]);
      expect([...moved.parked], field).toEqual(["a"]);
      expect(errors, field).toMatchObject([{ error: expect.stringMatching(words) }]);
      expect([changes.rows, [...changes.additions.values()].flat(), changes.buckets?.size], field).toEqual([[], [], 0]);
    }
  });
});
