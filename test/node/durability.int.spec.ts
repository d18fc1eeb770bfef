import { spawn } from "node:child_process";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { expect, it } from "vitest";
import { position, positionAfter } from "../../services/core/index.ts";
import { freePort } from "../../services/local/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { MAX_READ_BYTES } from "../../services/log/node/store/contract.ts";
import { openStore } from "../../services/log/node/store/store.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/log/node/main.ts");
const event = (data: Record<string, unknown> = {}) => jsonEvent({ type: "t", data });

async function revisions(url: string, stream: string): Promise<number[]> {
  const client = EventStoreDBClient.connectionString(url);
  const out: number[] = [];
  for await (const { event } of client.readStream(stream)) out.push(Number(event!.revision));
  await client.dispose();
  return out;
}

it("what was acknowledged before a SIGKILL is there after it, in whole appends only, and the log goes on", async () => {
  const dataDir = tempDir();
  const port = await freePort();
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", MAIN, "--port", String(port), "--data", dataDir, "--json"],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const url = `esdb://127.0.0.1:${port}?tls=false`;
  const client = EventStoreDBClient.connectionString(url);
  let acknowledged = 0;
  let stopped = false;
  const writers = Array.from({ length: 8 }, async () => {
    while (!stopped) {
      await client.appendToStream("s", [event(), event(), event()]).then(
        () => {
          acknowledged += 3;
        },
        () => {
          stopped = true;
        },
      );
    }
  });
  await eventually("some acknowledgements", async () => acknowledged >= 300);
  child.kill("SIGKILL");
  // The client leaves appends unanswered when their stream ends without an error.
  await Promise.race([Promise.all(writers), sleep(3_000)]);
  stopped = true;

  await using node = await startNode({ dataDir });
  const found = await revisions(node.url, "s");
  expect(acknowledged).toBeGreaterThan(0);
  expect(found.length).toBeGreaterThanOrEqual(acknowledged);
  expect(found.length % 3).toBe(0);
  expect(found).toEqual(Array.from({ length: found.length }, (_, i) => i));
  const again = EventStoreDBClient.connectionString(node.url);
  expect((await again.appendToStream("s", event())).nextExpectedRevision).toBe(BigInt(found.length));
  await again.dispose();
});

it("a node with a full disk refuses the whole append, keeps what was there, and goes on when there is room", async () => {
  const dataDir = tempDir();
  {
    await using node = await startNode({ dataDir, maxPages: 60 });
    const client = EventStoreDBClient.connectionString(node.url);
    await client.appendToStream("s", event({ n: 1 }));
    await expect(client.appendToStream("s", [event({ n: 2 }), event({ fill: "x".repeat(400_000) })])).rejects.toThrow(/full/);
    expect(await revisions(node.url, "s")).toEqual([0]);
    expect((await client.appendToStream("s", event({ n: 3 }))).nextExpectedRevision).toBe(1n);
    await client.dispose();
  }
  await using node = await startNode({ dataDir });
  expect(await revisions(node.url, "s")).toEqual([0, 1]);
});

it("a second node on the same folder is refused, and the message says why", async () => {
  const dataDir = tempDir();
  await using _ = await startNode({ dataDir });
  await expect(startNode({ dataDir })).rejects.toMatchObject({ code: "data-locked", hint: expect.stringContaining("--data") });
});

it("a port in use is refused, and the message says which port", async () => {
  await using node = await startNode();
  await expect(startNode({ port: node.port })).rejects.toMatchObject({
    code: "port-in-use",
    message: expect.stringContaining(String(node.port)),
  });
});

it("a database of a newer version is left alone", async () => {
  const dataDir = tempDir();
  await (await startNode({ dataDir })).close();
  const db = new DatabaseSync(join(dataDir, "events.db"));
  db.exec("PRAGMA user_version = 99");
  db.close();
  await expect(startNode({ dataDir })).rejects.toMatchObject({ code: "data-corrupt", hint: "Update this program." });
});

it("concurrent appends to many streams each get their own answer", async () => {
  await using node = await startNode();
  const client = EventStoreDBClient.connectionString(node.url);
  const results = await Promise.all(
    Array.from({ length: 300 }, (_, i) => client.appendToStream(`m-${i % 50}`, event(), { expectedRevision: "any" })),
  );
  const positions = results.map(({ position }) => position!.commit);
  expect(new Set(positions).size).toBe(300);
  for (let s = 0; s < 50; s++) expect(await revisions(node.url, `m-${s}`)).toEqual([0, 1, 2, 3, 4, 5]);
  await client.dispose();
});

it("events of any size are read back completely, in order and both ways, with only a few megabytes in memory at a time", async () => {
  const dataDir = tempDir();
  const large = (n: number) => event({ n, text: "x".repeat(900_000) });
  const events = 12;
  {
    await using node = await startNode({ dataDir });
    const client = EventStoreDBClient.connectionString(node.url);
    for (let n = 0; n < events; n++) await client.appendToStream("s", [large(n)]);
    expect(await revisions(node.url, "s")).toEqual(Array.from({ length: events }, (_, n) => n));
    const backwards: number[] = [];
    for await (const { event } of client.readStream("s", { direction: "backwards", fromRevision: "end" }))
      backwards.push(Number(event!.revision));
    expect(backwards).toEqual(Array.from({ length: events }, (_, n) => events - 1 - n));
    let inAll = 0;
    for await (const { event } of client.readAll()) if (event?.streamId === "s") inAll++;
    expect(inAll).toBe(events);
    await client.dispose();
  }
  const store = openStore({ dataDir, now: Date.now });
  const read: number[] = [];
  for (let at = position(0n); ; ) {
    const page = store.readAll(at, 256, false);
    if (page.length === 0) break;
    expect(page.reduce((sum, { message }) => sum + message.length, 0)).toBeLessThanOrEqual(MAX_READ_BYTES);
    read.push(...page.filter(({ stream }) => stream === "s").map(({ revision }) => revision));
    at = positionAfter(page.at(-1)!.position);
  }
  expect(read).toEqual(Array.from({ length: events }, (_, n) => n));
  expect(store.readStream("s", events - 1, 256, true)).toHaveLength(4);
  store.close();
});
