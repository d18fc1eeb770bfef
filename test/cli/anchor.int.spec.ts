import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { anchorSays, checkAnchor, keepAnchor } from "../../services/cli/anchor.ts";
import { type AnchorLocation, anchorGiven, anchorLocation, anchorMemory } from "../../services/cli/anchor-location.ts";
import { inputOf } from "../../services/cli/args.ts";
import { restore } from "../../services/cli/commands-backup.ts";
import { type PublicKey, publicKeySchema } from "../../services/core/index.ts";
import { makeKeyPair, signerOf } from "../../services/core/node.ts";
import {
  type Anchor,
  beginIncarnation,
  confirmIncarnation,
  currentIncarnation,
  type Log,
  openKeyBook,
  openLog,
} from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { number } from "../support/hub.ts";
import { oldWriter, person } from "../support/oldlog.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";

const key = makeKeyPair();
const hubKeys: readonly PublicKey[] = [publicKeySchema.parse(key)];

let dir: string;
let node: EmbeddedNode;
let log: Log;
let writer: ReturnType<typeof oldWriter>;
let said: Record<string, unknown>[];

const start = async (): Promise<void> => {
  node = await startNode({ dataDir: join(dir, "eventstore") });
  log = openLog(node.url);
};
const stop = async (): Promise<void> => {
  await log.close();
  await node.close();
};
beforeEach(async () => {
  dir = tempDir();
  said = [];
  mkdirSync(join(dir, "vault"));
  mkdirSync(join(dir, "hub"));
  await start();
  await currentIncarnation(log.journal);
  // The writer keeps writing to the current log, even after the log was opened again.
  writer = oldWriter({ append: (run) => log.append(run) }, "juba");
  await writer.append(person(number(1)), person(number(2)));
});

afterEach(() => stop());

/** Sets the log back to what it was when `keep` was called. */
const keep = async (): Promise<void> => {
  await stop();
  cpSync(join(dir, "eventstore"), join(dir, "kept"), { recursive: true });
  await start();
};
const setBack = async (): Promise<void> => {
  await stop();
  rmSync(join(dir, "eventstore"), { recursive: true });
  cpSync(join(dir, "kept"), join(dir, "eventstore"), { recursive: true });
  await start();
};

const file = (): string => join(dir, "vault", "anchor.json");
const inFile = (): AnchorLocation => anchorLocation(file())!;
const kept = (): Anchor => JSON.parse(readFileSync(file(), "utf8")) as Anchor;
const memory = (location = inFile()) => anchorMemory(join(dir, "hub"), location);
const check = (location = inFile()) => checkAnchor({ log, location, memory: memory(location), hubKeys: () => hubKeys }, "hub");
const keeper = async (location = inFile(), everyMs = 50) => {
  const made = await keepAnchor({
    log,
    location,
    memory: memory(location),
    hubKeys: () => hubKeys,
    signer: () => signerOf(key),
    everyMs,
    say: (event) => said.push(event),
  });
  onTestFinished(() => made.close());
  return made;
};
/** Keeps the anchor until it has the log's end, and no longer. */
const anchored = async (location = inFile()): Promise<void> => {
  const made = await keeper(location);
  await made.close();
};

it("is written after new events, signed, with where each origin stands; and no more often than it may", async () => {
  const made = await keeper(inFile(), 150);
  await eventually("the first anchor", async () => existsSync(file()));
  expect(kept()).toMatchObject({
    version: 1,
    heads: { [writer.origin]: [1, (await log.head(writer.origin))!.hash, expect.any(String)] },
  });
  const first = kept().at;
  await writer.append(person(number(3)));
  await eventually("the next anchor", async () => kept().at !== first);
  expect(kept().heads[writer.origin]![0]).toBe(2);
  expect(Date.parse(kept().at) - Date.parse(first)).toBeGreaterThan(100);
  expect(await made.part()).toMatchObject({ state: "ok", facts: { place: file(), position: kept().position } });
  // Nothing is new: nothing is written.
  const second = kept().at;
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(kept().at).toBe(second);
  expect(await check()).toMatchObject({ kind: "compared", comparison: { state: "holds" } });
});

