import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { OriginId } from "../../services/core/index.ts";
import {
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  type Projection,
  type Reason,
  type Resolver,
  rowOf,
} from "../../services/merge/engine.ts";
import {
  defineProjection,
  deleteWins,
  lastWriteWins,
  manual,
  remove,
  set,
  text,
  updateWins,
} from "../../services/merge/index.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, orders, personEvent, seen } from "../support/writes.ts";

const DOCS = readFileSync(join(import.meta.dirname, "../../docs/conflicts.md"), "utf8");

/** What a site did with a record since both last agreed on it. */
const DEEDS = ["updated", "deleted", "unchanged", "missing"] as const;
type Deed = (typeof DEEDS)[number];
/** What is shown when both have synced. `later`: as the later of the two says. */
type Outcome = "there" | "gone" | "nothing" | "gone, conflict" | "there, conflict" | "later, case";

/** The specification: one site's deed by row, the other's by column, in the order of `DEEDS`. */
const TABLES: Readonly<Record<"deleteWins" | "updateWins" | "manual", readonly (readonly Outcome[])[]>> = {
  deleteWins: [
    //  updated          deleted           unchanged  missing
    ["there", "gone, conflict", "there", "there"], //   updated
    ["gone, conflict", "gone", "gone", "gone"], //      deleted
    ["there", "gone", "there", "there"], //             unchanged
    ["there", "gone", "there", "nothing"], //           missing
  ],
  updateWins: [
    ["there", "there, conflict", "there", "there"],
    ["there, conflict", "gone", "gone", "gone"],
    ["there", "gone", "there", "there"],
    ["there", "gone", "there", "nothing"],
  ],
  manual: [
    ["there", "later, case", "there", "there"],
    ["later, case", "gone", "gone", "gone"],
    ["there", "gone", "there", "there"],
    ["there", "gone", "there", "nothing"],
  ],
};
const POLICIES = { deleteWins, updateWins, manual } satisfies Record<keyof typeof TABLES, Resolver>;
const WHY: Readonly<Record<keyof typeof TABLES, Reason>> = {
  deleteWins: "deletion-outranks",
  updateWins: "change-outranks",
  manual: "awaits-person",
};

const viewWith = (policy: Resolver, authority = {}): Projection =>
  defineProjection({
    name: "people",
    entity: "person",
    columns: { name: text(), phone: text(), village: text() },
    resolve: { deleted: policy },
    authority,
    events: { "person.registered": set(), "person.updated": set(), "person.removed": remove() },
  });

/** The state that the events lead to, which is the same in every order of arrival. */
function stateAfter(view: Projection, events: readonly FoldEvent[]): EntityState | undefined {
  const [state, ...others] = orders(events).map((order) =>
    order.reduce<EntityState | undefined>((state, event) => fold(view, state, event)?.state ?? state, undefined),
  );
  for (const other of others) expect(other).toEqual(state);
  return state;
}

const registered = personEvent(HUB, "person.registered", { name: "Amina", phone: "1", village: "Yei" }, { hour: 7 });

/** What a site wrote: nothing where it left the record alone or never had it. */
function deedOf(deed: Deed, origin: OriginId, field: string, hour: number): FoldEvent[] {
  const options = { hour, basis: seen(registered) };
  if (deed === "updated") return [personEvent(origin, "person.updated", { [field]: `by ${origin}` }, options)];
  return deed === "deleted" ? [personEvent(origin, "person.removed", {}, options)] : [];
}

/** Both sites' deeds, the first an hour before the other's or after it. A record that both miss was never registered. */
const meeting = (one: Deed, other: Deed, isFirstLater: boolean): FoldEvent[] => [
  ...(one === "missing" && other === "missing" ? [] : [registered]),
  ...deedOf(one, NAIROBI, "phone", isFirstLater ? 10 : 8),
  ...deedOf(other, KAMPALA, "village", 9),
];

