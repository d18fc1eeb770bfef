import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { viewParts } from "../../services/cli/health.ts";
import { freePort } from "../../services/local/index.ts";
import { number, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

describe("a hub's health, where it lies in PostgreSQL", () => {
  it("is ok when the views follow the log, and warns about parked entities", async () => {
    const field = hub.field("juba");
    await field.append(registration(number(1)));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("juba") });
    await hub.projected();
    const { parts, close } = viewParts(hub.backends.postgres.url, hub.log);
    try {
      expect(await parts.postgres!()).toEqual({ state: "ok" });
      expect(await parts.projector!()).toMatchObject({ state: "ok", facts: { behindSeconds: 0 } });
      expect(await parts.parked!()).toEqual({ state: "ok", facts: { count: 0, views: {} } });
      await hub.db.query(
        `INSERT INTO tributary.parked (view, generation, entity_id, position, origin, seq, type, error, stack)
         SELECT view, generation, 'X', 1, 'o', 0, 't', 'no', '' FROM tributary.generation WHERE state = 'live' LIMIT 1`,
      );
      expect(await parts.parked!()).toMatchObject({
        state: "warning",
        reason: "1 entity is parked: `tributary parked list` shows them",
      });
      await hub.db.query("DELETE FROM tributary.parked");
    } finally {
      await close();
    }
  });

  it("has failed while PostgreSQL does not answer, and is ok on a new connection after the old one was cut", async () => {
    const { parts, close } = viewParts(hub.backends.postgres.url, hub.log);
    try {
      expect(await parts.postgres!()).toEqual({ state: "ok" });
      await hub.db.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tributary-health'",
      );
      await eventually("a new connection", async () => (await parts.postgres!()).state === "ok");
    } finally {
      await close();
    }
    const away = viewParts(`postgres://127.0.0.1:${await freePort()}/none`, hub.log);
    await expect(away.parts.postgres!()).rejects.toMatchObject({ code: "backend-unreachable" });
    await away.close();
  });
});