describe("a log that was set back with its database", () => {
  it("is noticed at the next start, once; what was kept stays as evidence until somebody confirms", async () => {
    await keep();
    await writer.append(person(number(3)), person(number(4)));
    await anchored();
    const evidence = readFileSync(file(), "utf8");
    await setBack();
    const before = await currentIncarnation(log.journal);
    const found = await check();
    expect(found).toMatchObject({
      kind: "compared",
      comparison: {
        state: "set-back",
        lacking: 1,
        named: [`${writer.origin}/3`],
        says: expect.stringContaining("nobody has declared a restore"),
      },
    });
    const life = await currentIncarnation(log.journal);
    expect(life).toMatchObject({
      how: "detected",
      isConfirmed: false,
      by: "hub",
      seenEnd: kept().position,
      note: expect.stringContaining("holds less than its anchor"),
    });
    expect(life.id).not.toBe(before.id);
    expect(await check()).toMatchObject({ comparison: { state: "noticed" } });
    expect((await currentIncarnation(log.journal)).id).toBe(life.id);

    const made = await keeper();
    expect(await made.part()).toMatchObject({
      state: "warning",
      reason: expect.stringContaining("no operator has confirmed it"),
    });
    const report = await verify({ log, anchor: (await anchorGiven(file(), hubKeys))! });
    expect(report.verdicts.anchor).toMatchObject({ state: "bad", todo: [expect.stringContaining("restore --confirm")] });
    expect(report.problems).toMatchObject([{ part: "anchor", where: `${writer.origin}/3` }]);
    // Other events at the seqs of those that were lost hide nothing.
    await oldWriter(log, "nairobi").append(person(number(9)), person(number(10)));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(readFileSync(file(), "utf8")).toBe(evidence);

    await confirmIncarnation(log.journal, life.id, "operator");
    await eventually("the anchor of the new life", async () => readFileSync(file(), "utf8") !== evidence);
    await eventually("no warning", async () => (await made.part()).state === "ok");
    expect(kept()).toMatchObject({
      incarnation: life.id,
      lives: [before.id, life.id],
      heads: { [writer.origin]: [1, expect.any(String), expect.any(String)] },
    });
  });

  it("raises no alarm after a declared restore; the anchor goes on in the new incarnation", async () => {
    await keep();
    await writer.append(person(number(3)));
    await anchored();
    await setBack();
    const before = await currentIncarnation(log.journal);
    const declared = await beginIncarnation(log.journal, before.id, { how: "restored", by: "operator" });
    expect(await check()).toMatchObject({
      comparison: { state: "declared", lacking: 1, says: expect.stringContaining("restored by operator") },
    });
    expect((await verify({ log, anchor: (await anchorGiven(file(), hubKeys))! })).verdicts.anchor).toMatchObject({
      state: "good",
    });
    await anchored();
    expect(kept()).toMatchObject({
      incarnation: declared.id,
      heads: { [writer.origin]: [1, expect.any(String), expect.any(String)] },
    });
  });

  it("is noticed even if it lost only facts about keys: a revocation would be forgotten", async () => {
    await keep();
    const book = await openKeyBook(log.journal, { signer: () => signerOf(key) });
    await book.write("operator", () => ({ type: "token.revoked", data: { jti: "stolen" } }));
    book.close();
    await anchored();
    await setBack();
    expect(await check()).toMatchObject({
      comparison: { state: "set-back", says: expect.stringContaining("revocations may be lost") },
    });
  });

  it("is noticed while the hub runs, too", async () => {
    await keep();
    await writer.append(person(number(3)));
    const { port } = node;
    const made = await keeper();
    await eventually("the anchor", async () => existsSync(file()) && kept().heads[writer.origin]![0] === 2);
    await node.close();
    rmSync(join(dir, "eventstore"), { recursive: true });
    cpSync(join(dir, "kept"), join(dir, "eventstore"), { recursive: true });
    node = await startNode({ dataDir: join(dir, "eventstore"), port });
    await eventually("the alarm", async () => !(await currentIncarnation(log.journal)).isConfirmed);
    await eventually("the warning", async () => (await made.part()).state === "warning");
  });
});

