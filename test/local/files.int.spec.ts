import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { describe, expect, it, onTestFinished } from "vitest";
import { openField } from "../../services/field/index.ts";
import { startEventStore } from "../../services/local/index.ts";
import { openLog } from "../../services/log/index.ts";
import { gate, number, registration } from "../support/hub.ts";
import { openDir, runHub, tributary } from "../support/hub-process.ts";
import { tempDir } from "../support/temp.ts";

/** What others than the owner may do with a file or folder. */
const othersMay = (path: string): number => statSync(path).mode & 0o077;
const namesIn = (dir: string): string[] => readdirSync(dir, { recursive: true, encoding: "utf8" });

describe("a hub's files", () => {
  it("are its owner's alone, and so are those that an earlier version left open", async () => {
    const dir = join(openDir(), "hub");
    mkdirSync(join(dir, "logs"), { recursive: true });
    chmodSync(join(dir, "logs"), 0o755);
    const hub = await runHub(dir);
    const field = openField({
      path: join(dir, "console.db"),
      name: { org: "relief", site: "hub", device: "console" },
      schemas: gate,
    });
    onTestFinished(() => field.close());
    await field.append(registration(number(1)));
    // PostgreSQL closes its own folder; the hub's folder may be walked through where PostgreSQL runs as another user.
    const isOpen = (name: string): boolean => othersMay(join(dir, name)) !== 0 && (!name.includes("/") || isOpen(dirname(name)));
    expect(namesIn(dir).filter((name) => isOpen(name) && !/^(postgres|lock|.*\.pid)$/.test(name))).toEqual([]);
    expect(statSync(join(dir, "eventstore")).mode & 0o777).toBe(0o700);
    expect(statSync(join(dir, "logs")).mode & 0o777).toBe(0o700);
    expect(namesIn(dir)).toEqual(
      expect.arrayContaining(["console.db", "console.db-wal", "eventstore/events.db", "logs/ingress.log"]),
    );

    // Any other program of this machine that finds the port.
    const stranger = EventStoreDBClient.connectionString(hub.state.eventstoreUrl.replace(/&connectionName=[^&]*/, ""));
    onTestFinished(() => stranger.dispose());
    await expect(stranger.tombstoneStream("incarnations")).rejects.toThrow(/only its own hub/);
    await expect(stranger.deleteStream("incarnations")).rejects.toThrow(/only its own hub/);
    await expect(stranger.appendToStream("x", jsonEvent({ type: "y", data: {} }))).rejects.toThrow(/only its own hub/);
    await expect(
      (async () => {
        for await (const _ of stranger.readAll({ maxCount: 1 })) break;
      })(),
    ).rejects.toThrow(/only its own hub/);
    await using log = openLog(hub.state.eventstoreUrl);
    expect(await log.end()).not.toBeNull();
    expect(readFileSync(join(dir, "hub.json"), "utf8")).toContain(readFileSync(join(dir, "eventstore-secret"), "utf8").trim());
    expect((await tributary(["backup", join(tempDir(), "backup"), "--data", dir])).code).toBe(0);
  });

  it("that are a device's are its owner's alone, even if they were open before", async () => {
    const path = join(tempDir(), "new", "juba.db");
    const name = { org: "relief", site: "juba", device: "t1" };
    const first = openField({ path, name, schemas: gate });
    await first.append(registration(number(1)));
    for (const each of [path, `${path}-wal`, `${path}-shm`]) expect(statSync(each).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
    first.close();
    chmodSync(path, 0o644);
    const again = openField({ path, schemas: gate });
    onTestFinished(() => again.close());
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
});

describe("a damaged events.db", () => {
  const overwrite = (path: string, at: number, bytes: number): void => {
    const file = openSync(path, "r+");
    writeSync(file, Buffer.alloc(bytes, 0x5a), 0, bytes, at);
    closeSync(file);
  };

  it("is named as such by the hub that starts on it, and stays as it is", async () => {
    const dir = openDir();
    mkdirSync(join(dir, "eventstore"));
    const path = join(dir, "eventstore", "events.db");
    const file = openSync(path, "w");
    writeSync(file, Buffer.alloc(65_536, 0x5a));
    closeSync(file);
    const { code, output } = await tributary(["hub", "--data", dir]);
    expect(code).toBe(8);
    expect(output).toMatch(/events\.db is damaged/);
    expect(output).toMatch(/restore the last backup/);
    expect(readFileSync(path).every((byte) => byte === 0x5a)).toBe(true);
  });

  it("with damage in the middle is reported by whoever reads there", async () => {
    const dir = tempDir();
    const first = await startEventStore({ dataDir: dir });
    const log = openLog(first.url);
    for (let i = 0; i < 300; i++)
      await log.journal.append("notes", "any", { type: "noted", data: { i, pad: "x".repeat(900) }, by: {} });
    await log.close();
    await first.close();
    const path = join(dir, "eventstore", "events.db");
    const middle = Math.floor(statSync(path).size / 2 / 4096) * 4096;
    overwrite(path, middle, 12 * 4096);
    const read = async (): Promise<unknown> => {
      const second = await startEventStore({ dataDir: dir });
      onTestFinished(() => second.close());
      await using again = openLog(second.url);
      return again.journal.read("notes");
    };
    await expect(read()).rejects.toMatchObject({
      code: "data-corrupt",
      message: expect.stringContaining("events.db is damaged"),
      hint: expect.stringContaining("backup"),
    });
  });
});
