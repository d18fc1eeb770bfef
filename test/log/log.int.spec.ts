import { spawn } from "node:child_process";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import {
  type Appendable,
  eventIdOf,
  eventText,
  type Fact,
  formatHlc,
  GENESIS,
  type Hash,
  type KeyFact,
  type LogEntry,
  type OriginId,
  type Seq,
  wallMsOf,
} from "../../services/core/index.ts";
import { chainHash, keyIdOf, makeKeyPair, randomEpoch } from "../../services/core/node.ts";
import type { Registry } from "../../services/gate/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { type Interruption, type KeyBook, type Log, openKeyBook, openLog } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { all, eventually, sleep, tempDir } from "../support/temp.ts";

const NODE = join(import.meta.dirname, "../../services/log/node/main.ts");
const WALL_MS = Date.parse("2026-10-01T00:00:00.000Z");

/** A chained run of an origin's events. */
function runOf(
  origin: OriginId,
  from: number,
  count: number,
  options: { prev?: Hash; value?: string; bytes?: number } = {},
): Appendable[] {
  let prev = options.prev ?? GENESIS;
  return Array.from({ length: count }, (_, i): Appendable => {
    const data = { v: `${options.value ?? "x"}${"y".repeat(options.bytes ?? 0)}`, i: from + i };
    const body = {
      type: "thing.noted",
      origin,
      seq: (from + i) as Seq,
      entity: { type: "thing", id: "t" },
      schema: { subject: "thing", version: 1 },
      actor: "a",
      org: "relief",
      occurredAt: "2026-10-01T00:00:00.000Z",
      hlc: formatHlc({ wallMs: WALL_MS + from + i, counter: 0 }),
      basis: {},
    };
    const hash = chainHash(prev, eventText(body, `{"i":${data.i},"v":${JSON.stringify(data.v)}}`));
    const item: Appendable = {
      head: { ...body, id: eventIdOf(wallMsOf(body.hlc), hash), prev, hash },
      content: { kind: "accepted", data },
      clock: null,
    };
    prev = hash;
    return item;
  });
}
const newOrigin = (): OriginId => `relief.test.t1.${randomEpoch()}` as OriginId;
const headOf = (run: readonly Appendable[]): Hash => run.at(-1)!.head.hash;

/** The same tests against the embedded node, and against a real server whose URL is given. */
const servers: { name: string; url: () => string }[] = [{ name: "the embedded node", url: () => node.url }];
const real = process.env.TRIBUTARY_EVENTSTORE_URL;
if (real !== undefined && real !== "") servers.push({ name: "the server at TRIBUTARY_EVENTSTORE_URL", url: () => real });

let node: EmbeddedNode;
beforeAll(async () => {
  node = await startNode();
});
afterAll(() => node.close());

