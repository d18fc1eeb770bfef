import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type BucketId,
  bucketIdOf,
  entityDigest,
  FEED_START,
  fingerprintOf,
  GENESIS,
  type Hash,
  headAfter,
  type JsonObject,
  type Position,
  partOf,
  segmentDigest,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import { openField } from "../../services/field/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { type MemoryHub, openMemoryHub } from "../support/memory-hub.ts";
import { pushToMemory } from "../support/memory-push.ts";
import { tempDir } from "../support/temp.ts";

/** People by their district. */
const people = defineProjection({
  name: "people",
  entity: "beneficiary",
  columns: { given_name: text(), district: text(), village: text(), phone: text() },
  scopeBy: ["district"],
  events: {
    "beneficiary.registered": set("given_name", "district", "village"),
    "beneficiary.updated": set("district", "village", "phone"),
  },
});
const bucket = (...values: (string | null)[]): BucketId =>
  bucketIdOf({ entityType: "beneficiary", columns: ["district"], values });
const KATWE = bucketIdOf({ entityType: "beneficiary", columns: ["village"], values: ["Katwe"] });
const KAMPALA = bucket("Kampala");
const NAIROBI = bucket("Nairobi");
const registered = (
  id: string,
  district: string,
): { type: string; entity: { type: string; id: string }; actor: string; data: JsonObject } => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data: { registration_no: id, given_name: "Amina", sex: "female", registered_on: "2026-01-05", district },
});
const updated = (id: string, data: JsonObject) => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data,
});
const number = (n: number): string => `TST-${String(n).padStart(6, "0")}`;

/** Reads a bucket's feed from its start, as a reader who trusts nobody, and returns what follows from its lines. */
async function followed(hub: MemoryHub, of: BucketId) {
  let { head, digest } = FEED_START;
  let open: { readonly seal: number; readonly through: Position } | null = null;
  const digests = new Map<string, Hash>();
  const close = (): void => {
    if (open !== null) head = headAfter(head, { ...open, digest }, sha256Hex);
    digest = GENESIS;
  };
  for (const { kind, position, entityId, digest: said, seal, through, events } of await hub.store.lines(
    of,
    { seal: 0, skip: 0 },
    1_000,
  )) {
    if (open !== null && open.seal !== seal) close();
    open = { seal, through };
    const before = kind === "enter" ? GENESIS : digests.get(entityId)!;
    const now = events.reduce((sum, ref) => entityDigest(sum, hub.hashOf(ref), sha256Hex), before);
    expect(now, `${kind} of ${entityId}`).toBe(said);
    digest = segmentDigest(digest, { kind, position, entityId, digest: now }, sha256Hex);
    if (kind === "exit") digests.delete(entityId);
    else digests.set(entityId, now);
  }
  close();
  const sum = [...digests].reduce((all, [id, each]) => all + partOf(id, each, sha256Hex), 0n);
  return { head, count: digests.size, fingerprint: fingerprintOf(sum), ids: [...digests.keys()].sort() };
}
const headOf = async (hub: MemoryHub, of: BucketId) => (await hub.store.headsAfter(0)).find((each) => each.bucket === of);

async function expectRight(hub: MemoryHub, of: BucketId): Promise<string[]> {
  const { ids, ...ours } = await followed(hub, of);
  const { head, count, fingerprint } = (await headOf(hub, of))!;
  expect(ours).toEqual({ head, count, fingerprint });
  expect(await hub.store.range(of, "")).toEqual({ count, fingerprint });
  expect((await hub.store.members(of, { prefix: "", after: null }, 100)).map(({ entityId }) => entityId).sort()).toEqual(ids);
  return ids;
}

