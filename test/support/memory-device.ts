import {
  type Batch,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type LogEntry,
  type OriginId,
  type Seq,
  type Vector,
} from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import type { EventRef } from "../../services/exchange/index.ts";
import type { NewEvent } from "../../services/field/index.ts";
import type { Gate } from "../../services/gate/index.ts";

/** A device without a database: it writes one event after the other, straight into a hub. */
export interface MemoryDevice {
  readonly origin: OriginId;
  /**
   * Writes an event, which the hub takes at once. `sees`: what its author had seen of the entity; default: all that the hub has of it. `atMs`: the device's clock. `text`: what it sends as the
   * data, where that is no JSON object or does not fit. Returns the event as the log has it.
   */
  write(event: NewEvent, options?: { readonly sees?: Vector; readonly atMs?: number; readonly text?: string }): Promise<LogEntry>;
}

export interface DeviceDeps {
  readonly origin: OriginId;
  readonly gate: Gate;
  readonly now: () => number;
  take(batch: Batch): Promise<unknown>;
  seen(entity: { readonly type: string; readonly id: string }): Vector;
  at(ref: EventRef): LogEntry;
}

export function memoryDevice({ origin, gate, now, take, seen, at }: DeviceDeps): MemoryDevice {
  let seq = 0;
  let prev: Hash = GENESIS;
  return {
    origin,
    async write({ type, entity, data, actor, schema, occurredAt, ...causes }, { sees, atMs = now(), text } = {}) {
      const found = schema ?? gate.subjectFor(type);
      if (found === undefined) throw new Error(`no schema declares ${type}`);
      const ref = { subject: found.subject, version: found.version };
      const body = text ?? gate.pack(ref, data).text;
      const { [origin]: _, ...others } = sees ?? seen(entity);
      const head = {
        type,
        origin,
        seq: seq as Seq,
        entity,
        schema: ref,
        actor,
        org: origin.slice(0, origin.indexOf(".")),
        occurredAt: occurredAt ?? new Date(atMs).toISOString(),
        hlc: formatHlc({ wallMs: atMs, counter: seq % 1_000 }),
        basis: (seq === 0 ? others : { ...others, [origin]: seq - 1 }) as Vector,
        ...causes,
      };
      const before = prev;
      prev = chainHash(prev, eventText(head, body));
      const payload = new TextEncoder().encode(body);
      await take({
        origin,
        firstSeq: head.seq,
        prev: before,
        head: prev,
        sentAtMs: atMs,
        events: [{ head, encoding: "json", payload, fingerprint: gate.fingerprint(ref) }],
      });
      seq++;
      return at({ origin, seq: head.seq });
    },
  };
}
