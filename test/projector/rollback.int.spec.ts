import { afterAll, beforeAll, expect, it } from "vitest";
import { type RebuildOptions, type Rebuilt, rebuild, reconcile } from "../../services/projector/index.ts";
import { alone, connectViews } from "../../services/views/index.ts";
import { openTestHub, registration, SCHEMAS, type TestHub } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
});
afterAll(() => hub?.close());

const withDeps = async <T>(work: (deps: Parameters<typeof rebuild>[0]) => Promise<T>): Promise<T> => {
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
const build = (options: RebuildOptions): Promise<Rebuilt> => withDeps((deps) => rebuild(deps, options));

it("going back to an earlier build that cannot read what has been registered since is refused: the schema is named, and the live view stays", async () => {
  const field = hub.field("juba");
  await field.append(registration("JUB-000001"));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("juba") });
  await hub.projected();
  const before = await hub.db.query("SELECT generation FROM tributary.view WHERE name = 'beneficiaries'");
  // Another form about the same people: views that were built without it cannot read it.
  const text = JSON.stringify({
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Visit",
    tributary: { entity: "beneficiary", events: ["beneficiary.visited"], title: "Visit", personal: [] },
    type: "object",
    properties: { village: { type: "string", maxLength: 80 } },
    required: ["village"],
    additionalProperties: false,
  });
  const outcome = await hub.registry!.register(
    "beneficiary-visit",
    { kind: "json", text, references: [] },
    { actor: "office", version: 1 },
  );
  expect(outcome.kind).toBe("registered");
  expect(await build({ names: ["beneficiaries"] })).toMatchObject({ swapped: true });
  const live = await hub.db.query("SELECT generation FROM tributary.view WHERE name = 'beneficiaries'");
  expect(live.rows).not.toEqual(before.rows);
  await expect(build({ names: ["beneficiaries"], rollback: true })).rejects.toMatchObject({
    code: "schema-incompatible",
    message: expect.stringContaining("beneficiary-visit@1"),
    hint: expect.stringContaining("tributary rebuild beneficiaries"),
  });
  expect((await hub.db.query("SELECT generation FROM tributary.view WHERE name = 'beneficiaries'")).rows).toEqual(live.rows);
  await eventually("the views in line", async () => {
    const { rows } = await hub.db.query<{ ok: boolean }>(
      "SELECT bool_and(readers -> 'beneficiary-visit' IS NOT NULL) AS ok FROM tributary.view WHERE name = 'beneficiaries'",
    );
    return rows[0]!.ok;
  });
  const [books] = await withDeps((deps) => reconcile(deps, { names: ["beneficiaries"], repair: false }));
  expect(books).toMatchObject({ differing: 0, notCompared: null });
});