describe.each(servers)("a run of an origin's events, at $name", ({ url }) => {
  let log: Log;
  beforeAll(() => {
    log = openLog(url());
  });
  afterAll(() => log.close());

  it("is appended once, and again without a second write", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 5);
    const first = await log.append(run);
    expect(first).toMatchObject({ kind: "appended", written: 5, head: { through: 4, hash: headOf(run) } });
    expect(await log.append(run)).toMatchObject({ kind: "appended", written: 0, head: { through: 4 } });
    expect(await log.append(run.slice(1, 3))).toMatchObject({ kind: "appended", written: 0 });
    expect((await all(log.readOrigin(origin))).map(({ head }) => head)).toEqual(run.map(({ head }) => head));
  });

  it("that overlaps what is there is completed", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 9);
    await log.append(run.slice(0, 4));
    expect(await log.append(run.slice(2))).toMatchObject({ kind: "appended", written: 5, head: { through: 8 } });
    expect(await all(log.readOrigin(origin))).toHaveLength(9);
  });

  it("ahead of its predecessor is a gap, and writes nothing", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 6);
    expect(await log.append(run.slice(3))).toEqual({ kind: "gap", head: null });
    await log.append(run.slice(0, 2));
    expect(await log.append(run.slice(4))).toMatchObject({ kind: "gap", head: { through: 1 } });
    expect(await all(log.readOrigin(origin))).toHaveLength(2);
  });

  it("with another event at a seq that is taken is a fork, also where the caller's knowledge is old (I4)", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 3);
    await log.append(run.slice(0, 1));
    const old = await log.head(origin);
    await log.append(run.slice(1));
    const other = runOf(origin, 1, 2, { prev: run[0]!.head.hash, value: "other" });
    expect(await log.append(other, old)).toMatchObject({ kind: "fork", seq: 2 });
    expect((await all(log.readOrigin(origin))).map(({ head }) => head.hash)).toEqual(run.map(({ head }) => head.hash));
  });

  it("that the caller remembers and the log no longer has is written, not acknowledged from memory", async () => {
    const remembered = newOrigin();
    const run = runOf(remembered, 0, 6);
    const { head } = await log.append(run);
    // The same events under another name: a log that was set back to before them, or to the first two.
    const lost = newOrigin();
    const again = runOf(lost, 0, 6);
    const known = { ...head!, hash: headOf(again) };
    expect(await log.append(again, known)).toMatchObject({ kind: "appended", written: 6 });
    const shorter = newOrigin();
    const rest = runOf(shorter, 0, 6);
    await log.append(rest.slice(0, 2));
    const beyond = { ...head!, hash: headOf(rest) };
    expect(await log.append(rest, beyond)).toMatchObject({ kind: "appended", written: 4 });
    expect(await log.append(rest.slice(3, 5), beyond)).toMatchObject({ kind: "appended", written: 0 });
    expect(await log.append(runOf(newOrigin(), 0, 6).slice(3), beyond)).toMatchObject({ kind: "gap", head: null });
    for (const name of [lost, shorter]) expect(await all(log.readOrigin(name))).toHaveLength(6);
  });

  it("says of each event which quarantined one came before, across appends", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 9).map((item, i): Appendable => {
      if (i % 4 !== 1) return item;
      return { ...item, content: { kind: "quarantined", reason: { code: "invalid", message: "no", path: null }, text: "{" } };
    });
    const { head } = await log.append(run.slice(0, 3));
    await log.append(run.slice(3, 5), head);
    await log.append(run.slice(5));
    const marks = (await all(log.readOrigin(origin))).map(({ lastQuarantined }) => lastQuarantined);
    expect(marks).toEqual([null, null, 1, 1, 1, 1, 5, 5, 5]);
    expect(await log.head(origin)).toMatchObject({ through: 8, lastQuarantined: 5 });
  });

  it("raced by two writers is written once", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 40);
    const outcomes = await Promise.all(Array.from({ length: 8 }, (_, i) => log.append(run.slice(0, 20 + i), null)));
    for (const outcome of outcomes) expect(outcome.kind).toBe("appended");
    expect((await all(log.readOrigin(origin))).map(({ head }) => head.seq)).toEqual(Array.from({ length: 27 }, (_, i) => i));
  });

  it("is answered although other clients of this process come and go", async () => {
    let isOver = false;
    const comeAndGo = async (): Promise<void> => {
      while (!isOver) {
        const other = openLog(url());
        await other.append(runOf(newOrigin(), 0, 1));
        await other.close();
      }
    };
    const others = [comeAndGo(), comeAndGo()];
    const appends = Array.from({ length: 300 }, () => log.append(runOf(newOrigin(), 0, 1)));
    const outcomes = await Promise.allSettled(appends);
    isOver = true;
    await Promise.all(others);
    expect(outcomes.filter(({ status }) => status === "rejected")).toEqual([]);
  });

  it("larger than one append may be is cut", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 30, { bytes: 90_000 });
    expect(await log.append(run)).toMatchObject({ kind: "appended", written: 30 });
    expect(await all(log.readOrigin(origin))).toHaveLength(30);
  });

  it("keeps quarantined events, clock notes and links as they were", async () => {
    const origin = newOrigin();
    const [item] = runOf(origin, 0, 1);
    const held: Appendable = {
      head: { ...item!.head, correlationId: "c-1", causationId: "c-0" },
      content: { kind: "quarantined", reason: { code: "invalid", message: "no", path: "/v" }, text: "{oops" },
      clock: { offsetMs: -63_072_000_000 },
    };
    await log.append([held]);
    const [entry] = await all(log.readOrigin(origin));
    expect(entry).toMatchObject(held);
  });
});

async function follow(log: Log, count: number, options: Parameters<Log["subscribe"]>[0], perPageMs = 0): Promise<LogEntry[]> {
  const out: LogEntry[] = [];
  const stop = new AbortController();
  for await (const { entries } of log.subscribe({ ...options, signal: stop.signal })) {
    out.push(...entries);
    if (perPageMs > 0) await sleep(perPageMs);
    if (out.length >= count) stop.abort();
  }
  return out;
}

