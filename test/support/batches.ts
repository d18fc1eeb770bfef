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
  type Vector,
} from "../../services/core/index.ts";
import { chainHash, zstd } from "../../services/core/node.ts";

/** A batch made by hand, as another implementation would make it; `over` replaces what a test wants to be wrong. */
export function batchOf(
  of: OriginId,
  texts: readonly string[],
  over: {
    firstSeq?: number;
    prev?: Hash;
    head?: Hash;
    schema?: { subject: string; version: number };
    basis?: Vector;
    /** What an event says instead, by its index in the batch. */
    each?: (i: number) => Partial<Pick<PackedEvent["head"], "type" | "entity" | "basis">>;
  } = {},
): Batch {
  let prev = over.prev ?? GENESIS;
  const first = over.firstSeq ?? 0;
  const events = texts.map((text, i): PackedEvent => {
    const head = {
      type: "beneficiary.updated",
      origin: of,
      seq: (first + i) as Seq,
      entity: { type: "beneficiary", id: "X" },
      schema: over.schema ?? { subject: "beneficiary-update", version: 1 },
      actor: "hand",
      org: "relief",
      occurredAt: "2026-11-01T00:00:00.000Z",
      hlc: formatHlc({ wallMs: Date.parse("2026-11-01T00:00:00.000Z") + i, counter: 0 }),
      basis: over.basis ?? {},
      ...over.each?.(i),
    };
    prev = chainHash(prev, eventText(head, text));
    return { head, encoding: "json", payload: new TextEncoder().encode(text) };
  });
  return {
    origin: of,
    firstSeq: first as Seq,
    prev: over.prev ?? GENESIS,
    head: over.head ?? prev,
    sentAtMs: Date.now(),
    events,
  };
}

export const frameOf = (batch: Batch): Uint8Array => encodeBatch(batch, zstd);

/** A device's events as consecutive batches of `size`, chained. */
export function batchesOf(of: OriginId, texts: readonly string[], size: number): Batch[] {
  const out: Batch[] = [];
  let prev: Hash = GENESIS;
  for (let at = 0; at < texts.length; at += size) {
    const batch = batchOf(of, texts.slice(at, at + size), { firstSeq: at, prev });
    prev = batch.head;
    out.push(batch);
  }
  return out;
}