describe.each(Object.keys(TABLES) as (keyof typeof TABLES)[])("deletion by %s", (policy) => {
  const view = viewWith(POLICIES[policy]);
  const cases = DEEDS.flatMap((one, row) => DEEDS.map((other, column) => [one, other, TABLES[policy][row]![column]!] as const));

  it.each(cases)("%s at one site, %s at the other: %s", (one, other, outcome) => {
    for (const isFirstLater of [false, true]) {
      const state = stateAfter(view, meeting(one, other, isFirstLater));
      if (outcome === "nothing") {
        expect(state).toBeUndefined();
        continue;
      }
      const [shown, note] = outcome.split(", ");
      const later = isFirstLater ? one : other;
      const { deleted, values } = rowOf(view, state!);
      expect(deleted).toBe(shown === "gone" || (shown === "later" && later === "deleted"));
      const onDeletion = decisionsOf(view, state!).filter(({ register }) => register === "deleted");
      expect(onDeletion.map(({ reason, isOpen }) => ({ reason, isOpen }))).toEqual(
        note === undefined ? [] : [{ reason: WHY[policy], isOpen: note === "case" }],
      );
      // Whatever became of the record, nobody's change is lost.
      expect(values).toEqual({
        name: "Amina",
        phone: one === "updated" ? `by ${NAIROBI}` : "1",
        village: other === "updated" ? `by ${KAMPALA}` : "Yei",
      });
    }
  });

  it("gives way to a change by somebody who had seen it: the record is there again, without a conflict", () => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const again = personEvent(KAMPALA, "person.registered", { phone: "2" }, { hour: 9, basis: seen(registered, removed) });
    expect(rowOf(view, stateAfter(view, [registered, removed, again])!)).toEqual({
      values: { name: "Amina", phone: "2", village: "Yei" },
      deleted: false,
      conflicts: 0,
    });
  });

  it("gives way to such a change even if that author's clock is slow", () => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const again = personEvent(KAMPALA, "person.updated", { phone: "2" }, { hour: -900, basis: seen(registered, removed) });
    expect(rowOf(view, stateAfter(view, [registered, removed, again])!)).toMatchObject({ deleted: false, conflicts: 0 });
  });

  it("holds for a record that was there again and then deleted again", () => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const again = personEvent(KAMPALA, "person.updated", { phone: "2" }, { hour: 9, basis: seen(registered, removed) });
    const finally_ = personEvent(NAIROBI, "person.removed", {}, { seq: 1, hour: 10, basis: seen(again) });
    expect(rowOf(view, stateAfter(view, [registered, removed, again, finally_])!)).toMatchObject({ deleted: true, conflicts: 0 });
  });

  it.each([true, false])("follows a person who has seen both values and says whether the record is gone: %s", (deleted) => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const updated = personEvent(KAMPALA, "person.updated", { phone: "2" }, { hour: 9, basis: seen(registered) });
    const decided = personEvent(
      HUB,
      "conflict.resolved",
      { deleted },
      { seq: 1, hour: 10, basis: seen(registered, removed, updated) },
    );
    expect(rowOf(view, stateAfter(view, [registered, removed, updated, decided])!)).toMatchObject({ deleted, conflicts: 0 });
  });

  it("is not touched by a person's decision on a field alone", () => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const decided = personEvent(
      HUB,
      "conflict.resolved",
      { values: { phone: "3" } },
      { seq: 1, hour: 10, basis: seen(registered, removed) },
    );
    expect(rowOf(view, stateAfter(view, [registered, removed, decided])!)).toMatchObject({
      deleted: true,
      values: { phone: "3" },
    });
  });

  it("is decided among more than two sites the same way", () => {
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 8, basis: seen(registered) });
    const updated = personEvent(KAMPALA, "person.updated", { phone: "2" }, { hour: 9, basis: seen(registered) });
    const removedToo = personEvent(JUBA, "person.removed", {}, { hour: 10, basis: seen(registered) });
    const state = stateAfter(view, [registered, removed, updated, removedToo])!;
    expect(rowOf(view, state).deleted).toBe(policy !== "updateWins");
    expect(decisionsOf(view, state)).toMatchObject([{ reason: WHY[policy] }]);
  });
});

