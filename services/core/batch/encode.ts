import { type Writer, writer } from "../avro-bytes.ts";
import type { EntityRef, SchemaRef } from "../event.ts";
import { parseHlc } from "../hlc.ts";
import type { OriginId } from "../ids.ts";
import { PROTOCOL } from "../protocol-version.ts";
import type { Batch, Compression, PackedEvent } from "./batch.ts";
import { MAGIC } from "./frame.ts";
import { MORE } from "./schema.ts";
import { hexBytes, UUID } from "./texts.ts";

/** A list in which each text stands once; `of` gives its index. */
interface Dictionary {
  readonly list: string[];
  of(text: string): number;
}

function dictionary(): Dictionary {
  const list: string[] = [];
  const index = new Map<string, number>();
  return {
    list,
    of(text) {
      let at = index.get(text);
      if (at === undefined) {
        at = list.length;
        index.set(text, at);
        list.push(text);
      }
      return at;
    },
  };
}

/**
 * Writes a batch as a frame of a protocol version (default: the newest). The caller has cut it to `MAX_BATCH_EVENTS`. If the frame is larger than
 * `MAX_FRAME_BYTES`, the caller halves the batch and writes again.
 */
export function encodeBatch(batch: Batch, compression: Compression, version: number = PROTOCOL.newest): Uint8Array {
  const columns = emptyColumns();
  for (const event of batch.events) addEvent(columns, batch, event);
  const body = compression.compress(bodyOf(batch, columns, version));
  const frame = new Uint8Array(3 + body.length);
  frame.set([...MAGIC, (version === 1 ? 0 : version << 4) | 1]);
  frame.set(body, 3);
  return frame;
}

/** A batch's events by columns, and the dictionaries that they point into. */
interface Columns {
  readonly types: Dictionary;
  readonly schemas: Dictionary;
  readonly schemaRefs: (SchemaRef & { readonly fingerprint: string })[];
  readonly actors: Dictionary;
  readonly origins: Dictionary;
  readonly entityTypes: Dictionary;
  readonly entities: Dictionary;
  readonly entityRefs: EntityRef[];
  readonly links: Dictionary;
  readonly type: number[];
  readonly schema: number[];
  readonly actor: number[];
  readonly entity: number[];
  readonly wallMs: number[];
  readonly counter: number[];
  readonly occurredMs: number[];
  readonly basis: number[];
  readonly correlation: number[];
  readonly causation: number[];
  readonly encoding: number[];
  readonly length: number[];
  /** The stamp of the event before; `null` before the first. */
  lastWallMs: number | null;
  dataBytes: number;
}

const emptyColumns = (): Columns => ({
  types: dictionary(),
  schemas: dictionary(),
  schemaRefs: [],
  actors: dictionary(),
  origins: dictionary(),
  entityTypes: dictionary(),
  entities: dictionary(),
  entityRefs: [],
  links: dictionary(),
  type: [],
  schema: [],
  actor: [],
  entity: [],
  wallMs: [],
  counter: [],
  occurredMs: [],
  basis: [],
  correlation: [],
  causation: [],
  encoding: [],
  length: [],
  lastWallMs: null,
  dataBytes: 0,
});

function addEvent(to: Columns, batch: Batch, { head, fingerprint = "", encoding, payload }: PackedEvent): void {
  const stamp = parseHlc(head.hlc);
  to.type.push(to.types.of(head.type));
  const schemaAt = to.schemas.of(`${head.schema.subject}@${head.schema.version}`);
  if (schemaAt === to.schemaRefs.length) to.schemaRefs.push({ ...head.schema, fingerprint });
  to.schema.push(schemaAt);
  to.actor.push(to.actors.of(head.actor));
  const entityAt = to.entities.of(`${head.entity.type}\n${head.entity.id}`);
  if (entityAt === to.entityRefs.length) {
    to.entityRefs.push(head.entity);
    to.entityTypes.of(head.entity.type);
    to.entity.push(0);
  } else {
    to.entity.push(to.entityRefs.length - entityAt);
  }
  to.wallMs.push(stamp.wallMs - (to.lastWallMs ?? batch.sentAtMs));
  to.lastWallMs = stamp.wallMs;
  to.counter.push(stamp.counter);
  to.occurredMs.push(Date.parse(head.occurredAt) - stamp.wallMs);
  const known = Object.keys(head.basis).sort() as OriginId[];
  to.basis.push(known.length);
  for (const origin of known) {
    const seq = head.basis[origin] ?? 0;
    to.basis.push(to.origins.of(origin), origin === batch.origin ? head.seq - seq : seq);
  }
  to.correlation.push(head.correlationId === undefined ? 0 : to.links.of(head.correlationId) + 1);
  to.causation.push(head.causationId === undefined ? 0 : to.links.of(head.causationId) + 1);
  to.encoding.push(encoding === "avro" ? 1 : 0);
  to.length.push(payload.length);
  to.dataBytes += payload.length;
}

/** The Avro record (`BATCH_SCHEMA`). */
function bodyOf(batch: Batch, columns: Columns, version: number): Uint8Array {
  const { schemaRefs, entityRefs, entityTypes, links } = columns;
  const out = writer(columns.dataBytes + 64 * batch.events.length + 1024);
  out.string(batch.origin);
  out.long(batch.firstSeq);
  out.fixed(hexBytes(batch.prev));
  out.fixed(hexBytes(batch.head));
  out.long(batch.sentAtMs);
  out.array(columns.types.list, out.string);
  out.array(schemaRefs, ({ subject, version: of, fingerprint }) => {
    out.string(subject);
    out.long(of);
    out.string(fingerprint);
  });
  out.array(columns.actors.list, out.string);
  out.array(columns.origins.list, out.string);
  out.array(entityTypes.list, out.string);
  out.array(entityRefs, (ref) => {
    out.long(entityTypes.of(ref.type));
    textOrUuid(out, ref.id);
  });
  out.array(links.list, (link) => textOrUuid(out, link));
  const { type, schema, actor, entity, wallMs, counter, occurredMs, basis } = columns;
  for (const column of [type, schema, actor, entity, wallMs, counter, occurredMs, basis]) out.array(column, out.long);
  for (const column of [columns.correlation, columns.causation]) out.array(links.list.length === 0 ? [] : column, out.long);
  out.array(columns.encoding, out.long);
  out.array(columns.length, out.long);
  out.bytes(payloadsOf(batch.events, columns.dataBytes));
  if (version >= 2)
    out.array(moreOf(batch), ({ tag, value }) => {
      out.long(tag);
      out.bytes(value);
    });
  return out.finish();
}

function textOrUuid(out: Writer, text: string): void {
  const isUuid = UUID.test(text);
  out.long(isUuid ? 1 : 0);
  if (isUuid) out.fixed(hexBytes(text.replaceAll("-", "")));
  else out.string(text);
}

function payloadsOf(events: readonly PackedEvent[], bytes: number): Uint8Array {
  const data = new Uint8Array(bytes);
  let at = 0;
  for (const { payload } of events) {
    data.set(payload, at);
    at += payload.length;
  }
  return data;
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
