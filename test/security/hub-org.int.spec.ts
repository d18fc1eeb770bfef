import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import type { JsonObject, Seq } from "../../services/core/index.ts";
import { type NewEvent, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { hubDeclarations } from "../../services/log/index.ts";
import { gate, number, ORG, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { oldWriter, person } from "../support/oldlog.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const CASE = "0123456789ab";
const noted = (text: string): NewEvent => ({
  type: "case.commented",
  entity: { type: "case", id: CASE },
  data: { text },
  actor: "amal",
});
const rows = async (sql: string): Promise<Record<string, unknown>[]> => (await hub.db.query(sql)).rows;
const states = () => rows("SELECT entity_id, state FROM tributary.quarantine WHERE type LIKE 'beneficiary.%' ORDER BY position");

/** An event in quarantine, and what releases and rejects it. */
async function held(n: number) {
  const writer = oldWriter(hub.log, `held${n}`);
  await writer.append(person(number(n), {}, { quarantined: "invalid" }));
  const name = { origin: writer.origin, seq: 0 as Seq, hash: writer.head() };
  const entity = { type: "quarantine", id: `${writer.origin}/0` };
  const { type, entity: of, data } = registration(number(n));
  const release: JsonObject = { ...name, type, entity: of, schema: { subject: "beneficiary", version: 1 }, data };
  return {
    release: { type: "quarantine.released", entity, data: release, actor: "amal" },
    reject: { type: "quarantine.rejected", entity, data: { ...name, reason: "not ours" }, actor: "amal" },
  } satisfies Record<string, NewEvent>;
}

describe("another organisation's site that is called hub", () => {
  it("settles nothing, notes no case and registers no site, with a good token of its own", async () => {
    const { release, reject } = await held(1);
    const name = { org: "other", site: "hub", device: "console" };
    using desk = openField({ path: join(hub.dir, "other.db"), name, schemas: gate });
    const data = { org: "other", site: "camp", token_expires_at: "2030-01-01T00:00:00Z" };
    await desk.appendMany([
      release,
      reject,
      noted("looked into"),
      { type: "site.registered", entity: { type: "site", id: "other.camp" }, data, actor: "amal" },
      registration(number(2)),
    ]);
    const token = await issueToken(hub.key, { ...name, lifetimeS: 300, nowMs: Date.now(), hub: [hub.key.x!] });
    await desk.sync({ url: hub.backends.nats.url, token });
    await hub.projected();
    expect(await rows("SELECT type, code FROM tributary.quarantine WHERE site = 'hub' ORDER BY position")).toEqual(
      ["quarantine.released", "quarantine.rejected", "case.commented", "site.registered"].map((type) => ({
        type,
        code: "type-not-allowed",
      })),
    );
    expect(await states()).toEqual([{ entity_id: number(1), state: "held" }]);
    expect(await rows("SELECT 1 FROM tributary.case_note")).toEqual([]);
    expect(await rows("SELECT 1 FROM views.sites")).toEqual([]);
    // It is a site like any other.
    expect(await rows("SELECT id FROM views.beneficiaries")).toEqual([{ id: number(2) }]);

    await hub.settle([release, noted("mended")]);
    await hub.projected();
    expect(await states()).toEqual([{ entity_id: number(1), state: "released" }]);
    expect(await rows("SELECT text FROM tributary.case_note")).toEqual([{ text: "mended" }]);
    expect(await rows("SELECT id FROM views.beneficiaries ORDER BY id")).toEqual([{ id: number(1) }, { id: number(2) }]);
  });

  it("counts for nothing in the log either, once the log says whose hub it belongs to; projector and auditor agree", async () => {
    expect(await hubDeclarations(hub.log.journal)).toMatchObject([{ org: ORG }]);
    const { release } = await held(3);
    const stranger = oldWriter(hub.log, "hub", "other");
    await stranger.append(
      { ...release, schema: { subject: "quarantine-release", version: 1 } },
      { ...noted("from outside"), schema: { subject: "case-comment", version: 1 } },
    );
    await hub.projected();
    expect((await states()).at(-1)).toEqual({ entity_id: number(3), state: "held" });
    expect(await rows("SELECT text FROM tributary.case_note WHERE text = 'from outside'")).toEqual([]);
    expect(await rows(`SELECT id FROM views.beneficiaries WHERE id = '${number(3)}'`)).toEqual([]);
    const { problems } = await verify({ log: hub.log, views: { db: hub.db, gate, projections: hub.projections } });
    expect(problems).toEqual([]);
  });
});