describe("deletion", () => {
  it("is decided by the later stamp if the view declares nothing", () => {
    for (const isFirstLater of [false, true]) {
      const view = viewWith(lastWriteWins);
      const state = stateAfter(view, meeting("deleted", "updated", isFirstLater))!;
      expect(rowOf(view, state)).toMatchObject({ deleted: isFirstLater, conflicts: 1 });
      expect(decisionsOf(view, state)).toMatchObject([{ reason: "later-stamp", isOpen: false }]);
    }
  });

  it("is not decided by the rule for all other registers", () => {
    const view = defineProjection({
      name: "people",
      entity: "person",
      columns: { name: text() },
      resolve: { others: manual },
      events: { "person.updated": set(), "person.removed": remove() },
    });
    expect(decisionsOf(view, stateAfter(view, meeting("deleted", "updated", true))!)).toMatchObject([
      { register: "deleted", isOpen: false },
    ]);
  });

  it("by those without the say does not remove a record, even if they had seen it", () => {
    const view = viewWith(manual, { deleted: { sites: ["hub"] } });
    const removed = personEvent(NAIROBI, "person.removed", {}, { hour: 9, basis: seen(registered) });
    const state = stateAfter(view, [registered, removed])!;
    expect(rowOf(view, state)).toMatchObject({ deleted: false, conflicts: 1 });
    expect(decisionsOf(view, state)).toMatchObject([{ reason: "authority", isOpen: false }]);
    const byHub = personEvent(HUB, "person.removed", {}, { seq: 1, hour: 10, basis: seen(registered, removed) });
    expect(rowOf(view, stateAfter(view, [registered, removed, byHub])!)).toMatchObject({ deleted: true, conflicts: 0 });
  });
});

// ── docs/conflicts.md ───────────────────────────────────────────────────────

/** The cells of the table below the line that begins with `start`. */
function tableAfter(start: string): string[][] {
  const lines = DOCS.split("\n");
  const from = lines.findIndex((line) => line.startsWith(start));
  expect(from, `docs/conflicts.md has ${start}`).toBeGreaterThan(-1);
  const first = lines.findIndex((line, i) => i > from && line.startsWith("|"));
  const after = lines.findIndex((line, i) => i > first && !line.startsWith("|"));
  return lines.slice(first, after).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("*", "")),
  );
}

describe("docs/conflicts.md", () => {
  it.each(Object.entries(TABLES))("has the table of %s as it is here", (policy, table) => {
    const [head, , ...rows] = tableAfter(`**\`${policy}\`**`);
    expect(head).toEqual(["", ...DEEDS]);
    expect(rows).toEqual(table.map((cells, i) => [DEEDS[i], ...cells]));
  });

  it("explains every reason, and none that does not exist", () => {
    const source = readFileSync(join(import.meta.dirname, "../../services/merge/resolvers.ts"), "utf8");
    const union = /export type Reason =([\s\S]*?);\n/.exec(source)![1]!;
    const reasons = [...union.matchAll(/\| "([a-z-]+)"/g)].map(([, reason]) => reason!);
    expect(reasons.length).toBeGreaterThan(10);
    const [, , ...rows] = tableAfter("What the reasons say:");
    expect(rows.map(([reason]) => reason!.replaceAll("`", "")).sort()).toEqual([...reasons].sort());
    const [, , ...rules] = tableAfter("The view's `resolve` names a rule for each register");
    const given = rules.flatMap(([, , reasons]) => [...reasons!.matchAll(/`([a-z-]+)`/g)].map(([, reason]) => reason!));
    expect([...new Set(given)].sort(), "each is given by a rule").toEqual([...reasons].sort());
  });

  it("names every rule that can be declared", async () => {
    const resolvers = Object.entries(await import("../../services/merge/resolvers.ts"));
    const helpers = ["NO_CONTEXT", "countCovered", "isContested", "isOneOf", "problemsOfRule", "settingsOf"];
    const [, , ...rules] = tableAfter("The view's `resolve` names a rule for each register");
    const named = new Set(rules.map(([rule]) => /^`(\w+)/.exec(rule!)![1]!));
    expect([...named].sort()).toEqual(
      resolvers
        .map(([name]) => name)
        .filter((name) => !helpers.includes(name))
        .sort(),
    );
  });
});
