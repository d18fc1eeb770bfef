import {
  basisBytes,
  DATA_RANGE,
  dataAsSeen,
  EARLIEST_STAMP_MS,
  type EntityRef,
  type EventBody,
  type EventId,
  envelopeOutOfRange,
  envelopeProblem,
  eventIdOf,
  eventText,
  formatHlc,
  type Hash,
  type HlcParts,
  isHlc,
  type JsonObject,
  join,
  keyAsSeen,
  MAX_WALL_MS,
  notJson,
  type OriginId,
  orgOf,
  parseHlc,
  type SchemaRef,
  type Seq,
  type SignedHead,
  TributaryError,
  tick,
  type Vector,
  vectorSchema,
  withDot,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import type { Fits, FitsHead, Gate, Problem } from "../gate/index.ts";
import { openHeads } from "./heads.ts";
import type { OriginRow } from "./rows.ts";
import type { Store } from "./store.ts";

/** What an app says about an event; the device adds the rest. */
export interface NewEvent {
  readonly type: string;
  readonly entity: EntityRef;
  readonly data: JsonObject;
  /** Who did it. */
  readonly actor: string;
  /** Default: the newest version of the subject that declares this event type. */
  readonly schema?: SchemaRef;
  /** When it happened, if not now: ISO 8601 with milliseconds and `Z`. */
  readonly occurredAt?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
}

export interface AppendOptions {
  /**
   * What to do with data that does not fit its schema or a view. `refuse` (default): throw, nothing is written. `keep`: write it;
   * the hub will quarantine it until somebody corrects it. For data that exists nowhere else, such as an import.
   */
  readonly onInvalid?: "refuse" | "keep";
}

/** An event that is durable on this device. */
export interface Appended {
  readonly id: EventId;
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly hash: Hash;
  /** Why the hub will quarantine the event; only with `onInvalid: "keep"`. */
  readonly problem: Problem | null;
}

/** An event as it will be written. */
interface Prepared {
  readonly event: NewEvent;
  readonly schema: SchemaRef;
  readonly packed: ReturnType<Gate["pack"]>;
}

/** The same with the verdict on it. `problem`: what the hub would quarantine it for; `null`: nothing is wrong with it. */
export interface Checked extends Prepared {
  readonly problem: Problem | null;
}

/** What is told of each event in the transaction that writes it, and knows more of entities than this device has written: the replica. */
export interface Beside {
  written(event: { readonly origin: OriginRow; readonly head: Omit<EventBody, "data">; readonly data: string }): void;
  seen(entity: EntityRef): Vector;
}

export interface Outbox {
  /** Tells another of what is written from now on. */
  attach(beside: Beside): void;
  /** Writes events in one transaction; all are durable when it returns, or none is written. */
  appendNow(events: readonly NewEvent[], options?: AppendOptions): Appended[];
  /** The same as `append`, inside the caller's transaction. */
  append(events: readonly NewEvent[], options?: AppendOptions): Appended[];
  /** The event as it would be written, and what the hub would quarantine it for. Writes nothing. Throws `schema-unknown`. */
  check(event: NewEvent): Checked;
  /**
   * Writes events that `check` gave in the same transaction, without judging their data again; whatever is wrong with the data, they are kept. What no log could hold is
   * refused as `append` refuses it.
   */
  appendChecked(events: readonly Checked[]): Appended[];
  /** What this device has seen of an entity. */
  seen(entity: EntityRef): Vector;
  /** Signed heads that prove what this device has seen of an entity. */
  signedHeads(entity: EntityRef): SignedHead[];
  /**
   * Notes that this device's user has been shown an entity as of `vector`: what they write next builds on it. `heads`: they prove that those events exist, even
   * if these have not reached the hub yet.
   */
  noteSeen(entity: EntityRef, vector: Vector, heads?: readonly SignedHead[]): void;
}

/** An event as people see it: invisible marks that were typed or pasted into it make no difference. `key`: the member that names the entity. */
const asSeen = (event: NewEvent, key: string | undefined): NewEvent => {
  const { entity } = event;
  const id = keyAsSeen(entity.id);
  const seen = dataAsSeen(event.data);
  const said = key === undefined ? undefined : seen[key];
  const data =
    key !== undefined && typeof said === "string" && said !== id && keyAsSeen(said) === id ? { ...seen, [key]: id } : seen;
  return id === entity.id && data === event.data ? event : { ...event, entity: { type: entity.type, id }, data };
};

/**
 * When an event happened that does not say so, in ms: now, by the device's wall clock. If that is impossibly early, because the battery was dead, it is the latest time
 * that this device has stamped or heard of. The stamp itself is not used: it never goes back, and so stays wrong after a clock that ran ahead was put right.
 */
const happenedAtMs = (nowMs: number, { wallMs }: HlcParts): number =>
  nowMs >= EARLIEST_STAMP_MS && nowMs <= MAX_WALL_MS ? Math.trunc(nowMs) : wallMs;

/** The part of an envelope's room that a basis may take; a larger basis takes from the data's room. */
const BASIS_ROOM_BYTES = 8_192;

// Long because the steps of one append, which stand in their order, share what they write with: the rows, the gate, the signed heads.
/** `fits`: what views can show. Data that no view can show is treated like data that does not fit its schema. */
export function openOutbox(store: Store, gate: Gate, now: () => number, fits: Fits = () => null): Outbox {
  const { rows } = store;
  const heads = openHeads(store);
  let beside: Beside | null = null;

  /** The running end of the chain within one transaction. */
  interface Tail {
    readonly origin: OriginRow;
    seq: number;
    head: Hash;
    hlc: HlcParts | null;
  }
  const openTail = (): Tail => {
    const origin = store.current();
    const last = store.meta("hlc");
    return { origin, seq: origin.nextSeq, head: origin.head, hlc: last !== null && isHlc(last) ? parseHlc(last) : null };
  };
  const closeTail = ({ origin, seq, head, hlc }: Tail): void => {
    rows.setEnd(origin.id, seq, head);
    if (hlc !== null) store.setMeta("hlc", formatHlc(hlc));
  };

  const link = (tail: Tail, head: Omit<EventBody, "data">, text: string, fingerprint: string): Appended => {
    const hash = chainHash(tail.head, eventText(head, text));
    rows.addEvent({ origin: tail.origin.id, seq: tail.seq, head: JSON.stringify(head), data: text, hash, fingerprint });
    rows.setVector(head.entity.type, head.entity.id, JSON.stringify(withDot(head.basis, head)));
    beside?.written({ origin: tail.origin, head, data: text });
    const id = eventIdOf(parseHlc(head.hlc).wallMs, hash);
    tail.seq++;
    tail.head = hash;
    return { id, origin: head.origin, seq: head.seq, hash, problem: null };
  };

  const seenOf = (entity: EntityRef): Vector => {
    const text = rows.vectorOf(entity.type, entity.id);
    const own = text === null ? {} : (JSON.parse(text) as Vector);
    return beside === null ? own : join(own, beside.seen(entity));
  };

  const schemaOf = ({ schema, type }: NewEvent): SchemaRef => {
    const found = schema ?? gate.subjectFor(type);
    if (found !== undefined) return { subject: found.subject, version: found.version };
    throw new TributaryError(
      "schema-unknown",
      `no schema declares the event type ${type}`,
      "Check the spelling; `schemas/` lists the event types in each subject's `tributary.events`.",
    );
  };

  /** What is wrong with a packed event: its form is for something else, its data do not fit the form, or no view could show it. */
  const judged = (head: FitsHead, { problem, data }: Pick<ReturnType<Gate["pack"]>, "problem" | "data">): Problem | null =>
    gate.misplaced(head.schema, head.type, head.entity.type) ?? problem ?? fits(head, data);

  const keyOf = ({ subject, version }: SchemaRef): string | undefined =>
    gate.store.versions(subject)[version - 1]?.annotations.key;

  const prepare = (given: NewEvent): Prepared => {
    const schema = schemaOf(given);
    const event = asSeen(given, keyOf(schema));
    return { event, schema, packed: gate.pack(schema, event.data) };
  };

  const check = (given: NewEvent): Checked => {
    const prepared = prepare(given);
    const { event, schema, packed } = prepared;
    const { type, entity, actor, occurredAt = new Date(now()).toISOString() } = event;
    return { ...prepared, problem: judged({ type, origin: store.current().name, entity, schema, actor, occurredAt }, packed) };
  };

  /** If the entity's id differed from the key in the data, the row would have two keys. */
  const checkKey = ({ entity, data, type }: NewEvent, schema: SchemaRef): void => {
    const key = keyOf(schema);
    const said = key === undefined ? undefined : data[key];
    const isSame = typeof said === "string" ? said === entity.id : typeof said !== "number" || said === Number(entity.id);
    if (isSame) return;
    throw new TributaryError(
      "event-invalid",
      `${type}: the event is about ${entity.type}/${entity.id}, but its ${key} says ${said}`,
      "Give both the same; nothing was written.",
    );
  };

  const refuseNotJson = ({ type, data }: NewEvent): void => {
    const unsaid = notJson(data, "data");
    if (unsaid !== null)
      throw new TributaryError(
        "event-invalid",
        `${type}: ${unsaid}`,
        "Write it as a text, a number, a list or a group of them; nothing was written.",
      );
  };

  const write = (tail: Tail, given: Prepared | Checked, onInvalid: AppendOptions["onInvalid"] = "refuse"): Appended => {
    const nowMs = now();
    const { event, schema, packed } = given;
    const hlc = tick(tail.hlc, nowMs);
    const origin = tail.origin.name;
    const head: Omit<EventBody, "data"> = {
      type: event.type,
      origin,
      seq: tail.seq as Seq,
      entity: { type: event.entity.type, id: event.entity.id },
      schema,
      actor: event.actor,
      org: orgOf(origin),
      occurredAt: event.occurredAt ?? new Date(happenedAtMs(nowMs, hlc)).toISOString(),
      hlc: formatHlc(hlc),
      basis: seenOf(event.entity),
      ...(event.correlationId === undefined ? {} : { correlationId: event.correlationId }),
      ...(event.causationId === undefined ? {} : { causationId: event.causationId }),
    };
    const wrong = envelopeProblem(head) ?? envelopeOutOfRange(head)?.message ?? null;
    if (wrong !== null)
      throw new TributaryError("event-invalid", `the event's ${wrong}`, "Correct it and try again; nothing was written.");
    checkKey(event, schema);
    const problem = "problem" in given ? given.problem : judged(head, packed);
    if (problem !== null && onInvalid === "refuse") {
      throw new TributaryError(
        "event-invalid",
        `${event.type}: ${problem.message}`,
        "Correct it and try again; nothing was written.",
      );
    }
    const bytes = Buffer.byteLength(packed.text) + Math.max(0, basisBytes(head.basis) - BASIS_ROOM_BYTES);
    if (bytes > DATA_RANGE.maxBytes) {
      throw new TributaryError(
        "event-too-large",
        `the event has ${bytes} bytes of data; ${DATA_RANGE.maxBytes} are allowed`,
        "Split it, or keep attachments elsewhere and name them in the event. Nothing was written.",
      );
    }
    tail.hlc = hlc;
    return { ...link(tail, head, packed.text, gate.fingerprint(head.schema)), problem };
  };

  const writeAll = <T>(events: readonly T[], writeOne: (tail: Tail, event: T) => Appended): Appended[] => {
    const tail = openTail();
    const appended = events.map((event) => writeOne(tail, event));
    closeTail(tail);
    return appended;
  };
  const append: Outbox["append"] = (events, { onInvalid } = {}) =>
    writeAll(events, (tail, event) => {
      refuseNotJson(event);
      return write(tail, prepare(event), onInvalid);
    });

  return {
    attach(other) {
      beside = other;
    },
    append,
    check,
    appendChecked: (events) => writeAll(events, (tail, event) => write(tail, event, "keep")),
    seen: seenOf,
    signedHeads: (entity) => heads.showing(seenOf(entity)),
    noteSeen(entity, vector, handedOver = []) {
      store.transaction(() => {
        heads.note(handedOver);
        rows.setVector(entity.type, entity.id, JSON.stringify(join(seenOf(entity), vectorSchema.parse(vector))));
      });
    },
    appendNow: (events, options) => store.transaction(() => append(events, options)),
  };
}
