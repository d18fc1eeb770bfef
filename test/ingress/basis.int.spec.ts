import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Batch,
  type Clips,
  deviceOf,
  type EnrolledKey,
  type Hash,
  type HeadInBatch,
  type LogEntry,
  type OriginId,
  type Position,
  runText,
  type Seq,
  type Vector,
} from "../../services/core/index.ts";
import { keyIdOf, makeKeyPair, randomEpoch, signerOf } from "../../services/core/node.ts";
import { basisNotes } from "../../services/ingress/basis.ts";
import { type Acceptor, acceptor } from "../../services/ingress/index.ts";
import { type Log, openLog, textOf } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { decisionsOf, type EntityState, fold, rowOf, waitingFor } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { toFoldEvent } from "../../services/projector/index.ts";
import { batchOf } from "../support/batches.ts";
import { newDir } from "../support/home.ts";
import { gate } from "../support/hub.ts";
import { random, SEED } from "../support/random.ts";
import { all } from "../support/temp.ts";

const dir = newDir("basis");
let node: EmbeddedNode;
let log: Log;
let asked: { heads: OriginId[]; points: string[] };
/** The keys that are enrolled, by device. */
const enrolled = new Map<string, ReturnType<typeof makeKeyPair>>();

beforeAll(async () => {
  node = await startNode({ dataDir: dir });
  log = openLog(node.url);
});
afterAll(async () => {
  await log?.close();
  await node?.close();
  rmSync(dir, { recursive: true, force: true });
});

const counting = (): Log => ({
  ...log,
  head(origin) {
    asked.heads.push(origin);
    return log.head(origin);
  },
  at(origin, seq) {
    asked.points.push(`${origin}/${seq}`);
    return log.at(origin, seq);
  },
});
const keyOf = (device: string): EnrolledKey[] => {
  const key = enrolled.get(device);
  if (key === undefined) return [];
  const { kty, crv, x } = key;
  const of = { how: "token", jti: null, types: null, position: 0n as Position, atMs: 0, ended: null } as const;
  return [{ key: { kty, crv, x }, kid: keyIdOf({ kty, crv, x }), ...of }];
};
/** A hub's door as it starts: it remembers nothing. */
const door = (): Acceptor => {
  asked = { heads: [], points: [] };
  return acceptor({
    log: counting(),
    gate,
    headKeys: async (origins) => new Map(origins.map((origin) => [origin, keyOf(deviceOf(origin))])),
  });
};
const newOrigin = (device = `d${randomEpoch()}`): OriginId => `relief.juba.${device}.${randomEpoch()}` as OriginId;
const about = (id: string) => ({ type: "beneficiary", id });
/** Sends events of a new origin, each about the entity named; all claim to have seen the same. */
const send = async (
  accepts: Acceptor,
  origin: OriginId,
  entities: readonly string[],
  { basis = {} as Vector, heads }: { basis?: Vector; heads?: readonly HeadInBatch[] } = {},
): Promise<LogEntry[]> => {
  const batch: Batch = batchOf(
    origin,
    entities.map(() => GOOD),
    { basis, each: (i) => ({ entity: about(entities[i]!) }) },
  );
  await accepts.accept(heads === undefined ? batch : { ...batch, heads }, "key", Date.now());
  return all(log.readOrigin(origin));
};
const signedHead = (origin: OriginId, through: number, key = makeKeyPair()): HeadInBatch => {
  enrolled.set(deviceOf(origin), key);
  const of = { origin, through: through as Seq, head: "ab".repeat(32) as HeadInBatch["head"] };
  const { value } = signerOf(key).sign(runText(of));
  return { ...of, signature: new Uint8Array(Buffer.from(value, "base64url")) };
};
const clipsOf = (entries: readonly LogEntry[]): (Clips | undefined)[] => entries.map(({ clips }) => clips);
const GOOD = '{"phone":null}';
const MAX = Number.MAX_SAFE_INTEGER;

