import { randomUUID } from "node:crypto";
import {
  type Hash,
  type Hello,
  type HelloRequest,
  MAX_BATCH_EVENTS,
  MAX_OTHER_ORIGINS,
  parseHlc,
  type QuarantineNote,
  type Receipt,
  type Refusal,
  type Reply,
  type Seq,
  TributaryError,
} from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { type Cut, type Cutter, frameCutter } from "./frames.ts";
import { openHeads } from "./heads.ts";
import { unprovenWords } from "./keys.ts";
import { type AsideNote, moveOn, takeBack } from "./move.ts";
import type { Outbox } from "./outbox.ts";
import { openPace, type Pace } from "./pace.ts";
import { type EventReader, eventReader } from "./reading.ts";
import type { OriginRow } from "./rows.ts";
import type { FieldSchemas } from "./schemas.ts";
import { sharedThrough } from "./shared.ts";
import type { Store } from "./store.ts";
import { away, strange, type Transport } from "./way.ts";

/** Events in a batch at most, unless the caller chooses. Larger ones compress better, smaller ones resume sooner. */
const BATCH_EVENTS = 500;
/** A device clock this far from the hub's is reported as wrong. */
const CLOCK_LIMIT_MS = 10 * 60_000;
/** The same gap, or the same fork without a difference, this often in a row: something is broken that sending does not mend. */
const MAX_REFUSALS = 3;
/**
 * Events that hubs called unreadable or damaged, one after the other with none taken between them: then it is not the events. A hub too old for this
 * program would have all of them set aside else.
 */
const MAX_UNREADABLE_IN_A_ROW = 20;
const UNREADABLE_META = "unreadable_in_a_row";
/** An answer holds a bounded number of schemas; more come with the next question, so often. */
const MAX_SCHEMA_ROUNDS = 20;

export interface PushOptions {
  readonly batchEvents?: number;
  /** Send everything once more, also what the hub has confirmed, and what a hub has refused. Harmless; for when somebody doubts it. */
  readonly again?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SyncProgress) => void;
}

export type SyncProgress =
  | { readonly kind: "synced"; readonly done: number; readonly total: number }
  /** The hub's broker has taken events that its log cannot take yet. */
  | { readonly kind: "queued"; readonly events: number; readonly because: string }
  | { readonly kind: "waiting"; readonly tries: number; readonly pauseMs: number; readonly because: string };

export interface PushDeps {
  readonly store: Store;
  readonly gate: Gate;
  readonly outbox: Outbox;
  /** `null`: the app keeps its schemas itself. */
  readonly schemas: FieldSchemas | null;
  readonly now: () => number;
}

/** What a sync has done so far, over all its tries. */
export interface Tally {
  confirmed: number;
  restoredBehind: number;
  moved: number;
  schemasLearnt: number;
  schemasProposed: number;
  batches: number;
  sentBytes: number;
  quarantined: QuarantineNote[];
  setAside: AsideNote[];
  clockOffsetMs: number | null;
  renamedTo: string | null;
  /** Events that the broker took without the hub's log; and, after a pass that could do no more than queue, how many wait and why. */
  queued: number;
  waiting: { readonly events: number; readonly because: TributaryError | null } | null;
}

export const emptyTally = (): Tally => ({
  confirmed: 0,
  restoredBehind: 0,
  moved: 0,
  schemasLearnt: 0,
  schemasProposed: 0,
  batches: 0,
  sentBytes: 0,
  quarantined: [],
  setAside: [],
  clockOffsetMs: null,
  renamedTo: null,
  queued: 0,
  waiting: null,
});

/** One pass over an open link, and all that its parts share. */
interface Pass {
  readonly store: Store;
  readonly transport: Transport;
  readonly options: PushOptions;
  readonly tally: Tally;
  readonly rows: EventReader;
  readonly cutter: Cutter;
  readonly pace: Pace;
  readonly now: () => number;
  /** The Avro schemas that device and hub both have, letter for letter: only those travel as Avro. */
  avro: Readonly<Record<string, string>>;
  /** The largest frame that gets through, as far as is known. */
  maxBytes: number;
  /** Hashes that the hub's word is better for than a damaged row. */
  readonly proven: Map<string, Hash>;
  origin(id: number): OriginRow;
}

