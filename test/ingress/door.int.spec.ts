import { request } from "node:http";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Batch,
  canonicalize,
  DATA_RANGE,
  decodeBatch,
  deviceOf,
  type Hash,
  messageText,
  type OriginId,
  type Receipt,
  runText,
  type Seq,
  type Vector,
} from "../../services/core/index.ts";
import { batchKey, keyIdOf, makeKeyPair, randomEpoch, signerOf, zstd } from "../../services/core/node.ts";
import { fixedKeyring } from "../../services/http/index.ts";
import { doorkeeper } from "../../services/http/tokens.ts";
import { refuseRevoked } from "../../services/ingress/refuse.ts";
import { type Vouch, vouch } from "../../services/ingress/vouch.ts";
import { type KeyBook, openKeyBook } from "../../services/log/index.ts";
import { batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";
import { ORG } from "../support/hub.ts";
import { random, SEED } from "../support/random.ts";

let door: Door;
beforeAll(async () => {
  door = await openDoor();
});
afterAll(async () => {
  await door?.close();
});

const newOrigin = (site: string, device = "t1"): OriginId => `${ORG}.${site}.${device}.${randomEpoch()}` as OriginId;
const GOOD = '{"phone":null}';
const post = (frame: Uint8Array, token?: string): Promise<Response> =>
  fetch(`${door.ingress.http!.url}/v1/ingress`, {
    method: "POST",
    body: frame as Uint8Array<ArrayBuffer>,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
/** A batch about as costly to read as one may be: its events name thousands of origins each. */
const heavy = (origin: OriginId): Batch => {
  const basis = Object.fromEntries(Array.from({ length: 12_000 }, (_, i) => [`${ORG}.juba.d${i}.abc`, i])) as Vector;
  return batchOf(
    origin,
    Array.from({ length: 8 }, () => GOOD),
    { basis },
  );
};
/** Processor time of this process, in microseconds. */
const cost = async (work: () => Promise<unknown>): Promise<number> => {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
};

it("refuses a stranger's batch by its first bytes: however much it would unpack to, that costs the hub next to nothing", async () => {
  const frame = frameOf(heavy(newOrigin("strange")));
  const nobody = frameOf(batchOf(newOrigin("strange"), [GOOD]));
  const times = 3;
  expect((await post(nobody)).status).toBe(401);
  const refusing = await cost(async () => {
    for (let i = 0; i < times; i++) {
      const answer = await post(frame);
      expect(answer.status).toBe(401);
      expect(await answer.json()).toMatchObject({ code: "token-missing" });
    }
  });
  const reading = await cost(async () => {
    for (let i = 0; i < times; i++) decodeBatch(frame, zstd);
  });
  console.info(JSON.stringify({ refusing, reading, bytes: frame.length }));
  expect(refusing).toBeLessThan(reading / 3);
  // A token for somewhere else is refused just as soon.
  const elsewhere = await post(frame, await door.token("elsewhere"));
  expect(await elsewhere.json()).toMatchObject({ code: "token-site" });
});

/** Posts a batch without a token from one of this machine's own addresses, and gives what the answer says. */
const postFrom = (localAddress: string, frame: Uint8Array): Promise<Record<string, unknown>> =>
  new Promise((resolve, reject) => {
    const asked = request(`${door.ingress.http!.url}/v1/ingress`, { method: "POST", localAddress, agent: false });
    asked.on("error", reject);
    asked.on("response", (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, ...JSON.parse(text) }));
    });
    asked.end(frame);
  });
const signedBy = (pair: ReturnType<typeof makeKeyPair>, batch: Batch): Uint8Array => {
  const of = { origin: batch.origin, through: (batch.firstSeq + batch.events.length - 1) as Seq, head: batch.head };
  return frameOf({ ...batch, signature: new Uint8Array(Buffer.from(signerOf(pair).sign(runText(of)).value, "base64url")) });
};

