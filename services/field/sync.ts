import {
  type Batch,
  type EventBody,
  encodeBatch,
  GENESIS,
  type Hash,
  type Hello,
  isTributaryError,
  MAX_FRAME_BYTES,
  type PackedEvent,
  parseHlc,
  type QuarantineNote,
  type Reply,
  type Seq,
  TributaryError,
} from "../core/index.ts";
import { zstd } from "../core/node.ts";
import type { Gate } from "../gate/index.ts";
import { finishRotation } from "./enrol.ts";
import { type Identity, openIdentity, unprovenWords } from "./keys.ts";
import type { Outbox } from "./outbox.ts";
import type { FieldSchemas } from "./schemas.ts";
import type { OriginRow, Store } from "./store.ts";
import { openTransport, type Transport } from "./transport.ts";

/** Events in a batch, unless the caller chooses. Larger ones compress better, smaller ones resume sooner. */
const BATCH_EVENTS = 500;
/** How long a device waits for the receipt of a batch that the broker has taken. */
const REPLY_TIMEOUT_MS = 15_000;
/** A device clock this far from the hub's is reported as wrong. */
const CLOCK_LIMIT_MS = 10 * 60_000;
/** The same batch refused as damaged, or the same gap, this often in a row: something is broken that sending does not mend. */
const MAX_REFUSALS = 3;
/** An answer holds a bounded number of schemas; more come with the next question, so often. */
const MAX_SCHEMA_ROUNDS = 20;

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 5 * 60_000;
const MAX_TRIES = 10;

export interface SyncOptions {
  /** The hub: `nats://…` or `https://…`. */
  readonly url: string;
  /** The site's token. A device whose key is enrolled needs none. */
  readonly token?: string;
  readonly batchEvents?: number;
  /** Send everything once more, also what the hub has confirmed. Harmless; for when somebody doubts it. */
  readonly again?: boolean;
  readonly replyTimeoutMs?: number;
  /** Tries before giving up, first included. Each progress starts the count anew. */
  readonly maxTries?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SyncProgress) => void;
  /** Pauses between tries; replaceable so that a test need not wait. */
  readonly sleep?: (ms: number) => Promise<void>;
  readonly random?: () => number;
}

export type SyncProgress =
  | { readonly kind: "synced"; readonly done: number; readonly total: number }
  | { readonly kind: "waiting"; readonly tries: number; readonly pauseMs: number; readonly because: string };

export interface SyncResult {
  /** Events that the hub confirmed during this sync. */
  readonly confirmed: number;
  /** Events still without a receipt (written meanwhile). */
  readonly pending: number;
  readonly quarantined: readonly QuarantineNote[];
  /** Schema versions that the hub told this device of, and that the device told the hub of. */
  readonly schemasLearnt: number;
  readonly schemasProposed: number;
  readonly sentBytes: number;
  readonly batches: number;
  /** Device clock minus hub clock, milliseconds; `null` when the hub did not tell. */
  readonly clockOffsetMs: number | null;
  /** Set when this device found itself to be a copy and went on under a new name. */
  readonly renamedTo: string | null;
}

export interface SyncDeps {
  readonly store: Store;
  readonly gate: Gate;
  readonly outbox: Outbox;
  /** `null`: the app keeps its schemas itself. */
  readonly schemas: FieldSchemas | null;
  readonly now: () => number;
}

/** The way to a hub, and what this device knows of it and says of itself. */
export async function openWay(deps: SyncDeps, options: SyncOptions): Promise<Transport> {
  const given = { url: options.url, ...(options.token === undefined ? {} : { token: options.token }) };
  const identity = openIdentity(deps.store, { ...given, now: deps.now });
  const replyTimeoutMs = options.replyTimeoutMs ?? REPLY_TIMEOUT_MS;
  const transport = await openTransport({ ...given, identity, name: deps.store.name, replyTimeoutMs });
  try {
    await finishRotation(deps.store, transport, deps.now);
    return transport;
  } catch (error) {
    await transport.close();
    throw error;
  }
}

const realSleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });

/** The pause before try `n` (1 the first repetition): 1 s doubling to 5 min, full jitter. */
export const pauseMs = (n: number, random: () => number): number =>
  Math.round(random() * Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (n - 1)));

