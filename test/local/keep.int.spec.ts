import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { isTributaryError, type TributaryError } from "../../services/core/index.ts";
import { portOf } from "../../services/local/backend.ts";
import { startEventStore } from "../../services/local/eventstore.ts";
import { isAlive, startBackends, startNats } from "../../services/local/index.ts";
import { keepServer, MAX_TRIES } from "../../services/local/keep.ts";
import { startProcess } from "../../services/local/process.ts";
import { isFull, MIN_FREE_BYTES, roomOf } from "../../services/local/room.ts";
import { openLog } from "../../services/log/index.ts";
import { connectAs } from "../support/broker.ts";
import { openDir } from "../support/hub-process.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";

describe("a server that the hub started", () => {
  it("and that is killed comes back at the same address with its data, again and again", async () => {
    const dataDir = openDir();
    const said: string[] = [];
    const backends = await startBackends({
      dataDir,
      say: (line) => said.push(line),
      keep: { onGivenUp: (error) => said.push(`GIVEN UP ${error.message}`) },
    });
    onTestFinished(() => backends.close());
    const log = openLog(backends.eventstore.url);
    onTestFinished(() => log.close());
    await log.journal.append("kept", "any", { type: "t", data: { n: 1 }, by: {} });
    for (const backend of [backends.nats, backends.eventstore, backends.postgres]) {
      for (let round = 0; round < 2; round++) {
        const pid = backend.pid!;
        process.kill(pid, "SIGKILL");
        await eventually(`${backend.name} again`, async () => backend.pid !== null && backend.pid !== pid);
        await backend.probe();
      }
    }
    await eventually("what was written", async () => (await log.journal.read("kept")).length === 1);
    expect(said.filter((line) => line.includes("SIGKILL"))).toHaveLength(6);
    expect(said.filter((line) => line.includes("is up again"))).toHaveLength(6);
    const pids = [backends.nats, backends.eventstore, backends.postgres].map(({ pid }) => pid!);
    await backends.close();
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(join(dataDir, "lock"))).toBe(false);
    await sleep(500);
    // Nothing comes back after the end.
    expect(readdirSync(dataDir).filter((name) => name.endsWith(".pid"))).toEqual([]);
  });

  it("and that does not come back is given up after so many tries, with its last words", async () => {
    const dataDir = tempDir();
    const first = await startEventStore({ dataDir });
    const said: string[] = [];
    const givenUp = Promise.withResolvers<TributaryError>();
    let starts = 0;
    const kept = keepServer(
      first,
      async () => {
        starts++;
        return startEventStore({ dataDir, port: portOf(first.url) });
      },
      { say: (line) => said.push(line), onGivenUp: givenUp.resolve, pauseMs: 20 },
    );
    onTestFinished(() => kept.close());
    for (const name of readdirSync(join(dataDir, "eventstore"))) rmSync(join(dataDir, "eventstore", name), { recursive: true });
    // A folder where the file should be is not damage: somebody may be putting things right.
    mkdirSync(join(dataDir, "eventstore/events.db"));
    process.kill(first.pid!, "SIGKILL");
    const error = await givenUp.promise;
    expect(isTributaryError(error) && error.code).toBe("backend-failed");
    expect(error.message).toContain("events.db cannot be opened");
    expect(error.message).toContain("in a row");
    expect(starts).toBe(MAX_TRIES);
    expect(said).toHaveLength(MAX_TRIES);
  });

  it("and whose data are damaged is given up at once, with its last words", async () => {
    const dataDir = tempDir();
    const first = await startEventStore({ dataDir });
    const said: string[] = [];
    const givenUp = Promise.withResolvers<TributaryError>();
    const kept = keepServer(first, () => startEventStore({ dataDir, port: portOf(first.url) }), {
      say: (line) => said.push(line),
      onGivenUp: givenUp.resolve,
      pauseMs: 20,
    });
    onTestFinished(() => kept.close());
    for (const name of readdirSync(join(dataDir, "eventstore"))) rmSync(join(dataDir, "eventstore", name), { recursive: true });
    writeFileSync(join(dataDir, "eventstore/events.db"), "no database at all, just words, and enough of them to be read");
    process.kill(first.pid!, "SIGKILL");
    const error = await givenUp.promise;
    expect(isTributaryError(error) && error.code).toBe("data-corrupt");
    expect(error.message).toMatch(/did not start: .*events\.db is damaged.*: it is not started again$/);
    expect(error.message).not.toContain("in a row");
    expect(said).toEqual([expect.stringContaining("ended (SIGKILL); starting it again in 0.02 s.")]);
  });

  it("and whose disk is full is started again until there is room, however many tries that takes; the full disk and the room are each reported once", async () => {
    const dataDir = tempDir();
    const first = await startNats({ dataDir });
    const said: string[] = [];
    let starts = 0;
    let freeBytes = 3 * 1_048_576;
    const kept = keepServer(
      first,
      async () => {
        starts++;
        return startNats({ dataDir, port: portOf(first.url) });
      },
      {
        say: (line) => said.push(line),
        onGivenUp: (error) => said.push(`GIVEN UP ${error.message}`),
        pauseMs: 20,
        fullPauseMs: 10,
        room: () => ({ location: dataDir, freeBytes, freeFiles: null }),
      },
    );
    onTestFinished(() => kept.close());
    // This stands for whatever makes a server fail on a full disk.
    rmSync(join(dataDir, "nats.conf"));
    mkdirSync(join(dataDir, "nats.conf"));
    process.kill(first.pid!, "SIGKILL");
    await eventually("more tries than are counted", async () => starts > MAX_TRIES + 2);
    expect(said).toEqual([
      expect.stringMatching(
        /^NATS .* ended \(SIGKILL\); the disk of .* is full: 3 MiB are left, and it needs 64\. Make room there.*tried again/,
      ),
    ]);
    freeBytes = MIN_FREE_BYTES;
    rmSync(join(dataDir, "nats.conf"), { recursive: true });
    await eventually("its return", async () => kept.pid !== null);
    await kept.probe();
    expect(said.slice(1)).toEqual([
      `There is room again on the disk of ${dataDir}: NATS goes on.`,
      ...said.slice(2, -1).map(() => expect.stringContaining("starting it again in 0.02 s")),
      expect.stringContaining("NATS is up again"),
    ]);
  });

  it("and that comes up on a full disk is said to be up, and no more: why it ended is explained once, until there is room", async () => {
    const dataDir = tempDir();
    const first = await startNats({ dataDir });
    const said: string[] = [];
    let freeBytes = 0;
    const kept = keepServer(first, () => startNats({ dataDir, port: portOf(first.url) }), {
      say: (line) => said.push(line),
      onGivenUp: (error) => said.push(`GIVEN UP ${error.message}`),
      pauseMs: 20,
      fullPauseMs: 10,
      lookMs: 20,
      room: () => ({ location: dataDir, freeBytes, freeFiles: null }),
    });
    onTestFinished(() => kept.close());
    for (let round = 0; round < 2; round++) {
      const pid = kept.pid!;
      process.kill(pid, "SIGKILL");
      await eventually("its return", async () => kept.pid !== null && kept.pid !== pid);
    }
    freeBytes = MIN_FREE_BYTES;
    await eventually("the line that says that there is room", async () => said.length === 5);
    freeBytes = 0;
    process.kill(kept.pid!, "SIGKILL");
    await eventually("the next line", async () => said.length >= 6);
    const atLength = /^NATS .* ended \(SIGKILL\); the disk of .* is full: 0 MiB are left, .*tried again/;
    expect(said.slice(0, 6)).toEqual([
      expect.stringMatching(atLength),
      expect.stringMatching(/^NATS is up again \(process \d+\)\.$/),
      expect.stringMatching(/^NATS .* ended \(SIGKILL\); the disk of .* is still full\.$/),
      expect.stringMatching(/^NATS is up again/),
      `There is room again on the disk of ${dataDir}: NATS goes on.`,
      expect.stringMatching(atLength),
    ]);
  });

  it("and that is a broker keeps its streams however little room there was when it was started", async () => {
    const dataDir = tempDir();
    const { bavail, bsize } = statfsSync(dataDir);
    const broker = await startNats({ dataDir });
    onTestFinished(() => broker.close());
    const nc = await connectAs(broker.url);
    onTestFinished(() => nc.close());
    // A bound does not take room. Left to itself, the server refuses more than three quarters of what is free.
    const max_bytes = Math.min(bavail * bsize, 1_000_000_000_000);
    const stream = await (await nc.jetstreamManager()).streams.add({ name: "WIDE", subjects: ["wide"], max_bytes });
    expect(stream.config.max_bytes).toBe(max_bytes);
  });

  it("has the room of its data folder's disk, or of its own folder's; one without room for bytes or files is full", () => {
    const dataDir = tempDir();
    mkdirSync(join(dataDir, "nats"));
    const { bavail, bsize } = statfsSync(dataDir);
    const room = roomOf(dataDir, "nats")!;
    expect(room.location).toBe(dataDir);
    expect(Math.abs(room.freeBytes - bavail * bsize)).toBeLessThan(1_073_741_824);
    expect(roomOf(join(dataDir, "not there"), "nats")).toBeNull();
    expect(isFull({ location: "/", freeBytes: MIN_FREE_BYTES - 1, freeFiles: null })).toBe(true);
    expect(isFull({ location: "/", freeBytes: MIN_FREE_BYTES, freeFiles: 0 })).toBe(true);
    expect(isFull({ location: "/", freeBytes: MIN_FREE_BYTES, freeFiles: null })).toBe(false);
  });

  it("and whose pid cannot be written down, as on a full disk, is ended again: it would keep its port from the next one", async () => {
    const dataDir = tempDir();
    mkdirSync(join(dataDir, "talker.pid"));
    const alive = join(dataDir, "alive");
    await expect(startProcess(dataDir, "talker", ["sh", "-c", `sleep 0.3; touch ${alive}`])).rejects.toThrow(/EISDIR/);
    await sleep(800);
    expect(existsSync(alive)).toBe(false);
  });

  it("and that is suspended is reported once as silent and once as answering again; it is not ended", async () => {
    const dataDir = tempDir();
    const first = await startNats({ dataDir });
    const said: string[] = [];
    const kept = keepServer(first, () => startNats({ dataDir, port: portOf(first.url) }), {
      say: (line) => said.push(line),
      onGivenUp: (error) => said.push(error.message),
      lookMs: 100,
      lookTimeoutMs: 300,
    });
    process.kill(first.pid!, "SIGSTOP");
    await eventually("the line about its silence", async () => said.length > 0);
    await sleep(1_500);
    process.kill(first.pid!, "SIGCONT");
    await eventually("word of its return", async () => said.at(-1) === "NATS answers again.");
    expect(said[0]).toMatch(/^NATS \(process \d+\) does not answer: .*waits for it/);
    // Never twice in a row. On a busy machine it may be silent again.
    expect(said.filter((line, i) => (line === "NATS answers again.") !== (i % 2 === 1))).toEqual([]);
    expect(kept.pid).toBe(first.pid);
    const nc = await connectAs(first.url);
    await nc.close();
    await kept.close();
  });
});

describe("a data directory's servers", () => {
  it("are left alone by a second start while whoever started them lives", async () => {
    const dataDir = tempDir();
    const first = await startNats({ dataDir });
    onTestFinished(() => first.close());
    await expect(startNats({ dataDir })).rejects.toMatchObject({
      code: "already-running",
      message: expect.stringContaining(`process ${process.pid}`),
    });
    expect(isAlive(first.pid!)).toBe(true);
    await first.probe();
  });
});
