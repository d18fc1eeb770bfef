import { afterAll, beforeAll, expect, it } from "vitest";
import { startProjector } from "../../services/projector/index.ts";
import { connectViews, migrate } from "../../services/views/index.ts";
import { number, openTestHub, type TestHub } from "../support/hub.ts";
import { oldWriter, person } from "../support/oldlog.ts";
import { WAIT_MS } from "../support/patience.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
  await hub.projector.close();
});
afterAll(() => hub?.close());

const count = async (): Promise<number> =>
  (await hub.db.query<{ n: number }>("SELECT count(*)::int AS n FROM tributary.audit")).rows[0]!.n;
const head = async () => (await hub.db.query<{ seal: string }>("SELECT max(number) AS seal FROM tributary.seal")).rows[0]!.seal;
const NEWEST = "020_looked_up.sql";

it("a projector of the version before folds and seals nothing more once the tables are of a newer one, says why, and takes up its work when it may", async () => {
  const said: Record<string, unknown>[] = [];
  const told = (event: string): boolean =>
    said.some((each) => each.event === event && String(each.message).includes("newer version"));
  const { backends, log, gate, projections } = hub;
  const projector = await startProjector({
    postgresUrl: backends.postgres.url,
    log,
    gate,
    projections,
    say: (event) => void said.push(event),
  });
  const newer = await connectViews(backends.postgres.url, "tributary-test-newer");
  try {
    const lamu = oldWriter(log, "lamu");
    await lamu.append(person(number(1)));
    await expect.poll(count, { timeout: WAIT_MS }).toBe(1);
    await expect.poll(head, { timeout: WAIT_MS }).not.toBeNull();
    // The tables as the version before made them; then those of one that comes after this process's.
    await newer.query("DROP INDEX tributary.audit_placing");
    await newer.query("DROP FUNCTION tributary.reach");
    await newer.query("DELETE FROM tributary.migration WHERE name = $1", [NEWEST]);
    await newer.query(`CREATE FUNCTION tributary.newer() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO tributary.migration (name) VALUES ('999_newer.sql'); RETURN NULL; END $$`);
    await newer.query(
      `CREATE TRIGGER newer AFTER INSERT ON tributary.migration FOR EACH ROW WHEN (new.name = '${NEWEST}') EXECUTE FUNCTION tributary.newer()`,
    );
    await migrate(newer);
    const before = await head();
    await lamu.append(person(number(2)));
    await expect
      .poll(() => [told("projector-interrupted"), told("sealing-interrupted")], { timeout: WAIT_MS })
      .toEqual([true, true]);
    expect(await count()).toBe(1);
    await newer.query("DROP TRIGGER newer ON tributary.migration");
    await newer.query("DROP FUNCTION tributary.newer");
    // It has not folded meanwhile, however often it tried.
    said.length = 0;
    await expect.poll(() => told("projector-interrupted"), { timeout: WAIT_MS }).toBe(true);
    expect([await count(), await head()]).toEqual([1, before]);
    await newer.query("DELETE FROM tributary.migration WHERE name = '999_newer.sql'");
    await expect.poll(count, { timeout: WAIT_MS }).toBe(2);
    await expect.poll(head, { timeout: WAIT_MS }).not.toBe(before);
  } finally {
    await newer.end();
    await projector.close();
  }
});
