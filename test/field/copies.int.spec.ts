import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { OriginId } from "../../services/core/index.ts";
import type { Field } from "../../services/field/index.ts";
import { connectAs } from "../support/broker.ts";
import { faultsOf, openDoor, type TestDoor, type Written } from "../support/device-hub.ts";
import { number, update } from "../support/hub.ts";
import { all } from "../support/temp.ts";

/** Another seed: TRIBUTARY_TEST_SEED. The one used is in the test's name. */
const FIRST_SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? 1);
const SEEDS = 15;

let door: TestDoor;
beforeAll(async () => {
  door = await openDoor();
});
afterAll(() => door?.close());

const at = async (site: string) => ({ url: door.natsUrl, token: await door.token(site) });
const checkpointed = (field: Field): void => {
  field.store.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
};

function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

/** A database's life: what was written in it, by entity, and what it knows. A copy takes its knowledge along. */
interface Life {
  readonly field: Field;
  readonly knows: Map<string, string[]>;
}
const copyOf = ({ knows }: Life, field: Field): Life => ({
  field,
  knows: new Map([...knows].map(([entity, labels]) => [entity, [...labels]])),
});

/** Writes `count` events about three people, each labelled, and notes what its author had seen. */
async function write(life: Life, written: Written[], site: string, count: number, next: () => number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const entity = number(Math.floor(next() * 3));
    const label = `${site}-${written.length}`;
    const saw = life.knows.get(entity) ?? [];
    written.push({ label, entity, saw: [...saw] });
    life.knows.set(entity, [...saw, label]);
    await life.field.append(update(entity, { village: label }));
  }
}
const ofSite = async (site: string) => (await door.entries()).filter(({ head }) => head.origin.startsWith(`relief.${site}.`));

describe("a tablet's database that was cloned", () => {
  it("shows a conflict when original and clone change one field of one person, and mutes neither", async () => {
    const original = door.field("clones");
    await original.append(update(number(1), { village: "before" }));
    await original.sync(await at("clones"));
    checkpointed(original);
    // The clone has the same machine and the same inode, as an image of a disk does: only the log can tell.
    const path = join(door.dir, "clone.db");
    copyFileSync(original.store.path, path);
    const clone = door.field("clones", { path });
    clone.store.db.exec("DELETE FROM origin WHERE id > 1");
    expect(clone.status().origin).toBe(original.status().origin);
    for (const village of ["one", "two", "three"]) await original.append(update(number(1), { village }));
    await clone.append(update(number(1), { village: "theirs" }));
    await original.sync(await at("clones"));
    const result = await clone.sync(await at("clones"));
    expect(result).toMatchObject({ renamedTo: clone.status().origin, moved: 1, confirmed: 1, pending: 0 });
    await clone.append(update(number(1), { village: "theirs, later" }));
    await clone.sync(await at("clones"));
    expect(
      faultsOf(await ofSite("clones"), [
        { label: "before", entity: "1", saw: [] },
        { label: "one", entity: "1", saw: ["before"] },
        { label: "two", entity: "1", saw: ["before", "one"] },
        { label: "three", entity: "1", saw: ["before", "one", "two"] },
        { label: "theirs", entity: "1", saw: ["before"] },
        { label: "theirs, later", entity: "1", saw: ["before", "theirs"] },
      ]),
    ).toEqual([]);
    // Its own events count once, however often they were written.
    expect(clone.status()).toMatchObject({ events: 3, levels: { LOCAL: 0, QUEUED: 0, SYNCED: 3 } });
    expect([...clone.events()].map(({ data }) => (JSON.parse(data) as { village: string }).village)).toEqual([
      "before",
      "theirs",
      "theirs, later",
    ]);
  });

  it("takes along, in order, what its later epoch had not sent when its older epoch turns out to be a twin's", async () => {
    const original = door.field("later");
    await original.append(update(number(1), { village: "shared" }));
    await original.sync(await at("later"));
    checkpointed(original);
    const path = join(door.dir, "later.db");
    copyFileSync(original.store.path, path);
    let clone = door.field("later", { path });
    clone.store.db.exec("DELETE FROM origin WHERE id > 1");
    await original.append(update(number(1), { village: "twin" }));
    await clone.append(update(number(1), { village: "unshared" }));
    // Copied once more before it has ever synced: what it writes now belongs to a later epoch, and builds on an event that is nobody's.
    checkpointed(clone);
    clone.close();
    const second = join(door.dir, "later-2.db");
    copyFileSync(path, second);
    clone = door.field("later", { path: second });
    await clone.append(update(number(1), { village: "on top" }), {});
    await original.sync(await at("later"));
    expect(await clone.sync(await at("later"))).toMatchObject({ moved: 2, pending: 0 });
    expect(
      faultsOf(await ofSite("later"), [
        { label: "shared", entity: "1", saw: [] },
        { label: "twin", entity: "1", saw: ["shared"] },
        { label: "unshared", entity: "1", saw: ["shared"] },
        { label: "on top", entity: "1", saw: ["shared", "unshared"] },
      ]),
    ).toEqual([]);
  });

  it("is found out by log₂ n questions, however many events it shares", async () => {
    const original = door.field("search");
    await original.appendMany(Array.from({ length: 3_000 }, (_, i) => update(number(i), { village: `v${i}` })));
    await original.sync(await at("search"));
    checkpointed(original);
    const path = join(door.dir, "search.db");
    copyFileSync(original.store.path, path);
    const clone = door.field("search", { path });
    // It was copied before any of it had a receipt, as far as it knows.
    clone.store.db.exec("DELETE FROM origin WHERE id > 1; UPDATE origin SET synced_through = -1, queued_through = -1");
    await original.append(update(number(1), { village: "on" }));
    await clone.append(update(number(1), { village: "other" }));
    await original.sync(await at("search"));
    const result = await clone.sync(await at("search"));
    expect(result).toMatchObject({ moved: 1, confirmed: 3_001 });
    expect((await ofSite("search")).length).toBe(3_002);
    // Hellos of 15 hashes each, not 3,000 events.
    expect(result.sentBytes).toBeLessThan(9_000);
  });
});

