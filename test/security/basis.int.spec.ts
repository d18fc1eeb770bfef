import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { entityTrail, explainEntity, verify } from "../../services/audit/index.ts";
import { issueCode } from "../../services/cli/hub-keys.ts";
import type { OriginId, Seq, SignedHead, Vector } from "../../services/core/index.ts";
import { makeKeyPair, signerOf } from "../../services/core/node.ts";
import type { Field, NewEvent } from "../../services/field/index.ts";
import { fixedKeyring, issueToken } from "../../services/http/index.ts";
import { openKeyBook } from "../../services/log/index.ts";
import { type EntityState, entityViews, fold, rowWith, waitingFor } from "../../services/merge/engine.ts";
import { counting, rebuild, reconcile, toFoldEvent } from "../../services/projector/index.ts";
import { alone, connectViews } from "../../services/views/index.ts";
import { gate, number, ORG, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { all } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const MAX = Number.MAX_SAFE_INTEGER as Seq;
const sync = async (field: Field, token?: string): Promise<void> => {
  await field.sync({ url: hub.backends.nats.url, token: token ?? (await hub.token(field.status().site)) });
};
/** Sends what a device has, and waits until the views show it. */
const send = async (field: Field): Promise<void> => {
  await sync(field);
  await hub.projected();
};
/** A device that the hub knows: it has synced once, with nothing. */
const device = async (site: string, name = "t1"): Promise<Field> => {
  const field = hub.field(site, name);
  await sync(field);
  return field;
};
const person = (n: number) => ({ type: "beneficiary", id: number(n) });
const row = async (n: number): Promise<Record<string, unknown>> =>
  (await hub.db.query("SELECT * FROM views.beneficiaries WHERE id = $1", [number(n)])).rows[0];
const originOf = (field: Field): OriginId => field.status().origin as OriginId;
const notesOn = async (n: number): Promise<string[]> =>
  (await entityTrail(hub.db, `beneficiary/${number(n)}`)).events.flatMap(({ notes }) => [...notes]);
const deps = () => ({ db: hub.db, gate, projections: hub.projections });

/** What a replica shows when it is handed the log's events in some order, with the hub's notes. */
async function replica(n: number, order: (events: number) => readonly number[]) {
  const view = entityViews(hub.projections).find(({ name }) => name === "beneficiaries")!;
  const counts = counting(hub.log);
  const entries = [];
  for (const entry of await all(hub.log.readAll())) {
    const { counted } = await counts.judge(entry);
    if (counted?.content.kind === "accepted" && counted.head.entity.id === number(n))
      entries.push({ counted, data: counted.content.data });
  }
  let state: EntityState | undefined;
  for (const i of order(entries.length)) {
    const { counted, data } = entries[i]!;
    state = fold(view, state, toFoldEvent(counted, data, gate, gate.pins()))?.state ?? state;
  }
  const { values, conflicts } = rowWith(view, number(n), state!);
  return { values, conflicts, waits: waitingFor(state!) };
}
const forth = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("a hostile site", () => {
  it("forges that it has seen all that another will ever write, and mutes nothing: what comes later wins or conflicts by the rule, and the audit says why (I13)", async () => {
    const honest = await device("honest");
    const hostile = await device("hostile");
    await honest.append(registration(number(1), { phone: "+254700000001" }));
    await send(honest);
    hostile.noteSeen(person(1), { [originOf(honest)]: MAX } as Vector);
    await hostile.append(update(number(1), { phone: "+254766666666" }));
    await send(hostile);
    // It may say that it has seen what the log holds: that is replaced without a conflict, and nobody waits for events that will not come.
    expect(await row(1)).toMatchObject({ phone: "+254766666666", conflicts: 0, waiting_for: null });

    await new Promise((resolve) => setTimeout(resolve, 5));
    await honest.append(update(number(1), { phone: "+254700000002" }));
    await send(honest);
    expect(await row(1)).toMatchObject({ phone: "+254700000002", conflicts: 1, waiting_for: null });

    const words = `it says that its author had seen event ${MAX} of ${originOf(honest)}, which the log did not hold and which came without that origin's signed head: it counts as seen up to event 0 (basis-ahead)`;
    expect(await notesOn(1)).toEqual([words]);
    const [story] = await explainEntity(deps(), `beneficiary/${number(1)}`, "phone");
    const steps = story!.registers[0]!.steps;
    expect(steps.map(({ notes }) => notes)).toEqual([[], [words], []]);
    expect(steps[2]).toMatchObject({ stands: true, seenBy: [], beside: [`${originOf(hostile)}/0`] });
    expect(story!.registers[0]!.decision).toMatchObject({ reason: "later-stamp", losers: [{ value: "+254766666666" }] });
    // The log has what was written, letter for letter.
    const [entry] = await all(hub.log.readOrigin(originOf(hostile)));
    expect(entry!.head.basis).toEqual({ [originOf(honest)]: MAX });
  });

  it("does not mute by a signed head that it has made itself", async () => {
    const honest = await device("honest", "t2");
    const hostile = await device("hostile", "t2");
    const head: SignedHead = {
      ...{ origin: originOf(honest), through: MAX, head: "ab".repeat(32) as SignedHead["head"] },
      signature: signerOf(makeKeyPair()).sign("tributary run").value,
    };
    hostile.noteSeen(person(2), { [originOf(honest)]: MAX } as Vector, [head]);
    await hostile.append(update(number(2), { village: "theirs" }));
    await send(hostile);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await honest.append(registration(number(2), { village: "ours" }));
    await send(honest);
    expect(await row(2)).toMatchObject({ village: "ours", conflicts: 1, waiting_for: null });
    expect(await notesOn(2)).toEqual([expect.stringContaining("nothing of it counts as seen (basis-ahead)")]);
  });

  it("does not make a row wait forever by naming an event about somebody else", async () => {
    const honest = await device("honest", "t3");
    const hostile = await device("hostile", "t3");
    await honest.append(registration(number(3)));
    await honest.append(registration(number(4)));
    await send(honest);
    hostile.noteSeen(person(3), { [originOf(honest)]: 1 } as Vector);
    await hostile.append(update(number(3), { village: "Katwe" }));
    await send(hostile);
    expect(await row(3)).toMatchObject({ village: "Katwe", conflicts: 0, waiting_for: null });
    expect(await notesOn(3)).toEqual([
      `it says that its author had seen event 1 of ${originOf(honest)}, which is about another entity: it counts as seen up to event 0 (basis-other-entity)`,
    ]);
  });

  it("cannot write what the hub's own people write: that is quarantined at its seq, with the reason, and cannot be released (I33)", async () => {
    const hostile = await device("hostile", "t4");
    const events: readonly Omit<NewEvent, "actor">[] = [
      { type: "site.registered", entity: { type: "site", id: "relief.mine" }, data: { org: "relief", site: "mine" } },
      { type: "case.assigned", entity: { type: "case", id: "ae58e9d39851" }, data: { assignee: "me" } },
      { type: "case.commented", entity: { type: "case", id: "ae58e9d39851" }, data: { text: "all is well" } },
      { type: "case.accepted", entity: { type: "case", id: "ae58e9d39851" }, data: { mark: "x" } },
      {
        type: "quarantine.rejected",
        entity: { type: "quarantine", id: `${originOf(hostile)}/0` },
        data: { origin: originOf(hostile), seq: 0, hash: "ab".repeat(32), reason: "no" },
      },
    ];
    for (const event of events) await hostile.append({ ...event, actor: "mallory" }, { onInvalid: "keep" });
    await hostile.append(registration(number(5)));
    await send(hostile);
    const entries = await all(hub.log.readOrigin(originOf(hostile)));
    expect(
      entries.map(({ content }) => (content.kind === "quarantined" ? [content.reason.code, content.reason.message] : null)),
    ).toEqual([
      ["type-not-allowed", "only the hub's operators may register sites and give them roles"],
      ["type-not-allowed", "only the hub's operators may note what is done about a case"],
      ["type-not-allowed", "only the hub's operators may note what is done about a case"],
      ["type-not-allowed", "only the hub's operators may note what is done about a case"],
      ["type-not-allowed", "only the hub's operators may settle what is in quarantine"],
      null,
    ]);
    expect((await hub.db.query("SELECT 1 FROM views.sites WHERE site = 'mine'")).rows).toEqual([]);
    expect((await hub.db.query("SELECT 1 FROM tributary.case_note")).rows).toEqual([]);
    expect((await row(5)).id).toBe(number(5));
    // The device was told, as about everything that is quarantined.
    expect(hostile.status().quarantined.map(({ seq, reason }) => [seq, reason])[0]).toEqual([
      0,
      "only the hub's operators may register sites and give them roles",
    ]);

    const { head } = entries[0]!;
    const { type, entity, schema, origin, seq, hash } = head;
    const data = { origin, seq, hash, type, entity, schema: { ...schema }, data: { org: "relief", site: "mine" } };
    const settling = { type: "quarantine.released", entity: { type: "quarantine", id: `${origin}/${seq}` }, actor: "op" };
    await hub.settle([{ ...settling, data: data as never }]);
    await hub.projected();
    expect((await hub.db.query("SELECT 1 FROM views.sites WHERE site = 'mine'")).rows).toEqual([]);
  });
});

describe("an honest event that comes before its parents", () => {
  it("waits for them if it was handed their signed head with them, and then replaces them, in whatever order a replica hears of them", async () => {
    const parent = await device("parent");
    const child = await device("child");
    await parent.append(registration(number(10), { phone: "+254700000010", household_size: 2 }));
    await parent.append(update(number(10), { phone: "+254700000011" }));
    // From tablet to tablet: what was seen, and what shows it.
    child.noteSeen(person(10), parent.seen(person(10)), parent.signedHeads(person(10)));
    await child.append(update(number(10), { phone: "+254700000012" }));
    await send(child);
    expect(await row(10)).toMatchObject({ phone: "+254700000012", waiting_for: { [originOf(parent)]: 1 } });
    await send(parent);
    expect(await row(10)).toMatchObject({ phone: "+254700000012", household_size: "2", conflicts: 0, waiting_for: null });
    expect(await notesOn(10)).toEqual([]);
    const there = { conflicts: 0, waits: {}, values: { phone: "+254700000012", household_size: 2 } };
    expect(await replica(10, forth)).toMatchObject(there);
    expect(await replica(10, (n) => forth(n).reverse())).toMatchObject(there);
    expect(await replica(10, (n) => [...forth(n), ...forth(n)])).toMatchObject(there);
  });

  it("carries the head on, from the second tablet to a third", async () => {
    const [first, second, third] = [await device("one"), await device("two"), await device("three")];
    await first.append(registration(number(11), { phone: "+254700000010" }));
    second.noteSeen(person(11), first.seen(person(11)), first.signedHeads(person(11)));
    await second.append(update(number(11), { phone: "+254700000011" }));
    // Passed on as a text, as on a card.
    const handed = JSON.parse(JSON.stringify({ seen: second.seen(person(11)), heads: second.signedHeads(person(11)) }));
    expect(handed.heads.map(({ origin }: SignedHead) => origin).sort()).toEqual([originOf(first), originOf(second)].sort());
    third.noteSeen(person(11), handed.seen, handed.heads);
    await third.append(update(number(11), { phone: "+254700000012" }));
    await send(third);
    expect(await row(11)).toMatchObject({ waiting_for: { [originOf(first)]: 0, [originOf(second)]: 0 } });
    await send(second);
    await send(first);
    expect(await row(11)).toMatchObject({ phone: "+254700000012", conflicts: 0, waiting_for: null });
    expect(await notesOn(11)).toEqual([]);
  });

  it("is not lost if no head came along: it counts as a conflict, which shows", async () => {
    const parent = await device("parent", "t2");
    const child = await device("child", "t2");
    await parent.append(registration(number(12), { phone: "+254700000010" }));
    child.noteSeen(person(12), parent.seen(person(12)));
    await child.append(update(number(12), { phone: "+254700000011" }));
    await send(child);
    await send(parent);
    expect(await row(12)).toMatchObject({ phone: "+254700000011", conflicts: 1, waiting_for: null });
  });

  it("of a tablet that the hub has never met counts as a conflict too: its key is not known", async () => {
    const parent = hub.field("unmet");
    const child = await device("child", "t3");
    await parent.append(registration(number(13), { phone: "+254700000010" }));
    child.noteSeen(person(13), parent.seen(person(13)), parent.signedHeads(person(13)));
    await child.append(update(number(13), { phone: "+254700000011" }));
    await send(child);
    await send(parent);
    expect(await row(13)).toMatchObject({ conflicts: 1, waiting_for: null });
    expect(await notesOn(13)).toEqual([expect.stringContaining("(basis-ahead)")]);
  });
});

describe("a token that names entity types", () => {
  const typesFor = (site: string, types: readonly string[]): Promise<string> =>
    issueToken(hub.key, { org: ORG, site, lifetimeS: 3600, nowMs: Date.now(), hub: [hub.key.x!], types });
  const reasons = async (field: Field): Promise<(string | null)[]> =>
    (await all(hub.log.readOrigin(originOf(field)))).map(({ content }) =>
      content.kind === "quarantined" ? content.reason.message : null,
    );

  it("lets in events about those; others are quarantined at their seq, with the reason, also once the device speaks by its key", async () => {
    const field = hub.field("stores");
    const token = await typesFor("stores", ["distribution", "stock-movement"]);
    await field.append(registration(number(20)));
    await sync(field, token);
    await field.append(registration(number(21)));
    // Its key is enrolled: no token is looked at any more, and a wider one changes nothing.
    await field.sync({ url: hub.backends.nats.url });
    await field.append(registration(number(22)));
    await sync(field, await hub.token("stores"));
    const words = "relief.stores was let in to write about distribution, stock-movement only; this is about a beneficiary";
    expect(await reasons(field)).toEqual([words, words, words]);
    await field.rotateKey({ url: hub.backends.nats.url });
    await field.append(registration(number(23)));
    await field.sync({ url: hub.backends.nats.url });
    expect((await reasons(field))[3]).toBe(words);
    await field.append({
      type: "stock.received",
      entity: { type: "stock-movement", id: "M-1" },
      data: { movement_no: "M-1", item: "MAIZE", quantity: 1, unit: "KG", moved_on: "2026-05-03" },
      actor: "clerk",
    });
    await field.sync({ url: hub.backends.nats.url });
    expect((await reasons(field))[4]).toBeNull();
  });

  it("binds a one-time code in the same way; a new code lets the device write more", async () => {
    const ring = fixedKeyring({ keys: [hub.key] });
    const book = await openKeyBook(hub.log.journal, { signer: () => ring.state().signer });
    const field = hub.field("clinic");
    const code = async (types?: readonly string[]): Promise<string> =>
      (
        await issueCode(book, ring, {
          ...{ org: ORG, site: "clinic", device: "t1", days: 1, actor: "coordinator" },
          ...(types === undefined ? {} : { types }),
        })
      ).code;
    await field.enrol({ url: hub.backends.nats.url, code: await code(["distribution"]) });
    await field.append(registration(number(24)));
    await field.sync({ url: hub.backends.nats.url });
    await field.enrol({ url: hub.backends.nats.url, code: await code(["beneficiary"]) });
    await field.append(registration(number(25)));
    await field.sync({ url: hub.backends.nats.url });
    await book.refresh();
    expect(book.record.present(`${ORG}.clinic.t1`)?.types).toEqual(["beneficiary"]);
    book.close();
    expect(await reasons(field)).toEqual([expect.stringContaining("distribution only"), null]);
  });

  it("is refused where what limits it cannot be read", async () => {
    const token = await typesFor("odd", "beneficiary" as never);
    const field = hub.field("odd");
    await field.append(registration(number(26)));
    await expect(sync(field, token)).rejects.toMatchObject({ code: "token-invalid" });
  });
});

async function builder<T>(work: (deps: Parameters<typeof rebuild>[0]) => Promise<T>): Promise<T> {
  const [db, reader] = [
    await connectViews(hub.backends.postgres.url, "test"),
    await connectViews(hub.backends.postgres.url, "test"),
  ];
  try {
    return await alone(db, true, () => work({ db, reader, log: hub.log, gate, views: hub.projections }));
  } finally {
    await Promise.all([db.end(), reader.end()]);
  }
}

describe("afterwards", () => {
  it("log, audit and views agree; rebuilding and balancing the books change nothing, and replicas show what the hub shows", async () => {
    await hub.projected();
    const check = async () => (await verify({ log: hub.log, views: deps() })).problems;
    expect(await check()).toEqual([]);
    const shown = async () =>
      (await hub.db.query("SELECT id, phone, village, conflicts, waiting_for FROM views.beneficiaries ORDER BY id")).rows;
    const before = await shown();
    const names = ["beneficiaries"];
    for (const { differing } of await builder((deps) => reconcile(deps, { names, repair: false }))) expect(differing).toBe(0);
    await builder((deps) => rebuild(deps, { names }));
    await hub.projected();
    expect(await shown()).toEqual(before);
    expect(await check()).toEqual([]);
    for (const n of [1, 2, 3, 10, 11, 12, 13]) {
      const there = await replica(n, (count) => forth(count).reverse());
      expect({ phone: there.values.phone, conflicts: there.conflicts }).toEqual({
        phone: (await row(n)).phone,
        conflicts: (await row(n)).conflicts,
      });
    }
  });
});
