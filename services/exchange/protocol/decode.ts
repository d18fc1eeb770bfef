import {
  type BucketId,
  bytesHex,
  type Compression,
  type IncarnationId,
  isIncarnationId,
  isJsonObject,
  pick,
  type Reader,
  reader,
  readTextOrUuid,
  type SchemaNews,
  type ScopeValue,
} from "../../core/index.ts";
import { type EventReading, positionOf, readEvents, readOptional, whole } from "./decode-events.ts";
import { type Found, readSection } from "./decode-sections.ts";
import { openFrame, readable } from "./frame.ts";
import type { HeldBucket, Holding, Page, SignedPage } from "./page.ts";
import { END_BYTES, HALF_BYTES, SCHEMA_KINDS } from "./parts.ts";
import { MAX_PAGE_ITEMS, MAX_PAGE_LIST, PAGE_MORE } from "./schema.ts";

/** What the reader of a page is given. */
export interface PageReading extends EventReading {
  readonly compression: Compression;
  /** SHA-256, hexadecimal: of bytes, or of a text's UTF-8 bytes. */
  sha256(of: Uint8Array | string): string;
}

/**
 * Reads a frame. Hashes are computed from what came, so that an event that was changed has another hash than the chain after it says. Whether the signature is right is for the caller to look at
 * (`pageText`), as are the chain and the digests. Throws `page-undecodable`, or `protocol-unsupported` for a form that came later. Time and memory are bounded, whatever the bytes are.
 */
export function decodePage(frame: Uint8Array, reading: PageReading): SignedPage {
  const { body, signature } = openFrame(frame, reading.compression);
  return { page: readable(() => readPage(reader(body), reading)), digest: reading.sha256(body), signature };
}

/** Who signed a frame, and the digest of its body, without reading the page. Throws as `decodePage` does. */
export function sealOf(
  frame: Uint8Array,
  { compression, sha256 }: Pick<PageReading, "compression" | "sha256">,
): Pick<SignedPage, "digest" | "signature"> {
  const { body, signature } = openFrame(frame, compression);
  return { digest: sha256(body), signature };
}

function readPage(from: Reader, reading: PageReading): Page {
  const front = readFront(from);
  const through = front.through === null ? 0 : Number(front.through);
  const events = readEvents(from, { position: through, nowMs: front.nowMs }, reading);
  const found: Found = {
    buckets: front.buckets,
    views: from.array(MAX_PAGE_LIST, from.string),
    names: from.array(MAX_PAGE_ITEMS, () => readTextOrUuid(from)),
    events,
    mentioned: 0,
    ...{ seal: front.seal, through, sha256: reading.sha256 },
  };
  const sections = from.array(MAX_PAGE_ITEMS, () => readSection(from, found));
  if (found.mentioned !== events.length) throw new RangeError("an event is in no section");
  // What has another tag, and what stands behind, is of a form to come, and is passed over.
  const more = from.array(MAX_PAGE_LIST, () => ({ tag: from.long(), value: from.bytes() }));
  const told = more.find(({ tag }) => tag === PAGE_MORE.readers);
  const { buckets: _, ...page } = front;
  return { ...page, ...(told === undefined ? {} : { readers: readersIn(told.value) }), sections };
}

function readFront(from: Reader): Omit<Page, "sections"> & { readonly buckets: readonly BucketId[] } {
  const [hub, incarnation] = [readIncarnation(from), readIncarnation(from)];
  const nowMs = whole(from.long(), "a time");
  const seal = whole(from.long(), "a seal");
  const through = readOptional(from, () => positionOf(from.long()));
  const more = readBoolean(from);
  const buckets = from.array(MAX_PAGE_ITEMS, () => bytesHex(from.fixed(HALF_BYTES)) as BucketId);
  const holding = readOptional(from, () => readHolding(from, buckets));
  const ends = readOptional(from, () =>
    from.array(MAX_PAGE_ITEMS, () => readOptional(from, () => bytesHex(from.fixed(END_BYTES))) ?? ""),
  );
  const withdrawn = from.array(MAX_PAGE_ITEMS, () => ({ bucket: pick(buckets, from.long()), why: from.string() }));
  const shapes = Object.fromEntries(from.array(MAX_PAGE_LIST, () => [from.string(), readHexText(from)] as const));
  const schemas = from.array(MAX_PAGE_LIST, () => readNews(from));
  return { hub, incarnation, nowMs, seal, through, more, buckets, holding, ends, withdrawn, shapes, schemas };
}

/** The versions that views read in. Throws where it is not that. */
function readersIn(bytes: Uint8Array): NonNullable<Page["readers"]> {
  const said: unknown = JSON.parse(new TextDecoder().decode(bytes));
  const isPins = (value: unknown): boolean => isJsonObject(value) && Object.values(value).every(Number.isSafeInteger);
  if (!isJsonObject(said) || !Object.values(said).every(isPins)) throw new RangeError("its views' versions are not numbers");
  return said as NonNullable<Page["readers"]>;
}

function readIncarnation(from: Reader): IncarnationId {
  const text = from.string();
  if (isIncarnationId(text)) return text;
  throw new RangeError("its hub has no name");
}

function readBoolean(from: Reader): boolean {
  const [byte] = from.fixed(1);
  if (byte === 0 || byte === 1) return byte === 1;
  throw new RangeError("it is neither true nor false");
}

function readHolding(from: Reader, buckets: readonly BucketId[]): Holding {
  const digest = readHexText(from);
  const held = from.array(
    MAX_PAGE_ITEMS,
    (): HeldBucket => ({
      bucket: pick(buckets, from.long()),
      entityType: from.string(),
      values: scopeValues(from.string()),
      priority: from.long(),
      statesOnly: readBoolean(from),
    }),
  );
  return { digest, buckets: held };
}

const isScopeValue = (value: unknown): value is ScopeValue =>
  value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean";

function scopeValues(text: string): readonly ScopeValue[] {
  const values: unknown = JSON.parse(text);
  if (Array.isArray(values) && values.every(isScopeValue)) return values;
  throw new RangeError("a bucket has values that no scope has");
}

function readHexText(from: Reader): string {
  const branch = from.long();
  if (branch === 0) return from.string();
  if (branch === 1) return bytesHex(from.bytes());
  throw new RangeError("a union has no such branch");
}

function readNews(from: Reader): SchemaNews {
  return {
    subject: from.string(),
    version: whole(from.long(), "a version"),
    kind: pick(SCHEMA_KINDS, from.long()),
    text: from.string(),
    references: from.array(MAX_PAGE_LIST, () => ({
      name: from.string(),
      subject: from.string(),
      version: whole(from.long(), "a version"),
    })),
  };
}
