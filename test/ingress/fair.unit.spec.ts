import { describe, expect, it } from "vitest";
import { turns } from "../../services/core/index.ts";
import { breaths, sparing } from "../../services/ingress/fair.ts";
import { type Bounds, type Held, lanes } from "../../services/ingress/lanes.ts";
import { networkOf, unproven } from "../../services/ingress/unproven.ts";

const BOUNDS: Bounds = {
  maxHeld: 20,
  maxHeldBytes: 2_000,
  maxSiteHeld: 10,
  maxSiteBytes: 1_000,
  guaranteed: 2,
  maxWorking: 4,
  maxSiteWorking: 2,
  maxSiteWorkingBytes: 150,
};
const held = (site: string, device: string, seq: number, bytes = 10): Held => ({ site, lane: `${site}.${device}`, seq, bytes });
const names = (items: readonly (Held | null)[]): (string | null)[] =>
  items.map((item) => (item === null ? null : `${item.lane}/${item.seq}`));

describe("batches that a hub holds", () => {
  it("of a site that sends one come next, however many another site has sent before", () => {
    const all = lanes<Held>(BOUNDS);
    for (let seq = 0; seq < 10; seq++) expect(all.take(held("bad", `t${seq % 5}`, seq))).toBe(true);
    all.take(held("good", "t1", 99));
    const first = all.next(0)!;
    expect(names([first, all.next(0)])).toEqual(["bad.t0/0", "good.t1/99"]);
  });

  it("are taken from each site up to its share, and when all slots are used, only as many as each site is guaranteed", () => {
    const all = lanes<Held>(BOUNDS);
    const taken = (site: string): number =>
      Array.from({ length: 15 }, (_, seq) => all.take(held(site, "t1", seq))).filter(Boolean).length;
    expect([taken("a"), taken("b"), taken("c"), taken("d")]).toEqual([10, 10, 2, 2]);
    expect(all.held).toBe(24);
    const large = lanes<Held>(BOUNDS);
    expect([0, 1, 2, 3].map((seq) => large.take(held("a", "t1", seq, 400)))).toEqual([true, true, false, false]);
  });

  it("of one device are worked on one after the other, in the broker's order, including one that was handed out again later", () => {
    const all = lanes<Held>(BOUNDS);
    for (const seq of [5, 7, 6]) all.take(held("a", "t1", seq));
    const first = all.next(0)!;
    expect(first.seq).toBe(5);
    expect(all.next(0)).toBeNull();
    all.take(held("a", "t1", 4));
    all.back(first, 0);
    expect(all.next(0)!.seq).toBe(5);
    all.done(first);
    const rest: number[] = [];
    for (let item = all.next(0); item !== null; item = all.next(0)) {
      rest.push(item.seq);
      all.done(item);
    }
    expect(rest).toEqual([4, 6, 7]);
    expect([all.held, all.bytes, all.working]).toEqual([0, 0, 0]);
  });

  it("that failed wait for their time, and only their own lane with them", () => {
    const all = lanes<Held>(BOUNDS);
    all.take(held("a", "t1", 1));
    all.take(held("a", "t2", 2));
    const first = all.next(0)!;
    all.back(first, 500);
    expect(all.next(100)!.seq).toBe(2);
    expect(all.next(499)).toBeNull();
    expect(all.next(500)).toBe(first);
  });

  it("of a site that tries the hub's patience have no turn for a while, and those of other sites have theirs", () => {
    const all = lanes<Held>(BOUNDS);
    all.take(held("bad", "t1", 1));
    all.take(held("bad", "t2", 2));
    all.take(held("good", "t1", 3));
    all.done(all.next(0)!);
    all.rest("bad", 20);
    expect(names([all.next(10), all.next(10), all.next(20)])).toEqual(["good.t1/3", null, "bad.t2/2"]);
  });

  it("of one site are worked on a few at a time, and large ones alone", () => {
    const all = lanes<Held>(BOUNDS);
    for (const device of ["t1", "t2", "t3"]) all.take(held("a", device, 1));
    expect(names([all.next(0), all.next(0), all.next(0)])).toEqual(["a.t1/1", "a.t2/1", null]);
    const large = lanes<Held>(BOUNDS);
    large.take(held("a", "t1", 1, 200));
    large.take(held("a", "t2", 2, 200));
    large.take(held("b", "t1", 3, 10));
    expect(names([large.next(0), large.next(0), large.next(0)])).toEqual(["a.t1/1", "b.t1/3", null]);
  });
});

