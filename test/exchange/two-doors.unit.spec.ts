import { describe, expect, it } from "vitest";
import { position } from "../../services/core/index.ts";
import type { FeedStore, Seal } from "../../services/exchange/index.ts";
import { memoryOf } from "../../services/exchange/known.ts";
import { rarely } from "../../services/exchange/rarely.ts";
import type { MemoryHub } from "../support/memory-hub.ts";
import { pulling, replicaOf } from "../support/pull.ts";
import { hubWith, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";

const KAMPALA_ONLY = policyOf("kampala", ["kampala"], { district: "Kampala" });

/** A door that remembers the newest seal, with a clock that stands still. */
const remembering = ({ store }: MemoryHub): FeedStore => ({
  ...store,
  newest: rarely(
    () => store.newest(),
    () => 0,
  ),
});

describe("a hub with two doors, of which one remembers an earlier seal", () => {
  it("brings a device that the other door has told of the newest seal nothing twice", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    for (let n = 1; n <= 5; n++) await juba.write(registered(n, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    const behind = pulling({ ...hub, store: remembering(hub) });
    await behind.pull(field);
    await juba.write(updated(1, { village: "Katwe" }));
    await hub.seal();
    await pulling(hub).pull(field);
    const taken = await behind.pull(field);
    expect(taken.map(({ events, entities, purged }) => ({ events, entities, purged }))).toEqual([
      { events: 0, entities: 0, purged: [] },
    ]);
    expect(
      replicaOf(field)
        .buckets()
        .every(({ isCurrent }) => isCurrent),
    ).toBe(true);
    expect(replicaOf(field).seal()).toBe((await hub.store.newest()).number);
  });

  it("still brings all once more when its log was set back", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const juba = hub.device("juba");
    await juba.write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala");
    await pulling(hub).pull(field);
    const backup = hub.log.entries.at(-1)!.position;
    await juba.write(updated(1, { village: "Katwe" }));
    await hub.seal();
    await pulling(hub).pull(field);
    await hub.restore(backup);
    await hub.seal();
    await pulling({ ...hub, store: remembering(hub) }).pull(field);
    expect(replicaOf(field).row("people", number(1))?.row.values.village ?? null).toBeNull();
  });
});

describe("what a door remembers of the newest seal", () => {
  const seal = (n: number): Seal => ({ number: n, through: position(BigInt(n)) });

  it("is looked up again for who knows of a later one, once for all who wait, and never for who does not", async () => {
    let [now, looks] = [7, 0];
    const open: (() => void)[] = [];
    const newest = rarely(
      () => {
        looks++;
        const seen = seal(now);
        return new Promise((resolve) => open.push(() => resolve(seen)));
      },
      () => 0,
    );
    const first = newest();
    // These come while it is looked up: what that finds may be from before.
    const [late, lower] = [newest(8), newest(7)];
    now = 8;
    open.shift()!();
    expect([await first, await lower]).toEqual([seal(7), seal(7)]);
    const others = [newest(8), newest(9)];
    expect(looks).toBe(2);
    open.shift()!();
    expect([await late, await others[0]]).toEqual([seal(8), seal(8)]);
    // 9 was never sealed, or is not there any more: the look that began before this one asked does not say so.
    expect(looks).toBe(3);
    open.shift()!();
    expect(await others[1]).toEqual(seal(8));
    expect(await newest()).toEqual(seal(8));
    expect(looks).toBe(3);
  });

  it("is not what an asker gets who knows of a later one while another's look is under way", async () => {
    const hub = await hubWith(KAMPALA_ONLY);
    const before = await hub.seal();
    let isHeld = true;
    const go = Promise.withResolvers<void>();
    const newest = rarely(
      () => hub.store.newest(),
      () => 0,
    );
    const memory = memoryOf({
      ...hub.store,
      newest,
      async headsAfter(after) {
        const heads = await hub.store.headsAfter(after);
        if (isHeld) await go.promise;
        return heads;
      },
    });
    const first = memory.now(hub.incarnation);
    await Promise.resolve();
    await hub.device("juba").write(registered(1, "Kampala"));
    const after = await hub.seal();
    expect(after).toBeGreaterThan(before);
    const second = memory.now(hub.incarnation, after);
    isHeld = false;
    go.resolve();
    expect((await first).seal.number).toBeGreaterThanOrEqual(before);
    expect((await second).seal.number).toBe(after);
  });

  it("is asked for once at a time, however long an answer takes: answers never overtake one another", async () => {
    let nowMs = 0;
    const open: ((seal: Seal) => void)[] = [];
    const newest = rarely(
      () => new Promise((resolve) => open.push(resolve)),
      () => nowMs,
    );
    const asked = [newest()];
    nowMs = 60_000;
    asked.push(newest(), newest());
    await Promise.resolve();
    expect(open).toHaveLength(1);
    open[0]?.(seal(6));
    expect((await Promise.all(asked)).map(({ number }) => number)).toEqual([6, 6, 6]);
    // From then on it is old.
    asked.push(newest());
    expect(open).toHaveLength(2);
    open[1]?.(seal(7));
    expect((await asked[3])?.number).toBe(7);
  });
});