const worthAnotherTry = (error: unknown): boolean =>
  isTributaryError(error) &&
  (error.code === "backend-unreachable" || error.code === "backend-failed" || error.code === "internal");

/**
 * Sends all that the hub has no receipt for, and returns when it has one. A dropped link is tried again with growing pauses;
 * a refused token is not. Whatever happens, events stay in the database until their receipt has come.
 */
export async function sync(deps: SyncDeps, options: SyncOptions): Promise<SyncResult> {
  const { maxTries = MAX_TRIES, signal, onProgress, random = Math.random } = options;
  const sleep = options.sleep ?? ((ms: number) => realSleep(ms, signal));
  const total = emptyTally();
  for (let tries = 1; ; tries++) {
    const before = total.confirmed;
    try {
      const transport = await openWay(deps, options);
      try {
        await pushAll(deps, transport, options, total);
        return resultOf(deps.store, total, transport.sentBytes);
      } finally {
        total.sentBytes += transport.sentBytes;
        await transport.close();
      }
    } catch (error) {
      if (!worthAnotherTry(error) || signal?.aborted) throw error;
      if (total.confirmed > before) tries = 1;
      if (tries >= maxTries) {
        throw new TributaryError(
          "sync-gave-up",
          `no sync after ${tries} tries: ${(error as Error).message}`,
          "The events are safe on this device; sync again when there is a link.",
          { cause: error },
        );
      }
      const ms = pauseMs(tries, random);
      onProgress?.({ kind: "waiting", tries, pauseMs: ms, because: (error as Error).message });
      await sleep(ms);
      if (signal?.aborted) throw error;
    }
  }
}

export interface Tally {
  schemasLearnt: number;
  schemasProposed: number;
  confirmed: number;
  batches: number;
  sentBytes: number;
  quarantined: QuarantineNote[];
  clockOffsetMs: number | null;
  renamedTo: string | null;
}

export const emptyTally = (): Tally => ({
  confirmed: 0,
  schemasLearnt: 0,
  schemasProposed: 0,
  batches: 0,
  sentBytes: 0,
  quarantined: [],
  clockOffsetMs: null,
  renamedTo: null,
});

const resultOf = (store: Store, { sentBytes, ...rest }: Tally, lastSentBytes: number): SyncResult => ({
  ...rest,
  sentBytes: sentBytes + lastSentBytes,
  pending: store.origins().reduce((sum, origin) => sum + (origin.nextSeq - 1 - origin.syncedThrough), 0),
});

/** One pass over an open link: every epoch, oldest first, until each has its receipt. */
export async function pushAll(deps: SyncDeps, transport: Transport, options: SyncOptions, tally: Tally): Promise<void> {
  for (let i = 0; i < deps.store.origins().length; i++) {
    const origin = deps.store.origins()[i]!;
    const isCurrent = origin.id === deps.store.current().id;
    if (!isCurrent && origin.syncedThrough === origin.nextSeq - 1 && !options.again) continue;
    await pushOrigin(deps, transport, options, tally, origin.id);
  }
}

/**
 *   hello ─▶ sending ⇄ confirmed … ─▶ done
 *              ├ gap, unknown schema ─▶ sending from the hub's last event
 *              ├ fork ─▶ rewritten under a new origin, which `pushAll` sends next
 *              └ anything else ─▶ error
 */
