import {
  type Appendable,
  type Batch,
  type ClockNote,
  deviceOf,
  EARLIEST_STAMP_MS,
  eventIdOf,
  eventText,
  forbidden,
  GENESIS,
  type Grant,
  type Hello,
  type HelloRequest,
  type HubOrg,
  type IncarnationId,
  MAX_EVENT_BYTES,
  MAX_SCHEMA_NEWS,
  messageOf,
  type OriginHead,
  type OriginId,
  type PackedEvent,
  partsOf,
  QUARANTINE_ENTITY,
  type QuarantineNote,
  type QuarantineReason,
  type Receipt,
  releaseOf,
  type SchemaNews,
  type Seq,
  type Signature,
  TributaryError,
  wallMsOf,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import { type Fits, type Gate, type Registry, schemasDigest, shortFingerprint, type Verdict } from "../gate/index.ts";
import { fitsStore, type Log, type SignNotes, textOf } from "../log/index.ts";
import { type BasisNotes, basisNotes, type HeadKeys } from "./basis.ts";
import { keepEvidence, withSignature } from "./evidence.ts";
import { sparing } from "./fair.ts";
import { fitting, noteOf, quarantinedOf } from "./notes.ts";
import { refuseOwn } from "./own-origins.ts";
import { type Settled, settledFor } from "./settled.ts";

/** A device's clock may differ from the hub's by this much before it counts as wrong. */
export const DRIFT_LIMIT_MS = 10 * 60_000;
/** So many origins are remembered between batches, with where each ends in the log. */
const MAX_REMEMBERED_HEADS = 10_000;
/** At most this much schema text goes into one hello, because an answer must fit a broker's message. */
const MAX_NEWS_BYTES = 400_000;

const FITS_ALL: Fits = () => null;
/** So many questions of one hello are put to the log at the same time. */
const ASKED_AT_A_TIME = 5;
/** So many origins that the log is behind are remembered; each is reported again this often. */
const MAX_BEHIND = 1_000;
const SAY_BEHIND_EVERY_MS = 60_000;
/** So many origins with clipped bases are told apart; each is reported again this often. */
const MAX_CLIPPED = 1_000;
const SAY_CLIPPED_EVERY_MS = 60_000;
/** The gate's reason may quote the event. So many characters of it are kept. */
const MAX_REASON = 300;

/** A device that holds receipts for more than the log has: the log was restored from a backup. */
export interface Behind {
  readonly origin: OriginId;
  readonly since: Seq;
  readonly through: Seq | null;
}

export interface Acceptor {
  /**
   * Gates, chains and appends a batch that arrived at `receivedAtMs` (hub clock). The receipt is the hub's word that all of
   * it is in the log. Throws `schema-unknown`, `chain-broken`, `batch-gap`, `origin-forked`, `event-too-large`.
   * `breathe` is awaited now and then, so that others have their turn. `vouched`: what was found out about the sender.
   */
  accept(batch: Batch, key: string, receivedAtMs: number, breathe?: () => Promise<void>, vouched?: Vouched): Promise<Accepted>;
  /** Where the hub stands with an origin. */
  hello(request: HelloRequest, nowMs: number): Promise<Hello>;
  /** Where the hub stands, for a refusal; `null` when it does not know or cannot say. */
  through(origin: OriginId): Seq | null;
  /** Origins that hold receipts for more than the log has, and have not sent again yet. */
  behind(): readonly Behind[];
  /** Forgets what it remembers of the log, which may be another one now. */
  forget(): void;
}

/** What was found out about the sender of a batch. */
export interface Vouched {
  /** The origin's signature of the run. It was checked, and is kept with the run's last event. */
  readonly signed?: Signature;
  /** The entity types that the sender may write; `null`: all. An event about another type is quarantined. */
  readonly types: readonly string[] | null;
}

export interface Accepted {
  readonly receipt: Receipt;
  readonly written: number;
  readonly quarantined: number;
}

// Long because its functions share what is known of where origins end; each is short.
export function acceptor({
  log,
  gate,
  registry,
  fits = FITS_ALL,
  driftLimitMs = DRIFT_LIMIT_MS,
  incarnation = () => null,
  hub = () => null,
  headKeys = async () => new Map(),
  settled = async () => null,
  note,
  say = () => {},
}: {
  log: Log;
  gate: Gate;
  registry?: Registry;
  /** What views can show. Without it, a value that no column can hold is noticed only when views are folded. */
  fits?: Fits;
  driftLimitMs?: number;
  /** The log's present incarnation, which positions belong to; `null` while it is not known. */
  incarnation?: () => IncarnationId | null;
  /** The organisation whose hub this is; `null` while neither its operators nor the log have said. */
  hub?: () => HubOrg;
  /** The keys that origins' signed heads may be signed with. Without it, none counts. */
  headKeys?: HeadKeys;
  /** What became of quarantined events. Without it, devices are not told. */
  settled?: Settled;
  /** Signs the notes on what is written. Without it, they stand unsigned, as in logs of hubs that have no key. */
  note?: SignNotes;
  say?: (event: Record<string, unknown>) => void;
}): Acceptor {
  const heads = new Map<OriginId, OriginHead>();
  const quarantined = quarantinedOf(log);
  const behind = behindOnes(say);
  const basis = basisNotes({
    log,
    headKeys,
    known: (origin) => heads.get(origin),
    learn: (origin, head) => remember(origin, head),
  });
  const sayClipped = sparing(say, { everyMs: SAY_CLIPPED_EVERY_MS, maxKinds: MAX_CLIPPED });
  const remember = (origin: OriginId, head: OriginHead | null): void => {
    heads.delete(origin);
    if (head === null) return;
    if (heads.size >= MAX_REMEMBERED_HEADS) heads.delete(heads.keys().next().value!);
    heads.set(origin, head);
  };
  const receiptOf = (
    origin: OriginId,
    head: OriginHead | null,
    notes: readonly QuarantineNote[],
    batch: string | null,
  ): Receipt => {
    const life = incarnation();
    return {
      kind: "receipt",
      batch,
      origin,
      through: head?.through ?? null,
      head: head?.hash ?? null,
      position: head?.position.toString() ?? null,
      ...(life === null ? {} : { incarnation: life }),
      quarantined: fitting(notes),
    };
  };
  /** A batch that comes before its predecessor costs the log one question at most, and the gate nothing. */
  const refuseGap = async (batch: Batch): Promise<void> => {
    const { origin, firstSeq } = batch;
    const isAhead = (head: OriginHead | null): boolean => firstSeq > (head?.through ?? -1) + 1;
    const known = heads.get(origin);
    if (firstSeq === 0 || (known !== undefined && !isAhead(known))) return;
    const head = await log.head(origin);
    remember(origin, head);
    if (isAhead(head)) throw gap(batch, head);
  };

  return {
    // Many parameters because they are the facts of one arrival: what came, who sent it, when, and what it may write.
    async accept(batch, key, receivedAtMs, breathe = async () => {}, { signed, types } = { types: null }) {
      const { origin } = batch;
      refuseOwn(origin, hub());
      await refuseGap(batch);
      await gate.ensure(batch.events.map(({ head }) => head.schema));
      const gated = await chained({ gate, fits, hub: hub(), types }, batch, receivedAtMs, driftLimitMs, breathe);
      const clips = await basis.clips(batch, receivedAtMs, breathe);
      if (clips.size > 0)
        sayClipped(origin, { event: "basis-clipped", origin, events: clips.size, first: clips.keys().next().value });
      const run = withSignature(withNotes(gated, clips), signed);
      const outcome = await log.append(run, heads.get(origin), note).catch((error: unknown) => {
        heads.delete(origin);
        throw error;
      });
      remember(origin, outcome.head);
      if (outcome.kind === "appended") basis.appended(run);
      if (outcome.head !== null) behind.has(origin, outcome.head.through);
      switch (outcome.kind) {
        case "gap":
          throw gap(batch, outcome.head);
        case "fork":
          if (await keepEvidence(log, batch, outcome.seq, signed)) say({ event: "fork-kept", origin, seq: outcome.seq });
          throw new TributaryError(
            "origin-forked",
            `${origin} has two different events with seq ${outcome.seq}: two devices write under one name`,
            "One of them was cloned or restored from a backup. It will continue under a new name; its events are kept.",
          );
        case "appended": {
          const notes = run.flatMap(noteOf);
          return { receipt: receiptOf(origin, outcome.head, notes, key), written: outcome.written, quarantined: notes.length };
        }
      }
    },

    async hello(request, nowMs) {
      const { origin, since, schemas, have, nonce } = request;
      const found = await log.head(origin);
      if (since !== null && (found === null || found.through < since))
        behind.add({ origin, since, through: found?.through ?? null });
      const { head, notes } = found === null ? { head: null, notes: [] } : await quarantined.after(origin, found, since);
      remember(origin, head);
      await propose(registry, request, say);
      const standing =
        have !== undefined
          ? schemaStanding(gate, have)
          : schemas === undefined
            ? null
            : { differ: schemas !== schemasDigest(gate.store) };
      return {
        kind: "hello",
        nowMs,
        ...(nonce === undefined ? {} : { nonce }),
        receipt: receiptOf(origin, head, notes, null),
        ...(await compared(log, request, behind.add)),
        ...(await settledFor(request, incarnation(), settled)),
        avro: gate.avroFingerprints(),
        ...(standing === null ? {} : { schemas: standing }),
      };
    },

    through: (origin) => heads.get(origin)?.through ?? null,
    behind: behind.all,
    forget() {
      heads.clear();
      basis.forget();
      quarantined.forget();
    },
  };
}

const gap = ({ origin, firstSeq }: Batch, head: OriginHead | null): TributaryError =>
  new TributaryError(
    "batch-gap",
    `the batch of ${origin} begins at event ${firstSeq}, but the log ends at ${head?.through ?? "nothing"}`,
    "Nothing of this batch was taken. Send the events between first.",
  );

/** What the log says to a device that doubts what both sides share. Origins that the log is behind are handed to `note`. */
async function compared(
  log: Log,
  { origin, hashesOf = [], others = [] }: HelloRequest,
  note: (one: Behind) => void,
): Promise<Pick<Hello, "hashes" | "behind">> {
  const hashes = await inParts([...new Set(hashesOf)], async (seq) => ({
    seq,
    hash: (await log.at(origin, seq))?.head.hash ?? null,
  }));
  // Only its own origins: where another device stands is not its business.
  const own = others.filter((other) => deviceOf(origin) === deviceOf(other.origin));
  const held = await inParts(own, async (other) => ({
    origin: other.origin,
    since: other.through,
    through: (await log.head(other.origin))?.through ?? null,
  }));
  const behind = held.filter(({ since, through }) => through === null || through < since);
  for (const one of behind) note(one);
  return {
    ...(hashesOf.length === 0 ? {} : { hashes }),
    ...(others.length === 0 ? {} : { behind: behind.map(({ origin, through }) => ({ origin, through })) }),
  };
}

async function propose(
  registry: Registry | undefined,
  { origin, proposes = [] }: HelloRequest,
  say: (event: Record<string, unknown>) => void,
): Promise<void> {
  const { org, site, device } = partsOf(origin);
  for (const { subject, version, ...given } of proposes) {
    try {
      await registry?.propose(subject, version, given, `${org}.${site}.${device}`);
    } catch (error) {
      // It is proposed again with the next sync; the device's events do not wait for it.
      say({ event: "proposal-not-kept", origin, subject, version, message: messageOf(error) });
    }
  }
}

/** Origins that hold receipts for more than the log has. Each is reported, but not in a flood, and remembered until it has sent again. */
function behindOnes(say: (event: Record<string, unknown>) => void) {
  const origins = new Map<OriginId, Behind>();
  const sayBehind = sparing(say, { everyMs: SAY_BEHIND_EVERY_MS, maxKinds: MAX_BEHIND });
  return {
    add(one: Behind): void {
      origins.delete(one.origin);
      if (origins.size >= MAX_BEHIND) origins.delete(origins.keys().next().value!);
      origins.set(one.origin, one);
      const message = `${one.origin} holds receipts through event ${one.since}, but the log ends at ${one.through ?? "nothing"}: it was restored from a backup, and the device sends its events again`;
      sayBehind(one.origin, { event: "restored-behind", ...one, message });
    },
    /** The log has an origin's events up to here. */
    has(origin: OriginId, through: Seq): void {
      const known = origins.get(origin);
      if (known !== undefined && through >= known.since) origins.delete(origin);
    },
    all: () => [...origins.values()],
  };
}

/** Asks the questions, a few at a time, and returns the answers in the same order. */
async function inParts<T, R>(items: readonly T[], ask: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  for (let at = 0; at < items.length; at += ASKED_AT_A_TIME)
    answers.push(...(await Promise.all(items.slice(at, at + ASKED_AT_A_TIME).map(ask))));
  return answers;
}

/** The schemas that the device lacks, as far as the answer has room, and those of the device that the hub lacks. */
function schemaStanding({ store }: Gate, have: Readonly<Record<string, readonly string[]>>): NonNullable<Hello["schemas"]> {
  const news: SchemaNews[] = [];
  const unknown: { subject: string; version: number }[] = [];
  let bytes = 0;
  for (const subject of store.subjects()) {
    const theirs = Object.hasOwn(have, subject) ? have[subject]! : [];
    for (const schema of store.versions(subject)) {
      if (theirs[schema.version - 1] === shortFingerprint(schema)) continue;
      const { version, kind, text, references } = schema;
      bytes += Buffer.byteLength(text);
      if (news.length >= MAX_SCHEMA_NEWS || bytes > MAX_NEWS_BYTES) break;
      news.push({ subject, version, kind, text, references: [...references] });
    }
  }
  for (const [subject, theirs] of Object.entries(have)) {
    for (
      let version = store.versions(subject).length + 1;
      version <= theirs.length && unknown.length < MAX_SCHEMA_NEWS;
      version++
    )
      unknown.push({ subject, version });
  }
  return { differ: news.length > 0 || unknown.length > 0, news, unknown };
}

/** What an event is held to: its schema, and what views can show. */
interface Checks extends Grant {
  readonly gate: Gate;
  readonly fits: Fits;
}

/**
 * Passes each event through the gate and recomputes the chain, whose end must be the batch's `head`. Others have their turn in between.
 * Many parameters because each is one thing that a batch is checked against, and all of them differ from batch to batch.
 */
async function chained(
  checks: Checks,
  batch: Batch,
  receivedAtMs: number,
  driftLimitMs: number,
  breathe: () => Promise<void>,
): Promise<Appendable[]> {
  if (batch.firstSeq === 0 && batch.prev !== GENESIS) throw broken(batch, "its first event names a predecessor");
  const run: Appendable[] = [];
  let prev = batch.prev;
  for (const packed of batch.events) {
    // At each event, because one may name thousands of origins.
    await breathe();
    const { head } = packed;
    const verdict = judged(checks, packed);
    if (verdict.text === null) {
      throw new TributaryError(
        "schema-unknown",
        `event ${head.seq} of ${batch.origin} is written with ${head.schema.subject} version ${head.schema.version}, which this hub cannot decode: ${
          verdict.ok ? "" : verdict.problem.message
        }`,
        "Send the batch with its data as JSON.",
      );
    }
    const hash = chainHash(prev, eventText(head, verdict.text));
    const item: Appendable = {
      head: { ...head, id: eventIdOf(wallMsOf(head.hlc), hash), prev, hash },
      content: verdict.ok
        ? { kind: "accepted", data: verdict.data }
        : { kind: "quarantined", reason: shortened(verdict.problem), text: verdict.text },
      clock: clockNote({ stampMs: wallMsOf(head.hlc), sentAtMs: batch.sentAtMs, receivedAtMs }, driftLimitMs),
    };
    run.push(kept(item, verdict.text));
    prev = hash;
  }
  if (prev !== batch.head) throw broken(batch, "its hashes are not those that the sender computed");
  return run;
}

/** The run with what the hub notes of its bases. A note beside the data may make an event larger than the store takes. */
function withNotes(run: readonly Appendable[], clips: Awaited<ReturnType<BasisNotes["clips"]>>): readonly Appendable[] {
  if (clips.size === 0) return run;
  return run.map((item) => {
    const found = clips.get(item.head.seq);
    return found === undefined ? item : kept({ ...item, clips: found }, textOf(item.content));
  });
}

/** An event in a form that the event store takes. Throws `event-too-large` if there is no such form. */
function kept(item: Appendable, text: string): Appendable {
  const found = storable(item, text);
  if (found !== null) return found;
  throw new TributaryError(
    "event-too-large",
    `event ${item.head.seq} of ${item.head.origin} is larger than ${MAX_EVENT_BYTES} bytes`,
    "Split it, or keep attachments elsewhere and name them in the event.",
  );
}

/** What the gate says of an event, and after it the views. A value that no view could show is held back here, where people can correct it. */
function judged(checks: Checks, packed: PackedEvent): Verdict {
  const verdict = checks.gate.admit(packed);
  // Looked at first: nobody should correct an event that would not count anyway.
  const refused = verdict.text === null ? null : forbidden(packed.head, checks);
  if (refused !== null) return { ok: false, problem: refused, text: verdict.text };
  if (!verdict.ok) return verdict;
  if (packed.head.entity.type === QUARANTINE_ENTITY) return releasable(checks, packed, verdict);
  const problem = checks.fits(packed.head, verdict.data);
  return problem === null ? verdict : { ok: false, problem, text: verdict.text };
}

/**
 * An event in a form that the event store takes. One whose data a device may write, and whose envelope (the vector of hundreds of origins) makes it too large
 * beside them, is held in quarantine, where both are packed. `null`: not even so.
 */
function storable(item: Appendable, text: string): Appendable | null {
  if (Buffer.byteLength(text) > MAX_EVENT_BYTES) return null;
  if (fitsStore(item)) return item;
  const reason = {
    code: "event-too-large",
    message: "with all that its author had seen it is larger than the log takes",
    path: null,
  };
  const held: Appendable = {
    ...item,
    content: item.content.kind === "accepted" ? { kind: "quarantined", reason, text } : item.content,
  };
  return fitsStore(held) ? held : null;
}

/** A gate's reason quotes what it found, however long that is. */
const shortened = ({ code, message, path }: QuarantineReason): QuarantineReason => ({
  code,
  message: message.length > MAX_REASON ? `${message.slice(0, MAX_REASON).toWellFormed()}…` : message,
  path: path === null ? null : path.slice(0, MAX_REASON).toWellFormed(),
});

/** A quarantined event is released only with data that fits, and never when its origin may not write such an event. */
function releasable({ gate, fits, hub }: Checks, { head }: PackedEvent, verdict: Extract<Verdict, { ok: true }>): Verdict {
  const release = releaseOf(head.type, verdict.data);
  if (release === null) return verdict;
  const { type, entity, schema, origin, data } = release;
  const problem =
    forbidden({ type, origin, entity }, { hub, types: null }) ??
    gate.check(schema, type, entity.type, data) ??
    fits({ ...head, type, entity, schema, origin }, data);
  if (problem === null) return verdict;
  const path = problem.path === null ? "/data" : `/data${problem.path}`;
  return {
    ok: false,
    problem: { ...problem, message: `what is released still does not fit: ${problem.message}`, path },
    text: verdict.text,
  };
}

const broken = (batch: Batch, why: string): TributaryError =>
  new TributaryError(
    "chain-broken",
    `the batch of ${batch.origin} from event ${batch.firstSeq} is damaged: ${why}`,
    "Send it again. If it fails again, the device's database is damaged: export it before doing anything else.",
  );

/** When an event was stamped and its batch sent, by the device's clock, and when that was received by the hub's. */
interface Moments {
  readonly stampMs: number;
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
}

/**
 * Notes a device whose clock was wrong when it sent, a stamp from the future, or one of before there were any. Such a stamp does not win by being late.
 */
function clockNote({ stampMs, sentAtMs, receivedAtMs }: Moments, driftLimitMs: number): ClockNote | null {
  const sentOffsetMs = sentAtMs - receivedAtMs;
  if (Math.abs(sentOffsetMs) > driftLimitMs) return { offsetMs: sentOffsetMs };
  const offsetMs = stampMs - receivedAtMs;
  return offsetMs > driftLimitMs || stampMs < EARLIEST_STAMP_MS ? { offsetMs } : null;
}
