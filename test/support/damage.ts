import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { type EventBody, eventText, GENESIS, type Hash, type Seq } from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import type { Field } from "../../services/field/index.ts";

/** Writes events past the outbox's own checks, chained as they should be: what an older program may have written. */
export function force(
  { store }: Field,
  events: readonly { readonly data: string; readonly over?: Partial<Omit<EventBody, "data">> }[],
): void {
  store.transaction(() => {
    const { id, name, nextSeq, head } = store.current();
    let prev: Hash = nextSeq === 0 ? GENESIS : head;
    let seq = nextSeq;
    const insert = store.db.prepare("INSERT INTO event (origin, seq, head, data, hash, fingerprint) VALUES (?, ?, ?, ?, ?, '')");
    for (const { data, over } of events) {
      const body = {
        type: "beneficiary.updated",
        origin: name,
        seq: seq as Seq,
        entity: { type: "beneficiary", id: "FORCED" },
        schema: { subject: "beneficiary-update", version: 1 },
        actor: "old program",
        org: store.name.org,
        occurredAt: "2026-11-01T00:00:00.000Z",
        hlc: `2026-11-01T00:00:00.000Z-${seq.toString(16).padStart(4, "0")}` as EventBody["hlc"],
        basis: {},
        ...over,
      };
      prev = chainHash(prev, eventText(body, data));
      insert.run(id, seq, JSON.stringify(body), data, prev);
      seq++;
    }
    store.db.prepare("UPDATE origin SET next_seq = ?, head = ? WHERE id = ?").run(seq, prev, id);
  });
}

/** The pages of the file that hold leaves of the table `event`, each with the seqs of the events whose text stands on it. */
export function pagesOf(path: string, label: (n: number) => string, count: number): Map<number, number[]> {
  const bytes = 4096;
  const pages = new Map<number, number[]>();
  const file = openSync(path, "r");
  const image = Buffer.alloc(bytes);
  for (let page = 1; readSync(file, image, 0, bytes, (page - 1) * bytes) === bytes; page++) {
    const there = Array.from({ length: count }, (_, n) => n).filter((n) => image.includes(label(n)));
    if (there.length > 0 && image[0] === 0x0a) pages.set(page, there);
  }
  closeSync(file);
  return pages;
}

/** Overwrites a page with bytes that are not a page. */
export function spoilPage(path: string, page: number, bytes = 4096): void {
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(bytes, 0xa5), 0, bytes, (page - 1) * 4096);
  closeSync(file);
}

/** Overwrites a text wherever it stands in a file. Returns how often it did. */
export function spoilText(path: string, text: string, by: string): number {
  const file = openSync(path, "r+");
  const all = Buffer.alloc(64 * 1_048_576);
  const bytes = readSync(file, all, 0, all.length, 0);
  let times = 0;
  for (let at = all.subarray(0, bytes).indexOf(text); at >= 0; at = all.subarray(0, bytes).indexOf(text, at + 1)) {
    writeSync(file, by, at);
    times++;
  }
  closeSync(file);
  return times;
}

/** Closes a database so that everything is in the file itself and nobody has it open. */
export function closeWhole(field: Field): void {
  field.store.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  field.close();
  const db = new DatabaseSync(field.store.path);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
}
