import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeState } from "../../services/cli/state.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import type { Projector } from "../../services/projector/index.ts";
import { dayOf, expectBalanced, random } from "../support/books.ts";
import { openTestHub, SCHEMAS, stateOf, type TestHub } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";
import { startWorker, type Worker } from "../support/workers.ts";

const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
const next = random(SEED);

let hub: TestHub;
const workers: Worker[] = [];
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  writeState(hub.dir, stateOf(hub.backends));
  // Who moved which shard, with which fence, and where to. The database itself notes it.
  await hub.db.query(`
    CREATE SCHEMA watched;
    CREATE TABLE watched.move (n bigint GENERATED ALWAYS AS IDENTITY, shard integer, fence bigint, pid integer, before bigint, after bigint);
    CREATE FUNCTION watched.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO watched.move (shard, fence, pid, before, after) VALUES (NEW.shard, NEW.fence, pg_backend_pid(), OLD.position, NEW.position);
      RETURN NULL;
    END $$;
    CREATE TRIGGER moved AFTER UPDATE OF position ON tributary.shard FOR EACH ROW EXECUTE FUNCTION watched.note()`);
});
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.kill()));
  await hub?.close();
});

let days = 0;
/** A site writes and sends. */
const write = async (events: number): Promise<void> => {
  const field = hub.field(`site${++days}`);
  await field.appendMany(dayOf(next, events));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token(`site${days}`), batchEvents: 50 });
};
const holders = async (): Promise<number[]> => {
  const { rows } = await hub.db.query<{ held: number }>(
    "SELECT count(*)::int AS held FROM tributary.shard WHERE holder IS NOT NULL GROUP BY holder ORDER BY 1",
  );
  return rows.map(({ held }) => held);
};
const shared = (how: readonly number[]): Promise<unknown> =>
  eventually(`shards held by ${how.join(", ")}`, async () => JSON.stringify(await holders()) === JSON.stringify(how));

describe(`projectors that share the work (seed ${SEED})`, () => {
  it("hold equal parts of the shards, and fold each event once while they come and go", async () => {
    const writing = (async () => {
      for (let i = 0; i < 6; i++) await write(150);
    })();
    const second = await hub.startProjector();
    await shared([8, 8]);
    const third = await hub.startProjector();
    await shared([4, 6, 6]);
    await eventually("each shard to be in one process's hands", async () => {
      const held = [hub.projector, second, third].flatMap((one) => one.shards());
      return held.length === 16 && new Set(held).size === 16;
    });
    await second.close();
    await shared([8, 8]);
    await third.close();
    await shared([16]);
    await writing;
    await hub.projected();
    await expectBalanced(hub);
  });

  it("take over the shards of one that hangs, and that one writes nothing to them when it wakes up", async () => {
    // Declarations are compared by the text of their functions, which the test runner changes. So all projectors of this test are processes of one kind.
    await hub.projector.close();
    const [awake, hanging] = ["awake", "hanging"].map((name) =>
      startWorker(["projector", "--data", hub.dir, "--log", join(hub.dir, `${name}.log`)]),
    ) as [Worker, Worker];
    workers.push(awake, hanging);
    await shared([8, 8]);
    const writing = write(250);
    hanging.child.kill("SIGSTOP");
    // If it hangs in the middle of a transaction, PostgreSQL ends its connection only after a while.
    await eventually("the other to take over", async () => (await holders())[0] === 16);
    await writing;
    await hub.projected();
    await expectBalanced(hub);
    hanging.child.kill("SIGCONT");
    await shared([8, 8]);
    await write(100);
    await hub.projected();
    await expectBalanced(hub);
    await hanging.kill("SIGKILL");
    await shared([16]);
    await awake.kill("SIGTERM");
    hub.projector = await hub.startProjector();
  });

  it("write nothing with a lease that somebody else took over, and then take part again", async () => {
    const writing = write(250);
    for (let i = 0; i < 5; i++) {
      await hub.db.query("UPDATE tributary.shard SET fence = fence + 1, holder = NULL WHERE shard % 5 = $1", [i]);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await writing;
    await hub.projected();
    await shared([16]);
    await expectBalanced(hub);
  });

  it("never write to a shard two at a time, and never go back in the log (I26)", async () => {
    const { rows: shared } = await hub.db.query(
      "SELECT shard, fence FROM watched.move GROUP BY shard, fence HAVING count(DISTINCT pid) > 1",
    );
    expect(shared).toEqual([]);
    const { rows: disordered } = await hub.db.query(
      `SELECT * FROM (SELECT *, lag(fence) OVER w AS fence_before, lag(after) OVER w AS left_at FROM watched.move WINDOW w AS (PARTITION BY shard ORDER BY n)) m
       WHERE fence < fence_before OR before IS DISTINCT FROM left_at AND left_at IS NOT NULL OR after < before`,
    );
    expect(disordered).toEqual([]);
    const { rows } = await hub.db.query("SELECT count(*)::int AS moves, count(DISTINCT pid)::int AS writers FROM watched.move");
    expect(rows[0].moves).toBeGreaterThan(50);
    expect(rows[0].writers).toBeGreaterThan(3);
  });

  it("refuse a projector that declares a view otherwise, and name the view", async () => {
    const other = defineProjection({
      name: "beneficiaries",
      entity: "beneficiary",
      columns: { village: text() },
      events: { "beneficiary.registered": set("village") },
    });
    await expect(
      hub.startProjector(hub.projections.map((view) => (view.name === other.name ? other : view))),
    ).rejects.toMatchObject({
      code: "projection-malformed",
      message: expect.stringContaining("beneficiaries"),
      hint: expect.stringContaining("tributary rebuild"),
    });
    await write(20);
    await hub.projected();
    await expectBalanced(hub);
  });

  it("start together on an empty database, and share it", async () => {
    await hub.projector.close();
    await hub.db.query("DROP SCHEMA tributary CASCADE; DROP SCHEMA views CASCADE");
    const both: Projector[] = await Promise.all([hub.startProjector(), hub.startProjector()]);
    await shared([8, 8]);
    await hub.projected();
    await expectBalanced(hub);
    await both[1]!.close();
  });
});
