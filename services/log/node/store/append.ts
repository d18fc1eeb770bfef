import { positionFromNumber } from "../../../core/index.ts";
import type { Expected, ProposedEvent } from "../messages.ts";
import type { Book } from "./book.ts";
import type { WriteOutcome } from "./contract.ts";
import type { Head } from "./heads.ts";
import { aboutOf, applyMeta, isMeta, metaWith, writeMeta } from "./metadata.ts";

/** Appends events to a stream, if the stream is at the expected revision. */
export function append(book: Book, stream: string, expected: Expected, events: readonly ProposedEvent[]): WriteOutcome {
  const { sql, heads } = book;
  const head = heads.make(stream);
  const about = isMeta(stream) ? heads.find(aboutOf(stream)) : null;
  if (head.tombstoned || about?.tombstoned) return { kind: "deleted" };
  const judged = judge(book, head, expected, events);
  if (judged !== "write") return judged;
  if (events.length === 0) return { kind: "written", revision: head.last < 0 ? null : head.last, position: book.end() };
  const wasDeleted = head.truncateBefore === Number.POSITIVE_INFINITY;
  const first = head.last + 1;
  let position = book.end();
  for (const event of events) position = book.record(head, event, false);
  sql.setLast.run(head.last, 0, head.id);
  if (isMeta(stream)) applyMeta(book, stream, events.at(-1)!.data);
  if (wasDeleted) writeMeta(book, stream, metaWith(book, stream, String(first)));
  return { kind: "written", revision: head.last, position };
}

/**
 * What an append does, given what the stream holds. The answers are those of a real server: an append of events that are all there already, from
 * the expected revision on, succeeds again; one of events that are there only in part is refused.
 */
function judge(book: Book, head: Head, expected: Expected, events: readonly ProposedEvent[]): WriteOutcome | "write" {
  const wrong: WriteOutcome = { kind: "wrong-version", expected, actual: head.last };
  if (expected.kind === "stream_exists") {
    if (head.last < 0) return wrong;
    if (head.truncateBefore === Number.POSITIVE_INFINITY) return { kind: "deleted" };
  }
  if (expected.kind === "any" || expected.kind === "stream_exists") {
    let revision: number | null = null;
    for (const { id } of events) {
      const known = book.revisionOf(head, id);
      if (known === undefined) return revision === null ? "write" : wrong;
      revision = known;
    }
    return revision === null ? "write" : again(book, head, revision);
  }
  const after = expected.kind === "revision" ? expected.revision : -1;
  if (after > head.last) return wrong;
  if (after === head.last) return "write";
  let revision = after;
  for (const { id } of events) {
    revision++;
    if (book.sql.idAt.get(head.id, revision)?.id === id) continue;
    const isRecreation = revision === after + 1 && after === -1 && head.truncateBefore === Number.POSITIVE_INFINITY;
    return isRecreation ? "write" : wrong;
  }
  return revision === after ? wrong : again(book, head, revision);
}

function again({ sql, end }: Book, head: Head, revision: number): WriteOutcome {
  const row = sql.positionAt.get(head.id, revision);
  return { kind: "written", revision, position: row === undefined ? end() : positionFromNumber(Number(row.position)) };
}