describe("a hub in memory", () => {
  it("shows nothing before it is sealed, and then lines from which its heads follow", async () => {
    const hub = await openMemoryHub({ views: [people] });
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(number(1), "Kampala"));
    await nairobi.write(registered(number(2), "Nairobi"));
    expect(await hub.store.headsAfter(0)).toEqual([]);
    await hub.seal();
    await nairobi.write(updated(number(1), { village: "Katwe" }));
    await nairobi.write(updated(number(1), { district: "Nairobi" }));
    await hub.seal();
    expect(await expectRight(hub, KAMPALA)).toEqual([]);
    expect(await expectRight(hub, NAIROBI)).toEqual([number(1), number(2)]);
    const [entered] = (await hub.store.lines(NAIROBI, { seal: 1, skip: 0 }, 10)).filter(({ kind }) => kind === "enter");
    expect(entered!.events.map(({ seq }) => seq)).toEqual([0, 2, 3]);
    expect(
      hub
        .rows("people", NAIROBI)
        .map(({ id }) => id)
        .sort(),
    ).toEqual([number(1), number(2)]);
  });

  it("keeps what the gate holds back with its site, until it is settled", async () => {
    const hub = await openMemoryHub({ views: [people] });
    const kampala = hub.device("kampala");
    const held = await kampala.write({
      ...registered(number(1), "Kampala"),
      data: { registration_no: number(1), district: "Kampala" },
    });
    const other = await kampala.write(updated(number(1), { registered_on: 5 } as JsonObject));
    expect([held.content.kind, other.content.kind]).toEqual(["quarantined", "quarantined"]);
    const own = bucketIdOf({ entityType: "quarantine", values: ["relief.kampala"] });
    await hub.seal();
    expect(await expectRight(hub, own)).toEqual([`${kampala.origin}/0`, `${kampala.origin}/1`]);
    await hub.release({ origin: kampala.origin, seq: held.head.seq }, registered(number(1), "Kampala").data);
    await hub.reject({ origin: kampala.origin, seq: other.head.seq });
    await hub.seal();
    expect(await expectRight(hub, own)).toEqual([]);
    expect(await expectRight(hub, KAMPALA)).toEqual([number(1)]);
    const lines = await hub.store.lines(KAMPALA, { seal: 0, skip: 0 }, 10);
    expect(lines.map(({ kind }) => kind)).toEqual(["enter", "event"]);
  });

  it("makes its feed again from the log, with seals and heads that go on", async () => {
    const hub = await openMemoryHub({ views: [people] });
    const nairobi = hub.device("nairobi");
    await nairobi.write(registered(number(1), "Kampala"));
    await nairobi.write(registered(number(2), "Kampala"));
    await nairobi.write(updated(number(1), { district: "Nairobi" }));
    await hub.seal();
    const before = (await headOf(hub, KAMPALA))!;
    await hub.losePostgres();
    expect(await hub.seal()).toBe(2);
    const after = (await headOf(hub, KAMPALA))!;
    expect(after.fingerprint).toBe(before.fingerprint);
    expect(after.head).not.toBe(before.head);
    expect(await hub.store.hasHead(KAMPALA, before.seal, before.head)).toBe(false);
    expect((await hub.store.lines(NAIROBI, { seal: 0, skip: 0 }, 10)).map(({ kind }) => kind)).toEqual(["enter", "event"]);
  });

  it("moves entities whose scope is another one, without an event", async () => {
    const hub = await openMemoryHub({ views: [people] });
    await hub
      .device("nairobi")
      .write({ ...registered(number(1), "Kampala"), data: { ...registered(number(1), "Kampala").data, village: "Katwe" } });
    await hub.seal();
    await hub.setViews([{ ...people, scopeBy: ["village"] }]);
    await hub.seal();
    expect(await expectRight(hub, KAMPALA)).toEqual([]);
    expect(await expectRight(hub, KATWE)).toEqual([number(1)]);
  });

  it("goes back to a backup as another incarnation, and takes again what it lost", async () => {
    const hub = await openMemoryHub({ views: [people] });
    const nairobi = hub.device("nairobi");
    const first = await nairobi.write(registered(number(1), "Kampala"));
    await hub.seal();
    await nairobi.write(registered(number(2), "Kampala"));
    await hub.seal();
    await hub.restore(first.position);
    expect(hub.incarnation).not.toBe(hub.id);
    await hub.seal();
    expect((await hub.store.newest()).number).toBe(2);
    expect((await hub.store.members(KAMPALA, { prefix: "", after: null }, 10)).map(({ entityId }) => entityId)).toEqual([
      number(1),
    ]);
  });

  it("holds the policies that were set and not taken back", async () => {
    const hub = await openMemoryHub({ views: [people] });
    await hub.setPolicy({
      name: "kampala",
      for: { sites: ["relief.kampala"] },
      entities: { beneficiary: { where: { district: "Kampala" } } },
    });
    await hub.setPolicy({ name: "all", for: "everyone", entities: { beneficiary: {} } });
    await hub.removePolicy("all");
    expect((await hub.store.policies()).map(({ name }) => name)).toEqual(["kampala"]);
  });

  it("takes a real device's outbox by the device's own sync, over a link that loses things", async () => {
    const hub = await openMemoryHub({ views: [people] });
    const field = openField({
      path: join(tempDir(), "a.db"),
      name: { org: "relief", site: "kampala", device: "t1" },
      schemas: hub.gate,
    });
    try {
      await field.appendMany([1, 2, 3].map((n) => registered(number(n), "Kampala")));
      let messages = 0;
      const befalls = () => (++messages === 2 ? ("unanswered" as const) : null);
      await expect(pushToMemory(hub, field, befalls)).rejects.toThrow();
      expect((await pushToMemory(hub, field)).confirmed).toBe(3);
      expect(hub.log.entries).toHaveLength(3);
      await hub.seal();
      expect(await expectRight(hub, KAMPALA)).toHaveLength(3);
    } finally {
      field.close();
    }
  });
});
