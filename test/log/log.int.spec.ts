import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { noteCheck } from "../../services/audit/notes.ts";
import type { Appendable, IncarnationId } from "../../services/core/index.ts";
import { makeKeyPair, signerOf } from "../../services/core/node.ts";
import { type Interruption, type Log, MAX_APPEND_BYTES, openLog, type SignNotes } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { signNotes } from "../../services/log/sign-notes.ts";
import { follow, headOf, newOrigin, runOf } from "../support/log-runs.ts";
import { all, eventually, sleep } from "../support/temp.ts";

const HUB = "abcdefghijkl" as IncarnationId;
const signer = signerOf(makeKeyPair());
const NODE = join(import.meta.dirname, "../../services/log/node/main.ts");

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

  it("is appended once, and writes nothing when it is appended again", async () => {
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

  it("bears the hub's signature of its notes on its last event, for what was written and nothing else", async () => {
    const asked: number[][] = [];
    const note: SignNotes = (written) => {
      asked.push(written.map(({ head }) => head.seq));
      return signNotes(signer, HUB, written);
    };
    const origin = newOrigin();
    const run = runOf(origin, 0, 6);
    await log.append(run.slice(0, 2), undefined, note);
    await log.append(run.slice(0, 4), undefined, note);
    await log.append(run, undefined, note);
    await log.append(run, undefined, note);
    expect(asked).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    const kept = await all(log.readOrigin(origin));
    expect(kept.map(({ noted }) => noted?.from)).toEqual([undefined, 0, undefined, 2, undefined, 4]);
    const checked = noteCheck({ keys: () => [signer.key], signedFrom: () => null }, expect.fail);
    for (const entry of kept) checked.entry(entry);
    expect(checked.end()).toEqual({ signed: 3, unsigned: 0 });
  });

  it("that takes several calls bears a signature for each of them", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 4, { bytes: MAX_APPEND_BYTES * 0.6 });
    await log.append(run, undefined, (written) => signNotes(signer, HUB, written));
    expect((await all(log.readOrigin(origin))).map(({ noted }) => noted?.from)).toEqual([0, 1, 2, 3]);
  });

  it("that comes before its predecessor is a gap, and nothing is written", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 6);
    expect(await log.append(run.slice(3))).toEqual({ kind: "gap", head: null });
    await log.append(run.slice(0, 2));
    expect(await log.append(run.slice(4))).toMatchObject({ kind: "gap", head: { through: 1 } });
    expect(await all(log.readOrigin(origin))).toHaveLength(2);
  });

  it("with another event at a seq that is taken is a fork, also when the caller's knowledge is old (I4)", async () => {
    const origin = newOrigin();
    const run = runOf(origin, 0, 3);
    await log.append(run.slice(0, 1));
    const old = await log.head(origin);
    await log.append(run.slice(1));
    const other = runOf(origin, 1, 2, { prev: run[0]!.head.hash, value: "other" });
    expect(await log.append(other, old)).toMatchObject({ kind: "fork", seq: 2 });
    expect((await all(log.readOrigin(origin))).map(({ head }) => head.hash)).toEqual(run.map(({ head }) => head.hash));
  });

  it("that the caller remembers and the log no longer has is written again, not confirmed from memory", async () => {
    const remembered = newOrigin();
    const run = runOf(remembered, 0, 6);
    const { head } = await log.append(run);
    // The same events under another name: to the caller this is a log that was set back to before them, or to the first two.
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

  it("says of each event which quarantined event came before it, across appends", async () => {
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

  it("that two writers append at the same time is written once", async () => {
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

  it("that is larger than one append may be is cut", async () => {
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

describe("following the log", () => {
  it("survives being dropped as too slow, again and again, without a gap or a repetition", async () => {
    await using strict = await startNode({ liveBufferEvents: 32 });
    await using log = openLog(strict.url);
    const origin = newOrigin();
    const drops: Interruption[] = [];
    const seqs: number[] = [];
    const stop = new AbortController();
    const following = (async () => {
      const options = { after: null, signal: stop.signal, onInterruption: (what: Interruption) => drops.push(what) };
      for await (const { entries } of log.subscribe(options)) seqs.push(...entries.map(({ head }) => head.seq));
    })();
    const run = runOf(origin, 0, 6_000, { bytes: 400 });
    // It follows live when the burst comes.
    for (let i = 0; i < 3; i++) {
      await log.append(run.slice(i, i + 1));
      await eventually("a single event", async () => seqs.length === i + 1);
    }
    for (let at = 3; at < run.length; at += 500) await log.append(run.slice(at, at + 500));
    await eventually("all events", async () => seqs.length >= run.length);
    stop.abort();
    await following;
    expect(seqs).toEqual(Array.from({ length: 6_000 }, (_, i) => i));
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
    // A server that a busy machine delays may have been silent before.
    const before = noticed.length;
    server.kill("SIGSTOP");
    await eventually("the watchdog's bark", async () => noticed.length > before);
    server.kill("SIGCONT");
    await log.append(run.slice(10));
    expect((await following).map(({ head }) => head.seq)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it("starts after a position, and takes only events of origins", async () => {
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
  it("is handed pages of at most 8 MiB, however many events wait and may be in a page", async () => {
    await using own = await startNode();
    await using log = openLog(own.url);
    const run = runOf(newOrigin(), 0, 24, { bytes: 900_000 });
    await log.append(run);
    const stop = new AbortController();
    const spans: number[] = [];
    let seen = 0;
    // The reader takes no event until all wait for it; other readers begin later and read all of them first.
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
    // They are pages nevertheless: the first holds several events.
    expect(Math.max(...spans)).toBeGreaterThan(2 * 900_000);
  });
});

it("a dead event store is reported with what to do", async () => {
  const gone = await startNode();
  const { url } = gone;
  await gone.close();
  await using log = openLog(url);
  await expect(log.end()).rejects.toMatchObject({ code: "backend-unreachable", hint: expect.stringContaining("address") });
});