/**
 * One pass over an open link: asks where the log stands, and sends every epoch, oldest first, until each has its receipt.
 *
 *   hello ─▶ the log is behind our receipts ─▶ they count no more ─┐
 *     │  ├─▶ the log has other events than we ─▶ moved on          ├─▶ each epoch: sending ⇄ confirmed … ─▶ done
 *     │  └─▶ where we were ────────────────────────────────────────┘
 *     └─▶ nobody can say ─▶ what was never queued is queued ─▶ fails with `backend-unreachable`, `tally.waiting` says how many
 */
export async function pushAll(deps: PushDeps, transport: Transport, options: PushOptions, tally: Tally): Promise<void> {
  const { store, gate, now } = deps;
  const rows = eventReader(store);
  const pass: Pass = {
    store,
    transport,
    options,
    tally,
    rows,
    cutter: frameCutter(rows, gate, transport.identity, openHeads(store)),
    pace: openPace(store, transport.maxFrameBytes),
    now,
    avro: {},
    maxBytes: transport.maxFrameBytes,
    proven: new Map(),
    origin: store.origin,
  };
  tally.waiting = null;
  try {
    if (options.again) takeBack(store);
    const opened = await open(deps, pass);
    if (opened.kind === "away") return await queueAll(pass, opened.because);
    for (let i = 0; i < store.origins().length; i++) {
      const origin = store.origins()[i]!;
      if (origin.syncedThrough < origin.lastSeq || options.again) await pushOrigin(pass, origin.id, origin.id === opened.settled);
    }
  } finally {
    pass.pace.remember();
  }
}

type Answer =
  | { readonly kind: "hello"; readonly hello: Hello; readonly isOurs: boolean }
  | { readonly kind: "away"; readonly because: TributaryError | null };

/** Asks the hub. `isOurs`: it repeats what only this question said, so it is no answer to an earlier one. */
async function ask({ transport, pace }: Pass, request: HelloRequest): Promise<Answer> {
  const nonce = randomUUID();
  const askedMs = performance.now();
  const outcome = await transport.hello({ ...request, nonce });
  if (outcome.kind === "away") return outcome;
  pace.answered(performance.now() - askedMs);
  const { hello } = outcome;
  if (hello.receipt.origin !== request.origin || (hello.nonce !== undefined && hello.nonce !== nonce)) throw strange("the hello");
  return { kind: "hello", hello, isOurs: hello.nonce === nonce };
}

/** The same, in the middle of a pass: whoever could answer a moment ago will again. */
async function askAgain(pass: Pass, request: HelloRequest): Promise<Extract<Answer, { kind: "hello" }>> {
  const answer = await ask(pass, request);
  if (answer.kind === "hello") return answer;
  throw away("the hub cannot say where its log stands", answer.because ?? new Error("it does not answer"));
}

const sinceOf = ({ syncedThrough }: OriginRow): Seq | null => (syncedThrough < 0 ? null : (syncedThrough as Seq));

/** The first question: about the epoch that writes now, and whether the log has all of the earlier ones. */
async function open(
  deps: PushDeps,
  pass: Pass,
): Promise<
  { readonly kind: "open"; readonly settled: number } | { readonly kind: "away"; readonly because: TributaryError | null }
> {
  const { store, schemas } = deps;
  const current = store.current();
  const others = store
    .origins()
    .filter(({ id, syncedThrough }) => id !== current.id && syncedThrough >= 0)
    .map(({ name, syncedThrough }) => ({ origin: name, through: syncedThrough as Seq }));
  const answer = await ask(pass, {
    origin: current.name,
    since: sinceOf(current),
    ...(others.length === 0 ? {} : { others: others.slice(0, MAX_OTHER_ORIGINS) }),
    ...(schemas === null ? {} : { schemas: schemas.digest() }),
  });
  if (answer.kind === "away") return answer;
  const { hello } = answer;
  if (hello.schemas?.differ) await exchangeSchemas(deps, pass, current);
  learnClock(deps, hello, pass.tally);
  pass.avro = Object.fromEntries(
    Object.entries(deps.gate.avroFingerprints()).filter(([schema, fingerprint]) => hello.avro[schema] === fingerprint),
  );
  if (answer.isOurs) lowerOthers(pass, hello);
  for (let at = MAX_OTHER_ORIGINS; at < others.length; at += MAX_OTHER_ORIGINS) {
    const more = await askAgain(pass, {
      origin: current.name,
      since: current.nextSeq === 0 ? null : ((current.nextSeq - 1) as Seq),
      others: others.slice(at, at + MAX_OTHER_ORIGINS),
    });
    if (more.isOurs) lowerOthers(pass, more.hello);
  }
  await settle(pass, current.id, hello, answer.isOurs);
  return { kind: "open", settled: current.id };
}

