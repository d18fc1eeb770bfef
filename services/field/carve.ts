import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";

/**
 * Finds rows of the table `event` in a SQLite file whose own structure is damaged: it looks at each page by itself, and then for texts that look like
 * an event. In go a file and its write-ahead log; out come candidates, some of them twice. Nothing is written, and nothing is trusted.
 * Source of the layout: https://www.sqlite.org/fileformat2.html
 */
export interface Carved {
  readonly head: string;
  readonly data: string;
  readonly hash: string;
}

const DEFAULT_PAGE_BYTES = 4096;
const MAX_PAGE_BYTES = 65_536;
const FILE_HEADER_BYTES = 100;
const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const WAL_MAGIC = 0x377f0682;
const LEAF_INDEX = 0x0a;
const INTERIOR_INDEX = 0x02;
/** At most so many overflow pages for one row: an event has up to 1 MiB. */
const MAX_OVERFLOW_PAGES = 20_000;
const HEAD_START = '{"type":"';
const HASH = /^[0-9a-f]{64}/;

interface Pages {
  readonly bytes: number;
  /** Usable bytes of a page. */
  readonly usable: number;
  readonly count: number;
  /** A page's newest committed image; 1 is the first. */
  page(number: number): Buffer | null;
  /** All images of all pages, old ones of the write-ahead log included. */
  all(): Generator<{ readonly number: number; readonly image: Buffer }>;
  close(): void;
}

export function* carve(path: string): Generator<Carved> {
  const pages = openPages(path);
  try {
    for (const { number, image } of pages.all()) {
      const start = number === 1 ? FILE_HEADER_BYTES : 0;
      const type = image[start];
      if (type === LEAF_INDEX || type === INTERIOR_INDEX) yield* cellsOf(pages, image, start, type === INTERIOR_INDEX);
      yield* textsOf(image);
    }
  } finally {
    pages.close();
  }
}

function openPages(path: string): Pages {
  const main = openSync(path, "r");
  const size = fstatSync(main).size;
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  readSync(main, header, 0, FILE_HEADER_BYTES, 0);
  const said = header.readUInt16BE(16) === 1 ? MAX_PAGE_BYTES : header.readUInt16BE(16);
  const isPower = said >= 512 && said <= MAX_PAGE_BYTES && (said & (said - 1)) === 0;
  const bytes = header.toString("latin1", 0, 15) === "SQLite format 3" && isPower ? said : DEFAULT_PAGE_BYTES;
  const wal = existsSync(`${path}-wal`) ? openSync(`${path}-wal`, "r") : null;
  const frames = wal === null ? [] : framesOf(wal, bytes);
  const newest = new Map(frames.map(({ number, at }) => [number, at]));
  const read = (file: number, at: number): Buffer | null => {
    const image = Buffer.alloc(bytes);
    try {
      return readSync(file, image, 0, bytes, at) > 0 ? image : null;
    } catch {
      return null; // The disk cannot read this page.
    }
  };
  const count = Math.ceil(size / bytes);
  return {
    bytes,
    usable: bytes,
    count,
    page(number) {
      const at = newest.get(number);
      if (at !== undefined && wal !== null) return read(wal, at);
      return number >= 1 && number <= count ? read(main, (number - 1) * bytes) : null;
    },
    *all() {
      for (let number = 1; number <= count; number++) {
        const image = read(main, (number - 1) * bytes);
        if (image !== null) yield { number, image };
      }
      for (const { number, at } of frames) {
        const image = wal === null ? null : read(wal, at);
        if (image !== null) yield { number, image };
      }
    },
    close() {
      closeSync(main);
      if (wal !== null) closeSync(wal);
    },
  };
}

/** The committed frames of a write-ahead log. */
function framesOf(wal: number, pageBytes: number): { readonly number: number; readonly at: number }[] {
  const header = Buffer.alloc(WAL_HEADER_BYTES);
  if (readSync(wal, header, 0, WAL_HEADER_BYTES, 0) < WAL_HEADER_BYTES) return [];
  if ((header.readUInt32BE(0) & ~1) >>> 0 !== WAL_MAGIC) return [];
  const salts = header.subarray(16, 24);
  const found: { number: number; at: number }[] = [];
  let committed = 0;
  const frame = Buffer.alloc(FRAME_HEADER_BYTES);
  const { size } = fstatSync(wal);
  for (let at = WAL_HEADER_BYTES; at + FRAME_HEADER_BYTES + pageBytes <= size; at += FRAME_HEADER_BYTES + pageBytes) {
    readSync(wal, frame, 0, FRAME_HEADER_BYTES, at);
    if (!frame.subarray(8, 16).equals(salts)) break;
    found.push({ number: frame.readUInt32BE(0), at: at + FRAME_HEADER_BYTES });
    if (frame.readUInt32BE(4) !== 0) committed = found.length;
  }
  return found.slice(0, committed);
}

