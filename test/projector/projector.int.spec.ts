import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { entityTrail, rowAsOf, verify } from "../../services/audit/index.ts";
import type { OriginId, Position } from "../../services/core/index.ts";
import { defineProjection, map, text } from "../../services/merge/index.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { all, eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const send = async (field: ReturnType<TestHub["field"]>): Promise<void> => {
  await field.sync({ url: hub.backends.nats.url, token: await hub.token(field.status().site) });
  await hub.projected();
};
const check = () => verify({ log: hub.log, views: { db: hub.db, gate, projections: hub.projections } });
const row = async (id: string): Promise<Record<string, unknown>> =>
  (await hub.db.query("SELECT * FROM views.beneficiaries WHERE id = $1", [id])).rows[0];

describe("the views", () => {
  it("show different fields changed by two sites offline side by side, and decide the same field with an explanation", async () => {
    const one = hub.field("one");
    const two = hub.field("two");
    // The hub has met both devices: it knows the keys with which it can check what one of them passes on from the other.
    await send(one);
    await send(two);
    const entity = { type: "beneficiary", id: number(1) };
    await one.append(registration(number(1), { phone: "+254700000000", household_size: 2 }));
    two.noteSeen(entity, one.seen(entity), one.signedHeads(entity));
    await one.append(update(number(1), { phone: "+254711111111" }));
    await two.append(update(number(1), { village: "Katwe", district: "Makindye" }));
    await one.append(update(number(1), { household_size: 3 }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    await two.append(update(number(1), { household_size: 4 }));
    await send(two);
    expect(await row(number(1))).toMatchObject({
      given_name: null,
      household_size: "4",
      waiting_for: { [one.status().origin]: 0 },
      conflicts: 0,
    });
    const before = (await hub.log.end()) as Position;
    await send(one);
    expect(await row(number(1))).toMatchObject({
      phone: "+254711111111",
      village: "Katwe",
      household_size: "4",
      waiting_for: null,
      conflicts: 1,
    });
    const trail = await entityTrail(hub.db, `beneficiary/${number(1)}`);
    expect(trail.events).toHaveLength(5);
    expect(trail.decisions).toMatchObject([
      {
        register: "household_size",
        rule: "lastWriteWins",
        reason: "later-stamp",
        winner: { value: 4 },
        losers: [{ value: 3 }],
        settledPosition: null,
      },
    ]);
    const deps = { db: hub.db, gate, projections: hub.projections };
    expect(await rowAsOf(deps, `beneficiary/${number(1)}`, before)).toMatchObject({
      values: { phone: null, household_size: 4 },
      decisions: [],
    });

    one.noteSeen(entity, two.seen(entity));
    const deciding = await one.append(update(number(1), { household_size: 5 }));
    await send(one);
    expect(await row(number(1))).toMatchObject({ household_size: "5", conflicts: 0 });
    const after = await entityTrail(hub.db, `beneficiary/${number(1)}`);
    expect(after.decisions[0]!.settledPosition).toBe(after.events.find(({ id }) => id === deciding.id)!.position);
  });

  it("keep text that is hard on databases: tabs, backslashes, line ends, quotes, many scripts", async () => {
    const field = hub.field("three");
    const hard = "a\tb\\c\nd\r\"e'f{g}, ŋ ɛ مرحبا ሰላም 🌍 \\N \\.";
    await field.append(registration(number(2), { village: hard }));
    await send(field);
    expect(await row(number(2))).toMatchObject({ village: hard });
    const { rows } = await hub.db.query("SELECT data FROM tributary.audit WHERE entity_id = $1", [number(2)]);
    expect(rows[0].data.village).toBe(hard);
  });

  it("agree with the log, and a row or event that was changed is found", async () => {
    expect((await check()).problems).toEqual([]);
    await hub.db.query("UPDATE views.beneficiaries SET village = 'elsewhere' WHERE id = $1", [number(2)]);
    await hub.db.query("DELETE FROM tributary.audit WHERE entity_id = $1", [number(2)]);
    const three = hub.field("three", "t1");
    expect((await check()).problems).toMatchObject([
      { part: "audit", where: `${three.status().origin}/0`, what: "the audit lacks it" },
      { part: "views", where: `beneficiaries/${number(2)}`, what: "the view's row is not what folding the log gives: village" },
    ]);
    const [entry] = await all(hub.log.readOrigin(three.status().origin as OriginId));
    await hub.db.query(`UPDATE views.beneficiaries SET village = $2 WHERE id = $1`, [
      number(2),
      (entry!.content as unknown as { data: { village: string } }).data.village,
    ]);
  });
});

describe("the projector", () => {
  it("shares the work with a second one, and takes all of it back when that one ends", async () => {
    const second = await hub.startProjector();
    await eventually(
      "each to hold half of the shards",
      async () => second.shards().length === 8 && hub.projector.shards().length === 8,
    );
    await second.close();
    await eventually("the first to hold all", async () => hub.projector.shards().length === 16);
  });

  it("goes on exactly where it was after a restart, and folds the events that came meanwhile", async () => {
    await hub.projector.close();
    const field = hub.field("four");
    await field.appendMany(Array.from({ length: 700 }, (_, i) => registration(number(2_000 + i))));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("four") });
    hub.projector = await hub.startProjector();
    await hub.projected();
    const { rows } = await hub.db.query(
      "SELECT count(*)::int AS n, count(DISTINCT seq)::int AS d FROM tributary.audit WHERE site = 'four'",
    );
    expect(rows).toEqual([{ n: 700, d: 700 }]);
  });

  it("goes on after its database connection was cut", async () => {
    await hub.db.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tributary-projector%'",
    );
    const field = hub.field("five");
    await field.append(registration(number(5_000)));
    await send(field);
    expect(await row(number(5_000))).toBeDefined();
  });

  it("builds a new view from the whole log, and parks an entity when the projection throws on one of its events, saying so", async () => {
    await hub.projector.close();
    const villages = defineProjection({
      name: "villages",
      entity: "beneficiary",
      columns: { village: text() },
      events: {
        "beneficiary.registered": map(({ data }) => ({ village: (data.village ?? null) as string | null })),
        "beneficiary.updated": map(({ data }) => {
          if (data.village === "boom") throw new Error("no such village");
          return {};
        }),
      },
    });
    hub.projector = await hub.startProjector([...hub.projections, villages]);
    const { rows } = await hub.db.query(
      "SELECT (SELECT count(*) FROM views.villages) = (SELECT count(*) FROM views.beneficiaries) AS same",
    );
    expect(rows).toEqual([{ same: true }]);
    const field = hub.field("six");
    await field.appendMany([
      registration(number(6_000)),
      update(number(6_000), { village: "boom" }),
      update(number(6_000), { phone: "+254700000006" }),
    ]);
    await send(field);
    expect(await row(number(6_000))).toMatchObject({ phone: "+254700000006" });
    const errors = await hub.db.query("SELECT projection_error FROM tributary.audit WHERE projection_error IS NOT NULL");
    expect(errors.rows).toEqual([{ projection_error: "villages: no such village" }]);
    const parked = await hub.db.query("SELECT view, entity_id, error FROM tributary.parked");
    expect(parked.rows).toEqual([{ view: "villages", entity_id: number(6_000), error: "no such village" }]);
  });
});