/** Learns what the hub has registered since, and proposes what this device writes with and the hub does not know. */
async function exchangeSchemas({ schemas }: PushDeps, pass: Pass, origin: OriginRow): Promise<void> {
  if (schemas === null) return;
  const { transport, tally } = pass;
  const question = { origin: origin.name, since: origin.nextSeq === 0 ? null : ((origin.nextSeq - 1) as Seq) };
  for (let rounds = 0; rounds < MAX_SCHEMA_ROUNDS; rounds++) {
    const outcome = await transport.hello({ ...question, have: schemas.have() });
    const answer = outcome.kind === "hello" ? outcome.hello.schemas : undefined;
    if (answer === undefined) return;
    const learnt = schemas.learn(answer.news ?? []);
    tally.schemasLearnt += learnt;
    const offers = schemas.offers(answer.unknown ?? []);
    // One at a time: a schema may be large, and a broker's message is not.
    for (const offer of offers) await transport.hello({ ...question, proposes: [offer] });
    tally.schemasProposed += offers.length;
    if (learnt === 0 || offers.length > 0) return;
  }
}

/** Notes how far the device's clock is off; a logical clock that ran ahead with a wrong wall clock starts anew once that is right. */
function learnClock({ store, now }: PushDeps, hello: Hello, tally: Tally): void {
  const offsetMs = now() - hello.nowMs;
  tally.clockOffsetMs = offsetMs;
  store.transaction(() => {
    store.setMeta("clock_offset_ms", String(Math.round(offsetMs)));
    const last = store.meta("hlc");
    const ranAhead = last !== null && parseHlc(last as Parameters<typeof parseHlc>[0]).wallMs > hello.nowMs + CLOCK_LIMIT_MS;
    if (ranAhead && Math.abs(offsetMs) < CLOCK_LIMIT_MS) store.rows.removeMeta("hlc");
  });
}

/** Of earlier epochs the log holds less than it had confirmed. */
function lowerOthers(pass: Pass, { behind, receipt }: Hello): void {
  for (const { origin: name, through } of behind ?? []) {
    const origin = pass.store.origins().find((known) => known.name === name);
    if (origin !== undefined) lower(pass, origin.id, through ?? -1, { ...receipt, position: null });
  }
}

/**
 * The log was restored from a backup: what it confirmed beyond `through` counts no more and will be sent again. Only for an answer to this device's own
 * question: a hello that somebody kept must not make a device doubt what it knows.
 */
function lower({ store, tally }: Pass, id: number, through: number, { position, incarnation }: Receipt): void {
  store.transaction(() => {
    const before = store.origin(id);
    if (through >= before.syncedThrough) return;
    store.rows.lowerTo(id, { through, position, incarnation: incarnation ?? null });
    tally.restoredBehind += before.syncedThrough - through;
  });
}

/**
 * Brings the device to where the log stands with an epoch:
 *
 *   same hash at the log's end ─▶ confirmed up to there, or lowered to there when it was confirmed further
 *   log has more than we       ─▶ restored from a backup, nothing diverged: all of ours is confirmed, and a fresh epoch writes
 *   another event at a seq     ─▶ a twin has written on: the last shared event is found, ours beyond it move on under a fresh epoch
 */
