import {
  type Batch,
  encodeBatch,
  GENESIS,
  type Hash,
  MAX_BATCH_BASIS,
  MAX_BATCH_EVENTS,
  type PackedEvent,
  type Seq,
} from "../core/index.ts";
import { zstd } from "../core/node.ts";
import type { Gate } from "../gate/index.ts";
import type { Heads } from "./heads.ts";
import type { Identity } from "./keys.ts";
import { asideCode, type EventHead, type EventReader, type EventRow } from "./reading.ts";
import type { OriginRow } from "./rows.ts";

/** At most so many characters go into one frame: unpacked, a frame may hold 8 MiB, and a device's memory is small. */
const MAX_RAW_BYTES = 2 * 1_048_576;
/** About what an event takes besides its texts. */
const ROW_BYTES = 200;
/** The assumed compression, until the first frame has shown how well this device's events compress. */
const FIRST_RATIO = 0.1;

/** What is to be sent next: a frame, or an event that no frame can hold, with the reason. */
export type Cut =
  | { readonly kind: "frame"; readonly frame: Uint8Array; readonly batch: Batch }
  | {
      readonly kind: "unfit";
      readonly seq: number;
      readonly code: "data-corrupt" | "purged" | "event-too-large";
      readonly reason: string;
    };

export interface CutOptions {
  readonly origin: OriginRow;
  readonly firstSeq: number;
  /** The last event that may be in the frame. */
  readonly toSeq: number;
  readonly maxEvents: number;
  /** The bytes that the frame should have on the wire, and those that it may have. A single event may exceed the first. */
  readonly aimBytes: number;
  readonly maxBytes: number;
  /** The Avro schemas that device and hub both have. */
  readonly avro: Readonly<Record<string, string>>;
  readonly sentAtMs: number;
  /** Whether each event's hash is checked: after a hub has found the chain broken. */
  readonly isCareful: boolean;
  /** The hash of the event before the first, if the hub's word counts more than the row. */
  readonly prev: Hash | undefined;
}

export interface Cutter {
  cut(options: CutOptions): Cut;
}

// Long because the two halves of a cut (taking events, then encoding fewer and fewer until they fit) share its sums.
/** Cuts frames for the wire: never more than a few MiB of events in memory, whatever waits in the database. */
export function frameCutter(rows: EventReader, gate: Gate, identity: Identity, heads: Pick<Heads, "along">): Cutter {
  let ratio = FIRST_RATIO;

  const pack = (
    { head, row }: { readonly head: EventHead; readonly row: EventRow },
    avro: Readonly<Record<string, string>>,
  ): PackedEvent => {
    const { subject, version } = head.schema;
    // The schema of this name may be another one since the event was written. Then the data travels as it stands, with the old schema's fingerprint.
    const asAvro = avro[`${subject}@${version}`] !== undefined && row.fingerprint === gate.fingerprint(head.schema);
    const shaped = gate.payload({ subject, version }, row.data, asAvro);
    // An event that was admitted by the size of its text must fit by that size: Avro may take more (eight bytes for a digit).
    const isLonger = shaped.encoding === "avro" && shaped.payload.length > Buffer.byteLength(row.data);
    const packed = { head, ...(isLonger ? gate.payload({ subject, version }, row.data, false) : shaped) };
    return row.fingerprint === "" ? packed : { ...packed, fingerprint: row.fingerprint };
  };

  return {
    cut(options) {
      const { origin, firstSeq, toSeq, aimBytes, maxBytes, avro } = options;
      const maxEvents = Math.min(options.maxEvents, MAX_BATCH_EVENTS);
      const maxRaw = Math.min(MAX_RAW_BYTES, aimBytes / ratio);
      const events: PackedEvent[] = [];
      const hashes: Hash[] = [];
      let raw = 0;
      let basisEntries = 0;
      for (const found of rows.from(origin, firstSeq, toSeq)) {
        const reason = found.kind === "damaged" ? found.reason : options.isCareful ? rows.damageAt(origin, found.row.seq) : null;
        if (found.kind === "damaged" || reason !== null) {
          if (events.length > 0) break;
          return { kind: "unfit", seq: firstSeq, code: asideCode(found), reason: reason ?? "it cannot be read" };
        }
        const bytes = found.row.head.length + found.row.data.length + ROW_BYTES;
        const entries = 1 + 2 * Object.keys(found.head.basis).length;
        if (events.length > 0 && (raw + bytes > maxRaw || basisEntries + entries > MAX_BATCH_BASIS)) break;
        events.push(pack(found, avro));
        hashes.push(found.row.hash);
        raw += bytes;
        basisEntries += entries;
        if (events.length >= maxEvents) break;
      }
      const prev = options.prev ?? rows.hashAt(origin, firstSeq - 1) ?? GENESIS;
      let rawBytes = raw;
      let hasRoomForHeads = true;
      for (let count = events.length; ; ) {
        const chosen = count === events.length ? events : events.slice(0, count);
        const along = hasRoomForHeads ? heads.along(origin.name, chosen) : [];
        const batch: Batch = identity.stamped({
          origin: origin.name,
          firstSeq: firstSeq as Seq,
          prev,
          head: hashes[count - 1]!,
          sentAtMs: Math.trunc(options.sentAtMs),
          events: chosen,
          ...(along.length === 0 ? {} : { heads: along }),
        });
        const frame = encodeBatch(batch, zstd, identity.version);
        ratio = Math.max(0.01, frame.length / rawBytes);
        if (frame.length <= Math.min(aimBytes, maxBytes) || (count === 1 && frame.length <= maxBytes)) {
          return { kind: "frame", frame, batch };
        }
        // Better to send the event without the heads that prove its basis than not at all.
        if (count === 1 && along.length > 0) {
          hasRoomForHeads = false;
          continue;
        }
        if (count === 1) {
          const reason = `it takes ${frame.length} bytes on the wire; ${maxBytes} are allowed`;
          return { kind: "unfit", seq: firstSeq, code: "event-too-large", reason };
        }
        const fitting = Math.floor((count * 0.9 * Math.min(aimBytes, maxBytes)) / frame.length);
        rawBytes *= Math.max(1, Math.min(count - 1, fitting)) / count;
        count = Math.max(1, Math.min(count - 1, fitting));
      }
    },
  };
}
