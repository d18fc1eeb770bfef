import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatHlc, type OriginId, POLICY_ENTITY } from "../../services/core/index.ts";
import { openPostgresFeed, type Server, serve } from "../../services/exchange/index.ts";
import type { Projection, View } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { makeFeed } from "../../services/projector/feed-maker.ts";
import { sealerOver } from "../../services/projector/sealer.ts";
import { beginFeed, connectViews, type Db, holdShards, inTransaction, lockFeed, shutFeed } from "../../services/views/index.ts";
import { expectFeedWhole, linesOf } from "../support/feed.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";
import { requestOf } from "../support/memory-replica.ts";
import { change, type OldEvent, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

const households = (scopeBy: readonly string[]): Projection =>
  defineProjection({
    name: "households",
    entity: "beneficiary",
    columns: { given_name: text(), phone: text(), district: text(), village: text() },
    scopeBy,
    events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  });

let hub: TestHub;
let own: Db;
let shipped: readonly View[];
let nowMs = Date.UTC(2026, 4, 3);
let writers = 0;
/** A new origin. Its clock goes on from the others'. */
function writer(site = `site${++writers}`) {
  const { origin, append } = oldWriter(hub.log, site);
  const stamped = (event: OldEvent): OldEvent => ({ hlc: formatHlc({ wallMs: ++nowMs, counter: 0 }), ...event });
  return { origin, append: (...events: readonly OldEvent[]) => append(...events.map(stamped)) };
}
const write = async (...events: readonly OldEvent[]): Promise<void> => {
  await writer().append(...events);
  await hub.projected();
};
const declare = async (...views: readonly View[]): Promise<void> => {
  await hub.projector.close();
  Object.assign(hub, { projections: [...shipped, ...views] });
  hub.projector = await hub.startProjector(hub.projections);
  await hub.projected();
};
const count = async (sql: string): Promise<number> => Number((await hub.db.query(sql)).rows[0]?.count);
const sealed = () =>
  eventually("the sealing of all lines", async () => {
    const left = await count(
      "SELECT (SELECT count(*) FROM tributary.feed WHERE seal IS NULL) + (SELECT count(*) FROM tributary.feed_scope WHERE due IS NOT NULL) + (SELECT count(*) FROM tributary.feed_shut) AS count",
    );
    return left === 0;
  });
/** All that making the feed writes. Ordinals only order the lines of a position. */
const madeNow = async (): Promise<unknown> => {
  const of = async (sql: string): Promise<unknown> => (await hub.db.query(sql)).rows;
  return {
    lines: await of(
      `SELECT position, bucket, kind, entity_type, entity_id, origin, seq, row_number() OVER (PARTITION BY entity_type, entity_id ORDER BY position, ordinal) AS n
       FROM tributary.feed ORDER BY entity_type, entity_id, n`,
    ),
    members: await of(
      "SELECT entity_type, entity_id, bucket, since, until FROM tributary.member ORDER BY entity_type, entity_id, since, until",
    ),
    notes: await of("SELECT position, case_id, origin, seq FROM tributary.feed_note ORDER BY position"),
    scopes: await of("SELECT * FROM tributary.feed_scope ORDER BY entity_type"),
  };
};
const TABLES = ["bucket", "feed", "member", "held", "segment", "seal", "feed_note", "feed_scope", "feed_shut"];
const keep = async (): Promise<void> => {
  await hub.db.query("DROP SCHEMA IF EXISTS kept CASCADE");
  await hub.db.query("CREATE SCHEMA kept");
  for (const table of TABLES) await hub.db.query(`CREATE TABLE kept.${table} AS TABLE tributary.${table}`);
};
const putBack = async (): Promise<void> => {
  for (const table of TABLES) {
    await hub.db.query(`DELETE FROM tributary.${table}`);
    await hub.db.query(`INSERT INTO tributary.${table} SELECT * FROM kept.${table}`);
  }
};
const empty = async (): Promise<void> => {
  for (const table of TABLES) await hub.db.query(`DELETE FROM tributary.${table}`);
};
const begin = (): Promise<void> =>
  inTransaction(own, async () => {
    await holdShards(own);
    await beginFeed(own, hub.projections, new Set());
  });

class Killed extends Error {}
/** A connection whose process is killed at its n-th statement. */
function killedAt(n: number): Db {
  let left = n;
  return new Proxy(own, {
    get(db, name) {
      const member: unknown = Reflect.get(db, name);
      if (name !== "query" || typeof member !== "function") return typeof member === "function" ? member.bind(db) : member;
      return (...args: unknown[]) => {
        const isEnd = typeof args[0] === "string" && /^ROLLBACK/.test(args[0]);
        if (!isEnd && left-- <= 0) throw new Killed("killed");
        return Reflect.apply(member, db, args) as unknown;
      };
    },
  });
}
/** Makes the feed in small parts, by processes that are killed, each a little later than the one before it. Returns how many were. */
async function makeKilled(part: number): Promise<number> {
  for (let kills = 0; ; kills++) {
    try {
      await makeFeed({ db: killedAt(3 + (kills % 19)), views: hub.projections }, { part });
      return kills;
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
  }
}

beforeAll(async () => {
  hub = await openTestHub();
  own = await connectViews(hub.backends.postgres.url, "tributary-test-feed");
  shipped = hub.projections.filter(({ name }) => name !== "beneficiaries" && name !== "handouts");
  await declare(households(["district"]));
  const districts = ["Kampala", "Gulu", "Lira"];
  for (let day = 0; day < 3; day++)
    await writer().append(
      ...Array.from({ length: 25 }, (_, i) =>
        person(`H-${String((i * 7 + day) % 40).padStart(2, "0")}`, { district: districts[(i + day) % 3]!, village: `V${i % 4}` }),
      ),
    );
  const site = writer("kitgum");
  const desk = writer("hub");
  await site.append(
    ...Array.from({ length: 5 }, (_, i) => person(`Q-${i}`, { district: "Gulu", village: "V1" }, { quarantined: "invalid" })),
  );
  await hub.projected();
  for await (const { head } of hub.log.readOrigin(site.origin as OriginId))
    if (head.seq < 2)
      await desk.append({
        type: "quarantine.released",
        entity: { type: "quarantine", id: `${site.origin}/${head.seq}` },
        data: {
          ...{ origin: site.origin, seq: head.seq, hash: head.hash, type: "beneficiary.registered" },
          ...{ entity: { type: "beneficiary", id: `Q-${head.seq}` }, schema: { subject: "beneficiary", version: 1 } },
          data: person(`Q-${head.seq}`, { district: "Kampala", village: "V2" }).data,
        },
      });
  await hub.projected();
});
afterAll(async () => {
  await own?.end();
  await hub?.close();
});

describe("a feed that is made in parts", () => {
  it("is what one transaction makes, however small the parts are and whenever the process is killed", async () => {
    await hub.projector.close();
    await empty();
    await begin();
    await makeFeed({ db: own, views: hub.projections }, { part: 1_000_000 });
    const whole = await madeNow();
    for (const part of [1, 3, 17]) {
      await empty();
      await begin();
      expect(await makeKilled(part)).toBeGreaterThan(2);
      expect(await madeNow()).toEqual(whole);
    }
    hub.projector = await hub.startProjector(hub.projections);
    await hub.projected();
    await expectFeedWhole(hub);
    await sealed();
  });

  it("goes on being written meanwhile: what happens to households that are not in it yet is in it when it is made", async () => {
    await hub.projector.close();
    await empty();
    await begin();
    await makeFeed({ db: own, views: hub.projections }, { part: 3, once: true });
    const other = await connectViews(hub.backends.postgres.url, "tributary-test-seals");
    await inTransaction(other, async () => {
      await lockFeed(other);
      hub.projector = await hub.startProjector(hub.projections);
      await write(
        change("H-00", { district: "Lira" }),
        change("H-39", { district: "Lira" }),
        change("H-39", { phone: "+254700000009" }),
        person("A-0", { district: "Gulu" }),
        person("Z-9", { district: "Gulu" }),
        change("Z-9", { district: "Kampala" }),
      );
      expect(await count("SELECT count(*) FROM tributary.feed_scope WHERE due IS NOT NULL")).toBeGreaterThan(0);
      expect(await linesOf(hub.db, "beneficiary", "H-39")).toEqual([]);
      expect((await linesOf(hub.db, "beneficiary", "H-00")).slice(-2)).toEqual([
        expect.stringContaining("exit"),
        "Lira: enter 0",
      ]);
    });
    await other.end();
    await sealed();
    await expectFeedWhole(hub);
    expect(new Set((await linesOf(hub.db, "beneficiary", "Z-9")).map((line) => line.split(":")[0]))).toEqual(
      new Set(["Kampala"]),
    );
  });
});

describe("a scope that is changed at a hub with servers", () => {
  const asker = {
    ...{ holder: { kind: "site", org: "relief", site: "kampala", roles: [] }, device: "relief.kampala.t1" },
    ...{ hub: "0123456789ab", incarnation: "0123456789ab", nowMs: 1 },
  } as unknown as Parameters<Server["answer"]>[1];
  const open = () => {
    const feed = openPostgresFeed({
      postgresUrl: hub.backends.postgres.url,
      views: hub.projections,
      entryAt: hub.log.at,
      nowMs: tick,
    });
    return { feed, server: serve(feed, { views: hub.projections }) };
  };
  // Each look is a new one.
  let ticks = 0;
  const tick = (): number => (ticks += 1_000);
  const answer = ({ server }: { server: Server }) => server.answer(requestOf("relief.kampala.t1", { summary: "none" }), asker);
  const held = async (from: { server: Server }): Promise<unknown[]> =>
    ((await answer(from)).holding?.buckets ?? [])
      .filter(({ entityType }) => entityType === "beneficiary")
      .map(({ values }) => values)
      .sort();

  it("is told to nobody before all lines are made and sealed, and then only by the new columns; in parts it comes to the same", async () => {
    await write({
      type: "policy.set",
      entity: { type: POLICY_ENTITY, id: "all" },
      data: {
        for: { sites: ["relief.kampala"] },
        entities: { beneficiary: { where: {}, direction: "both", priority: 5, statesOnly: false } },
      },
      schema: { subject: "policy", version: 1 },
    });
    await sealed();
    const before = open();
    expect(await held(before)).toEqual([["Gulu"], ["Kampala"], ["Lira"]]);
    const other = await connectViews(hub.backends.postgres.url, "tributary-test-seals");
    let after = before;
    await inTransaction(other, async () => {
      await lockFeed(other);
      await declare(households(["village"]));
      after = open();
      for (const each of [before, after])
        expect(await answer(each)).toMatchObject({ seal: 0, holding: null, ends: null, withdrawn: [], sections: [] });
      await hub.projector.close();
    });
    await other.end();
    await keep();
    await makeFeed({ db: own, views: hub.projections }, { part: 1_000_000 });
    const whole = await madeNow();
    await putBack();
    await makeFeed({ db: own, views: hub.projections }, { part: 3, once: true });
    // A process that cannot make the rest, since it has other views, seals nothing of what is made, and opens nothing.
    expect(await sealerOver(hub.log).seal(own)).toBe(0);
    expect(await count("SELECT count(*) FROM tributary.feed WHERE seal IS NULL")).toBeGreaterThan(0);
    for (const each of [before, after]) expect(await answer(each)).toMatchObject({ seal: 0, holding: null });
    expect(await makeKilled(3)).toBeGreaterThan(2);
    expect(await madeNow()).toEqual(whole);
    for (const each of [before, after]) expect(await answer(each)).toMatchObject({ seal: 0, holding: null });
    hub.projector = await hub.startProjector(hub.projections);
    await sealed();
    await expectFeedWhole(hub);
    expect(await answer(before)).toMatchObject({ seal: 0, holding: null, withdrawn: [] });
    expect(await held(after)).toEqual([[null], ["V0"], ["V1"], ["V2"], ["V3"]]);
    await Promise.all([before.feed.close(), after.feed.close()]);
  });

  it("is told again also where there was nothing to move", async () => {
    await sealed();
    await hub.projector.close();
    await inTransaction(own, () => shutFeed(own));
    expect(await sealerOver(hub.log).seal(own)).toBe(0);
    expect(await count("SELECT count(*) FROM tributary.feed_shut")).toBe(0);
  });

  it("is made by the view that is its home now, where another one began it", async () => {
    await hub.db.query("UPDATE tributary.feed_scope SET due = 'same', view = 'retired' WHERE entity_type = 'beneficiary'");
    await begin();
    await makeFeed({ db: own, views: hub.projections }, { part: 1_000 });
    expect(await count("SELECT count(*) FROM tributary.feed_scope WHERE due IS NOT NULL")).toBe(0);
    hub.projector = await hub.startProjector(hub.projections);
    await expectFeedWhole(hub);
  });
});