async function settle(pass: Pass, id: number, hello: Hello, isOurs: boolean): Promise<void> {
  const { store, rows, tally } = pass;
  const { receipt } = hello;
  const at = pass.origin(id);
  const through = receipt.through ?? -1;
  const end = Math.min(through, at.lastSeq);
  let shared = end;
  if (end >= 0 && (through > end || rows.hashAt(at, end) !== receipt.head)) {
    // A question about hashes is the only thing that tells a copy for sure; who does not repeat our words does not answer one either.
    if (!isOurs) return;
    shared = (await sharedThrough((seqs) => hashesOf(pass, at, seqs), rows, at, end)) ?? Math.min(at.syncedThrough, end);
    if (shared === through && receipt.head !== null) pass.proven.set(`${id}/${through}`, receipt.head);
  }
  if (shared < end) {
    moveCopy(pass, id, shared);
    return;
  }
  if (shared < at.syncedThrough) {
    if (isOurs) lower(pass, id, shared, receipt);
    return;
  }
  confirm(pass, id, shared, { ...receipt, position: shared === through ? receipt.position : at.position });
  if (through > at.lastSeq && at.keptThrough === null) {
    store.transaction(() => {
      if (store.current().id === id) tally.renamedTo = store.startEpoch().name;
    });
  }
}

/** A twin has written on from `shared`: ours beyond it are written again under a fresh epoch. */
function moveCopy({ store, tally, origin }: Pass, id: number, shared: number): void {
  const before = origin(id).syncedThrough;
  const moved = moveOn(store, id, shared, null, true);
  tally.renamedTo = moved.name;
  tally.moved += moved.events;
  tally.setAside.push(...moved.aside);
  tally.confirmed += Math.max(0, shared - before);
  tally.restoredBehind += Math.max(0, before - shared);
}

async function hashesOf(pass: Pass, { name }: OriginRow, seqs: readonly Seq[]): Promise<ReadonlyMap<number, Hash | null> | null> {
  const { hello, isOurs } = await askAgain(pass, { origin: name, since: seqs.at(-1)!, hashesOf: [...seqs] });
  return isOurs && hello.hashes !== undefined ? new Map(hello.hashes.map(({ seq, hash }) => [seq, hash])) : null;
}

/** Notes the hub's word that events up to `through` are in the log. Never lowers anything. */
function confirm({ store, tally, options }: Pass, id: number, through: number, receipt: Receipt): void {
  store.transaction(() => {
    const before = store.origin(id);
    for (const { seq, code, reason } of receipt.quarantined) {
      if (seq > before.lastSeq) continue;
      if (store.rows.addQuarantined(id, { seq, code, reason })) tally.quarantined.push({ seq, code, reason });
    }
    store.setMeta("synced_at", new Date().toISOString());
    const upTo = Math.min(through, before.lastSeq);
    if (upTo < before.syncedThrough || upTo < 0) return;
    store.rows.confirmTo(id, { through: upTo, position: receipt.position, incarnation: receipt.incarnation ?? null });
    if (upTo === before.syncedThrough) return;
    tally.confirmed += upTo - before.syncedThrough;
    options.onProgress?.({ kind: "synced", done: upTo + 1, total: before.lastSeq + 1 });
  });
}

/** A frame under way. */
interface Flight {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly bytes: number;
  readonly taken: Promise<void>;
  readonly reply: Promise<Reply | null>;
  isTaken: boolean;
}

/** Hands a frame over, having noted first that it was: from now on nobody can say that its events were never sent. */
function launch(
  pass: Pass,
  id: number,
  flights: readonly Flight[],
  frame: Uint8Array,
  first: number,
  last: number,
  wantsReply = true,
): Flight {
  const { store, transport, pace, tally } = pass;
  store.transaction(() => store.rows.noteOffered(id, last, takenThrough(flights)));
  const flying = flights.reduce((sum, { bytes, isTaken }) => sum + (isTaken ? 0 : bytes), frame.length);
  const sentAtMs = performance.now();
  const { taken, reply } = transport.send(frame, pass.origin(id).name, pace.carryMs(flying), wantsReply);
  tally.batches++;
  const flight: Flight = { firstSeq: first, lastSeq: last, bytes: frame.length, taken, reply, isTaken: false };
  taken.then(
    () => {
      flight.isTaken = true;
      pace.taken(frame.length, sentAtMs, performance.now(), transport.tellsArrival);
    },
    // Whoever waits for it is told; nobody else need be.
    () => {},
  );
  return flight;
}

/** The last event of the frames that were taken without one before them that was not; −1: none. */
function takenThrough(flights: readonly Flight[]): number {
  let through = -1;
  for (const { isTaken, lastSeq } of flights) {
    if (!isTaken) break;
    through = lastSeq;
  }
  return through;
}

