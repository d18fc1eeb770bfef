/** A site that behaves badly, as a process of its own: `node bench/flood.ts NATS_URL TOKEN KIND`. Sends until it is killed; each device has its next batch ready when a word on one before it has come. */
import { headers } from "nats";
import {
  type Batch,
  encodeBatch,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type OriginId,
  type PackedEvent,
  type Seq,
} from "../services/core/index.ts";
import { chainHash, randomEpoch, zstd } from "../services/core/node.ts";
import { connectAs } from "../test/support/broker.ts";

const [url = "", token = "", kind = "gaps"] = process.argv.slice(2);
const DEVICES = 8;
const IN_FLIGHT = kind === "gaps" ? 100 : 4;
const LARGE_EVENTS = 2_000;
const SITE = "bad";

/** A run of an origin's events. */
function batch(origin: OriginId, firstSeq: number, count: number, prev: Hash): Batch {
  let head = prev;
  const events = Array.from({ length: count }, (_, i): PackedEvent => {
    const id = `BAD-${String(firstSeq + i).padStart(6, "0")}`;
    const at = { wallMs: Date.now(), counter: i };
    const envelope = {
      type: "beneficiary.updated",
      origin,
      seq: (firstSeq + i) as Seq,
      entity: { type: "beneficiary", id },
      schema: { subject: "beneficiary-update", version: 1 },
      actor: "officer-1",
      org: "bench",
      occurredAt: new Date(at.wallMs).toISOString(),
      hlc: formatHlc(at),
      basis: {},
    };
    const text = `{"village":"${crypto.randomUUID()} ${crypto.randomUUID()}"}`;
    head = chainHash(head, eventText(envelope, text));
    return { head: envelope, encoding: "json", payload: new TextEncoder().encode(text) };
  });
  return { origin, firstSeq: firstSeq as Seq, prev, head, sentAtMs: Date.now(), events };
}

/** The frames of one device, each made when it is asked for. */
function* frames(device: string): Generator<Uint8Array> {
  const origin = `bench.${SITE}.${device}.${randomEpoch()}` as OriginId;
  if (kind === "gaps" || kind === "wrong-token") {
    const frame = encodeBatch(batch(origin, 7, 2, "a".repeat(64) as Hash), zstd);
    for (;;) yield frame;
  }
  if (kind === "garbage") {
    const frame = crypto.getRandomValues(new Uint8Array(60_000));
    frame.set([0x54, 0x42, 1]);
    for (;;) yield Uint8Array.from(frame);
  }
  let prev: Hash = GENESIS;
  for (let seq = 0; ; seq += LARGE_EVENTS) {
    const next = batch(origin, seq, LARGE_EVENTS, prev);
    prev = next.head;
    yield encodeBatch(next, zstd);
  }
}

const nc = await connectAs(url);
const about = headers();
about.set("Authorization", `Bearer ${token}`);
for (let i = 0; i < DEVICES; i++) {
  const device = `t${i}`;
  const source = frames(device);
  const send = (): void => {
    const { value } = source.next();
    nc.publish(`ingress.bench.${SITE}.${device}`, value as Uint8Array, { headers: about });
  };
  nc.subscribe(`receipt.bench.${SITE}.${device}`, { callback: () => send() });
  for (let n = 0; n < IN_FLIGHT / (kind === "gaps" ? DEVICES : 1); n++) send();
}
process.send?.("begun");
