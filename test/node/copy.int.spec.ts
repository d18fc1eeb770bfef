import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { expect, it } from "vitest";
import { copyRunning, sealCopy, startNode } from "../../services/log/node/index.ts";
import { tempDir } from "../support/temp.ts";

const event = (n: number) => jsonEvent({ type: "t", data: { n, fill: "x".repeat(500) } });

async function revisions(url: string, stream: string): Promise<number[]> {
  const client = EventStoreDBClient.connectionString(url);
  const out: number[] = [];
  for await (const { event } of client.readStream(stream)) out.push(Number(event!.revision));
  await client.dispose();
  return out;
}

it("a node copies its database while it takes appends: the copy runs, has only whole appends, and has all that was acknowledged before it began", async () => {
  const dataDir = tempDir();
  await using node = await startNode({ dataDir });
  const client = EventStoreDBClient.connectionString(node.url);
  for (let n = 0; n < 200; n++) await client.appendToStream("s", [event(n), event(n), event(n), event(n), event(n)]);
  let isWriting = true;
  let meanwhile = 0;
  const writing = (async () => {
    while (isWriting) {
      await client.appendToStream("s", [
        event(meanwhile),
        event(meanwhile),
        event(meanwhile),
        event(meanwhile),
        event(meanwhile),
      ]);
      meanwhile++;
    }
  })();
  // A copy must not succeed only because it happens to meet no append.
  for (let i = 0; i < 25; i++) rmSync((await copyRunning(node.url))!.path);
  const made = await copyRunning(node.url);
  isWriting = false;
  await writing;
  expect(meanwhile).toBeGreaterThan(0);
  const other = tempDir();
  const { renameSync } = await import("node:fs");
  renameSync(made!.path, join(other, "events.db"));
  const facts = sealCopy(join(other, "events.db"), true);
  expect(readdirSync(other)).toEqual(["events.db"]);
  await using copy = await startNode({ dataDir: other });
  const found = await revisions(copy.url, "s");
  expect(found.length).toBeGreaterThanOrEqual(1_000);
  expect(found.length % 5).toBe(0);
  expect(found).toEqual(Array.from({ length: found.length }, (_, i) => i));
  expect(facts.events).toBeGreaterThanOrEqual(found.length);
  const again = EventStoreDBClient.connectionString(copy.url);
  expect((await again.appendToStream("s", event(0), { expectedRevision: BigInt(found.length - 1) })).success).toBe(true);
  await again.dispose();
  await client.dispose();
});

it("a node in memory makes no copy, and copies that nobody took away are gone after the next start", async () => {
  await using memory = await startNode();
  await expect(copyRunning(memory.url)).rejects.toMatchObject({
    code: "backend-failed",
    message: expect.stringContaining("memory"),
  });
  const dataDir = tempDir();
  {
    await using node = await startNode({ dataDir });
    const made = await copyRunning(node.url);
    expect(existsSync(made!.path)).toBe(true);
  }
  await using _ = await startNode({ dataDir });
  expect(existsSync(join(dataDir, "copies"))).toBe(false);
});

it("a file that is not a database is reported as damaged", () => {
  const path = join(tempDir(), "events.db");
  writeFileSync(path, "words ".repeat(2_000));
  expect(() => sealCopy(path, true)).toThrow(expect.objectContaining({ code: "data-corrupt" }));
});