function noteTaken({ store }: Pass, id: number, flights: readonly Flight[]): void {
  const through = takenThrough(flights);
  if (through < 0) return;
  store.transaction(() => store.rows.noteQueued(id, through));
}

/** Refusals of what a batch holds. It is halved until one event is left: that one is set aside, and the rest flows on. */
const IN_THE_BATCH: readonly string[] = ["batch-undecodable", "batch-too-large", "event-too-large", "chain-broken"];

/**
 * Sends an epoch's events, until each has its receipt:
 *
 *   sending ⇄ confirmed … ─▶ done
 *     ├ unknown schema ─▶ sending as JSON
 *     ├ gap, fork ─▶ asked where the log stands ─▶ sending from there, or moved on under a fresh epoch, which `pushAll` sends next
 *     ├ refused for what is in the batch ─▶ halved … down to one event ─▶ set aside, the rest moved on
 *     ├ an event that cannot be read, or is too large for any frame ─▶ those before it confirmed ─▶ set aside, the rest moved on
 *     └ anything else ─▶ error
 */
async function pushOrigin(pass: Pass, id: number, isSettled: boolean): Promise<void> {
  const { options, transport, pace } = pass;
  if (!isSettled) {
    const { hello, isOurs } = await askAgain(pass, { origin: pass.origin(id).name, since: sinceOf(pass.origin(id)) });
    await settle(pass, id, hello, isOurs);
  }
  const course = courseFrom(options.again ? 0 : pass.origin(id).syncedThrough + 1);
  const flights: Flight[] = [];
  try {
    for (;;) {
      options.signal?.throwIfAborted();
      const at = pass.origin(id);
      if (course.narrow !== null && course.nextSeq > course.narrow.until) course.narrow = null;
      const flying = flights.reduce((sum, { bytes, isTaken }) => sum + (isTaken ? 0 : bytes), 0);
      const hasMore = course.nextSeq <= at.lastSeq && flights.length < (course.narrow === null ? transport.window : 1);
      if (hasMore && pace.mayFly(flying)) {
        const cut = nextCut(pass, at, course);
        if (cut.kind === "frame") {
          const last = course.nextSeq + cut.batch.events.length - 1;
          flights.push(launch(pass, id, flights, cut.frame, course.nextSeq, last));
          course.nextSeq = last + 1;
          continue;
        }
        if (flights.length === 0) {
          if ((await putAside(pass, id, course, cut.seq, cut.code, cut.reason)) === "moved") return;
          continue;
        }
      }
      const first = (hasMore ? flights.find(({ isTaken }) => !isTaken) : undefined) ?? flights[0];
      if (first === undefined) return;
      const wasFlying = !first.isTaken;
      await first.taken;
      // There may be room for another frame now.
      if (hasMore && wasFlying) continue;
      const reply = await first.reply;
      if (reply === null) throw noReply(transport);
      noteTaken(pass, id, flights);
      flights.shift();
      if (reply.kind === "receipt") {
        course.refusals = 0;
        course.hasReceipt = true;
        received(pass, id, first, reply);
        continue;
      }
      await Promise.all(flights.splice(0).map((flight) => flight.reply));
      if ((await afterRefusal(pass, at, course, first, reply)) === "moved") return;
    }
  } catch (error) {
    const lost = flights.find(({ isTaken }) => !isTaken);
    if (lost !== undefined) pace.cut(lost.bytes);
    noteTaken(pass, id, flights);
    throw error;
  }
}

/** How the sending of an epoch goes. */
interface Course {
  nextSeq: number;
  /** While a refusal is narrowed down: events at a time, up to the last of the refused batch. */
  narrow: { readonly events: number; readonly until: number } | null;
  /** Refusals in a row that sending from elsewhere should have mended. */
  refusals: number;
  /** An event that was refused by itself, and is tried once more. */
  refusedAlone: number;
  hasReceipt: boolean;
}

const courseFrom = (nextSeq: number): Course => ({
  nextSeq,
  narrow: null,
  refusals: 0,
  refusedAlone: -1,
  hasReceipt: false,
});

