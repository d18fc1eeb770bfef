import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import {
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  isHash,
  isJsonObject,
  messageOf,
  parseHlc,
  TributaryError,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import { type Carved, carve } from "./carve.ts";
import { versionOf } from "./migrations.ts";
import { type EventHead, type EventReader, eventReader, headOf } from "./reading.ts";
import { type OriginRow, openRows, type Rows } from "./rows.ts";

export interface Salvaged {
  /** Events that were written out completely; `searched`: how many of them had to be searched for in the file's pages. */
  readonly whole: number;
  readonly searched: number;
  /** Events of which only texts could be written; these may differ from the original ones. */
  readonly damaged: number;
  /** Events whose content was deleted on purpose, because the device may not hold it any more. */
  readonly purged?: number;
  /** Events that the database counts, but of which nothing was found. */
  readonly lost: readonly { readonly origin: string; readonly seq: number }[];
  /** Why the database could not be read as one; `null`: it could. */
  readonly problem: string | null;
}

/** An event in the file: `level` as in `status`, or `MOVED` (written again under a later name), `ASIDE`, `FOUND` (nothing more is known of it). */
interface Line {
  readonly origin: string;
  readonly seq: number;
  readonly level: string;
}

/**
 * Writes every event of a device's database that can be read, one a line, however badly the file is damaged; of the other events it writes what is readable.
 * The database is only read. Where SQLite cannot read it, each page is searched by itself.
 */
export function salvage(path: string, write: (line: object) => void): Salvaged {
  if (!existsSync(path))
    throw new TributaryError("not-found", `there is no file at ${path}`, "Name the field database with --db.");
  const out = { whole: 0, searched: 0, damaged: 0 };
  let purged = 0;
  const missing = new Map<string, { readonly origin: string; readonly seq: number; readonly line: object | null }>();
  const done = new Set<string>();
  let problem: string | null = null;
  try {
    using db = new DatabaseSync(path, { readOnly: true });
    const version = versionOf(db);
    const rows = openRows(db, version < 2);
    const reader = eventReader({ rows });
    const origins = rows.origins();
    if (origins.length === 0) throw new Error("there is no origin in it");
    for (const origin of origins) {
      const aside = version < 3 ? new Set<number>() : new Set(rows.asideOf(origin.id).map(({ seq }) => seq));
      for (let seq = 0; seq < origin.nextSeq; seq++) {
        const key = `${origin.name}/${seq}`;
        const found = reader.at(origin, seq);
        const line = wholeLine(reader, origin, seq, levelOf(origin, seq, aside));
        if (found.kind === "damaged" && found.isPurged) {
          // What was written again stands under its new name.
          if (seq <= origin.lastSeq || aside.has(seq)) purged++;
          done.add(key);
        } else if (line !== null) {
          write(line);
          out.whole++;
          done.add(key);
        } else {
          missing.set(key, { origin: origin.name, seq, line: damagedLine({ rows, reader }, origin, seq) });
        }
      }
    }
  } catch (error) {
    problem = messageOf(error);
  }
  if (problem !== null || missing.size > 0) search(path, { write, out, missing, done });
  const lost: { origin: string; seq: number }[] = [];
  for (const [key, { origin, seq, line }] of missing) {
    if (done.has(key)) continue;
    if (line === null) lost.push({ origin, seq });
    else {
      write(line);
      out.damaged++;
    }
  }
  return { ...out, ...(purged === 0 ? {} : { purged }), lost, problem };
}

function levelOf({ syncedThrough, queuedThrough, lastSeq }: OriginRow, seq: number, aside: ReadonlySet<number>): string {
  if (aside.has(seq)) return "ASIDE";
  if (seq > lastSeq) return "MOVED";
  return seq <= syncedThrough ? "SYNCED" : seq <= queuedThrough ? "QUEUED" : "LOCAL";
}

const lineOf = (line: Line, head: EventHead, data: string, hash: string): object => ({
  ...line,
  id: eventIdOf(parseHlc(head.hlc).wallMs, hash as Hash),
  hash,
  event: { ...head, data: jsonOr(data) },
});

/** Data as JSON; as text where it is not JSON. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function wholeLine(reader: EventReader, origin: OriginRow, seq: number, level: string): object | null {
  const found = reader.at(origin, seq);
  if (found.kind === "damaged" || reader.damageAt(origin, seq) !== null) return null;
  return lineOf({ origin: origin.name, seq, level }, found.head, found.row.data, found.row.hash);
}

/** What is left of a damaged event; `null`: nothing. Each column is read by itself, because each may be on another page. */
function damagedLine(
  { rows, reader }: { readonly rows: Rows; readonly reader: EventReader },
  origin: OriginRow,
  seq: number,
): object | null {
  const texts: Record<string, unknown> = {};
  for (const column of ["head", "data", "hash"] as const) {
    try {
      const value = rows.eventText(column, origin.id, seq);
      if (value !== null) texts[column] = value;
    } catch {
      // This column is lost; the others may not be.
    }
  }
  if (Object.keys(texts).length === 0) return null;
  const found = reader.at(origin, seq);
  const damaged = found.kind === "damaged" ? found.reason : (reader.damageAt(origin, seq) ?? "it cannot be read");
  return { origin: origin.name, seq, level: "DAMAGED", damaged, ...texts };
}

/** What a search needs: what was written so far, and what is missing, by origin and seq. */
interface Search {
  readonly write: (line: object) => void;
  readonly out: { whole: number; searched: number; damaged: number };
  readonly missing: ReadonlyMap<string, { readonly origin: string; readonly seq: number; readonly line: object | null }>;
  readonly done: Set<string>;
}

/** Searches the file's pages for what SQLite could not read. An event whose hash follows from a known hash before it is intact; of the others, the last image counts. */
function search(path: string, { write, out, missing, done }: Search): void {
  const named = (carved: Carved): { readonly key: string; readonly head: EventHead } | null => {
    const loose = jsonOr(carved.head);
    if (!isJsonObject(loose) || typeof loose.origin !== "string" || typeof loose.seq !== "number") return null;
    const head = headOf(carved.head, loose.origin as EventHead["origin"], loose.seq);
    return head === null || !isHash(carved.hash) ? null : { key: `${head.origin}/${head.seq}`, head };
  };
  const hashes = new Map<string, Set<Hash>>();
  for (const carved of carve(path)) {
    const found = named(carved);
    if (found === null) continue;
    const known = hashes.get(found.key) ?? new Set();
    hashes.set(found.key, known.add(carved.hash as Hash));
  }
  const unproven = new Map<string, object>();
  for (const carved of carve(path)) {
    const found = named(carved);
    if (found === null || done.has(found.key)) continue;
    const { key, head } = found;
    const before = head.seq === 0 ? [GENESIS] : (hashes.get(`${head.origin}/${head.seq - 1}`) ?? []);
    const isProven = [...before].some((prev) => chainHash(prev, eventText(head, carved.data)) === carved.hash);
    if (isProven) {
      write(lineOf({ origin: head.origin, seq: head.seq, level: "FOUND" }, head, carved.data, carved.hash));
      out.whole++;
      out.searched++;
      done.add(key);
    } else {
      const { data, hash } = carved;
      const damaged = "its hash does not follow from its content and an event before it";
      unproven.set(key, { origin: head.origin, seq: head.seq, level: "DAMAGED", damaged, head: carved.head, data, hash });
    }
  }
  for (const [key, line] of unproven) {
    if (done.has(key) || missing.get(key)?.line != null) continue;
    write(line);
    out.damaged++;
    done.add(key);
  }
}
