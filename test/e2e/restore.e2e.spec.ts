import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { hubKey } from "../../services/cli/keys.ts";
import type { HubState } from "../../services/cli/state.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { beginIncarnation, incarnations, openLog } from "../../services/log/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { newDir } from "../support/home.ts";
import { gate, number, registration, update } from "../support/hub.ts";
import { beginHub, type HubProcess, jsonOf, openDir, runHub, tributary } from "../support/hub-process.ts";
import { eventually, tempDir } from "../support/temp.ts";

const PROJECTIONS = join(import.meta.dirname, "../../projections");

function device(dir: string, site: string): Field {
  const field = openField({ path: join(dir, `${site}.db`), name: { org: "relief", site, device: "t1" }, schemas: gate });
  onTestFinished(() => field.close());
  return field;
}

const sync = async ({ dir, state }: HubProcess, field: Field, site: string, again = false) =>
  field.sync({
    url: state.natsUrl,
    token: await issueToken(await hubKey(dir), { org: "relief", site, lifetimeS: 3600, nowMs: Date.now() }),
    batchEvents: 50,
    again,
  });

async function projected({ postgresUrl, eventstoreUrl }: HubState): Promise<void> {
  await using log = openLog(eventstoreUrl);
  const db = await connectViews(postgresUrl, "tributary-test");
  try {
    let last = -1n;
    for await (const { position } of log.readAll()) last = position;
    await eventually("the projection of the whole log", async () => {
      const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
      return BigInt(rows[0]?.position ?? -1) >= last;
    });
  } finally {
    await db.end();
  }
}

/** Nothing is lost or doubled: each device's events are in the log once, and the program itself says that the views are what folding the log gives. */
async function expectWhole(
  { dir, state }: HubProcess,
  fields: readonly Field[],
  env: Record<string, string> = {},
): Promise<number> {
  await projected(state);
  const books = await jsonOf<{ problemCount: number; notCompared: string[]; rowsCompared: number }>(
    ["audit", "verify", "--data", dir],
    env,
  );
  expect(books).toMatchObject({ problemCount: 0, notCompared: [] });
  expect(books.rowsCompared).toBeGreaterThan(0);
  await using log = openLog(state.eventstoreUrl);
  const inLog = new Map<string, string[]>();
  for await (const { head } of log.readAll()) {
    const at = `${head.origin}/${head.seq}`;
    inLog.set(at, [...(inLog.get(at) ?? []), head.hash]);
  }
  let count = 0;
  for (const field of fields)
    for (const event of field.events()) {
      expect(event.level).toBe("SYNCED");
      expect(inLog.get(`${event.origin}/${event.seq}`)).toEqual([event.hash]);
      count++;
    }
  return count;
}

