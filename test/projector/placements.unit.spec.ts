import { describe, expect, it } from "vitest";
import type { JsonObject, LogEntry } from "../../services/core/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { counting } from "../../services/projector/index.ts";
import { foldPage, type ViewTarget } from "../../services/projector/page.ts";
import { openStates } from "../../services/projector/states.ts";
import { fakeLog } from "../support/fake-log.ts";
import { type OldEvent, oldWriter } from "../support/oldlog.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), district: text() },
  scopeBy: ["district"],
  events: { "person.named": set() },
});
const phones = defineProjection({
  name: "phones",
  entity: "person",
  columns: { phone: text() },
  events: { "person.rung": set() },
});
const named = (id: string, data: JsonObject, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "person.named",
  entity: { type: "person", id },
  data,
  ...more,
});
const gate = {
  openAs: (_: unknown, data: JsonObject) => ({ data, withheld: [] }),
  ensure: async () => {},
  knows: () => false,
} as never; // data is read as it is written

/** A hub's log, with what its pages say of buckets. `isHome`: whether the feeds are written from these builds. */
function world(isHome = true) {
  const { log, entries } = fakeLog();
  const targets = [people, phones].map(
    (projection): ViewTarget => ({
      ...{ projection, generation: 1, namespace: "views", totals: [], pins: {}, isHome: isHome && projection === people },
      states: openStates(null as never, projection, { isEmpty: true }), // nothing is kept, so nothing is looked up
    }),
  );
  const counts = counting(log);
  const fold = async (...some: readonly LogEntry[]): Promise<string[]> => {
    const page = await foldPage({ gate, counts }, targets, some, some.at(-1)!.position);
    page.written();
    return page.placements.map(({ entityType, entityId, position, bucket, stays, events }) => {
      const to = bucket === null ? "none" : JSON.stringify(bucket.values);
      return `${position} ${entityType}/${entityId} ${stays ? "stays, or " : ""}${to} ${events.map(({ seq }) => seq).join("+")}`;
    });
  };
  return { log, entries, fold };
}

describe("what a page says of buckets", () => {
  it("is the bucket of each entity after each of its events, in the log's order", async () => {
    const { log, entries, fold } = world();
    await oldWriter(log, "juba").append(
      named("a", { district: "Kampala" }),
      named("b", { name: "Nyibol" }),
      named("a", { name: "Awɛŋ" }),
      named("a", { district: "Gulu" }),
    );
    expect(await fold(...entries)).toEqual([
      '10 person/a ["Kampala"] 0',
      "20 person/b [null] 1",
      '30 person/a ["Kampala"] 2',
      '40 person/a ["Gulu"] 3',
    ]);
  });

  it("is that an entity stays where it is, if the view of its bucket does not take the event or cannot fold it", async () => {
    const { log, entries, fold } = world();
    await oldWriter(log, "juba").append(
      named("a", { district: "Kampala" }),
      { type: "person.rung", entity: { type: "person", id: "a" }, data: { phone: "0912" } },
      named("a", { district: 7 }),
      named("a", { district: "Gulu" }),
      { type: "house.built", entity: { type: "house", id: "h" }, data: {} },
    );
    const [first, second, third, fourth, other] = entries as [LogEntry, LogEntry, LogEntry, LogEntry, LogEntry];
    expect(await fold(first, second, third)).toEqual([
      '10 person/a ["Kampala"] 0',
      "20 person/a stays, or [null] 1",
      "30 person/a stays, or [null] 2",
    ]);
    // It is parked: the event after it counts, and where it leads to is known when the entity is folded again. What no view shows has no bucket.
    expect(await fold(fourth, other)).toEqual(["40 person/a stays, or [null] 3"]);
  });

  it("is the quarantine of an event's site, until the hub settles it; a release counts for the entity as two events", async () => {
    const { log, entries, fold } = world();
    const site = oldWriter(log, "juba");
    await site.append(named("a", { district: 7 }, { quarantined: "invalid" }), named("b", {}, { quarantined: "invalid" }));
    const [held, other] = entries as [LogEntry, LogEntry];
    const word = (type: string, { head: { origin, seq, hash } }: LogEntry, data: JsonObject): OldEvent => ({
      type,
      entity: { type: "quarantine", id: `${origin}/${seq}` },
      data: { origin, seq, hash, ...data },
    });
    const release = word("quarantine.released", held, {
      type: held.head.type,
      entity: { ...held.head.entity },
      schema: { subject: "person", version: 1 },
      data: { district: "Kampala" },
    });
    const reject = word("quarantine.rejected", other, { reason: "made up" });
    await oldWriter(log, "hub").append(named("a", { name: "Awɛŋ" }), release, reject, release);
    expect(await fold(...entries)).toEqual([
      `10 quarantine/${site.origin}/0 ["relief.juba"] 0`,
      `20 quarantine/${site.origin}/1 ["relief.juba"] 1`,
      "30 person/a [null] 0",
      `40 quarantine/${site.origin}/0 none `,
      '40 person/a ["Kampala"] 0+1',
      `50 quarantine/${site.origin}/1 none `,
      // The second release settles nothing.
    ]);
  });

  it("is nothing of entities, where the builds that it is folded into are not live", async () => {
    const { log, entries, fold } = world(false);
    await oldWriter(log, "juba").append(named("a", { district: "Kampala" }));
    expect(await fold(...entries)).toEqual([]);
  });
});
