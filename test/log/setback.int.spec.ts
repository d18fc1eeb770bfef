import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Fact, KeyFact } from "../../services/core/index.ts";
import { keyIdOf, makeKeyPair } from "../../services/core/node.ts";
import type { Registry } from "../../services/gate/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { type KeyBook, openKeyBook, openLog } from "../../services/log/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { newOrigin, runOf } from "../support/log-runs.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";

describe("a log that is set back to a backup while it is followed", () => {
  /** A node whose files are put back, under the same address, to how they were at `mark()`, and then hold what `then` writes before anybody is let in. */
  async function setBackNode() {
    const first = await startNode();
    const { port } = first;
    await first.close();
    const [dir, backup] = [tempDir(), tempDir()];
    let server = await startNode({ port, dataDir: dir });
    const restarted = async (work: () => void): Promise<void> => {
      await server.close();
      work();
      server = await startNode({ port, dataDir: dir });
    };
    return {
      url: server.url,
      mark: () => restarted(() => cpSync(dir, backup, { recursive: true })),
      back: () =>
        restarted(() => {
          for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
          cpSync(backup, dir, { recursive: true });
        }),
      [Symbol.asyncDispose]: () => server.close(),
    };
  }
  const note = (i: number) => ({ type: "noted", data: { i }, by: {} });

  it("is followed from its last event, also where only events that the filter passes over are lost", async () => {
    await using node = await setBackNode();
    await using log = openLog(node.url);
    const run = runOf(newOrigin(), 0, 2);
    await log.append(run.slice(0, 1));
    await node.mark();
    const seen: number[] = [];
    const stop = new AbortController();
    const following = (async () => {
      for await (const { entries } of log.subscribe({ after: null, signal: stop.signal })) {
        seen.push(...entries.map(({ head }) => head.seq));
        if (seen.length === 2) stop.abort();
      }
    })();
    await eventually("the first event", async () => seen.length === 1);
    await eventually("the notes", async () => (await log.journal.append("notes", "any", note(0))) !== null);
    for (let i = 1; i < 200; i++) await log.journal.append("notes", "any", note(i));
    await sleep(300);
    await node.back();
    await eventually("the append after it", async () => (await log.append(run.slice(1))).kind === "appended");
    await following;
    expect(seen).toEqual([0, 1]);
  });

  it("is noticed although it has grown beyond where it was", async () => {
    await using node = await setBackNode();
    await using log = openLog(node.url);
    await log.append(runOf(newOrigin(), 0, 1));
    await node.mark();
    await eventually("the append after it", async () => (await log.append(runOf(newOrigin(), 0, 5))).kind === "appended");
    let count = 0;
    const following = (async () => {
      for await (const { entries } of log.subscribe({ after: null })) count += entries.length;
    })();
    following.catch(() => {});
    await eventually("all six", async () => count === 6);
    await node.back();
    // This is written over another connection, so that the log has grown before the follower has found it again.
    await using other = openLog(node.url);
    await other.append(runOf(newOrigin(), 0, 50));
    await expect(following).rejects.toMatchObject({
      code: "backend-failed",
      message: expect.stringContaining("no longer holds"),
    });
  });

  it("hands out its facts again from the first one on", async () => {
    await using node = await setBackNode();
    await using log = openLog(node.url);
    await log.journal.append("fact-a", "any", note(0));
    await node.mark();
    const after = await log.journal.end();
    await log.append(runOf(newOrigin(), 0, 20));
    await log.journal.append("fact-a", "any", note(1));
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const seen: Fact[] = [];
    log.journal.follow({ prefixes: ["fact-"], after, signal: stop.signal, onFact: (fact) => seen.push(fact) });
    await eventually("the second", async () => seen.length === 1);
    await node.back();
    await eventually("the append after it", async () => (await log.journal.append("fact-a", "any", note(2))) !== null);
    await eventually("what stands now", async () => seen.length >= 3);
    expect(seen.map(({ data }) => data.i)).toEqual([1, 0, 2]);
  });

  it("makes its registry forget the versions that the log no longer has, so that they are registered again", async () => {
    await using node = await setBackNode();
    await using log = openLog(node.url);
    const registry = await openRegistry(log.journal);
    onTestFinished(() => registry.close());
    const register = async (at: Registry, subject: string, ...names: string[]): Promise<unknown> => {
      const fields = names.map((name) => ({ name, type: "string", default: "" }));
      const text = JSON.stringify({
        ...{ type: "record", name: subject, fields },
        tributary: { entity: subject, events: [`${subject}.made`], title: subject, personal: [] },
      });
      const outcome = await at.register(subject, { kind: "avro", text, references: [] }, { actor: "test" });
      return outcome.kind === "registered" && [outcome.version.schema.version, outcome.isNew];
    };
    await register(registry, "visit", "place");
    await node.mark();
    await using other = openLog(node.url);
    const beside = await openRegistry(other.journal);
    await register(beside, "visit", "place", "note");
    await register(beside, "lost", "place");
    beside.close();
    await eventually("both", async () => registry.versions("visit").length === 2 && registry.subjects().includes("lost"));
    await node.back();
    await eventually(
      "what the log has",
      async () => registry.versions("visit").length === 1 && !registry.subjects().includes("lost"),
    );
    expect(await register(registry, "visit", "place", "note")).toEqual([2, true]);
    expect(await register(registry, "lost", "place")).toEqual([1, true]);
    const fresh = await openRegistry(log.journal);
    onTestFinished(() => fresh.close());
    expect(fresh.subjects().map((subject) => [subject, fresh.versions(subject).length])).toEqual([
      ["lost", 1],
      ["visit", 2],
    ]);
  });

  it("makes its registry go by the levels, modes, hidden versions and proposals that the log now holds, as a process that has just started does", async () => {
    await using node = await setBackNode();
    await using log = openLog(node.url);
    const registry = await openRegistry(log.journal);
    onTestFinished(() => registry.close());
    const record = (...names: string[]) => ({
      kind: "avro" as const,
      text: JSON.stringify({ type: "record", name: "visit", fields: names.map((name) => ({ name, type: "string" })) }),
      references: [],
    });
    await registry.register("visit", record("place"), { actor: "test" });
    await registry.setLevel(null, "FORWARD", "test");
    await registry.setLevel("kept", "NONE", "test");
    await registry.propose("kept", 1, record("kept"), "device");
    await node.mark();
    const told: string[] = [];
    registry.onChange((subject) => told.push(subject));
    await eventually("the level", async () => registry.setLevel("visit", "NONE", "test").then(() => true));
    await registry.setLevel(null, "NONE", "test");
    await registry.setLevel("kept", "FULL", "test");
    await registry.setDeleted("visit", 1, true, "test");
    await registry.setMode("visit", "READONLY", "test");
    await registry.propose("lost", 1, record("lost"), "device");
    await registry.dismiss("kept", 1, registry.proposals()[0]!.fingerprint, "test");
    const knows = (of: Registry) => ({
      levels: [null, "visit", "kept"].map((subject) => of.ownLevel(subject)),
      mode: of.mode("visit"),
      shown: of.registered("visit").length,
      proposals: of.proposals().map(({ subject }) => subject),
    });
    expect(knows(registry)).toEqual({ levels: ["NONE", "NONE", "FULL"], mode: "READONLY", shown: 0, proposals: ["lost"] });
    told.length = 0;
    await node.back();
    const before = { levels: ["FORWARD", null, "NONE"], mode: "READWRITE", shown: 1, proposals: ["kept"] };
    await eventually("what the log has", async () => isDeepStrictEqual(knows(registry), before));
    expect(told).toEqual(expect.arrayContaining(["visit", "lost"]));
    const fresh = await openRegistry(log.journal);
    onTestFinished(() => fresh.close());
    expect(knows(fresh)).toEqual(before);
    expect((await registry.register("visit", record("other"), { actor: "test" })).kind).toBe("incompatible");
  });

  /** A device's key, as the hub writes it. */
  const enrolment = (device: string): KeyFact => {
    const { kty, crv, x } = makeKeyPair();
    const key = { kty, crv, x };
    return { type: "device.enrolled", data: { device, kid: keyIdOf(key), key, how: "hub" } };
  };

  it.each([0, 1, 3])(
    "lets its book of keys be read again and written to without a restart, while %i others were enrolled",
    async (others) => {
      await using node = await setBackNode();
      await using log = openLog(node.url);
      const book = await openKeyBook(log.journal, { follow: true });
      onTestFinished(() => book.close());
      const enrol = (at: KeyBook, device: string): Promise<void> => at.write("test", () => enrolment(device));
      const know = (what: string, devices: readonly string[]): Promise<boolean> =>
        eventually(what, async () => book.record.devices().join() === devices.join());
      await enrol(book, "relief.juba.kept");
      await node.mark();
      {
        await using other = openLog(node.url);
        const beside = await openKeyBook(other.journal);
        for (const device of ["relief.juba.lost-1", "relief.juba.lost-2"]) await enrol(beside, device);
        beside.close();
      }
      await know("all three", ["relief.juba.kept", "relief.juba.lost-1", "relief.juba.lost-2"]);
      await node.back();
      // Another process of the hub enrols them, before the one that follows has found the log again.
      await using other = openLog(node.url);
      const beside = await openKeyBook(other.journal);
      onTestFinished(() => beside.close());
      const news = Array.from({ length: others }, (_, i) => `relief.juba.new-${i}`);
      for (const device of news) await enrol(beside, device);
      // Nobody asks or writes: the book follows by itself.
      await know("what the log says now", ["relief.juba.kept", ...news]);
      await enrol(book, "relief.juba.after");
      expect(book.record.devices().toSorted()).toEqual(["relief.juba.kept", ...news, "relief.juba.after"].toSorted());
      await beside.refresh();
      expect(beside.record.devices()).toEqual(book.record.devices());
    },
  );
});