async function pushOrigin(
  deps: SyncDeps,
  transport: Transport,
  options: SyncOptions,
  tally: Tally,
  originId: number,
): Promise<void> {
  const { store, gate, now } = deps;
  const origin = (): OriginRow => store.origins().find(({ id }) => id === originId)!;
  const hello = await transport.hello({
    origin: origin().name,
    since: origin().syncedThrough < 0 ? null : (origin().syncedThrough as Seq),
    ...(deps.schemas === null ? {} : { schemas: deps.schemas.digest() }),
  });
  if (hello !== null) {
    if (hello.schemas?.differ) await exchangeSchemas(deps, transport, origin(), tally);
    learnClock(deps, hello, tally);
    if (isCopy(store, origin(), hello)) {
      tally.renamedTo = rewriteFork(deps, origin(), origin().syncedThrough);
      return;
    }
    confirm(deps, originId, hello.receipt, tally, options);
  }
  let avro = hello === null ? {} : commonAvro(gate, hello.avro);
  let nextSeq = options.again ? 0 : origin().syncedThrough + 1;
  let refusals = 0;
  const flying: { readonly firstSeq: number; readonly lastSeq: number; readonly reply: Promise<Reply | null> }[] = [];

  for (;;) {
    options.signal?.throwIfAborted();
    const end = origin().nextSeq;
    if (nextSeq < end && flying.length < transport.window) {
      const { identity } = transport;
      const { frame, batch } = nextFrame(
        store,
        gate,
        origin(),
        nextSeq,
        options.batchEvents ?? BATCH_EVENTS,
        avro,
        now(),
        identity,
      );
      const { reply } = await transport.send(frame, batch.origin);
      tally.batches++;
      flying.push({ firstSeq: nextSeq, lastSeq: nextSeq + batch.events.length - 1, reply });
      nextSeq += batch.events.length;
      store.transaction(() => {
        store.db.prepare("UPDATE origin SET queued_through = max(queued_through, ?) WHERE id = ?").run(nextSeq - 1, originId);
      });
      continue;
    }
    const first = flying.shift();
    if (first === undefined) return;
    const reply = await first.reply;
    if (reply === null) {
      throw new TributaryError(
        "backend-unreachable",
        `the broker has taken the events, but the hub has not confirmed them yet${unprovenWords(transport.identity.unproven)}`,
        "They are safe on this device and will be sent again; sync later.",
      );
    }
    if (reply.kind === "receipt") {
      refusals = 0;
      // The log may hold more than this batch: ours, or a copy's that has written on. Only what is provably ours counts.
      const own = hashAt(store, originId, reply.through);
      confirm(deps, originId, own === reply.head ? reply : { ...reply, through: first.lastSeq as Seq }, tally, options);
      continue;
    }
    await Promise.all(flying.splice(0).map(({ reply }) => reply));
    switch (reply.code) {
      case "schema-unknown":
        avro = {};
        break;
      case "origin-forked":
        tally.renamedTo = rewriteFork(deps, origin(), Math.max(origin().syncedThrough, first.firstSeq - 1));
        return;
      case "batch-gap":
      case "chain-broken":
      case "batch-undecodable":
        break;
      default:
        throw refused(reply);
    }
    if (++refusals >= MAX_REFUSALS) throw refused(reply);
    nextSeq = Math.min(first.firstSeq, reply.through === null ? 0 : reply.through + 1);
  }
}

/** Learns what the hub has registered since, and proposes what this device writes with and the hub does not know. */
async function exchangeSchemas({ schemas }: SyncDeps, transport: Transport, origin: OriginRow, tally: Tally): Promise<void> {
  if (schemas === null) return;
  const ask = { origin: origin.name, since: origin.nextSeq === 0 ? null : ((origin.nextSeq - 1) as Seq) };
  for (let rounds = 0; rounds < MAX_SCHEMA_ROUNDS; rounds++) {
    const answer = (await transport.hello({ ...ask, have: schemas.have() }))?.schemas;
    if (answer === undefined) return;
    const learnt = schemas.learn(answer.news ?? []);
    tally.schemasLearnt += learnt;
    const offers = schemas.offers(answer.unknown ?? []);
    // One at a time: a schema may be large, and a broker's message is not.
    for (const offer of offers) await transport.hello({ ...ask, proposes: [offer] });
    tally.schemasProposed += offers.length;
    if (learnt === 0 || offers.length > 0) return;
  }
}

const refused = (reply: Extract<Reply, { kind: "refusal" }>): TributaryError =>
  new TributaryError(reply.code, reply.message, reply.hint);

/** The Avro schemas that device and hub both have, letter for letter: only those travel as Avro. */
function commonAvro(gate: Gate, hub: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(gate.avroFingerprints()).filter(([schema, fingerprint]) => hub[schema] === fingerprint),
  );
}

/**
 * Whether the hub knows events of this origin that this database does not, or other ones: then it was restored from a
 * backup or cloned, and another copy has written on.
 */
function isCopy(store: Store, origin: OriginRow, { receipt }: Hello): boolean {
  if (receipt.through === null) return false;
  if (receipt.through >= origin.nextSeq) return true;
  return hashAt(store, origin.id, receipt.through) !== receipt.head;
}

const hashAt = (store: Store, originId: number, seq: number | null): string | undefined =>
  store.db.prepare("SELECT hash FROM event WHERE origin = ? AND seq = ?").get(originId, seq ?? -1)?.hash as string | undefined;