describe("following the log", () => {
  it("survives being dropped as too slow, again and again, without gap or repeat", async () => {
    await using strict = await startNode({ liveBufferEvents: 32 });
    await using log = openLog(strict.url);
    const origin = newOrigin();
    const drops: Interruption[] = [];
    const following = follow(log, 6_000, { after: null, onInterruption: (what) => drops.push(what) });
    await sleep(300);
    const run = runOf(origin, 0, 6_000, { bytes: 400 });
    for (let at = 0; at < run.length; at += 500) await log.append(run.slice(at, at + 500));
    const entries = await following;
    expect(entries.map(({ head }) => head.seq)).toEqual(Array.from({ length: 6_000 }, (_, i) => i));
    expect(drops.some((drop) => drop.kind === "dropped" && drop.message.includes("too slow"))).toBe(true);
  });

  it("goes on from where it was after the server was gone", async () => {
    const first = await startNode();
    const { port } = first;
    await first.close();
    const dir = (await import("../support/temp.ts")).tempDir();
    let server = await startNode({ port, dataDir: dir });
    await using log = openLog(server.url);
    const origin = newOrigin();
    const run = runOf(origin, 0, 100);
    await log.append(run.slice(0, 50));
    const following = follow(log, 100, { after: null });
    await sleep(200);
    await server.close();
    server = await startNode({ port, dataDir: dir });
    await eventually("the append after the restart", async () => (await log.append(run.slice(50))).kind === "appended");
    expect((await following).map(({ head }) => head.seq)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    await server.close();
  });

  it("notices a server that has gone silent without a word, and goes on when it is back", async () => {
    const server = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", NODE, "--memory", "--json"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => {
      server.kill("SIGKILL");
    });
    const said = await new Promise<string>((resolve) => server.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString())));
    await using log = openLog((JSON.parse(said) as { url: string }).url);
    const run = runOf(newOrigin(), 0, 20);
    await log.append(run.slice(0, 10));
    const noticed: Interruption[] = [];
    const following = follow(log, 20, { after: null, quietMs: 300, onInterruption: (what) => noticed.push(what) });
    await sleep(300);
    expect(noticed).toEqual([]);
    server.kill("SIGSTOP");
    await eventually("the watchdog's bark", async () => noticed.length > 0);
    server.kill("SIGCONT");
    await log.append(run.slice(10));
    expect((await following).map(({ head }) => head.seq)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it("starts after a position, and only takes origins", async () => {
    await using log = openLog(node.url);
    const origin = newOrigin();
    const run = runOf(origin, 0, 3);
    const outcome = await log.append(run.slice(0, 1));
    const following = follow(log, 2, { after: outcome.head!.position });
    await log.append(run.slice(1));
    expect((await following).map(({ head }) => head.hash)).toEqual(run.slice(1).map(({ head }) => head.hash));
  });
});

describe("a follower of events of a megabyte each", () => {
  it("is handed pages of 8 MiB at most, however many events wait for it and may be in one", async () => {
    await using own = await startNode();
    await using log = openLog(own.url);
    const run = runOf(newOrigin(), 0, 24, { bytes: 900_000 });
    await log.append(run);
    const stop = new AbortController();
    const spans: number[] = [];
    let seen = 0;
    // Until all wait for it, the reader takes none: others begin later, have them all, and then all of them again.
    let haveArrived = false;
    const others = async (): Promise<void> => {
      for (let i = 0; i < 2; i++) await follow(log, run.length, { after: null });
      haveArrived = true;
    };
    let arriving: Promise<void> | null = null;
    const busy = (): Promise<void> | null => {
      arriving ??= others();
      return haveArrived ? null : arriving;
    };
    for await (const { entries } of log.subscribe({ after: null, maxPage: run.length + 1, signal: stop.signal, busy })) {
      spans.push(Number(entries.at(-1)!.position - entries[0]!.position));
      seen += entries.length;
      if (seen === run.length) stop.abort();
    }
    expect(seen).toBe(run.length);
    expect(Math.max(...spans)).toBeLessThanOrEqual(8 * 1_048_576);
    // Pages they are, nevertheless: the first is of several.
    expect(Math.max(...spans)).toBeGreaterThan(2 * 900_000);
  });
});

describe("a log that is set back to a backup while it is followed", () => {
  /** A node whose files are put back to how they were at `mark()`, under the same address, and then hold what `then` writes before anybody is let in. */
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

  it("is followed from its last event, also where only what the filter passes over is lost", async () => {
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
    // Another link, so that it has grown before the one that follows has found it again.
    await using other = openLog(node.url);
    await other.append(runOf(newOrigin(), 0, 50));
    await expect(following).rejects.toMatchObject({
      code: "backend-failed",
      message: expect.stringContaining("no longer holds"),
    });
  });

  it("gives its facts from the first", async () => {
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

  it("has its registry forget the versions that it has no more, so that they are registered again", async () => {
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

  it("has its registry go by the levels, modes, hidden versions and proposals that it holds, as a process that starts then does", async () => {
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
    await registry.setMode("visit", "READONLY", "test");
    await registry.setDeleted("visit", 1, true, "test");
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
    "has its book of keys read anew, and written on, without a restart: %i others enrolled meanwhile",
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
      // With another process of the hub, before the one that follows has found the log again.
      await using other = openLog(node.url);
      const beside = await openKeyBook(other.journal);
      onTestFinished(() => beside.close());
      const news = Array.from({ length: others }, (_, i) => `relief.juba.new-${i}`);
      for (const device of news) await enrol(beside, device);
      // Nobody asks or writes: it follows.
      await know("what the log says now", ["relief.juba.kept", ...news]);
      await enrol(book, "relief.juba.after");
      expect(book.record.devices().toSorted()).toEqual(["relief.juba.kept", ...news, "relief.juba.after"].toSorted());
      await beside.refresh();
      expect(beside.record.devices()).toEqual(book.record.devices());
    },
  );
});

it("a dead event store is reported with what to do", async () => {
  const gone = await startNode();
  const { url } = gone;
  await gone.close();
  await using log = openLog(url);
  await expect(log.end()).rejects.toMatchObject({ code: "backend-unreachable", hint: expect.stringContaining("address") });
});
