import {
  type HeadInBatch,
  MAX_BATCH_HEADS,
  type OriginId,
  type PackedEvent,
  runText,
  type Seq,
  type SignedHead,
  signedHeadSchema,
  type Vector,
} from "../core/index.ts";
import { signerOf } from "../core/node.ts";
import { deviceKey } from "./keys.ts";
import { eventReader } from "./reading.ts";
import type { Store } from "./store.ts";

/**
 * Signed heads that prove what a basis claims. When a device shows an entity to another, it hands over its signed head beside the vector. The other device sends the
 * head along with what it writes on top, so the hub can tell an event that comes before its parents from a claim that nobody can honestly make. Heads of others are
 * kept as they come: only the hub, which has their keys, can check them. The furthest head of each origin is kept.
 */
export interface Heads {
  /** The heads that prove what a vector names: those of this device's own epochs are made now, those of others are sent as far as they were handed over. */
  showing(vector: Vector): SignedHead[];
  /** Keeps heads that were handed over, inside the caller's transaction. */
  note(heads: readonly SignedHead[]): void;
  /** The heads of other devices that a batch's events name in their bases. */
  along(origin: OriginId, events: readonly PackedEvent[]): HeadInBatch[];
}

const handedOver = signedHeadSchema.array().max(MAX_BATCH_HEADS);

export function openHeads(store: Store): Heads {
  const { rows } = store;
  let hasTable = rows.hasSignedHeads();
  const kept = (origin: string): SignedHead | null => {
    if (!hasTable) return null;
    const row = rows.signedHead(origin);
    return signedHeadSchema.safeParse(row).data ?? null;
  };

  return {
    showing(vector) {
      const signer = signerOf(deviceKey(store));
      const reader = eventReader(store);
      const out: SignedHead[] = [];
      for (const [name, seq] of Object.entries(vector) as [OriginId, Seq][]) {
        const own = store.origins().find((origin) => origin.name === name);
        const head = own === undefined ? undefined : reader.hashAt(own, seq);
        if (head !== undefined) {
          const { value } = signer.sign(runText({ origin: name, through: seq, head }));
          out.push({ origin: name, through: seq, head, signature: value });
        } else if (own === undefined) {
          const other = kept(name);
          if (other !== null && other.through >= seq) out.push(other);
        }
      }
      return out;
    },

    note(heads) {
      const own = new Set<string>(store.origins().map(({ name }) => name));
      const others = handedOver.parse(heads).filter(({ origin }) => !own.has(origin));
      if (others.length === 0) return;
      if (!rows.hasSignedHeads()) rows.makeSignedHeads();
      hasTable = true;
      for (const { origin, through, head, signature } of others) rows.keepSignedHead(origin, through, head, signature);
    },

    along(origin, events) {
      if (!hasTable) return [];
      const named = new Set<string>();
      for (const { head } of events) for (const other in head.basis) if (other !== origin) named.add(other);
      const out: HeadInBatch[] = [];
      for (const other of named) {
        const head = out.length < MAX_BATCH_HEADS ? kept(other) : null;
        if (head !== null) out.push({ ...head, signature: new Uint8Array(Buffer.from(head.signature, "base64url")) });
      }
      return out;
    },
  };
}
