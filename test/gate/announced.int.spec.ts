import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { bucketIdOf, type LogEntry, OPEN_ENTITIES, type OriginId, publicKeySchema } from "../../services/core/index.ts";
import type { Registry, SchemaText } from "../../services/gate/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { issueToken, keyring, SCOPE_APPEND, SCOPE_ENROL, SCOPE_SCHEMAS } from "../../services/http/index.ts";
import { currentIncarnation } from "../../services/log/index.ts";
import { scopesOf } from "../../services/merge/engine.ts";
import { ORG, openTestHub, SCHEMAS, speaking, type TestHub } from "../support/hub.ts";

const visit = (...members: readonly string[]): SchemaText => ({
  kind: "json",
  text: JSON.stringify({
    tributary: { entity: "visit", events: ["visit.made"] },
    type: "object",
    properties: Object.fromEntries(members.map((name) => [name, { type: "string" }])),
    additionalProperties: false,
  }),
  references: [],
});

let hub: TestHub;
let origin: OriginId;
const others: Registry[] = [];
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS, announces: true });
  origin = `${ORG}.hub.registry.${(await currentIncarnation(hub.log.journal)).id}` as OriginId;
});
afterAll(async () => {
  for (const registry of others) registry.close();
  await hub.close();
});

const events = async (): Promise<LogEntry[]> => {
  const found: LogEntry[] = [];
  for await (const entry of hub.log.readOrigin(origin)) found.push(entry);
  return found;
};
const row = async (id: string): Promise<Record<string, unknown> | undefined> => {
  await hub.projected();
  return (
    await hub.db.query("SELECT versions::int, kind, authority, registered_by, hidden FROM views.schemas WHERE id = $1", [id])
  ).rows[0];
};
/** A tool's request to the registry over HTTP. */
async function asTool(method: string, path: string, body?: object): Promise<{ readonly status: number; readonly body: unknown }> {
  const token = await issueToken(hub.key, {
    ...{ org: ORG, site: "hub", device: "tools", lifetimeS: 300, nowMs: Date.now() },
    scopes: [SCOPE_SCHEMAS],
  });
  const answer = await fetch(`${hub.ingress.http?.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

describe("a schema that a tool registers at a hub (I39)", () => {
  it("is an event of the hub's own in its log when the tool has its answer, and a row of the view that everybody may hold", async () => {
    const { text } = visit("place");
    expect(await asTool("POST", "/subjects/visit/versions", { schemaType: "JSON", schema: text })).toMatchObject({ status: 200 });
    const last = (await events()).at(-1);
    expect(last).toMatchObject({
      head: { type: "schema.registered", entity: { type: "schema", id: "visit" }, actor: `${ORG}.hub` },
      content: { data: { version: 1, kind: "json", authority: ORG, references: [] } },
    });
    expect(last?.noted).toBeDefined();
    expect(await row("visit")).toMatchObject({ versions: 1, kind: "json", authority: ORG });
    const { text: second } = visit("place", "note");
    await asTool("POST", "/subjects/visit/versions", { schemaType: "JSON", schema: second });
    await asTool("DELETE", "/subjects/visit/versions/1");
    expect(await row("visit")).toMatchObject({ versions: 2, hidden: [1] });
    const scopes = scopesOf(hub.projections);
    expect(OPEN_ENTITIES.map((type) => scopes.get(type))).toEqual([[], []]);
    // Its bucket's feed has a line for each of these events, in their order.
    const bucket = bucketIdOf({ entityType: "schema", values: [] });
    const lines = await hub.db.query<{ kind: string; seq: number }>(
      "SELECT kind, seq::int FROM tributary.feed WHERE bucket = $1 AND entity_id = 'visit' ORDER BY position, ordinal",
      [bucket],
    );
    const ofVisit = (await events()).filter(({ head }) => head.entity.id === "visit").map(({ head }) => head.seq);
    expect(lines.rows).toEqual(ofVisit.map((seq, i) => ({ kind: i === 0 ? "enter" : "event", seq })));
    expect(ofVisit).toHaveLength(3);
  });

  it("stands in the log beside all that was registered when the hub started, and an auditor finds nothing wrong with either", async () => {
    const told = new Set((await events()).map(({ head }) => head.entity.id));
    expect(hub.registry?.subjects().filter((subject) => !told.has(subject))).toEqual([]);
    expect(await row("policy")).toMatchObject({ versions: 1, authority: null });
    expect(await row("beneficiary")).toMatchObject({ versions: 2, authority: ORG });
    await hub.projected();
    const hubKeys = [publicKeySchema.parse(hub.key)];
    const report = await verify({ log: hub.log, hubKeys, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
    expect(report.problems).toEqual([]);
    expect(report.signatures.unsigned).toBe(0);
  });

  it("gets its event when a hub starts, if the process that registered it was stopped before", async () => {
    const stopped = await openRegistry(hub.log.journal);
    others.push(stopped);
    await stopped.register("camp", visit("name"), { actor: "Rose" }).catch(() => {});
    await stopped.register("camp", { ...visit("name"), text: '{"type":"object"}' }, { actor: "Rose" });
    const before = (await events()).length;
    const started = await openRegistry(
      hub.log.journal,
      speaking(
        hub.log,
        keyring(() => hub.keys),
      ),
    );
    others.push(started);
    expect(await started.announce()).toBe(1);
    expect(await started.announce()).toBe(0);
    expect((await events()).slice(before).map(({ head }) => head.entity.id)).toEqual(["camp"]);
    expect(await row("camp")).toMatchObject({ versions: 1, authority: ORG, registered_by: "Rose" });
  });
});

describe("an event about a schema", () => {
  it("that a site writes is held in quarantine, in words", async () => {
    const field = hub.field("kampala");
    const data = { ...visit("place"), references: [], subject: "visit", version: 3, fingerprint: "0", authority: ORG };
    await field.append({ type: "schema.registered", entity: { type: "schema", id: "visit" }, data, actor: "x" });
    const { quarantined } = await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
    expect(quarantined).toMatchObject([
      { reason: expect.stringContaining("only the hub's operators may say which schemas there are") },
    ]);
    expect(await row("visit")).toMatchObject({ versions: 2 });
  });

  it("that comes through the door in the name of the hub's registry is refused, whoever sends it: its processes write to the log", async () => {
    const scopes = [SCOPE_APPEND, SCOPE_ENROL];
    const token = await issueToken(hub.key, { org: ORG, site: "hub", lifetimeS: 300, nowMs: Date.now(), scopes });
    using field = hub.field("hub", "registry");
    await field.append({
      type: "schema.changed",
      entity: { type: "schema", id: "visit" },
      data: { subject: "visit", level: "NONE", fact: 0 },
      actor: "x",
    });
    await expect(field.sync({ url: hub.backends.nats.url, token })).rejects.toMatchObject({ code: "not-permitted" });
    expect(await hub.log.head(field.status().origin as OriginId)).toBeNull();
  });
});
