import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { rowAsOf, verify } from "../../services/audit/index.ts";
import { viewParts } from "../../services/cli/health.ts";
import type { Appendable, OriginId } from "../../services/core/index.ts";
import type { Field } from "../../services/field/index.ts";
import { type Backend, portOf } from "../../services/local/index.ts";
import { beginIncarnation, currentIncarnation, incarnations } from "../../services/log/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { projectorHealth, rebuild, reconcile } from "../../services/projector/index.ts";
import { firstDifferenceFrom } from "../../services/projector/setback.ts";
import { alone, commonPosition, connectViews, decisionsSuperseded, incarnationOf } from "../../services/views/index.ts";
import { expectBalanced } from "../support/books.ts";
import { number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { oldWriter, person } from "../support/oldlog.ts";
import { startStore } from "../support/servers.ts";
import { eventually, sleep } from "../support/temp.ts";

let hub: TestHub;
let store: Backend;
let port: number;
let fields: Field[];

beforeEach(async () => {
  hub = await openTestHub();
  store = hub.backends.eventstore;
  port = portOf(store.url);
  fields = ["juba", "nairobi"].map((site) => hub.field(site));
});
afterEach(async () => {
  await store.close();
  await hub.close();
});

const folder = (): string => join(hub.dir, "eventstore");
const kept = (): string => join(hub.dir, "kept");
/** Saves the event store's files, like a backup that is taken while the store is stopped. */
const backUp = async (): Promise<void> => {
  await store.close();
  mkdirSync(kept());
  cpSync(folder(), kept(), { recursive: true });
  store = await startStore(hub.dir, port);
};
/** Replaces what the event store has now with the backup, and starts it again. */
const setBack = async (): Promise<void> => {
  await store.close();
  for (const name of readdirSync(folder())) rmSync(join(folder(), name), { recursive: true });
  cpSync(kept(), folder(), { recursive: true });
  store = await startStore(hub.dir, port);
  await found();
};
/** Waits until the test's own connection to the event store has noticed that it is there again. */
const found = (): Promise<true> => eventually("the event store", async () => hub.log.end().then(() => true as const));
const send = async (...some: readonly Field[]): Promise<void> => {
  // The event store has just been started again: the door may need a moment to find it.
  for (const field of some)
    await eventually("the sync", async () =>
      field.sync({ url: hub.backends.nats.url, token: await hub.token(field.status().site) }),
    );
};
const one = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown> | undefined> =>
  (await hub.db.query(sql, values)).rows[0];
const said = (event: string): Record<string, unknown>[] => hub.said.filter((each) => each.event === event);
const counts = async (): Promise<Record<string, unknown>> =>
  Object.fromEntries(
    (await hub.db.query<{ site: string; events: string }>("SELECT site, events FROM tributary.origin ORDER BY site")).rows.map(
      ({ site, events }) => [site, Number(events)],
    ),
  );
/** Ten people of each site, a backup, then five more, a change and a conflict, all of it folded. */
const write = async (): Promise<void> => {
  const [juba, nairobi] = fields as [Field, Field];
  await juba.appendMany(Array.from({ length: 10 }, (_, i) => registration(number(i))));
  await nairobi.appendMany(Array.from({ length: 10 }, (_, i) => registration(number(100 + i))));
  await send(...fields);
  await hub.projected();
  await backUp();
  await juba.appendMany([
    ...Array.from({ length: 5 }, (_, i) => registration(number(10 + i))),
    update(number(1), { phone: "+254700000001" }),
    registration(number(500), { phone: "+254700000011" }),
  ]);
  await nairobi.appendMany([registration(number(110)), registration(number(500), { phone: "+254700000022" })]);
  await send(...fields);
  await hub.projected();
  expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries")).toEqual({ n: 27 });
};
/** Sends again what the log has lost of each origin, the later site's first. */
const resend = async (): Promise<void> => {
  for (const [origin, events] of [...saved].reverse()) {
    const missing = events.slice(((await hub.log.head(origin))?.through ?? -1) + 1);
    if (missing.length > 0) expect(await hub.log.append(missing)).toMatchObject({ kind: "appended" });
  }
};
/** Every event that the log had, by origin: what devices hold. */
const saved = new Map<OriginId, Appendable[]>();
const save = async (): Promise<void> => {
  saved.clear();
  for await (const { head, content, clock } of hub.log.readAll())
    saved.set(head.origin, [...(saved.get(head.origin) ?? []), { head, content, clock }]);
};
const builder = async <T>(work: (deps: Parameters<typeof rebuild>[0]) => Promise<T>): Promise<T> => {
  const [db, reader] = [
    await connectViews(hub.backends.postgres.url, "test"),
    await connectViews(hub.backends.postgres.url, "test"),
  ];
  try {
    return await alone(db, true, () => work({ db, reader, log: hub.log, gate: hub.gate, views: hub.projections }));
  } finally {
    await Promise.all([db.end(), reader.end()]);
  }
};
const names = (): string[] => hub.projections.map(({ name }) => name);
/** Expects that all commands that look at everything work, and that the views are what the log gives. */
const expectWhole = async (): Promise<void> => {
  await hub.projected();
  await expectBalanced(hub);
  expect((await projectorHealth(hub.db, hub.log, Date.now())).lag.seconds).toBe(0);
  for (const { differing } of await builder((deps) => reconcile(deps, { names: names(), repair: false })))
    expect(differing).toBe(0);
  expect(await builder((deps) => rebuild(deps, { names: ["beneficiaries"] }))).toMatchObject({ swapped: true });
  expect(said("projector-interrupted").filter(({ message }) => String(message).includes("audit_pkey"))).toEqual([]);
};
const expectSetBack = async (): Promise<void> => {
  await eventually("the fold from the log as it is now", async () => said("log-folded-anew").length > 0);
  expect(said("log-behind-audit")).toHaveLength(1);
  expect(await one("SELECT count(*)::int AS n, count(DISTINCT incarnation)::int AS lives FROM tributary.audit_beyond")).toEqual({
    n: 9,
    lives: 1,
  });
};

describe("a log that was set back to a backup", () => {
  it("keeps what was known of rows and decisions before the last common event, and forgets what was known beyond it", async () => {
    await write();
    const ends = await one(
      "SELECT max(position) AS common FROM tributary.audit WHERE entity_id IN ($1, $2)",
      number(9),
      number(109),
    );
    const { common } = ends as { common: string };
    const { rows: lasts } = await hub.db.query<{ last: string }>("SELECT max(position) AS last FROM tributary.audit");
    const last = lasts[0]?.last ?? "";
    // In the form that folding an entity again leaves.
    const superseded = (name: string, knownFrom: string | null, at: string) =>
      hub.db.query(
        `INSERT INTO views.beneficiaries_history (id, position, recorded_at, deleted, values, known_from, superseded_at)
         SELECT id, position, recorded_at, false, json_build_object('given_name', $2::text), $3::bigint, $4::bigint FROM views.beneficiaries_history
         WHERE id = $1 AND superseded_at = 9223372036854775807`,
        [number(0), name, knownFrom, at],
      );
    await superseded("Beyond", last, `${last}1`);
    await superseded("Earlier", null, common);
    await hub.db.query(
      `INSERT INTO tributary.decision_row (view, generation, entity_id, register, position, rule, rule_version, reason, winner, losers, superseded_at)
       SELECT name, generation, $1, 'phone', 1, 'lww', 1, 'later', '{}', '[]', $2::bigint FROM tributary.view WHERE name = 'beneficiaries'`,
      [number(0), common],
    );
    await setBack();
    await expectSetBack();
    const { rows } = await hub.db.query(
      "SELECT values ->> 'given_name' AS name, superseded_at FROM views.beneficiaries_history WHERE id = $1 ORDER BY superseded_at",
      [number(0)],
    );
    expect(rows).toEqual([
      { name: "Earlier", superseded_at: common },
      { name: expect.not.stringMatching(/Earlier|Beyond/), superseded_at: "9223372036854775807" },
    ]);
    expect(await decisionsSuperseded(hub.db, { type: "beneficiary", id: number(0) }, await commonPosition(hub.db))).toMatchObject(
      [{ register: "phone", supersededAt: common }],
    );
  });

  it.each(["at work", "stopped meanwhile"])(
    "is folded again by a projector that is %s: readers see what the log has, and what was beyond is kept (I22)",
    async (how) => {
      await write();
      await save();
      const before = await currentIncarnation(hub.log.journal);
      expect(await incarnationOf(hub.db)).toBe(before.id);
      if (how !== "at work") await hub.projector.close();
      await setBack();
      if (how !== "at work") hub.projector = await hub.startProjector();
      await expectSetBack();
      const life = await currentIncarnation(hub.log.journal);
      expect(life).toMatchObject({ how: "detected", isConfirmed: false, seenEnd: expect.any(String) });
      expect(await incarnationOf(hub.db)).toBe(life.id);
      expect(await one("SELECT incarnation FROM tributary.audit_beyond LIMIT 1")).toEqual({ incarnation: before.id });
      expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries")).toEqual({ n: 20 });
      expect(await one("SELECT phone FROM views.beneficiaries WHERE id = $1", number(1))).toEqual({ phone: null });
      expect(await counts()).toEqual({ juba: 10, nairobi: 10 });
      await expectWhole();
      // The devices send again, in another order: the rows are what they were, the positions are not.
      await resend();
      await expectWhole();
      expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries")).toEqual({ n: 27 });
      expect(await counts()).toEqual({ juba: 17, nairobi: 12 });
      expect(await rowAsOf({ ...hub, db: hub.db }, `beneficiary/${number(1)}`, null)).toMatchObject({
        incarnation: life.id,
        values: { phone: "+254700000001" },
      });
      const { parked, problems } = await verify({
        log: hub.log,
        views: { db: hub.db, gate: hub.gate, projections: hub.projections },
      });
      expect({ parked, problems }).toEqual({ parked: [], problems: [] });
    },
  );

  it("is noticed although the devices have sent their events again before anybody looked", async () => {
    await write();
    await save();
    await hub.projector.close();
    await setBack();
    await resend();
    hub.projector = await hub.startProjector();
    await expectSetBack();
    await expectWhole();
    expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries")).toEqual({ n: 27 });
    expect((await incarnations(hub.log.journal)).map(({ how }) => how)).toEqual(["first", "detected"]);
  });

  it("has the incarnation that was declared for it, if one was declared", async () => {
    await write();
    await save();
    await hub.projector.close();
    await setBack();
    const present = await currentIncarnation(hub.log.journal);
    const declared = await beginIncarnation(hub.log.journal, present.id, { how: "restored", by: "operator" });
    await resend();
    hub.projector = await hub.startProjector();
    await expectSetBack();
    expect(await incarnationOf(hub.db)).toBe(declared.id);
    expect(await incarnations(hub.log.journal)).toHaveLength(2);
    await expectWhole();
  });

  it("is folded again by one of two projectors, and both go on", async () => {
    await write();
    await save();
    const second = await hub.startProjector();
    await eventually("both have shards", async () => second.shards().length > 0 && hub.projector.shards().length > 0);
    await setBack();
    await expectSetBack();
    await resend();
    await expectWhole();
    expect(said("log-folded-anew")).toHaveLength(1);
    await eventually("both have shards", async () => second.shards().length + hub.projector.shards().length === 16);
  });

  it("tells nobody twice, and is followed from where it ends when only facts of the hub are lost", async () => {
    const told = defineProjection({
      name: "told",
      entity: "beneficiary",
      columns: { phone: text() },
      events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
      notify: { phone: ["desk"] },
    });
    await hub.projector.close();
    Object.assign(hub, { projections: [...hub.projections, told] });
    hub.projector = await hub.startProjector(hub.projections);
    await write();
    await save();
    const notices = () => one("SELECT count(*)::int AS n FROM tributary.notification");
    expect(await notices()).toEqual({ n: 1 });
    await hub.projector.close();
    await setBack();
    await resend();
    hub.projector = await hub.startProjector(hub.projections);
    await expectSetBack();
    await expectWhole();
    expect(await notices()).toEqual({ n: 1 });
    // Facts that the projector had passed over are lost, and new events have their positions.
    await store.close();
    rmSync(kept(), { recursive: true });
    cpSync(folder(), kept(), { recursive: true });
    store = await startStore(hub.dir, port);
    await found();
    for (let i = 0; i < 100; i++)
      await hub.log.journal.append("notes", "any", { type: "noted", data: { i }, by: { actor: "test" } });
    await sleep(1_000);
    await setBack();
    await oldWriter(hub.log, "late").append(person("LATE-1"));
    await hub.projected();
    expect(await one("SELECT id FROM views.beneficiaries WHERE id = 'LATE-1'")).toEqual({ id: "LATE-1" });
  });

  it("is folded again although objects that others made read its tables: they are named, in the hub's health too, and the tables that they read are removed with them", async () => {
    await write();
    await save();
    await hub.db.query(
      "CREATE MATERIALIZED VIEW views.by_village AS SELECT village, count(*) FROM views.beneficiaries GROUP BY 1",
    );
    await hub.db.query("CREATE TABLE public.cards (holder text REFERENCES views.beneficiaries (id))");
    await hub.db.query("CREATE VIEW public.phones AS SELECT id, phone FROM views.beneficiaries");
    const { parts, close } = viewParts(hub.backends.postgres.url, hub.log);
    try {
      expect(await parts.builds!()).toEqual({ state: "ok", facts: { clinging: [] } });
      await setBack();
      await expectSetBack();
      await hub.projected();
      await expectBalanced(hub);
      // A plain view reads what is live.
      expect(await one("SELECT count(*)::int AS n FROM public.phones")).toEqual({ n: 20 });
      const reason = [expect.stringContaining("views.by_village (on beneficiaries)"), expect.stringContaining("Drop it")];
      const clung = said("view-clung-to");
      expect(clung).toHaveLength(1);
      for (const text of [...reason, expect.stringContaining("cards (on beneficiaries)")])
        expect(clung[0]!.message).toEqual(text);
      expect(await parts.builds!()).toMatchObject({ state: "warning", reason: reason[0] });
      // Other rebuilds work, also beside a build that was left.
      await resend();
      await hub.projected();
      await expectBalanced(hub);
      expect(await one("SELECT count(*)::int AS n FROM public.phones")).toEqual({ n: 27 });
      expect(await one("SELECT count(*)::int AS n FROM tributary.generation WHERE state = 'left'")).toEqual({ n: 1 });
      await hub.db.query("DROP MATERIALIZED VIEW views.by_village; DROP TABLE public.cards");
      await eventually(
        "the build that was left gone",
        async () => (await one("SELECT 1 FROM tributary.generation WHERE state = 'left'")) === undefined,
      );
      expect(await parts.builds!()).toMatchObject({ state: "ok" });
    } finally {
      await close();
    }
    await expectWhole();
  });

  it("is compared by position without reading all of the audit, page by page, and an incarnation that is declared is taken up while the hub runs", async () => {
    const writer = oldWriter(hub.log, "pages");
    await writer.append(...Array.from({ length: 30 }, (_, i) => person(number(i))));
    await hub.projected();
    // The plan that PostgreSQL would make for a large table.
    await hub.db.query("SET enable_seqscan = off");
    const { rows: plan } = await hub.db.query<Record<string, string>>(
      "EXPLAIN SELECT origin, seq, position, hash FROM tributary.audit WHERE position <= 1000 ORDER BY position DESC LIMIT 1",
    );
    expect(plan.map((row) => row["QUERY PLAN"]).join("\n")).toMatch(/Index Scan Backward using audit_by_position/);
    await hub.db.query("SET enable_seqscan = on");
    const pages: number[] = [];
    const db = Object.create(hub.db, {
      query: {
        value: async (sql: string, values: unknown[]) => {
          const found = await hub.db.query(sql, values);
          pages.push(found.rows.length);
          return found;
        },
      },
    }) as typeof hub.db;
    const first = BigInt(String((await one("SELECT min(position) AS p FROM tributary.audit"))!.p)) as never;
    expect(await firstDifferenceFrom(db, hub.log, first, 7)).toBeNull();
    expect(pages).toEqual([7, 7, 7, 7, 2]);
    const [{ position }] = (
      await hub.db.query<{ position: string }>("SELECT position FROM tributary.audit WHERE seq = 17 AND origin = $1", [
        writer.origin,
      ])
    ).rows as [{ position: string }];
    await hub.db.query("UPDATE tributary.audit SET seq = 1017 WHERE seq = 17 AND origin = $1", [writer.origin]);
    expect(await firstDifferenceFrom(db, hub.log, first, 7)).toBe(BigInt(position));
    await hub.db.query("UPDATE tributary.audit SET seq = 17 WHERE seq = 1017 AND origin = $1", [writer.origin]);

    const before = await currentIncarnation(hub.log.journal);
    const declared = await beginIncarnation(hub.log.journal, before.id, { how: "declared", by: "operator" });
    await eventually("the views of the incarnation that was declared", async () => (await incarnationOf(hub.db)) === declared.id);
    await writer.append(person("AFTER-1"));
    await hub.projected();
    expect(await one("SELECT count(*)::int AS n FROM views.beneficiaries")).toEqual({ n: 31 });
    expect(said("log-behind-audit")).toEqual([]);
  });
});