const nextCut = (
  { cutter, options, pace, maxBytes, avro, now, proven }: Pass,
  origin: OriginRow,
  { nextSeq, narrow }: Course,
): Cut =>
  cutter.cut({
    origin,
    firstSeq: nextSeq,
    toSeq: narrow?.until ?? origin.lastSeq,
    maxEvents: Math.min(narrow?.events ?? MAX_BATCH_EVENTS, options.batchEvents ?? BATCH_EVENTS),
    aimBytes: pace.frameBytes,
    maxBytes,
    avro,
    sentAtMs: now(),
    isCareful: narrow !== null,
    prev: proven.get(`${origin.id}/${nextSeq - 1}`),
  });

/** The log may hold more than the batch: ours, or a copy's that has written on. Only what is provably ours counts. */
function received(pass: Pass, id: number, { lastSeq }: Flight, reply: Receipt): void {
  const isOwn = reply.through !== null && pass.rows.hashAt(pass.origin(id), reply.through) === reply.head;
  confirm(pass, id, isOwn ? (reply.through ?? -1) : lastSeq, isOwn ? reply : { ...reply, position: null });
  forgetUnreadable(pass.store);
}

async function afterRefusal(
  pass: Pass,
  at: OriginRow,
  course: Course,
  first: Flight,
  reply: Refusal,
): Promise<"moved" | "goes on"> {
  if (IN_THE_BATCH.includes(reply.code)) return narrowDown(pass, at.id, course, first, reply);
  if (reply.code === "schema-unknown") {
    pass.avro = {};
    course.nextSeq = Math.min(first.firstSeq, (reply.through ?? -1) + 1);
  } else if (reply.code === "batch-gap" || reply.code === "origin-forked") {
    const { hello, isOurs } = await askAgain(pass, { origin: at.name, since: sinceOf(at) });
    await settle(pass, at.id, hello, isOurs);
    if (pass.origin(at.id).keptThrough !== at.keptThrough) return "moved";
    if (reply.code === "origin-forked" && !isOurs) {
      // A hub that cannot be asked for hashes: what it has a receipt for is shared, and what went before this batch.
      moveCopy(pass, at.id, Math.max(at.syncedThrough, first.firstSeq - 1));
      return "moved";
    }
    course.nextSeq = Math.min(first.firstSeq, (hello.receipt.through ?? -1) + 1);
  } else {
    throw refused(reply);
  }
  if (++course.refusals >= MAX_REFUSALS) throw refused(reply);
  return "goes on";
}

/** Halves what was refused, down to one event; that one is set aside. */
async function narrowDown(pass: Pass, id: number, course: Course, first: Flight, reply: Refusal): Promise<"moved" | "goes on"> {
  const count = first.lastSeq - first.firstSeq + 1;
  course.nextSeq = first.firstSeq;
  if (count > 1) {
    if (reply.code === "batch-too-large") pass.maxBytes = Math.ceil(first.bytes / 2);
    course.narrow = { events: Math.ceil(count / 2), until: first.lastSeq };
    return "goes on";
  }
  // Nobody has signed it, and nothing shows that this way carries a batch at all: no event is set aside for that.
  if (pass.transport.identity.isPinned && reply.signature === undefined && !course.hasReceipt)
    throw away("the way to the hub does not carry the batch", refused(reply));
  if (isUnreadable(reply) && course.refusedAlone !== first.firstSeq) {
    // Once more, looking at the row: it may have been damaged on its way.
    course.refusedAlone = first.firstSeq;
    course.narrow = { events: 1, until: first.firstSeq };
    return "goes on";
  }
  if (isUnreadable(reply)) countUnreadable(pass.store, reply);
  return putAside(pass, id, course, first.firstSeq, reply.code, reply.message);
}

/** Puts an event aside and moves the rest on; or, when the log has it after all, goes on behind what the log has. */
async function putAside(
  pass: Pass,
  id: number,
  course: Course,
  seq: number,
  code: string,
  reason: string,
): Promise<"moved" | "goes on"> {
  const through = await afterAllSent(pass, id, seq, course.hasReceipt);
  if (pass.origin(id).lastSeq < seq) return "moved";
  if (through >= seq) {
    course.nextSeq = through + 1;
    return "goes on";
  }
  const moved = moveOn(pass.store, id, seq - 1, { code, reason }, false);
  pass.tally.moved += moved.events;
  pass.tally.setAside.push(...moved.aside);
  return "moved";
}