function* cellsOf(pages: Pages, image: Buffer, start: number, isInterior: boolean): Generator<Carved> {
  const count = image.readUInt16BE(start + 3);
  const pointers = start + (isInterior ? 12 : 8);
  for (let i = 0; i < count && pointers + 2 * i + 2 <= image.length; i++) {
    const cell = image.readUInt16BE(pointers + 2 * i);
    try {
      const event = eventIn(payloadAt(pages, image, cell + (isInterior ? 4 : 0)));
      if (event !== null) yield event;
    } catch {
      // Not a cell, or a damaged one: the texts of the page are searched too.
    }
  }
}

function varint(bytes: Buffer, at: number): [value: number, next: number] {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    const byte = bytes.readUInt8(at + i);
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return [value, at + i + 1];
  }
  return [value * 256 + bytes.readUInt8(at + 8), at + 9];
}

/** An index cell's payload, including what lies on overflow pages. */
function payloadAt(pages: Pages, image: Buffer, cell: number): Buffer {
  const [size, from] = varint(image, cell);
  const { usable } = pages;
  const most = Math.floor(((usable - 12) * 64) / 255) - 23;
  if (size > 4 * 1_048_576) throw new RangeError("the cell is larger than any event");
  if (size <= most) return image.subarray(from, from + size);
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const fitting = least + ((size - least) % (usable - 4));
  const local = fitting <= most ? fitting : least;
  const parts = [image.subarray(from, from + local)];
  let missing = size - local;
  let next = image.readUInt32BE(from + local);
  for (let steps = 0; missing > 0 && steps < MAX_OVERFLOW_PAGES; steps++) {
    const page = pages.page(next);
    if (page === null) throw new RangeError("an overflow page is lost");
    const part = page.subarray(4, Math.min(usable, 4 + missing));
    parts.push(part);
    missing -= part.length;
    next = page.readUInt32BE(0);
  }
  return Buffer.concat(parts);
}

const INT_BYTES = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0];

/** The record as an event's row: origin, seq, head, data, hash, and in later versions a fingerprint; `null` when the record is not an event's. */
function eventIn(record: Buffer): Carved | null {
  const [headerBytes, first] = varint(record, 0);
  const types: number[] = [];
  for (let at = first; at < headerBytes; ) {
    const [type, next] = varint(record, at);
    types.push(type);
    at = next;
  }
  if (types.length !== 5 && types.length !== 6) return null;
  if (types.slice(2, 5).some((type) => type < 13 || type % 2 === 0)) return null;
  let at = headerBytes;
  const texts = types.map((type): string => {
    const bytes = type >= 12 ? (type - (type % 2 === 0 ? 12 : 13)) / 2 : INT_BYTES[type]!;
    const text = type >= 12 ? record.toString("utf8", at, at + bytes) : "";
    at += bytes;
    return text;
  });
  const [, , head, data, hash] = texts;
  return head!.startsWith(HEAD_START) ? { head: head!, data: data!, hash: hash! } : null;
}

/** Texts that look like an envelope, its data and its hash, one after the other, wherever they stand on a page. */
function* textsOf(image: Buffer): Generator<Carved> {
  for (let at = image.indexOf(HEAD_START); at >= 0; at = image.indexOf(HEAD_START, at + 1)) {
    const headEnd = objectEnd(image, at);
    if (headEnd === null || image[headEnd] !== 0x7b) continue;
    const dataEnd = objectEnd(image, headEnd);
    if (dataEnd === null) continue;
    const hash = HASH.exec(image.toString("latin1", dataEnd, dataEnd + 64))?.[0];
    if (hash === undefined) continue;
    yield { head: image.toString("utf8", at, headEnd), data: image.toString("utf8", headEnd, dataEnd), hash };
  }
}

/** Where the JSON object that begins at `from` ends; `null`: not on this page. */
function objectEnd(bytes: Buffer, from: number): number | null {
  let depth = 0;
  let isText = false;
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at];
    if (isText) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) isText = false;
    } else if (byte === 0x22) isText = true;
    else if (byte === 0x7b) depth++;
    else if (byte === 0x7d && --depth === 0) return at + 1;
  }
  return null;
}
