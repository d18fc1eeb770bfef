import { expect, it } from "vitest";
import { openDatabase } from "../../services/api/index.ts";
import { openApiHub } from "../../services/cli/api-hub.ts";
import { EVERYBODY } from "../../services/core/index.ts";
import { inTurns, type Written } from "../../services/desk/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { openLog } from "../../services/log/index.ts";
import { gate, registration } from "../support/hub.ts";
import { memoryJournal } from "../support/journal.ts";
import { tempDir } from "../support/temp.ts";

/** Nobody listens there. */
const AWAY = "127.0.0.1:1";

it("a database that is away is told without its address, which goes to the hub's log", async () => {
  const said: Record<string, unknown>[] = [];
  const database = openDatabase(`postgres://somebody:secret@${AWAY}/views`, (event) => said.push(event));
  const failure = await database.read(EVERYBODY, async () => 1).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "backend-unreachable", message: "the hub's database does not answer" });
  expect(said).toEqual([{ event: "api-database-away", message: expect.stringContaining("PostgreSQL does not answer") }]);
  await database.close();
});

it("a hub that cannot take what a program writes says so without folders and addresses", async () => {
  const said: Record<string, unknown>[] = [];
  const dir = tempDir();
  const log = openLog(`esdb://${AWAY}?tls=false`);
  const state = {
    pid: 0,
    org: "relief",
    natsUrl: `nats://${AWAY}`,
    eventstoreUrl: `esdb://${AWAY}`,
    postgresUrl: `postgres://${AWAY}`,
    httpUrl: "",
  };
  const say = (event: Record<string, unknown>): void => {
    said.push(event);
  };
  const registry = await openRegistry(memoryJournal());
  const hub = openApiHub({ ...{ dir, state, log, gate, registry, say }, views: () => [] });
  for (const write of [hub.write, hub.writeOf("health")]) {
    const failure = await write([registration("x")]).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "backend-unreachable", message: "the hub could not take what was written" });
    expect(JSON.stringify(failure)).not.toContain(dir);
  }
  // Live queries say besides that PostgreSQL is away.
  expect(said.filter(({ event }) => event !== "live-interrupted")).toHaveLength(2);
  expect(hub.writeOf("health")).toBe(hub.writeOf("health"));
  await hub.close();
  registry.close();
  await log.close();
});

it("writes wait for their turn, go on after one that failed, and are refused where too many wait", async () => {
  const begun: string[] = [];
  const gates: PromiseWithResolvers<Written>[] = [];
  const write = inTurns((events) => {
    begun.push(events[0]?.actor ?? "");
    const gateOf = Promise.withResolvers<Written>();
    gates.push(gateOf);
    return gateOf.promise;
  });
  const by = (actor: string) => write([{ ...registration("x"), actor }]);
  const [first, second, third] = [by("first"), by("second"), by("third")];
  const others = Promise.allSettled([second, third]);
  await new Promise(setImmediate);
  expect(begun).toEqual(["first"]);
  gates[0]?.reject(new Error("the hub is away"));
  await expect(first).rejects.toThrow("the hub is away");
  await new Promise(setImmediate);
  expect(begun).toEqual(["first", "second"]);
  const waiting = Array.from({ length: 198 }, (_, i) => by(`waiting ${i}`).catch(() => {}));
  await expect(by("one more")).rejects.toMatchObject({ code: "backend-failed" });
  for (let i = 1; i < 200; i++) {
    gates[i]?.reject(new Error("enough"));
    await new Promise(setImmediate);
  }
  gates[200]?.reject(new Error("enough"));
  await Promise.all(waiting);
  expect((await others).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(begun).toHaveLength(201);
});
