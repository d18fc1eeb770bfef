import { expect, it } from "vitest";

import { supersededLines } from "../../services/cli/commands-audit.ts";
import { storyOf, supersededIn } from "../../services/cli/commands-explain.ts";
import type { Hlc, OriginId, Seq, Vector } from "../../services/core/index.ts";
import { pickCodes } from "../../services/desk/index.ts";
import { tell } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import type { CountedEvent, SupersededDecision } from "../../services/views/index.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { phone: text(), blood: text() },
  authority: { blood: { orgs: ["clinic"] } },
  events: { "person.changed": set() },
});

let position = 0;
/** A write by `org`'s only device; `seen` names the other origins' events that its author had seen. */
function wrote(org: string, seq: number, data: Record<string, string>, seen: Record<string, number> = {}): CountedEvent {
  position++;
  return {
    type: "person.changed",
    data,
    entity: { type: "person", id: "p1" },
    actor: `${org}-clerk`,
    occurredAt: "2026-05-03T08:12:00.000Z",
    recordedAt: "2026-05-09T16:40:00.000Z",
    site: "town",
    device: "t1",
    origin: `${org}.town.t1.x` as OriginId,
    seq: seq as Seq,
    hlc: `2026-05-03T08:${String(10 + position).padStart(2, "0")}:00.000Z-0000` as Hlc,
    clockWrong: false,
    notes: [],
    position,
    basis: Object.fromEntries(Object.entries(seen).map(([name, at]) => [`${name}.town.t1.x`, at])) as Vector,
  };
}
const story = (field: string, ...events: CountedEvent[]): string =>
  storyOf({ entity: "person/p1", view: "people", builtOtherwise: false, ...tell(people, "p1", events, field)! });

it("writes beside each other are told as such, and a write whose author had seen both is told as having replaced both", () => {
  const told = story(
    "phone",
    wrote("a", 0, { phone: "1" }),
    wrote("b", 0, { phone: "2" }),
    wrote("c", 0, { phone: "3" }, { a: 0, b: 0 }),
  );
  expect(told).toContain("beside “1” by a-clerk at town (a): neither had seen the other's");
  expect(told).toContain("having seen “1” by a-clerk at town (a) and “2” by b-clerk at town (b)");
  expect(told.match(/beside/g)).toHaveLength(1);
});

it("a write that comes after one whose author had seen it is told as late, and stands beside nothing, though the values differ", () => {
  const late = wrote("a", 0, { phone: "1" });
  const told = story("phone", wrote("b", 0, { phone: "2" }, { a: 0 }), late);
  expect(told).toContain("came late: already replaced by “2” by b-clerk at town (b)");
  expect(told).not.toContain("beside");
  expect(told).not.toContain("agree");
});

it("an event that is released after a later one of the same device is told as late, too", () => {
  const told = story("phone", wrote("a", 1, { phone: "2" }), wrote("a", 0, { phone: "1" }));
  expect(told).toContain("came late: already replaced by “2”");
});

it("a late write names only the write that replaced it first, and what it had replaced itself", () => {
  const told = story(
    "phone",
    wrote("a", 0, { phone: "1" }),
    wrote("c", 0, { phone: "3" }, { a: 0, b: 0 }),
    wrote("d", 0, { phone: "4" }, { a: 0, b: 0, c: 0 }),
    wrote("b", 0, { phone: "2" }, { a: 0 }),
  );
  expect(told).toContain("came late: already replaced by “3” by c-clerk at town (c)\n      having seen “1”");
});

it("an author who has no say, and had seen the value of one who has, is not said to have missed it", () => {
  const told = story("blood", wrote("clinic", 0, { blood: "A" }), wrote("b", 0, { blood: "B" }, { clinic: 0 }));
  expect(told).toContain("having seen “A” by clinic-clerk at town (clinic), which only those with the say can replace");
  expect(told).toContain("“A” is shown (authority");
  expect(told).not.toContain("beside “A”");
});

it("a late value of an author who has the say stands all the same, and nobody is said to have missed it", () => {
  const late = wrote("clinic", 0, { blood: "A" });
  const told = story("blood", wrote("b", 0, { blood: "B" }, { clinic: 0 }), late);
  expect(told).toContain("came late: “B” by b-clerk at town (b) had seen it, but only those with the say can replace it");
  expect(told).toContain("“A” is shown (authority");
  expect(told).not.toContain("beside “B”");
});

it("values are said to agree only if they are equal", () => {
  expect(story("phone", wrote("a", 0, { phone: "1" }), wrote("b", 0, { phone: "1" }))).toContain("They agree");
  expect(story("phone", wrote("a", 0, { phone: "1" }), wrote("b", 0, { phone: "2" }))).not.toContain("They agree");
});

it("a value's code follows from its event alone, and grows where two would clash", () => {
  const [first] = pickCodes(["a.town.t1.x/0"]);
  expect(first).toMatch(/^[0-9a-f]{4}$/);
  expect(pickCodes(["0.town.t1.x/0", "a.town.t1.x/0"])[1]).toBe(first);
  const many = Array.from({ length: 2_000 }, (_, i) => `a.town.t1.x/${i}`);
  expect(new Set(pickCodes(many)).size).toBe(2_000);
});

it("a decision that was superseded is told as such, with the positions between which it was known, and only where its register is told", () => {
  const by = {
    origin: "a.town.t1.x" as OriginId,
    seq: 0 as Seq,
    actor: "a-clerk",
    hlc: "0" as Hlc,
    clockWrong: false,
    position: 1,
  };
  const superseded = ["phone", "blood"].map(
    (register): SupersededDecision => ({
      ...{ view: "people", entity: "p1", register, position: "10", rule: "lastWriteWins", ruleVersion: 1, reason: "later-stamp" },
      ...{ value: "1", winner: { value: "1", by }, losers: [{ value: "2", by: { ...by, actor: "b-clerk" } }], isOpen: false },
      ...{ settledPosition: null, knownFrom: "20", supersededAt: "30" },
    }),
  );
  const explanation = { entity: "person/p1", view: "people", builtOtherwise: false };
  const told = tell(people, "p1", [wrote("a", 0, { phone: "1" })], "phone")!;
  const shown = supersededLines(supersededIn([{ ...explanation, ...told }], superseded));
  expect(shown).toHaveLength(2);
  expect(shown[0]).toContain("Superseded");
  expect(shown[1]).toBe(
    "  people, known from position 20, superseded at 30: phone: “1” by a-clerk (town) won over “2” by b-clerk (town) by lastWriteWins: its stamp is later.",
  );
  expect(supersededLines([])).toEqual([]);
});
