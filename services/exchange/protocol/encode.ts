import {
  type Compression,
  canonicalize,
  type Dictionary,
  dictionary,
  headColumns,
  hexBytes,
  type Writer,
  writer,
  writeTextOrUuid,
} from "../../core/index.ts";
import { writeSection } from "./encode-sections.ts";
import { sealFrame, tooMany } from "./frame.ts";
import type { HeldBucket, Page, SignedPage } from "./page.ts";
import { END_BYTES, HALF_BYTES, SCHEMA_KINDS } from "./parts.ts";
import { MAX_PAGE_ITEMS, PAGE_MORE } from "./schema.ts";
import { eventTable, numberOf, type Pack, writeEvents, writeHex } from "./table.ts";

/** What the writer of a page is given. */
export interface PageWriting {
  /** `null`: the body travels as it is. */
  readonly compression: Compression | null;
  /**
   * How data travels that is not to travel as text. In a page of many events text is the smallest, as its members stand in columns; Avro is smaller in a page of a few, and can be read only by who has the schema.
   */
  readonly pack?: Pack;
  /** SHA-256, hexadecimal: of bytes, or of a text's UTF-8 bytes. */
  sha256(of: Uint8Array | string): string;
  /** Signs `pageText(nonce, digest)`; left out, the page is not signed. */
  sign?(digest: string): NonNullable<SignedPage["signature"]>;
}

/** A body of fewer bytes travels as it is: packing the answer to an idle poll costs more than all else of it, and saves nothing. */
const LEAST_PACKED = 200;

/**
 * Writes a page as a frame. An event stands in it once, however many sections name it; its `prev` travels only where the event before it in its origin is not in the page.
 * Throws `page-too-large` for what no reader would take: the caller puts fewer events in, and writes again. Throws `chain-broken` where an event does not follow the one before it.
 */
export function encodePage(page: Page, { compression, pack, sha256, sign }: PageWriting): Uint8Array {
  const body = bodyOf(page, pack, sha256);
  return sealFrame(body, body.length < LEAST_PACKED ? null : compression, sign?.(sha256(body)) ?? null);
}

/** The Avro record (`PAGE_SCHEMA`). */
function bodyOf(page: Page, pack: Pack | undefined, sha256: PageWriting["sha256"]): Uint8Array {
  const { sections, holding, withdrawn } = page;
  const through = page.through === null ? 0 : numberOf(page.through);
  const [buckets, views, names] = [dictionary(), dictionary(), dictionary()];
  for (const { bucket } of [...(holding?.buckets ?? []), ...withdrawn]) buckets.of(bucket);
  const table = eventTable();
  // Sections are written first: they say which events there are, in which order, and what stands in the dictionaries.
  const written = writer();
  const around = { buckets, views, names, table, seal: page.seal, through, sha256 };
  written.array(sections, (section) => writeSection(written, section, around));
  const out = writer(64 * 1024);
  writeFront(out, page, buckets);
  writeEvents(out, table.events, headColumns(), { base: { position: through, nowMs: page.nowMs }, pack });
  out.array(views.list, out.string);
  if (names.list.length > MAX_PAGE_ITEMS) throw tooMany("names", names.list.length, MAX_PAGE_ITEMS);
  out.array(names.list, (name) => writeTextOrUuid(out, name));
  out.fixed(written.finish());
  out.array(moreOf(page), ({ tag, value }) => {
    out.long(tag);
    out.bytes(value);
  });
  return out.finish();
}

/** What a page holds beside its columns, by tag. */
const moreOf = ({ readers }: Page): readonly { readonly tag: number; readonly value: Uint8Array }[] =>
  readers === undefined ? [] : [{ tag: PAGE_MORE.readers, value: new TextEncoder().encode(JSON.stringify(readers)) }];

function writeFront(out: Writer, page: Page, buckets: Dictionary): void {
  const { holding, ends } = page;
  out.string(page.hub);
  out.string(page.incarnation);
  out.long(page.nowMs);
  out.long(page.seal);
  out.long(page.through === null ? 0 : 1);
  if (page.through !== null) out.long(numberOf(page.through));
  writeBoolean(out, page.more);
  if (buckets.list.length > MAX_PAGE_ITEMS) throw tooMany("buckets", buckets.list.length, MAX_PAGE_ITEMS);
  out.array(buckets.list, (bucket) => writeHex(out, bucket, HALF_BYTES));
  out.long(holding === null ? 0 : 1);
  if (holding !== null) {
    writeHexText(out, holding.digest);
    out.array(holding.buckets, (held) => writeHeld(out, held, buckets));
  }
  out.long(ends === null ? 0 : 1);
  if (ends !== null) out.array(ends, (end) => writeEnd(out, end));
  out.array(page.withdrawn, ({ bucket, why }) => {
    out.long(buckets.of(bucket));
    out.string(why);
  });
  out.array(Object.entries(page.shapes), ([view, digest]) => {
    out.string(view);
    writeHexText(out, digest);
  });
  writeNews(out, page.schemas);
}

const writeBoolean = (out: Writer, is: boolean): void => out.fixed(Uint8Array.of(is ? 1 : 0));

function writeHeld(out: Writer, held: HeldBucket, buckets: Dictionary): void {
  out.long(buckets.of(held.bucket));
  out.string(held.entityType);
  out.string(canonicalize(held.values));
  out.long(held.priority);
  writeBoolean(out, held.statesOnly);
}

function writeEnd(out: Writer, end: string): void {
  out.long(end === "" ? 0 : 1);
  if (end !== "") writeHex(out, end, END_BYTES);
}

const HEX = /^(?:[0-9a-f]{2})+$/;

/** Avro's union of a text, and of the bytes of a text of hexadecimal digits. */
function writeHexText(out: Writer, text: string): void {
  const isHex = HEX.test(text);
  out.long(isHex ? 1 : 0);
  if (isHex) out.bytes(hexBytes(text));
  else out.string(text);
}

function writeNews(out: Writer, news: Page["schemas"]): void {
  out.array(news, ({ subject, version, kind, text, references }) => {
    out.string(subject);
    out.long(version);
    out.long(SCHEMA_KINDS.indexOf(kind));
    out.string(text);
    out.array(references, (to) => {
      out.string(to.name);
      out.string(to.subject);
      out.long(to.version);
    });
  });
}