/** Goes on under a new origin; what the hub never had of the old one is written again there, and nothing is dropped. */
function rewriteFork({ store, outbox }: SyncDeps, from: OriginRow, sharedThrough: number): string {
  return store.transaction(() => {
    const fresh = from.id === store.current().id ? store.startEpoch() : store.current();
    outbox.rewrite(from, sharedThrough);
    store.db.prepare("UPDATE origin SET synced_through = next_seq - 1, queued_through = next_seq - 1 WHERE id = ?").run(from.id);
    return fresh.name;
  });
}

function confirm(
  { store }: SyncDeps,
  originId: number,
  receipt: Extract<Reply, { kind: "receipt" }>,
  tally: Tally,
  options: SyncOptions,
): void {
  store.transaction(() => {
    const before = store.origins().find(({ id }) => id === originId)!;
    const through = Math.min(receipt.through ?? -1, before.nextSeq - 1);
    for (const { seq, code, reason } of receipt.quarantined) {
      const { changes } = store.db
        .prepare("INSERT INTO quarantined VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .run(originId, seq, code, reason);
      if (changes > 0) tally.quarantined.push({ seq, code, reason });
    }
    store.setMeta("synced_at", new Date().toISOString());
    if (through <= before.syncedThrough) return;
    store.db
      .prepare("UPDATE origin SET synced_through = ?, queued_through = max(queued_through, ?), position = ? WHERE id = ?")
      .run(through, through, receipt.position, originId);
    tally.confirmed += through - before.syncedThrough;
    options.onProgress?.({ kind: "synced", done: through + 1, total: before.nextSeq });
  });
}

/** Notes how far the device's clock is off; a logical clock that ran ahead with a wrong wall clock starts anew once that is right. */
function learnClock({ store, now }: SyncDeps, hello: Hello, tally: Tally): void {
  const offsetMs = now() - hello.nowMs;
  tally.clockOffsetMs = offsetMs;
  store.transaction(() => {
    store.setMeta("clock_offset_ms", String(Math.round(offsetMs)));
    const last = store.meta("hlc");
    const ranAhead = last !== null && parseHlc(last as Parameters<typeof parseHlc>[0]).wallMs > hello.nowMs + CLOCK_LIMIT_MS;
    if (ranAhead && Math.abs(offsetMs) < CLOCK_LIMIT_MS) store.db.prepare("DELETE FROM meta WHERE key = 'hlc'").run();
  });
}

/** The next run of events as a frame that fits the wire. */
function nextFrame(
  store: Store,
  gate: Gate,
  origin: OriginRow,
  firstSeq: number,
  maxEvents: number,
  avro: Readonly<Record<string, string>>,
  sentAtMs: number,
  identity: Identity,
): { frame: Uint8Array; batch: Batch } {
  const rows = store.db
    .prepare("SELECT head, data, hash, fingerprint FROM event WHERE origin = ? AND seq >= ? ORDER BY seq LIMIT ?")
    .all(origin.id, firstSeq, maxEvents) as { head: string; data: string; hash: Hash; fingerprint: string }[];
  const events = rows.map(({ head, data, fingerprint }): PackedEvent => {
    const parsed = JSON.parse(head) as Omit<EventBody, "data">;
    const { subject, version } = parsed.schema;
    // A schema may have become another since the event was written: then its data travels as it stands, with the old one's fingerprint.
    const asAvro = avro[`${subject}@${version}`] !== undefined && fingerprint === gate.fingerprint(parsed.schema);
    const packed = { head: parsed, ...gate.payload({ subject, version }, data, asAvro) };
    return fingerprint === "" ? packed : { ...packed, fingerprint };
  });
  for (let count = rows.length; ; count = Math.ceil(count / 2)) {
    const batch: Batch = identity.stamped({
      origin: origin.name,
      firstSeq: firstSeq as Seq,
      prev: (hashAt(store, origin.id, firstSeq - 1) as Hash | undefined) ?? GENESIS,
      head: rows[count - 1]!.hash,
      sentAtMs: Math.trunc(sentAtMs),
      events: events.slice(0, count),
    });
    const frame = encodeBatch(batch, zstd, identity.version);
    if (frame.length <= MAX_FRAME_BYTES || count === 1) return { frame, batch };
  }
}
