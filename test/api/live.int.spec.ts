import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EVERYBODY } from "../../services/core/index.ts";
import { shardOf } from "../../services/views/index.ts";
import { update } from "../support/hub.ts";
import {
  copyOf,
  goneIn,
  HEALTH,
  idOf,
  type LiveHub,
  ORGS,
  type Org,
  openLiveHub,
  PEOPLE,
  RELIEF,
  rowsIn,
} from "../support/live.ts";
import { chooser, SEED } from "../support/random.ts";
import { eventually, sleep } from "../support/temp.ts";

const { int, chance } = chooser(SEED);
const ROUNDS = 15;

let on: LiveHub;
beforeAll(async () => {
  on = await openLiveHub([]);
});
afterAll(() => on?.close());

/** No look comes by the clock: whoever is told something was told that something changed, or has listened again. */
const limits = { restMs: 3_600_000 };
const endConnections = (): Promise<unknown> =>
  on.hub.db.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tributary-live %'",
  );

let writes = 0;
/** Changes of random people, each to what was nowhere before. */
const changes = (org: Org, count: number) =>
  Array.from({ length: count }, () => update(idOf(org, int(0, PEOPLE - 1)), { village: `v${++writes}` }));

describe(`whoever follows a view that two projectors fold (seed ${SEED})`, () => {
  it("misses nothing and is told nothing twice, however often links and processes go, and sees nobody else's rows (I45)", async () => {
    const { hub } = on;
    let live = on.open({ limits });
    const view = "beneficiaries";
    const seen = [
      { viewer: RELIEF, view },
      { viewer: HEALTH, view },
      { viewer: HEALTH, view, where: [{ column: "village", operator: "~" as const, value: "7" }] },
      { viewer: EVERYBODY, view },
    ];
    const copies = seen.map((each) => ({ ...each, copy: copyOf(() => live, each) }));
    for (const { copy } of copies) await copy.connect();
    let isWriting = true;
    const reconnecting = copies.map(async ({ copy }) => {
      while (isWriting) {
        await sleep(int(0, 60));
        await copy.disconnect();
        await sleep(int(0, 60));
        await copy.connect();
      }
    });
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await Promise.all(ORGS.map((org) => send(org)));
        if (round === 5) {
          const before = live;
          live = on.open({ limits });
          await before.close();
        }
        if (round === 10) hub.projector = await hub.projector.close().then(() => hub.startProjector());
        if (chance(0.4)) await endConnections();
      }
    } finally {
      isWriting = false;
      await Promise.all(reconnecting);
    }
    await hub.projected();
    for (const { viewer, copy } of copies) {
      await copy.abreast();
      expect(copy.twice).toEqual([]);
      expect(copy.told.filter(({ kind }) => kind === "reset")).toEqual([]);
      const ids = [...rowsIn(copy.told).map(({ id }) => id), ...goneIn(copy.told)];
      expect(ids.length).toBeGreaterThan(0);
      const own = ORGS.filter((org) => viewer.orgs?.includes(org) ?? true).flatMap((org) =>
        Array.from({ length: PEOPLE }, (_, n) => idOf(org, n)),
      );
      expect(ids.filter((id) => !own.includes(id))).toEqual([]);
    }
    // Some went out of what the condition asks for.
    expect(goneIn(copies[2]?.copy.told ?? []).length).toBeGreaterThan(0);
    for (const { copy } of copies) await copy.disconnect();
  });

  it("is told at once, and once, what one projector has folded while the other is held up", async () => {
    const live = on.open({ limits });
    const copy = copyOf(() => live, { viewer: RELIEF, view: "beneficiaries" });
    await copy.connect();
    await eventually("the beginning", async () => copy.told.length > 0);
    const held = await eventually("two projectors", async () => {
      const { rows } = await on.hub.db.query("SELECT shard, holder FROM tributary.shard WHERE holder IS NOT NULL ORDER BY shard");
      const holders = new Set(rows.map(({ holder }) => holder));
      return holders.size === 2 && rows.filter(({ holder }) => holder === rows[0]?.holder).map(({ shard }) => Number(shard));
    });
    const ids = Array.from({ length: PEOPLE }, (_, n) => idOf("relief", n));
    const isHeld = (id: string): boolean => held.includes(shardOf({ type: "beneficiary", id }));
    const [late, early] = [ids.filter(isHeld), ids.filter((id) => !isHeld(id))];
    const toldOf = (some: readonly string[]) => rowsIn(copy.told).filter(({ id }) => some.includes(id));
    await on.hub.db.query("BEGIN");
    await on.hub.db.query("SELECT FROM tributary.shard WHERE shard = ANY($1) ORDER BY shard FOR UPDATE", [held]);
    try {
      for (const [i, id] of early.slice(0, 4).entries()) {
        await on.send(
          "relief",
          [late[i] ?? id, id].map((one) => update(one, { village: `v${++writes}` })),
        );
        await eventually("what is folded", async () => toldOf([id]).length > 0);
      }
      expect(toldOf(late)).toEqual([]);
      // Whoever connects again meanwhile is told nothing that was told.
      await copy.disconnect();
      await copy.connect();
      await eventually("the beginning", async () => copy.told.at(-1)?.kind === "standing");
    } finally {
      await on.hub.db.query("ROLLBACK");
    }
    await on.hub.projected();
    await copy.abreast();
    expect(copy.twice).toEqual([]);
    expect(toldOf(early).map(({ id }) => id)).toEqual(early.slice(0, 4));
    expect(toldOf(late).length).toBeGreaterThan(0);
    await copy.disconnect();
  });

  it("is told what was folded while PostgreSQL had ended its connections, though nothing else comes", async () => {
    const live = on.open({ limits });
    const copy = copyOf(() => live, { viewer: RELIEF, view: "beneficiaries" });
    await copy.connect();
    await eventually("the beginning", async () => copy.told.length > 0);
    let isAway = true;
    const ending = (async () => {
      while (isAway) await endConnections();
    })();
    await send("relief");
    await on.hub.projected();
    isAway = false;
    await ending;
    await copy.abreast();
    expect(rowsIn(copy.told).length).toBeGreaterThan(0);
    expect(on.hub.said.some(({ event }) => event === "live-interrupted")).toBe(true);
    await copy.disconnect();
  });
});

const send = (org: Org): Promise<void> => on.send(org, changes(org, int(1, 40)));
