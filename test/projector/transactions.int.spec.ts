import { afterAll, beforeAll, expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import type { Log } from "../../services/log/index.ts";
import { takeForks } from "../../services/projector/forks.ts";
import { startProjector } from "../../services/projector/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";
import { change, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const one = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown> | undefined> =>
  (await hub.db.query(sql, values)).rows[0];

it("cases of forks are opened inside the transaction of a setback, and evidence that cannot be read stops nobody", async () => {
  await hub.projector.close();
  const note = (data: JsonObject): Promise<unknown> =>
    hub.log.journal.append("forks", "any", { type: "fork", data, by: { actor: "hub" } });
  const evidence = { accepted: {}, refused: { hash: "b\0", at: 1 } };
  await note({ origin: "relief.juba.t1.aaaaaaaaaaaa", seq: 3, ...evidence });
  // No hub would note any of these as a fork, but a reader that fails on one would fail for ever.
  await note({ origin: "relief.juba.t1.aaaaaaaaaaaa", seq: 3, accepted: {}, refused: null });
  await note({ origin: "relief.juba.t1.aaaaaaaaaaaa", seq: "three", ...evidence });
  await note({ origin: "nowhere", seq: 1, ...evidence });
  await note({ origin: "relief.ju\0ba.t1.aaaaaaaaaaaa", seq: 4, ...evidence });
  const db = await connectViews(hub.backends.postgres.url, "test");
  try {
    await db.query("BEGIN");
    await db.query("INSERT INTO tributary.told (through) VALUES (7)");
    await takeForks(db, hub.log, true);
    expect(
      (await db.query("SELECT seq FROM (SELECT about ->> 'seq' AS seq FROM tributary.fork_case) f ORDER BY 1")).rows,
    ).toEqual([{ seq: "3" }, { seq: "4" }]);
    await db.query("ROLLBACK");
  } finally {
    await db.end();
  }
  // The rollback undoes all of the setback: nothing in between has ended its transaction.
  expect(await one("SELECT 1 FROM tributary.told")).toBeUndefined();
  expect(await one("SELECT 1 FROM tributary.fork_case")).toBeUndefined();
  hub.projector = await hub.startProjector();
  await eventually("the cases", async () => (await one("SELECT count(*)::int AS n FROM tributary.fork_case"))?.n === 2);
});

it("a parked entity's history is read before the transaction that folds it again, which would not outlive a long read", async () => {
  const writer = oldWriter(hub.log, "long");
  await writer.append(person("LONG-1"), ...Array.from({ length: 20 }, (_, i) => change("LONG-1", { phone: `+${i}` })));
  await writer.append(change("LONG-1", { given_name: "\0" }));
  await hub.projected();
  await eventually(
    "the fold",
    async () => (await one("SELECT 1 FROM tributary.parked WHERE entity_id = 'LONG-1'")) !== undefined,
  );
  await hub.projector.close();
  const states: { readonly begun: string }[] = [];
  // The log; each time that an event is read by its name, it also looks whether a projector's transaction is open and waits.
  const log: Log = Object.create(hub.log, {
    readOrigin: {
      async *value(...args: Parameters<Log["readOrigin"]>) {
        if (args[0] === writer.origin && args[1]?.maxCount === 1)
          states.push(
            ...(
              await hub.db.query(
                "SELECT xact_start::text AS begun FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tributary-projector writes' AND state LIKE 'idle in transaction%'",
              )
            ).rows,
          );
        yield* hub.log.readOrigin(...args);
      },
    },
  });
  let reads = 0;
  const counting: Log = Object.create(log, {
    readOrigin: {
      value: (...args: Parameters<Log["readOrigin"]>) => {
        if (args[0] === writer.origin && args[1]?.maxCount === 1) reads++;
        return log.readOrigin(...args);
      },
    },
  });
  const projector = await startProjector({
    postgresUrl: hub.backends.postgres.url,
    log: counting,
    gate: hub.gate,
    projections: hub.projections,
  });
  try {
    states.length = 0;
    reads = 0;
    await writer.append(change("LONG-1", { given_name: "Ayen" }));
    await eventually(
      "the mending",
      async () => (await one("SELECT 1 FROM tributary.parked WHERE entity_id = 'LONG-1'")) === undefined,
    );
    expect(reads).toBeGreaterThanOrEqual(22);
    // At one of the reads the transaction of another page may be seen, but never the same one at many.
    const seen = states.map(({ begun }) => states.filter((other) => other.begun === begun).length);
    expect(Math.max(0, ...seen)).toBeLessThan(reads / 2);
  } finally {
    await projector.close();
    hub.projector = await hub.startProjector();
  }
});