describe("a database restored from a backup", () => {
  it("that only lacks what the hub has writes nothing twice, and goes on under a new name", async () => {
    const field = door.field("lacks");
    const written: Written[] = [];
    const life: Life = { field, knows: new Map() };
    await write(life, written, "lacks", 6, random(1));
    // The backup is taken before the sync: it holds six events without a receipt.
    checkpointed(field);
    const backup = join(door.dir, "lacks.bak");
    copyFileSync(field.store.path, backup);
    const restored = { knows: copyOf(life, field).knows };
    await write(life, written, "lacks", 3, random(2));
    await field.sync(await at("lacks"));
    field.close();
    for (const end of ["-wal", "-shm"]) rmSync(field.store.path + end, { force: true });
    copyFileSync(backup, field.store.path);
    const again = door.field("lacks");
    expect(await again.sync(await at("lacks"))).toMatchObject({ confirmed: 6, moved: 0, batches: 0, pending: 0 });
    await write({ field: again, knows: restored.knows }, written, "lacks", 2, random(3));
    expect(await again.sync(await at("lacks"))).toMatchObject({ confirmed: 2, pending: 0 });
    expect(faultsOf(await ofSite("lacks"), written)).toEqual([]);
  });

  it.each(Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i))(
    "loses nothing, doubles nothing and shows no false conflict (seed %i)",
    async (seed) => {
      const next = random(seed);
      const site = `seed${seed}`;
      const path = join(door.dir, `${site}-t1.db`);
      const written: Written[] = [];
      let life: Life = { field: door.field(site), knows: new Map() };
      const some = (most: number): number => Math.floor(next() * (most + 1));
      const maybeSync = async (chance: number): Promise<void> => {
        if (next() < chance) await life.field.sync({ ...(await at(site)), batchEvents: 1 + some(4) });
      };
      for (let rounds = 0; rounds < 2; rounds++) {
        await write(life, written, site, 1 + some(6), next);
        await maybeSync(0.7);
        await write(life, written, site, some(4), next);
        checkpointed(life.field);
        const backup = `${path}.bak`;
        copyFileSync(path, backup);
        const copy = copyOf(life, life.field).knows;
        const atCopy = written.length;
        await write(life, written, site, some(6), next);
        await maybeSync(0.8);
        // Whatever the lost life had not sent is lost with it; a restore cannot bring back what nobody else has.
        const reached = new Set(
          (await ofSite(site)).map(({ content }) => (content.kind === "accepted" ? content.data.village : "")),
        );
        for (let i = written.length - 1; i >= atCopy; i--) if (!reached.has(written[i]!.label)) written.splice(i, 1);
        life.field.close();
        for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
        // In place (the same file: only the log can tell), or as another file (noticed when it is opened).
        if (next() < 0.5) rmSync(path);
        copyFileSync(backup, path);
        life = { field: door.field(site), knows: copy };
        await write(life, written, `${site}.${rounds}`, some(5), next);
        await maybeSync(0.7);
        await write(life, written, `${site}.${rounds}b`, some(5), next);
        await life.field.sync({ ...(await at(site)), batchEvents: 1 + some(4) });
      }
      expect(faultsOf(await ofSite(site), written)).toEqual([]);
      const status = life.field.status();
      expect(status.levels).toMatchObject({ LOCAL: 0, QUEUED: 0 });
      expect(status.events).toBe(status.levels.SYNCED);
      expect([...life.field.events()]).toHaveLength(status.events);
    },
  );
});