it("another log in place of the hub's is noticed", async () => {
  await anchored();
  await stop();
  rmSync(join(dir, "eventstore"), { recursive: true });
  await start();
  await oldWriter(log, "juba").append(person(number(1)), person(number(2)));
  expect(await check()).toMatchObject({ comparison: { state: "replaced", says: expect.stringContaining("another log") } });
  expect(await currentIncarnation(log.journal)).toMatchObject({ how: "detected", isConfirmed: false });
});

it("an anchor that the hub has not signed is neither believed nor overwritten", async () => {
  await anchored();
  const forged = JSON.stringify({ ...kept(), heads: {} });
  writeFileSync(file(), forged);
  expect(await check()).toMatchObject({ kind: "disbelieved", says: expect.stringContaining("not what the hub signed") });
  const made = await keeper();
  await writer.append(person(number(3)));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(readFileSync(file(), "utf8")).toBe(forged);
  expect(await made.part()).toMatchObject({ state: "warning", reason: expect.stringContaining("cannot be believed") });
  expect((await verify({ log, anchor: (await anchorGiven(file(), hubKeys))! })).problems).toMatchObject([{ part: "anchor" }]);
  for (const text of ["", "{", "[]", '{"version":1}']) {
    writeFileSync(file(), text);
    expect(await check()).toMatchObject({ kind: "disbelieved" });
  }
  expect(await currentIncarnation(log.journal)).toMatchObject({ how: "first" });
});

it("a full disk under the hub's own folder is a warning, and stops neither the check at a start nor the anchor", async () => {
  await anchored();
  const written = kept().at;
  memory().forget();
  // There is no room for what is written there.
  const unwritable = join(dir, "hub", "config.json.new");
  symlinkSync("/dev/full", unwritable);
  const found = await check();
  expect(found).toMatchObject({ kind: "compared", comparison: { state: "holds" }, unnoted: expect.stringContaining("ENOSPC") });
  expect(anchorSays(found, inFile())).toMatch(/^The log holds .*\. The hub cannot note that .*ENOSPC.*\.$/);
  await writer.append(person(number(3)));
  const made = await keeper();
  expect(await made.part()).toMatchObject({ state: "warning", reason: expect.stringContaining("ENOSPC") });
  await eventually("the next anchor", async () => kept().at !== written);
  rmSync(unwritable);
  await eventually("no warning", async () => (await made.part()).state === "ok");
  expect(memory().hasHeld()).toBe(true);
});

it("an address takes it by PUT and gives it back by GET; one that fails is a warning, and stops nothing", async () => {
  let text: string | null = null;
  let isBroken = true;
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.headers.authorization);
    if (isBroken) return response.writeHead(503).end();
    if (request.method === "GET") return text === null ? response.writeHead(404).end() : response.end(text);
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      text = body;
      response.writeHead(204).end();
    });
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const location = anchorLocation(`http://hub:s%2Fecret@127.0.0.1:${port}/anchor`)!;
  expect(location.name).toBe(`http://127.0.0.1:${port}/anchor`);
  expect(await check(location)).toMatchObject({ kind: "unreachable", says: expect.stringContaining("503") });
  const made = await keeper(location);
  expect(await made.part()).toMatchObject({ state: "warning", reason: expect.stringContaining(`127.0.0.1:${port}`) });
  expect(JSON.stringify([said, await made.part()])).not.toContain("ecret");
  isBroken = false;
  await eventually("the anchor", async () => text !== null);
  await eventually("no warning", async () => (await made.part()).state === "ok");
  text = null;
  await eventually("the warning that it is gone", async () => (await made.part()).state === "warning");
  expect(text).toBeNull();
  expect(await check(location)).toMatchObject({ kind: "gone", says: expect.stringContaining(location.name) });
  memory(location).forget();
  await eventually("another anchor", async () => text !== null && (await made.part()).state === "ok");
  expect(asked.at(-1)).toBe(`Basic ${Buffer.from("hub:s/ecret").toString("base64")}`);
  expect(await check(location)).toMatchObject({ comparison: { state: "holds" } });
});