/** Somebody who is told of conflicts: what came, by key. */
async function receiver(): Promise<{ readonly url: string; readonly keys: string[] }> {
  const keys: string[] = [];
  const server = createServer((request, response) => {
    keys.push(String(request.headers["idempotency-key"]));
    request.resume().on("end", () => response.writeHead(200).end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}/`, keys };
}

/** The shipped projections, with people told of conflicts about phones. */
function tellingProjections(): string {
  const dir = tempDir();
  const merge = join(import.meta.dirname, "../../services/merge/index.ts");
  for (const name of readdirSync(PROJECTIONS)) {
    const text = readFileSync(join(PROJECTIONS, name), "utf8").replace(
      /"\.\.\/services\/merge\/index\.ts"/,
      JSON.stringify(merge),
    );
    writeFileSync(
      join(dir, name),
      name === "beneficiaries.ts" ? text.replace("resolve:", 'notify: { phone: ["desk"] },\n  resolve:') : text,
    );
  }
  return dir;
}

describe("a hub that is lost and restored", () => {
  /** Spares the last test a start: a restored hub of the test before it, where that has run. */
  let left: HubProcess | undefined;
  const ends: (() => void | Promise<void>)[] = [];
  afterAll(async () => {
    for (const end of ends) await end();
  });

  it("from a backup taken during a sync has what devices send again, once, and tells nobody again", async () => {
    const work = openDir();
    const desk = await receiver();
    const projections = tellingProjections();
    const env = { TRIBUTARY_PROJECTIONS: projections };
    const first = join(work, "hub");
    mkdirSync(first);
    writeFileSync(
      join(first, "notifications.json"),
      JSON.stringify({ targets: { desk: { webhook: { url: desk.url, secret: "sixteen letters or more" } } } }),
    );
    const before = await runHub(first, [], env);
    await jsonOf(["site", "add", "juba", "--data", first]);

    const [juba, nairobi] = [device(work, "juba"), device(work, "nairobi")] as const;
    // Two sites do not know of each other's phone numbers: people are told of these conflicts.
    for (let n = 0; n < 5; n++) {
      await juba.append(registration(number(n), { phone: `+21190000000${n}` }));
      await nairobi.append(registration(number(n), { phone: `+25470000000${n}` }));
    }
    await juba.appendMany(Array.from({ length: 200 }, (_, n) => registration(number(1_000 + n))));
    await sync(before, juba, "juba");
    await sync(before, nairobi, "nairobi");
    await eventually("word of the conflicts", async () => desk.keys.length >= 5);
    await projected(before.state);
    const toldBefore = [...desk.keys].sort();
    expect(new Set(toldBefore).size).toBe(toldBefore.length);

    // The backup, while a sync runs.
    await juba.appendMany(
      Array.from({ length: 700 }, (_, n) => update(number(1_000 + (n % 200)), { household_size: 1 + (n % 9) })),
    );
    const syncing = sync(before, juba, "juba");
    const backup = join(work, "backup");
    const made = await jsonOf<{ log: { end: string; events: number }; told: { notifications: number } }>(
      ["backup", backup, "--data", first],
      env,
    );
    await syncing;
    expect(made.told.notifications).toBe(toldBefore.length);
    expect(existsSync(join(backup, "manifest.json"))).toBe(true);
    expect(existsSync(`${backup}.partial`)).toBe(false);

    // What comes after it is not in any backup; then the hub is lost.
    await nairobi.appendMany(Array.from({ length: 100 }, (_, n) => registration(number(5_000 + n))));
    await sync(before, nairobi, "nairobi");
    expect(await before.stop()).toBe(0);
    rmSync(first, { recursive: true });

    const second = join(work, "again");
    await jsonOf(["restore", backup, "--data", second], env);
    const after = await runHub(second, [], env);
    expect(after.output()).toContain("restored from a backup");
    expect(existsSync(join(second, "restored.json"))).toBe(false);
    expect(after.state.natsUrl).toBe(before.state.natsUrl);
    {
      await using log = openLog(after.state.eventstoreUrl);
      expect((await incarnations(log.journal)).map(({ how, seenEnd, isConfirmed }) => ({ how, seenEnd, isConfirmed }))).toEqual([
        { how: "first", seenEnd: null, isConfirmed: true },
        { how: "restored", seenEnd: made.log.end, isConfirmed: true },
      ]);
    }
    await sync(after, juba, "juba", true);
    await sync(after, nairobi, "nairobi", true);
    expect(await expectWhole(after, [juba, nairobi], env)).toBe(5 + 5 + 200 + 700 + 100);
    // The hub's people keep deciding, too, and people are told of a new conflict.
    await jsonOf(["site", "add", "kampala", "--data", after.dir]);
    await juba.append(registration(number(9_000), { phone: "+211911111111" }));
    await nairobi.append(registration(number(9_000), { phone: "+254722222222" }));
    await sync(after, juba, "juba");
    await sync(after, nairobi, "nairobi");
    await eventually("word of the new conflict", async () => desk.keys.length > toldBefore.length);
    expect([...desk.keys].sort().filter((key) => toldBefore.includes(key))).toEqual(toldBefore);
    expect(desk.keys).toHaveLength(toldBefore.length + 1);

    // A second start begins no third incarnation.
    expect(await after.stop()).toBe(0);
    const third = await runHub(second, [], env);
    await using log = openLog(third.state.eventstoreUrl);
    expect(await incarnations(log.journal)).toHaveLength(2);
    const sites = await jsonOf<{ site: string }[]>(["site", "list", "--data", second]);
    expect(sites.map(({ site }) => site)).toEqual(expect.arrayContaining(["juba", "kampala", "nairobi"]));
  });

  it("from a backup that was taken while it was stopped runs as well; an incomplete or damaged backup is refused, and the file is named", async () => {
    const work = openDir();
    const first = join(work, "hub");
    const hub = await runHub(first);
    const juba = device(work, "juba");
    await juba.appendMany(Array.from({ length: 60 }, (_, n) => registration(number(n))));
    await sync(hub, juba, "juba");
    await projected(hub.state);
    expect(await hub.stop()).toBe(0);
    const backup = join(work, "backup");
    expect(await tributary(["backup", join(first, "inside"), "--data", first])).toMatchObject({ code: 2 });
    await jsonOf(["backup", backup, "--data", first]);
    expect(await tributary(["backup", backup, "--data", first])).toMatchObject({
      code: 2,
      output: expect.stringContaining("not empty"),
    });

    const damage = async (what: (dir: string) => void): Promise<{ code: number | string; output: string }> => {
      const copy = join(work, "copy");
      cpSync(backup, copy, { recursive: true });
      what(copy);
      const ended = await tributary(["restore", copy, "--data", join(work, "new")]);
      rmSync(copy, { recursive: true });
      expect(existsSync(join(work, "new"))).toBe(false);
      expect(existsSync(join(work, "new.partial"))).toBe(false);
      return ended;
    };
    const says = (words: string) => ({ code: 8, output: expect.stringContaining(words) });
    expect(await damage((dir) => rmSync(join(dir, "signing-key.json")))).toMatchObject(says("signing-key.json is missing"));
    expect(await damage((dir) => appendFileSync(join(dir, "events.db"), "x"))).toMatchObject(says("events.db is damaged"));
    expect(
      await damage((dir) => {
        const file = join(dir, "events.db");
        const bytes = readFileSync(file);
        bytes[9_000]! ^= 1;
        writeFileSync(file, bytes);
      }),
    ).toMatchObject(says("events.db is damaged: its SHA-256"));
    expect(await damage((dir) => rmSync(join(dir, "manifest.json")))).toMatchObject(says("is not a backup"));
    const rewrite = (change: (manifest: Record<string, unknown>) => void) => (dir: string) => {
      const file = join(dir, "manifest.json");
      const manifest = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
      change(manifest);
      writeFileSync(file, JSON.stringify(manifest));
    };
    expect(await damage(rewrite((manifest) => Object.assign(manifest, { format: 2 })))).toMatchObject(says("newer version"));
    expect(await damage(rewrite((manifest) => Object.assign(manifest, { program: "99.0.0" })))).toMatchObject(
      says("newer version"),
    );
    expect(await damage(rewrite((manifest) => Object.assign(manifest, { files: [] })))).toMatchObject(
      says("is not in its manifest"),
    );
    const escaping = rewrite((manifest) =>
      (manifest.files as { name: string }[]).push({ ...(manifest.files as { name: string }[])[0]!, name: "../escaped" }),
    );
    expect(await damage(escaping)).toMatchObject(says("is not a manifest"));

    expect(await tributary(["restore", backup, "--data", first])).toMatchObject({
      code: 2,
      output: expect.stringContaining("not empty"),
    });
    const folder = newDir("restored");
    chmodSync(folder, 0o755);
    const second = join(folder, "again");
    expect(await tributary(["restore", backup, "--data", second])).toMatchObject({ code: 0 });
    const again = await beginHub((end) => ends.push(end), second);
    ends.push(() => rmSync(folder, { recursive: true, force: true }));
    expect(await expectWhole(again, [juba])).toBe(60);
    left = again;
  });

  it("by its server's own means is declared by its operator; one that was found out is confirmed", async () => {
    const hub = left ?? (await runHub(join(openDir(), "hub")));
    const declared = await jsonOf<{ id: string; how: string }>([
      "restore",
      "--declare",
      "--note",
      "scavenge of May",
      "--data",
      hub.dir,
    ]);
    expect(declared).toMatchObject({ how: "declared", isConfirmed: true, note: "scavenge of May" });
    expect(await tributary(["restore", "--confirm", "--data", hub.dir])).toMatchObject({
      code: 0,
      output: expect.stringContaining("There is nothing to confirm"),
    });
    {
      await using log = openLog(hub.state.eventstoreUrl);
      await beginIncarnation(log.journal, declared.id as never, { how: "detected", by: "projector", seenEnd: "4711" });
    }
    expect(await hub.stop()).toBe(0);
    const again = await runHub(hub.dir);
    await eventually("the hub's word", async () => again.output().includes("tributary restore --confirm"));
    expect(await jsonOf(["restore", "--confirm", "--data", hub.dir])).toMatchObject({ how: "detected", isConfirmed: true });
    expect(await tributary(["restore", "--data", hub.dir])).toMatchObject({ code: 2 });
  });
});