describe("what an event says that its author had seen of another origin", () => {
  it("counts up to what the log holds, if nothing shows that there is more; event and hash stay as they are (I13)", async () => {
    const accepts = door();
    const [other, hostile] = [newOrigin(), newOrigin()];
    await send(accepts, other, ["A", "B", "A"]);
    const basis = { [other]: MAX } as Vector;
    const [entry] = await send(accepts, hostile, ["A"], { basis });
    expect(entry).toMatchObject({
      head: { basis },
      content: { kind: "accepted" },
      clips: { [other]: { code: "basis-ahead", to: 2 } },
    });
    // The log holds nothing of an origin that no device has.
    const made = newOrigin();
    expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis: { [made]: 0 } as Vector }))).toEqual([
      { [made]: { code: "basis-ahead", to: null } },
    ]);
  });

  it("counts in full if the log holds the event and it is about the same entity", async () => {
    const accepts = door();
    const other = newOrigin();
    await send(accepts, other, ["A", "B", "A"]);
    expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis: { [other]: 2 } as Vector }))).toEqual([undefined]);
  });

  it("counts up to the event before one that is about another entity", async () => {
    const accepts = door();
    const other = newOrigin();
    await send(accepts, other, ["B", "A", "B"]);
    expect(clipsOf(await send(accepts, newOrigin(), ["A", "B"], { basis: { [other]: 2 } as Vector }))).toEqual([
      { [other]: { code: "basis-other-entity", to: 1 } },
      undefined,
    ]);
    expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis: { [other]: 0 } as Vector }))).toEqual([
      { [other]: { code: "basis-other-entity", to: null } },
    ]);
  });

  it("is awaited if that origin's signed head, at or beyond it, comes along", async () => {
    const accepts = door();
    const other = newOrigin();
    await send(accepts, other, ["A"]);
    const basis = { [other]: 5 } as Vector;
    for (const through of [5, 9])
      expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis, heads: [signedHead(other, through)] }))).toEqual([
        undefined,
      ]);
    const ahead = [{ [other]: { code: "basis-ahead", to: 0 } }];
    const short = signedHead(other, 4);
    expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis, heads: [short] }))).toEqual(ahead);
  });

  it("is not believed because of a head that another key has signed, that is of another origin, or that was changed", async () => {
    const accepts = door();
    const other = newOrigin();
    await send(accepts, other, ["A"]);
    const good = signedHead(other, 9);
    const rightful = enrolled.get(deviceOf(other))!;
    const forged = signedHead(other, 9, makeKeyPair());
    enrolled.set(deviceOf(other), rightful);
    const stranger = newOrigin();
    const unenrolled = { ...signedHead(stranger, 9) };
    enrolled.delete(deviceOf(stranger));
    for (const [of, head] of [
      [other, forged],
      [other, { ...good, through: 10 as Seq }],
      [other, { ...good, head: "cd".repeat(32) as HeadInBatch["head"] }],
      [other, { ...unenrolled, origin: other }],
      [stranger, unenrolled],
    ] as const) {
      const [entry] = await send(accepts, newOrigin(), ["A"], { basis: { [of]: 9 } as Vector, heads: [head] });
      expect(entry!.clips?.[of]?.code).toBe("basis-ahead");
    }
    expect(clipsOf(await send(accepts, newOrigin(), ["A"], { basis: { [other]: 9 } as Vector, heads: [forged, good] }))).toEqual([
      undefined,
    ]);
  });

  it("needs no signed head for the same device's other epochs: whoever speaks for the device may say what it wrote", async () => {
    const accepts = door();
    const device = `d${randomEpoch()}`;
    const [old, fresh] = [newOrigin(device), newOrigin(device)];
    await send(accepts, old, ["A", "B"]);
    expect(clipsOf(await send(accepts, fresh, ["A"], { basis: { [old]: 7 } as Vector }))).toEqual([undefined]);
    // What the log holds is looked at all the same: no row may wait for an event about another entity.
    expect(clipsOf(await send(accepts, newOrigin(device), ["A"], { basis: { [old]: 1 } as Vector }))).toEqual([
      { [old]: { code: "basis-other-entity", to: 0 } },
    ]);
  });

  it("does not concern the author's own origin: that is checked as before, and asks the log nothing", async () => {
    const accepts = door();
    const origin = newOrigin();
    const batch = batchOf(origin, [GOOD, GOOD], { each: (i) => ({ basis: i === 0 ? {} : ({ [origin]: 0 } as Vector) }) });
    await accepts.accept(batch, "key", Date.now());
    expect(clipsOf(await all(log.readOrigin(origin)))).toEqual([undefined, undefined]);
    expect(asked).toEqual({ heads: [], points: [] });
  });
});