describe("an anchor whose disk is not mounted, or that somebody took away,", () => {
  const vault = (): string => join(dir, "vault");
  const away = (): string => join(dir, "disk");
  /** The mount point alone is an empty folder, to which everything can be written. */
  const unmount = (): void => {
    renameSync(vault(), away());
    mkdirSync(vault());
  };
  const mount = (): void => {
    rmSync(vault(), { recursive: true });
    renameSync(away(), vault());
  };
  const confirmGone = async (anchor = file()): Promise<string> => {
    let words = "";
    const input = inputOf(restore, ["--confirm", "--anchor", anchor, "--data", join(dir, "hub")]);
    await restore.run({ ...input, out: { ...input.out, line: (line) => (words += line), result: () => {} } });
    return words;
  };

  it("is missed at the next start, and none is begun on the empty mount point; mounted again it goes on", async () => {
    await anchored();
    unmount();
    const found = await check();
    expect(found).toMatchObject({
      kind: "gone",
      says: expect.stringMatching(/no anchor at .* any more.*not mounted.*--confirm --anchor/),
    });
    expect(anchorSays(found, inFile())).toContain("Nothing is written there");
    const made = await keeper();
    await writer.append(person(number(3)));
    await sleep(200);
    expect(readdirSync(vault())).toEqual([]);
    expect(await made.part()).toMatchObject({ state: "warning", reason: expect.stringContaining("not mounted") });
    expect(said.filter(({ event }) => event === "anchor-warning")).toHaveLength(1);
    mount();
    await eventually("what came meanwhile", async () => kept().heads[writer.origin]![0] === 2);
    expect(await made.part()).toMatchObject({ state: "ok" });
  });

  it("is missed while the hub runs, too", async () => {
    const made = await keeper();
    await eventually("the anchor", async () => (await made.part()).state === "ok" && existsSync(file()));
    unmount();
    // Whether there is anything to write or not.
    await eventually("the warning", async () => (await made.part()).state === "warning");
    await writer.append(person(number(3)));
    await sleep(200);
    expect(readdirSync(vault())).toEqual([]);
    mount();
    await eventually("what came meanwhile", async () => kept().heads[writer.origin]![0] === 2);
    expect(await made.part()).toMatchObject({ state: "ok" });
  });

  it("is begun again when the operator says so, but not where there is one", async () => {
    expect(await confirmGone()).toContain("has kept no anchor");
    await anchored();
    await expect(confirmGone()).rejects.toMatchObject({ code: "usage", message: expect.stringContaining("there is an anchor") });
    unmount();
    const made = await keeper();
    expect(await confirmGone()).toContain("begins a new anchor");
    await eventually("another anchor", async () => existsSync(file()) && (await made.part()).state === "ok");
    // An earlier version of the hub kept one without a note of it.
    memory().forget();
    expect(await check()).toMatchObject({ comparison: { state: "holds" } });
    expect(memory().hasHeld()).toBe(true);
  });
});

it("is refused in the hub's own data folder, and in a folder that does not exist", async () => {
  expect(() => anchorLocation(join(dir, "hub", "anchor.json"), join(dir, "hub"))).toThrow(
    expect.objectContaining({ code: "usage" }),
  );
  expect(() => anchorLocation("ftp://example.org/anchor")).toThrow(expect.objectContaining({ code: "usage" }));
  expect(anchorLocation(join(dir, "hub-anchor.json"), join(dir, "hub"))).not.toBeNull();
  const away = anchorLocation(join(dir, "not mounted", "anchor.json"))!;
  expect(await check(away)).toMatchObject({ kind: "unreachable" });
  expect(await anchorGiven(file(), hubKeys)).toMatchObject({ problem: expect.stringContaining("there is none") });
});
