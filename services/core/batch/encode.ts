import { writer } from "../avro-bytes.ts";
import { PROTOCOL } from "../protocol-version.ts";
import type { Batch, Compression } from "./batch.ts";
import { joined } from "./columns.ts";
import { MAGIC } from "./frame.ts";
import { addHead, type HeadColumns, headColumns, writeHeads } from "./heads.ts";
import { MORE } from "./schema.ts";
import { hexBytes } from "./texts.ts";

/**
 * Writes a batch as a frame of a protocol version (default: the newest). The caller has cut it to `MAX_BATCH_EVENTS`. If the frame is larger than
 * `MAX_FRAME_BYTES`, the caller halves the batch and writes again.
 */
export function encodeBatch(batch: Batch, compression: Compression, version: number = PROTOCOL.newest): Uint8Array {
  const heads = headColumns();
  let fromMs = batch.sentAtMs;
  for (const { head, fingerprint = "" } of batch.events) fromMs = addHead(heads, head, fingerprint, fromMs);
  const body = compression.compress(bodyOf(batch, heads, version));
  const frame = new Uint8Array(3 + body.length);
  frame.set([...MAGIC, (version === 1 ? 0 : version << 4) | 1]);
  frame.set(body, 3);
  return frame;
}

/** The Avro record (`BATCH_SCHEMA`). */
function bodyOf(batch: Batch, heads: HeadColumns, version: number): Uint8Array {
  const { events } = batch;
  const data = joined(events.map(({ payload }) => payload));
  const out = writer(data.length + 64 * events.length + 1024);
  out.string(batch.origin);
  out.long(batch.firstSeq);
  out.fixed(hexBytes(batch.prev));
  out.fixed(hexBytes(batch.head));
  out.long(batch.sentAtMs);
  writeHeads(out, heads);
  out.array(events, ({ encoding }) => out.long(encoding === "avro" ? 1 : 0));
  out.array(events, ({ payload }) => out.long(payload.length));
  out.bytes(data);
  if (version >= 2)
    out.array(moreOf(batch), ({ tag, value }) => {
      out.long(tag);
      out.bytes(value);
    });
  return out.finish();
}

/** What a batch holds beside its columns, by tag. */
function moreOf({ signature, heads = [] }: Batch): { readonly tag: number; readonly value: Uint8Array }[] {
  const more: { readonly tag: number; readonly value: Uint8Array }[] = [];
  if (signature !== undefined) more.push({ tag: MORE.signature, value: signature });
  if (heads.length > 0) {
    const out = writer(heads.length * 160 + 16);
    out.array(heads, (one) => {
      out.string(one.origin);
      out.long(one.through);
      out.fixed(hexBytes(one.head));
      out.fixed(one.signature);
    });
    more.push({ tag: MORE.heads, value: out.finish() });
  }
  return more;
}