it("a stranger who floods it in a device's name fills only the slots of their own address: the device gets its receipt without a token", async () => {
  const origin = newOrigin("forged");
  const pair = makeKeyPair();
  const { kty, crv, x } = pair;
  const asked = { origin, since: null, nonce: randomEpoch().repeat(2), sentAtMs: Date.now(), key: { kty, crv, x } };
  const hello = await fetch(`${door.ingress.http!.url}/v1/ingress/hello`, {
    method: "POST",
    headers: { authorization: `Bearer ${await door.token("forged")}` },
    body: JSON.stringify({ ...asked, signature: signerOf(pair).sign(messageText("hello-request", asked)) }),
  });
  expect(hello.status).toBe(200);
  const forged = signedBy(makeKeyPair(), heavy(origin));
  const full = Promise.withResolvers<void>();
  const answers = Array.from({ length: 24 }, async () => {
    const answer = await postFrom("127.0.0.1", forged);
    if (answer.status === 503) full.resolve();
    return answer;
  });
  await full.promise;
  const own = await postFrom("127.0.0.2", signedBy(pair, batchOf(origin, [GOOD])));
  expect(own).toMatchObject({ status: 200, kind: "receipt", through: 0 });
  const codes = new Set((await Promise.all(answers)).map(({ code }) => code));
  expect([...codes].toSorted()).toEqual(["backend-failed", "signature-invalid"]);
});

it("hands a waiting device the hub's own answer, even if somebody else's comes first", async () => {
  const nc = await connectAs(door.natsUrl);
  const origin = newOrigin("worded");
  const sender = deviceOf(origin);
  const strange = signerOf(makeKeyPair());
  const spy = nc.subscribe(`ingress.${sender}`, {
    callback: (_, { data }) => {
      const forged = {
        ...{ kind: "receipt", batch: batchKey(data), origin, through: 99 as Seq, head: "ab".repeat(32) },
        ...{ position: "1", quarantined: [] },
      };
      const kid = keyIdOf(door.key as never);
      nc.publish(`receipt.${sender}`, JSON.stringify(forged));
      for (const signature of [strange.sign(messageText("receipt", forged)), { kid, value: "x".repeat(86) }])
        nc.publish(`receipt.${sender}`, JSON.stringify({ ...forged, signature }));
    },
  });
  await nc.flush();
  try {
    const answer = await post(frameOf(batchOf(origin, [GOOD])), await door.token("worded"));
    expect(answer.status).toBe(200);
    expect((await answer.json()) as Receipt).toMatchObject({ kind: "receipt", through: 0 });
  } finally {
    spy.unsubscribe();
    await nc.close();
  }
});

/** The part of a hub's process that enrols devices. */
async function enrolling(maxTokenDevices: number): Promise<{ readonly book: KeyBook; readonly vouch: Vouch }> {
  const ring = fixedKeyring({ keys: [door.key] });
  const book = await openKeyBook(door.log.journal, { signer: () => ring.state().signer });
  const keeper = doorkeeper(ring, refuseRevoked(book));
  return { book, vouch: vouch({ book, ring, keeper, maxTokenDevices }) };
}
const firstHello = (process: { readonly vouch: Vouch }, token: string, origin: OriginId): Promise<string> => {
  const pair = makeKeyPair();
  const { kty, crv, x } = pair;
  const asked = { origin, since: null, nonce: randomEpoch().repeat(2), sentAtMs: Date.now(), key: { kty, crv, x } };
  const request = { ...asked, signature: signerOf(pair).sign(messageText("hello-request", asked)) };
  const shown = { authorization: `Bearer ${token}` };
  return process.vouch.hello({ shown, asks: { kind: "hello", request, raw: request }, atMs: Date.now() }).then(
    () => "enrolled",
    (error: { code: string }) => error.code,
  );
};

