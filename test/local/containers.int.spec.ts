import { connect } from "nats";
import pg from "pg";
import { GenericContainer, Wait } from "testcontainers";
import { expect, it } from "vitest";
import { containerEngine, IMAGES } from "../../services/local/engine.ts";
import { openLog } from "../../services/log/index.ts";

const engine = await containerEngine();
const reason = "no container engine answers on this machine";

it("NATS, as docker-compose.yml runs it, has JetStream", async ({ skip }) => {
  if (engine === null) skip(reason);
  const container = await new GenericContainer(IMAGES.nats)
    .withCommand(["-js"])
    .withExposedPorts(4222)
    .withWaitStrategy(Wait.forLogMessage("Server is ready"))
    .start();
  const nc = await connect({ servers: `${container.getHost()}:${container.getMappedPort(4222)}` });
  expect((await (await nc.jetstreamManager()).getAccountInfo()).streams).toBe(0);
  await nc.close();
  await container.stop();
});

it("PostgreSQL, as docker-compose.yml runs it, answers", async ({ skip }) => {
  if (engine === null) skip(reason);
  const container = await new GenericContainer(IMAGES.postgres)
    .withEnvironment({ POSTGRES_PASSWORD: "test" })
    .withExposedPorts(5432)
    .withWaitStrategy(Wait.forLogMessage("database system is ready to accept connections", 2))
    .start();
  const client = new pg.Client({
    host: container.getHost(),
    port: container.getMappedPort(5432),
    user: "postgres",
    password: "test",
  });
  await client.connect();
  expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  await client.end();
  await container.stop();
});

it("EventStoreDB, as docker-compose.yml runs it, answers", async ({ skip }) => {
  if (engine === null) skip(reason);
  const container = await new GenericContainer(IMAGES.eventstore)
    .withEnvironment({ EVENTSTORE_INSECURE: "true" })
    .withExposedPorts(2113)
    .withWaitStrategy(Wait.forHttp("/health/live", 2113).forStatusCode(204))
    .start();
  await using log = openLog(`esdb://${container.getHost()}:${container.getMappedPort(2113)}?tls=false`);
  expect(await log.end()).not.toBeNull();
  await container.stop();
});