describe("the note", () => {
  it("stays what it was when the batch is sent again after the parents have come", async () => {
    const accepts = door();
    const [other, author] = [newOrigin(), newOrigin()];
    const basis = { [other]: 1 } as Vector;
    const ahead = { [other]: { code: "basis-ahead", to: null } };
    expect(clipsOf(await send(accepts, author, ["A"], { basis }))).toEqual([ahead]);
    await send(accepts, other, ["A", "A"]);
    expect(clipsOf(await send(accepts, author, ["A"], { basis }))).toEqual([ahead]);
    expect(clipsOf(await send(door(), author, ["A"], { basis }))).toEqual([ahead]);
  });

  it("is kept with quarantined events too, even if basis, note and text have to be packed to fit", async () => {
    const accepts = door();
    const author = newOrigin();
    const many = Object.fromEntries(
      Array.from({ length: 9_000 }, (_, i) => [`relief.juba.d${i}.${"x".repeat(30)}`, 1]),
    ) as Vector;
    const one = { [newOrigin()]: 3 } as Vector;
    const batch = batchOf(author, ['{"phone":7}', GOOD], { each: (i) => ({ basis: i === 0 ? one : many }) });
    const { receipt } = await accepts.accept(batch, "key", Date.now());
    expect(receipt.quarantined.map(({ seq, code }) => [seq, code])).toEqual([
      [0, "invalid"],
      [1, "event-too-large"],
    ]);
    const [first, second] = await all(log.readOrigin(author));
    expect(Object.values(first!.clips!)).toEqual([{ code: "basis-ahead", to: null }]);
    expect(second!.head.basis).toEqual(many);
    expect(Object.keys(second!.clips!)).toHaveLength(9_000);
    expect(textOf(second!.content)).toBe(GOOD);
  });
});

const HISTORIES = 40;

describe(`three devices that claim what they like, in whatever order they come, seed ${SEED}`, () => {
  const people = defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { phone: text() },
    events: { "beneficiary.updated": set() },
  });
  const shown = (entries: readonly LogEntry[], id: string) => {
    let state: EntityState | undefined;
    for (const entry of entries)
      if (entry.content.kind === "accepted" && entry.head.entity.id === id)
        state = fold(people, state, toFoldEvent(entry, entry.content.data, gate, gate.pins()))!.state;
    if (state === undefined) return null;
    return { row: rowOf(people, state), decisions: decisionsOf(people, state), waits: waitingFor(state) };
  };

  it("are noted by what the log holds when each comes, and replicas show the same in any order", async () => {
    const next = random(SEED);
    const met = new Set<string | undefined>();
    const below = (n: number): number => Math.floor(next() * n);
    for (let history = 0; history < HISTORIES; history++) {
      const accepts = door();
      const origins = [newOrigin(), newOrigin(), newOrigin()];
      const about: string[][] = [[], [], []];
      const ends: Batch["head"][] = [];
      const entries: LogEntry[] = [];
      for (let turn = 0; turn < 8; turn++) {
        const by = below(3);
        const entity = below(2) === 0 ? "A" : "B";
        const other = (by + 1 + below(2)) % 3;
        const claimed = below(4) === 0 ? MAX : below(5);
        const basis = below(4) === 0 ? {} : { [origins[other]!]: claimed };
        const heads = below(3) === 0 ? [signedHead(origins[other]!, below(2) === 0 ? MAX : below(5))] : [];
        const [of, seq] = [origins[by]!, about[by]!.length];
        const batch = batchOf(of, [`{"phone":"+2547000000${10 + turn}"}`], {
          ...(seq === 0 ? {} : { firstSeq: seq, prev: ends[by]! }),
          each: () => ({ entity: { type: "beneficiary", id: entity }, basis: basis as Vector }),
        });
        await accepts.accept({ ...batch, heads }, "key", Date.now());
        ends[by] = batch.head;

        const held = about[other]!.length - 1;
        const isProven = heads.some(({ through }) => through >= claimed);
        const expected =
          Object.keys(basis).length === 0 || (claimed > held && isProven)
            ? undefined
            : claimed > held
              ? { code: "basis-ahead", to: held < 0 ? null : held }
              : about[other]![claimed] === entity
                ? undefined
                : { code: "basis-other-entity", to: claimed === 0 ? null : claimed - 1 };
        const entry = (await log.at(of, seq as Seq))!;
        expect(entry.clips?.[origins[other]!], `history ${history}, turn ${turn}`).toEqual(expected);
        met.add(expected?.code ?? (claimed > held && isProven ? "proven" : undefined));
        about[by]!.push(entity);
        entries.push(entry);
      }
      const shuffled = entries
        .map((entry) => ({ entry, at: next() }))
        .sort((a, b) => a.at - b.at)
        .map(({ entry }) => entry);
      for (const id of ["A", "B"]) {
        const there = shown(entries, id);
        for (const order of [entries.toReversed(), shuffled, [...shuffled, ...entries]]) expect(shown(order, id)).toEqual(there);
      }
    }
    expect([...met].map(String).sort()).toEqual(["basis-ahead", "basis-other-entity", "proven", "undefined"]);
  });
});

