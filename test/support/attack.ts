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
} from "../../services/core/index.ts";
import { chainHash, zstd } from "../../services/core/node.ts";

/** A batch made by hand, as somebody without a device's database makes it. */
export function batchOf(
  origin: OriginId,
  texts: readonly string[],
  { firstSeq = 0, prev = GENESIS }: { readonly firstSeq?: number; readonly prev?: Hash } = {},
): Batch {
  let head = prev;
  const events = texts.map((text, i): PackedEvent => {
    const of = {
      type: "beneficiary.updated",
      origin,
      seq: (firstSeq + i) as Seq,
      entity: { type: "beneficiary", id: "X" },
      schema: { subject: "beneficiary-update", version: 1 },
      actor: "hand",
      org: origin.split(".")[0]!,
      occurredAt: "2026-11-01T00:00:00.000Z",
      hlc: formatHlc({ wallMs: Date.parse("2026-11-01T00:00:00.000Z") + firstSeq + i, counter: 0 }),
      basis: {},
    };
    head = chainHash(head, eventText(of, text));
    return { head: of, encoding: "json", payload: new TextEncoder().encode(text) };
  });
  return { origin, firstSeq: firstSeq as Seq, prev, head, sentAtMs: Date.now(), events };
}

export const frameOf = (batch: Batch, version = 2): Uint8Array => encodeBatch(batch, zstd, version);

/** Posts to a hub's door, as anybody may. */
export async function post(
  url: string,
  body: Uint8Array | object,
  token?: string,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const response = await fetch(url, {
    method: "POST",
    body: body instanceof Uint8Array ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body),
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
