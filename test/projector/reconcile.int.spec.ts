import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rebuild, reconcile } from "../../services/projector/index.ts";
import { alone, connectViews, type Reconciled } from "../../services/views/index.ts";
import { dayOf, expectBalanced, random } from "../support/books.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";

const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
/** A differing row is found in three steps of at most 16 checksums each, below the first. */
const MOST_COMPARISONS = 1 + 3 * 16;

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
  const next = random(SEED);
  for (const site of ["east", "west"]) {
    const field = hub.field(site);
    for (let page = 0; page < 2; page++) {
      await field.appendMany(dayOf(next, 150));
      await field.sync({ url: hub.backends.nats.url, token: await hub.token(site) });
      await hub.projected();
    }
  }
});
afterAll(() => hub?.close());

const balance = async (repair: boolean): Promise<Map<string, Reconciled>> => {
  const db = await connectViews(hub.backends.postgres.url, "tributary-test-reconcile");
  try {
    const names = hub.projections.map(({ name }) => name);
    const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    const results = await alone(db, true, () => reconcile(deps, { names, repair }));
    return new Map(results.map((result) => [result.view, result]));
  } finally {
    await db.end();
  }
};
const ids = async (sql: string): Promise<string[]> => (await hub.db.query<{ id: string }>(sql)).rows.map(({ id }) => id);

describe(`the books (seed ${SEED})`, () => {
  it("balance with one comparison for each view when nothing was changed, however the log was cut into pages", async () => {
    const results = await balance(false);
    expect([...results.values()].map(({ view, comparisons, differing }) => ({ view, comparisons, differing }))).toEqual(
      [...results.keys()].map((view) => ({ view, comparisons: 1, differing: 0 })),
    );
    expect(results.get("beneficiaries")!.rows).toBeGreaterThan(20);
    expect(results.get("stock_ledger")!.rows).toBeGreaterThan(1);
  });

  it("tell apart a changed row, a missing row, an extra row and a wrong total, name them, and put only those right", async () => {
    const [changed] = await ids(
      "UPDATE views.beneficiaries SET household_size = 77 WHERE id = (SELECT min(id) FROM views.beneficiaries) RETURNING id",
    );
    const [missing] = await ids(
      "DELETE FROM views.distributions WHERE id = (SELECT max(id) FROM views.distributions WHERE NOT deleted) RETURNING id",
    );
    await hub.db.query(
      "INSERT INTO views.assessments (id, deleted, conflicts, first_position, last_position, state) VALUES ('GHOST', false, 0, 1, 1, '{}')",
    );
    const [total] = await ids(
      "UPDATE views.distribution_summary SET quantity = quantity + 0.5 WHERE id = (SELECT min(id) FROM views.distribution_summary) RETURNING id",
    );
    const [key] = await ids(
      "UPDATE views.stock_ledger SET site = 'elsewhere' WHERE id = (SELECT min(id) FROM views.stock_ledger) RETURNING id",
    );
    const wrong = {
      beneficiaries: changed,
      distributions: missing,
      assessments: "GHOST",
      distribution_summary: total,
      stock_ledger: key,
    };

    const found = await balance(false);
    for (const [view, id] of Object.entries(wrong)) {
      expect(found.get(view)).toMatchObject({ named: [id], differing: 1, repaired: false });
      expect(found.get(view)!.comparisons).toBeGreaterThan(1);
      expect(found.get(view)!.comparisons).toBeLessThanOrEqual(MOST_COMPARISONS);
    }
    expect(found.get("sites")).toMatchObject({ comparisons: 1, differing: 0 });
    const noted = await hub.db.query(
      "SELECT count(*)::int AS n FROM tributary.reconciliation WHERE differing::text <> '[]' AND NOT repaired",
    );
    expect(noted.rows).toEqual([{ n: 5 }]);

    const repaired = await balance(true);
    for (const view of Object.keys(wrong)) expect(repaired.get(view)).toMatchObject({ differing: 1, repaired: true });
    for (const { comparisons } of (await balance(false)).values()) expect(comparisons).toBe(1);
    await expectBalanced(hub);
  });

  it("name a row whose inner state was changed, into which later events would be folded", async () => {
    const [id] = await ids(
      "UPDATE views.beneficiaries SET state = (SELECT state FROM views.beneficiaries ORDER BY id DESC LIMIT 1) WHERE id = (SELECT min(id) FROM views.beneficiaries) RETURNING id",
    );
    expect((await balance(true)).get("beneficiaries")).toMatchObject({ named: [id], repaired: true });
  });

  it("are still kept by the projector after a repair, which leaves nothing behind", async () => {
    const field = hub.field("north");
    await field.appendMany(dayOf(random(SEED + 1), 150));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("north") });
    await hub.projected();
    await expectBalanced(hub);
    const { rows } = await hub.db.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tributary\\_g%'");
    expect(rows).toEqual([]);
    expect((await hub.db.query("SELECT 1 FROM tributary.generation WHERE state <> 'live'")).rows).toEqual([]);
  });
});

it("claims to invariants that were deleted are found and put back, and a build that somebody has begun is left alone", async () => {
  const before = await ids("SELECT invariant || key || entity_id AS id FROM views.distributions_claims ORDER BY 1");
  expect(before.length).toBeGreaterThan(5);
  await hub.db.query("DELETE FROM views.distributions_claims");
  const db = await connectViews(hub.backends.postgres.url, "tributary-test-rebuild");
  try {
    const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    await alone(db, true, () => rebuild(deps, { names: ["distributions"], compareOnly: true }));
  } finally {
    await db.end();
  }
  expect((await balance(true)).get("distributions")).toMatchObject({ differing: expect.any(Number), repaired: true });
  expect(await ids("SELECT invariant || key || entity_id AS id FROM views.distributions_claims ORDER BY 1")).toEqual(before);
  expect((await balance(false)).get("distributions")).toMatchObject({ differing: 0, comparisons: 1 });
  expect(
    await ids("SELECT view AS id FROM tributary.generation WHERE state = 'building' AND view = 'distributions'"),
  ).toHaveLength(1);
});

it("balancing gives way to a projector that waits to bring views in line, and leaves nothing behind", async () => {
  const [db, projector] = [
    await connectViews(hub.backends.postgres.url, "tributary-test-reconcile"),
    await connectViews(hub.backends.postgres.url, "tributary-test-waits"),
  ];
  try {
    const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    let waited: Promise<void> | null = null;
    const balancing = alone(db, true, () =>
      reconcile(deps, {
        names: hub.projections.map(({ name }) => name),
        repair: false,
        // It would take many seconds.
        maxEventsPerSecond: 40,
        onProgress() {
          waited ??= alone(projector, true, async () => {});
        },
      }),
    );
    await expect(balancing).rejects.toMatchObject({ code: "already-running", hint: expect.stringContaining("again") });
    await waited;
    const { rows } = await hub.db.query("SELECT 1 FROM tributary.generation WHERE state = 'reconciling'");
    expect(rows).toEqual([]);
  } finally {
    await Promise.all([db.end(), projector.end()]);
  }
});