it("one site's tokens enrol a bounded number of devices, however many ask at once and whichever process they ask; those that have a key go on", async () => {
  const [a, b] = [await enrolling(5), await enrolling(5)];
  const [token, other] = [await door.token("many"), await door.token("manyfold")];
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, i) => firstHello(i % 2 === 0 ? a : b, token, newOrigin("many", `t${i}`))),
  );
  expect(answers.toSorted()).toEqual([...Array(5).fill("enrolled"), ...Array(7).fill("not-permitted")]);
  await a.book.refresh();
  expect(a.book.record.devicesOf(`${ORG}.many`)).toBe(5);
  // Another site whose name begins in the same way has a bound of its own.
  expect(await firstHello(a, other, newOrigin("manyfold"))).toBe("enrolled");
  // A device that has a key is asked for nothing more; a revocation makes room.
  const [taken] = a.book.record.devices().filter((device) => device.startsWith(`${ORG}.many.`));
  await a.book.write("test", () => ({ type: "device.revoked", data: { device: taken! } }));
  expect(await firstHello(b, token, newOrigin("many", "fresh"))).toBe("enrolled");
  expect(await firstHello(a, token, newOrigin("many", "late"))).toBe("not-permitted");
  for (const { book } of [a, b]) book.close();
});

/** Text that does not compress: its characters come from everywhere, so that no byte is much likelier than another. It has exactly this many bytes as UTF-8. */
function noise(bytes: number): string {
  const next = random(SEED);
  /** From, to, and how many of a hundred. */
  const ranges = [
    [0x23, 0x5b, 45],
    [0x80, 0x800, 35],
    [0x1000, 0xd000, 15],
    [0x10000, 0x10ffff, 5],
  ] as const;
  const dealt = ranges.flatMap((range) => Array.from({ length: range[2] }, () => range));
  const parts: string[] = [];
  let room = bytes;
  while (room >= 4) {
    const [from, to] = dealt[Math.floor(next() * dealt.length)]!;
    const text = String.fromCodePoint(from + Math.floor(next() * (to - from)));
    // A device writes texts in their composed form: what composes with its neighbours would take another number of bytes.
    if (text.normalize("NFC") !== text || /[\p{M}\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\uac00-\ud7a3]/u.test(text)) continue;
    parts.push(text);
    room -= Buffer.byteLength(text);
  }
  return parts.join("") + "x".repeat(room);
}

it.each(["NATS", "HTTP"])(
  "carries the largest event that a device takes, over %s, even if nothing of it compresses and its basis is as large as it may be",
  async (way) => {
    const field = door.field(`largest-${way.toLowerCase()}`);
    const entity = { type: "assessment", id: "A-1" };
    const strange = signerOf(makeKeyPair());
    const heads = Array.from({ length: 150 }, (_, i) => {
      const of = { origin: newOrigin("far", `d${i}`), through: 5 as Seq, head: "ab".repeat(32) as Hash };
      return { ...of, signature: strange.sign(runText(of)).value };
    });
    const seen = Object.fromEntries(heads.map(({ origin }) => [origin, 5])) as Vector;
    field.noteSeen(entity, seen, heads);
    const assessed = {
      ...{ assessment_no: "A-1", settlement: "S", assessed_on: "2026-05-03", households: 1, severity: "CRISIS" },
      ...{ water_litres_per_person: null, food_score: null },
    };
    const room = DATA_RANGE.maxBytes - Buffer.byteLength(canonicalize({ ...assessed, note: "" }));
    const event = (bytes: number) => ({
      ...{ type: "assessment.submitted", entity, actor: "deng", data: { ...assessed, note: noise(bytes) } },
    });
    await expect(field.append(event(room + 1))).rejects.toMatchObject({ code: "event-too-large" });
    const { origin } = await field.append(event(room));
    const url = way === "NATS" ? door.natsUrl : door.ingress.http!.url;
    const result = await field.sync({ url, token: await door.token(`largest-${way.toLowerCase()}`) });
    expect(result).toMatchObject({ confirmed: 1, pending: 0, moved: 0, setAside: [] });
    const entry = (await door.log.at(origin, 0 as Seq))!;
    expect(entry.content).toMatchObject({ kind: "accepted", data: { note: noise(room) } });
    expect(entry.head.basis).toEqual(seen);
  },
);