describe("requests", () => {
  it("are served in turns: one of a quiet site after at most one of a loud one", async () => {
    const served: string[] = [];
    const turn = turns({ max: 1, maxEach: 1, maxWaitingEach: 100 });
    const ask = (key: string): Promise<void> =>
      turn.run(key, async () => {
        served.push(key);
        await new Promise((resolve) => setImmediate(resolve));
      });
    await Promise.all([...Array.from({ length: 50 }, () => ask("loud")), ask("quiet")]);
    expect(served.indexOf("quiet")).toBeLessThanOrEqual(2);
    expect(served).toHaveLength(51);
  });

  it("beyond what one site may have waiting are told that the hub is busy; one that fails ends nobody's turn", async () => {
    const turn = turns({ max: 1, maxEach: 1, maxWaitingEach: 2 });
    const gate = Promise.withResolvers<void>();
    const first = turn.run("a", () => gate.promise);
    const failing = turn.run("a", async () => {
      throw new Error("no");
    });
    failing.catch(() => {});
    const third = turn.run("a", async () => "third");
    await expect(turn.run("a", async () => "fourth")).rejects.toMatchObject({ code: "backend-failed" });
    const other = turn.run("b", async () => "other");
    gate.resolve();
    await first;
    expect(await other).toBe("other");
    await expect(failing).rejects.toThrow("no");
    expect(await third).toBe("third");
  });

  it("that take long share the processor by site, whatever their number", async () => {
    const breathe = breaths();
    const slices: string[] = [];
    const work = async (key: string, count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        await breathe(key);
        slices.push(key);
      }
    };
    await Promise.all([...Array.from({ length: 10 }, () => work("bad", 20)), work("good", 20)]);
    // Twenty slices of the good site, each after at most one slice of a bad site.
    expect(slices.lastIndexOf("good")).toBeLessThanOrEqual(41);
  });
});

it("what repeats is reported once, and later with how often it was repeated", () => {
  const said: Record<string, unknown>[] = [];
  let nowMs = 0;
  const say = sparing((event) => said.push(event), { everyMs: 100, maxKinds: 2, now: () => nowMs });
  for (let i = 0; i < 10; i++) say("a", { event: "refused" });
  nowMs = 150;
  say("a", { event: "refused" });
  say("b", { event: "other" });
  expect(said).toEqual([{ event: "refused" }, { event: "refused", notSaid: 9 }, { event: "other" }]);
});

it("a process that ends gives back all that it holds, several batches of one device too", () => {
  const all = lanes<Held>(BOUNDS);
  for (const seq of [1, 2, 3]) all.take({ site: "relief.juba", lane: "relief.juba.t1", seq, bytes: 10 });
  all.take({ site: "relief.wau", lane: "relief.wau.t1", seq: 4, bytes: 10 });
  expect(all.empty().map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
  expect([all.held, all.bytes]).toEqual([0, 0]);
});

describe("batches whose sender has shown nothing but a name", () => {
  it("are bounded for one name, and for all names, at one address; other addresses have their turn as if there were no such batches", async () => {
    const slots = unproven();
    const gate = Promise.withResolvers<void>();
    const begun: string[] = [];
    const send = (device: string, address: string): Promise<string> =>
      slots
        .run(device, address, async (key) => {
          begun.push(key);
          await gate.promise;
          return "done";
        })
        .catch((error: { code: string }) => error.code);
    const count = (answers: readonly string[], what: string): number => answers.filter((answer) => answer === what).length;
    const inOneName = Array.from({ length: 15 }, () => send("t1", "10.0.0.1"));
    const inMany = Array.from({ length: 200 }, (_, i) => send(`t${i % 50}`, "10.0.0.2"));
    const own = send("t1", "10.0.0.3");
    const sameSite = send("t2", "10.0.0.3");
    await new Promise((resolve) => setImmediate(resolve));
    // Two for the one name, four for the address of many names: the rest of the eight is for others.
    expect(begun.filter((key) => key.endsWith("10.0.0.3")).toSorted()).toEqual(["t1 at 10.0.0.3", "t2 at 10.0.0.3"]);
    expect(begun).toHaveLength(8);
    gate.resolve();
    expect(await Promise.all([own, sameSite])).toEqual(["done", "done"]);
    const one = await Promise.all(inOneName);
    expect([count(one, "done"), count(one, "backend-failed")]).toEqual([10, 5]);
    const many = await Promise.all(inMany);
    expect([count(many, "done"), count(many, "backend-failed")]).toEqual([128, 72]);
    // No slot is left taken.
    expect(await Promise.all(Array.from({ length: 10 }, () => send("t1", "10.0.0.1")))).toEqual(Array(10).fill("done"));
  });

  it("come from the same address, whichever of its own addresses a machine sends from", () => {
    expect(networkOf("::ffff:10.0.0.1")).toBe(networkOf("10.0.0.1"));
    expect(networkOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(networkOf("2001:db8:1:2::9")).toBe("2001:db8:1:2::/64");
    expect(networkOf("2001:db8::9")).toBe("2001:db8:0:0::/64");
    expect(networkOf("1::3:4:5:6:7:8")).toBe("1:0:3:4::/64");
    expect(networkOf("::1")).toBe("0:0:0:0::/64");
    expect(networkOf("2001:db8:1:3::9")).not.toBe(networkOf("2001:db8:1:2::9"));
  });
});
