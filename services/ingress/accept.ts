import {
  type Batch,
  type ClockNote,
  eventIdOf,
  eventText,
  GENESIS,
  type Hello,
  type HelloRequest,
  HUB_SITE,
  MAX_EVENT_BYTES,
  MAX_SCHEMA_NEWS,
  type OriginId,
  type PackedEvent,
  partsOf,
  QUARANTINE_ENTITY,
  type QuarantineNote,
  type Receipt,
  releaseOf,
  type SchemaNews,
  type Signature,
  TributaryError,
  wallMsOf,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import { type Gate, type Registry, schemasDigest, shortFingerprint, type Verdict } from "../gate/index.ts";
import { type Appendable, type Log, type OriginHead, storedBytes } from "../log/index.ts";
import { keepEvidence, withSignature } from "./evidence.ts";

/** A device's clock may differ from the hub's by this much before it counts as wrong. */
export const DRIFT_LIMIT_MS = 10 * 60_000;
/** Origins whose place in the log is remembered between batches. */
const MAX_REMEMBERED_HEADS = 10_000;
/** Quarantined events that one receipt lists at most; the rest is in the hub's quarantine list. */
const MAX_NOTES = 500;
/** Schema texts in one hello, at most: an answer must fit a broker's message. */
const MAX_NEWS_BYTES = 400_000;

export interface Acceptor {
  /**
   * Gates, chains and appends a batch that arrived at `receivedAtMs` (hub clock). The receipt is the hub's word that all of
   * it is in the log. `signed`: the origin's signature of the run, found good; kept with its last event. Throws `schema-unknown`, `chain-broken`, `batch-gap`, `origin-forked`, `event-too-large`.
   */
  accept(batch: Batch, key: string, receivedAtMs: number, signed?: Signature): Promise<Accepted>;
  /** Where the hub stands with an origin. */
  hello(request: HelloRequest, nowMs: number): Promise<Hello>;
  /** Where the hub stands, for a refusal; `null` when it does not know or cannot say. */
  through(origin: OriginId): number | null;
}

export interface Accepted {
  readonly receipt: Receipt;
  readonly written: number;
  readonly quarantined: number;
}

export function acceptor({
  log,
  gate,
  registry,
  driftLimitMs = DRIFT_LIMIT_MS,
  onFork = () => {},
}: {
  log: Log;
  gate: Gate;
  registry?: Registry;
  driftLimitMs?: number;
  /** Told of each fork of which evidence was kept. */
  onFork?: (origin: OriginId, seq: number) => void;
}): Acceptor {
  const heads = new Map<OriginId, OriginHead>();
  const remember = (origin: OriginId, head: OriginHead): void => {
    heads.delete(origin);
    if (heads.size >= MAX_REMEMBERED_HEADS) heads.delete(heads.keys().next().value!);
    heads.set(origin, head);
  };

  return {
    async accept(batch, key, receivedAtMs, signed) {
      const { origin } = batch;
      await gate.ensure(batch.events.map(({ head }) => head.schema));
      const run = withSignature(chained(gate, batch, receivedAtMs, driftLimitMs), signed);
      const outcome = await log.append(run, heads.get(origin)).catch((error: unknown) => {
        heads.delete(origin);
        throw error;
      });
      if (outcome.head !== null) remember(origin, outcome.head);
      switch (outcome.kind) {
        case "gap":
          throw new TributaryError(
            "batch-gap",
            `the batch of ${origin} begins at event ${batch.firstSeq}, but the log ends at ${outcome.head?.through ?? "nothing"}`,
            "Send the events between first; nothing of this batch was taken.",
          );
        case "fork":
          if (await keepEvidence(log, batch, outcome.seq, signed)) onFork(origin, outcome.seq);
          throw new TributaryError(
            "origin-forked",
            `${origin} has two different events ${outcome.seq}: two devices write under one name`,
            "One of them was cloned or restored from a backup. It will continue under a new name; its events are kept.",
          );
        case "appended": {
          const notes = run.flatMap(noteOf).slice(0, MAX_NOTES);
          return {
            receipt: receiptOf(origin, outcome.head, notes, key),
            written: outcome.written,
            quarantined: notes.length,
          };
        }
      }
    },

    async hello({ origin, since, schemas, have, proposes = [] }, nowMs) {
      const head = await log.head(origin);
      const notes: QuarantineNote[] = [];
      if (head !== null) {
        remember(origin, head);
        const from = (since === null ? 0 : since + 1) as typeof head.through;
        if (from <= head.through) {
          for await (const entry of log.readOrigin(origin, { from })) {
            notes.push(...noteOf(entry));
            if (notes.length >= MAX_NOTES) break;
          }
        }
      } else {
        heads.delete(origin);
      }
      const { org, site, device } = partsOf(origin);
      for (const { subject, version, ...given } of proposes)
        await registry?.propose(subject, version, given, `${org}.${site}.${device}`);
      const standing =
        have !== undefined
          ? schemaStanding(gate, have)
          : schemas === undefined
            ? null
            : { differ: schemas !== schemasDigest(gate.store) };
      return {
        kind: "hello",
        nowMs,
        receipt: receiptOf(origin, head, notes, null),
        avro: gate.avroFingerprints(),
        ...(standing === null ? {} : { schemas: standing }),
      };
    },

    through: (origin) => heads.get(origin)?.through ?? null,
  };
}

/** What a device's schemas lack, as far as an answer has room, and what the hub lacks of them. */
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

const receiptOf = (origin: OriginId, head: OriginHead | null, quarantined: QuarantineNote[], batch: string | null): Receipt => ({
  kind: "receipt",
  batch,
  origin,
  through: head?.through ?? null,
  head: head?.hash ?? null,
  position: head?.position.toString() ?? null,
  quarantined,
});

const noteOf = ({ head, content }: Appendable): QuarantineNote[] =>
  content.kind === "quarantined" ? [{ seq: head.seq, code: content.reason.code, reason: content.reason.message }] : [];

/** Passes each event through the gate and recomputes the chain; the batch's `head` must come out. */
function chained(gate: Gate, batch: Batch, receivedAtMs: number, driftLimitMs: number): Appendable[] {
  if (batch.firstSeq === 0 && batch.prev !== GENESIS) throw broken(batch, "its first event names a predecessor");
  const sentOffsetMs = batch.sentAtMs - receivedAtMs;
  const run: Appendable[] = [];
  let prev = batch.prev;
  for (const packed of batch.events) {
    const { head } = packed;
    const verdict = settles(gate, packed, gate.admit(packed));
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
        : { kind: "quarantined", reason: verdict.problem, text: verdict.text },
      clock: clockNote(wallMsOf(head.hlc) - receivedAtMs, sentOffsetMs, driftLimitMs),
    };
    if (storedBytes(item) > MAX_EVENT_BYTES) {
      throw new TributaryError(
        "event-too-large",
        `event ${head.seq} of ${batch.origin} is larger than ${MAX_EVENT_BYTES} bytes`,
        "Split it, or keep attachments elsewhere and name them in the event.",
      );
    }
    run.push(item);
    prev = hash;
  }
  if (prev !== batch.head) throw broken(batch, "its hashes do not add up to what the sender computed");
  return run;
}

/** Only the hub's own people settle what is in quarantine, and only with data that fits. */
function settles(gate: Gate, { head }: PackedEvent, verdict: Verdict): Verdict {
  if (!verdict.ok || head.entity.type !== QUARANTINE_ENTITY) return verdict;
  if (partsOf(head.origin).site !== HUB_SITE) {
    const message = "only the hub's operators may settle what is in quarantine";
    return { ok: false, problem: { code: "type-not-allowed", message, path: null }, text: verdict.text };
  }
  const release = releaseOf(head.type, verdict.data);
  const problem = release === null ? null : gate.check(release.schema, release.type, release.entity.type, release.data);
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

/** A device whose clock is off when it sends, or a stamp from the future, is noted; its stamps will not win by lateness. */
function clockNote(stampOffsetMs: number, sentOffsetMs: number, driftLimitMs: number): ClockNote | null {
  if (Math.abs(sentOffsetMs) > driftLimitMs) return { offsetMs: sentOffsetMs };
  return stampOffsetMs > driftLimitMs ? { offsetMs: stampOffsetMs } : null;
}