const noReply = (transport: Transport): TributaryError =>
  transport.isOpen
    ? new TributaryError(
        "backend-unreachable",
        `the broker has taken the events, but the hub has not confirmed them yet${unprovenWords(transport.identity.unproven)}`,
        "They are safe on this device and will be sent again; sync later.",
      )
    : away("the link was lost", new Error("before the hub had answered"));

const refused = ({ code, message, hint }: Refusal): TributaryError => new TributaryError(code, message, hint);

const isUnreadable = ({ code }: Refusal): boolean => code === "batch-undecodable" || code === "chain-broken";

function countUnreadable(store: Store, reply: Refusal): void {
  const before = Number(store.meta(UNREADABLE_META) ?? 0);
  if (before >= MAX_UNREADABLE_IN_A_ROW) throw refused(reply);
  store.transaction(() => store.setMeta(UNREADABLE_META, String(before + 1)));
}

function forgetUnreadable(store: Store): void {
  if ((store.meta(UNREADABLE_META) ?? "0") !== "0") store.transaction(() => store.setMeta(UNREADABLE_META, "0"));
}

/**
 * Where the log stands once all that was ever sent of the epoch has been handled: what the broker may still hold must not come into the log under its old name
 * after it was written again under a new one. A device's batches are handled in their order, so the receipt of any later one will do.
 */
async function afterAllSent(pass: Pass, id: number, seq: number, hasReceipt: boolean): Promise<number> {
  const at = pass.origin(id);
  if (!hasReceipt && at.offeredThrough >= seq && seq > 0) {
    const barrier = nextCut(pass, { ...at, lastSeq: seq - 1 }, courseFrom(seq - 1));
    if (barrier.kind === "frame") {
      const flight = launch(pass, id, [], barrier.frame, seq - 1, seq - 1);
      await flight.taken;
      if ((await flight.reply) === null) throw noReply(pass.transport);
    }
  }
  const { hello, isOurs } = await askAgain(pass, { origin: at.name, since: sinceOf(at) });
  await settle(pass, id, hello, isOurs);
  return hello.receipt.through ?? -1;
}

/**
 * Hands to the broker what it was never handed, where nobody can say how far the log is. What was queued before is not queued again: it waits there. Ends
 * with an error, since nothing was confirmed; `tally.waiting` says what waits.
 */
async function queueAll(pass: Pass, because: TributaryError | null): Promise<void> {
  const { store, pace, options, tally } = pass;
  for (const { id } of store.origins()) {
    for (;;) {
      options.signal?.throwIfAborted();
      const at = pass.origin(id);
      const firstSeq = Math.max(at.queuedThrough, at.syncedThrough) + 1;
      if (firstSeq > at.lastSeq) break;
      const cut = nextCut(pass, at, courseFrom(firstSeq));
      // What becomes of it is settled with a hub that answers.
      if (cut.kind === "unfit") break;
      const lastSeq = firstSeq + cut.batch.events.length - 1;
      const flight = launch(pass, id, [], cut.frame, firstSeq, lastSeq, false);
      try {
        await flight.taken;
      } catch (error) {
        pace.cut(flight.bytes);
        throw error;
      }
      noteTaken(pass, id, [flight]);
      tally.queued += cut.batch.events.length;
    }
    // Later epochs may build on events of this one that turn out to be a twin's too: they wait until it is settled, so that they can still be named anew.
    const { syncedThrough, lastSeq } = pass.origin(id);
    if (syncedThrough < lastSeq) break;
  }
  const events = store.origins().reduce((sum, origin) => sum + Math.max(0, origin.queuedThrough - origin.syncedThrough), 0);
  const pending = store.origins().reduce((sum, origin) => sum + origin.lastSeq - origin.syncedThrough, 0);
  if (pending === 0 && because === null) return;
  const why = because?.message ?? "the hub does not answer";
  if (events === 0) throw away("the hub cannot say where its log stands", because ?? new Error(why));
  tally.waiting = { events, because };
  options.onProgress?.({ kind: "queued", events, because: why });
  throw away(`${events} events are queued at the hub's broker, not confirmed yet`, because ?? new Error(why));
}