describe("looking at bases", () => {
  it("asks the log once for what it does not know, and not at all for what came in through this door", async () => {
    const first = door();
    const other = newOrigin();
    await send(first, other, ["A", "A", "B"]);
    asked.heads.length = 0;
    await send(first, newOrigin(), ["A", "A"], { basis: { [other]: 1 } as Vector });
    expect(asked).toEqual({ heads: [], points: [] });

    const second = door();
    for (let i = 0; i < 3; i++) await send(second, newOrigin(), ["A"], { basis: { [other]: 1 } as Vector });
    expect(asked.heads).toEqual([other]);
    expect(asked.points).toEqual([`${other}/1`]);
  });

  it("costs a bounded number of questions, whatever a batch claims, and what is not looked up counts as not there", async () => {
    const accepts = door();
    const author = newOrigin();
    const claims = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`relief.juba.m${i}.abc`, 1])) as Vector;
    const [entry] = await send(accepts, author, ["A"], { basis: claims });
    expect(asked.heads).toHaveLength(4_000);
    expect(Object.keys(entry!.clips!)).toHaveLength(5_000);
  });

  /** What each event of a full batch claims to have seen of each of these origins: its own number there. */
  const claiming = (author: OriginId, of: readonly OriginId[], events: number): Batch =>
    batchOf(
      author,
      Array.from({ length: events }, () => GOOD),
      { each: (i) => ({ entity: about("A"), basis: Object.fromEntries(of.map((origin) => [origin, i])) as Vector }) },
    );

  it("reads all that a batch names: no false claim hides behind thousands of true ones", async () => {
    const [count, author] = [1_400, newOrigin()];
    const others = [newOrigin(), newOrigin(), newOrigin()];
    for (const other of others)
      await door().accept(
        batchOf(
          other,
          Array.from({ length: count }, () => GOOD),
          { each: (i) => ({ entity: about(other === others[2] && i === count - 1 ? "elsewhere" : "A") }) },
        ),
        "key",
        Date.now(),
      );
    await door().accept(claiming(author, others, count), "key", Date.now());
    expect(asked.points).toHaveLength(3 * count);
    const noted = (await all(log.readOrigin(author))).flatMap(({ head, clips }) =>
      clips === undefined ? [] : [[head.seq, clips]],
    );
    expect(noted).toEqual([[count - 1, { [others[2]!]: { code: "basis-other-entity", to: count - 2 } }]]);
  });

  it("refuses, unread, a batch that names more than it reads, so that its sender halves it", async () => {
    const others = Array.from({ length: 9 }, () => newOrigin());
    let reads = 0;
    const notes = basisNotes({
      log: {
        head: async () => ({ through: 1_999 as Seq, hash: "ab".repeat(32) as Hash, position: 0n as Position }),
        at: async () => {
          reads++;
          return null;
        },
      },
      headKeys: async () => new Map(),
      known: () => undefined,
      learn: () => {},
    });
    const whole = claiming(newOrigin(), others, 2_000);
    await expect(notes.clips(whole, Date.now(), async () => {})).rejects.toMatchObject({ code: "batch-too-large" });
    expect(reads).toBe(0);
    await notes.clips({ ...whole, events: whole.events.slice(0, 1_000) }, Date.now(), async () => {});
    expect(reads).toBe(9_000);
  });
});