describe("a hub whose log was restored from a backup", () => {
  it("gets again what it lacks from a device that has nothing new to send, of all its epochs, and says so (I6)", async () => {
    const token = await at("behind");
    const field = door.field("behind");
    const written: Written[] = [];
    const life: Life = { field, knows: new Map() };
    await write(life, written, "behind", 5, random(7));
    await field.sync(token);
    await door.backupLog("log.bak");
    await write(life, written, "behind", 4, random(8));
    await field.sync(token);
    field.store.transaction(() => field.store.startEpoch());
    await write(life, written, "behind", 3, random(9));
    await field.sync(token);
    const before = field.status().origins;
    await door.restoreLog("log.bak");
    expect(await ofSite("behind")).toHaveLength(5);

    const result = await field.sync({ url: door.httpUrl, token: token.token });
    expect(result).toMatchObject({ restoredBehind: 7, confirmed: 7, pending: 0, renamedTo: null, moved: 0 });
    expect(faultsOf(await ofSite("behind"), written)).toEqual([]);
    expect(await field.sync(token)).toMatchObject({ restoredBehind: 0, confirmed: 0, batches: 0 });
    const after = field.status().origins;
    expect(after.map(({ synced }) => synced)).toEqual([9, 3]);
    // A position names the log's life that gave it.
    expect(after[1]!.incarnation).not.toBe(before[1]!.incarnation);
    expect(after[1]!.incarnation).toMatch(/^[a-z2-7]{12}$/);
    for (const { origin, events } of after) {
      expect((await all(door.log.readOrigin(origin as OriginId))).length).toBe(events);
    }
  });

  it("cannot be faked by a hello that somebody kept: what was confirmed stays so", async () => {
    const field = door.field("replay");
    await field.appendMany([1, 2, 3].map((n) => update(number(n), { village: `r${n}` })));
    const token = await at("replay");
    await field.sync(token);
    const kept = {
      kind: "hello",
      nowMs: Date.now(),
      receipt: {
        kind: "receipt",
        batch: null,
        origin: field.status().origin,
        through: null,
        head: null,
        position: null,
        quarantined: [],
      },
      avro: {},
    };
    await door.stopIngress();
    const nc = await connectAs(door.natsUrl);
    let asked = 0;
    for (const nonce of [undefined, "another question's nonce"]) {
      const sub = nc.subscribe("hello.relief.replay.>", {
        callback: (_, message) => {
          asked++;
          message.respond(new TextEncoder().encode(JSON.stringify(nonce === undefined ? kept : { ...kept, nonce })));
        },
      });
      await nc.flush();
      await field.sync({ ...token, maxTries: 1 }).catch(() => {});
      sub.unsubscribe();
    }
    await nc.close();
    await door.startIngress();
    expect(asked).toBeGreaterThanOrEqual(2);
    expect(field.status().levels).toEqual({ LOCAL: 0, QUEUED: 0, SYNCED: 3 });
    expect(await field.sync(token)).toMatchObject({ restoredBehind: 0, batches: 0 });
  });
});
