import { type Expected, TOMBSTONE_REVISION } from "../messages.ts";
import type { Book } from "./book.ts";
import type { WriteOutcome } from "./contract.ts";
import { metaWith, ownEvent, writeMeta } from "./metadata.ts";

/** Deletes a stream, which may begin again later, or puts a tombstone on it for good. */
export function erase(book: Book, kind: "delete" | "tombstone", stream: string, expected: Expected): WriteOutcome {
  const { sql, heads } = book;
  const head = heads.find(stream);
  const last = head?.last ?? -1;
  if (head?.tombstoned) return { kind: "deleted" };
  const wrong: WriteOutcome = { kind: "wrong-version", expected, actual: last };
  // For a deletion, a stream that has metadata exists, even if it holds no events.
  const isKnown = last >= 0 || (heads.find(`$$${stream}`)?.last ?? -1) >= 0;
  if (kind === "delete" && !isKnown) return wrong;
  if (expected.kind === "revision" && expected.revision !== last) return wrong;
  if (expected.kind === "no_stream" && last >= 0) return wrong;
  if (expected.kind === "stream_exists" && last < 0) return wrong;
  if (kind === "delete")
    return {
      kind: "written",
      revision: last,
      position: writeMeta(book, stream, metaWith(book, stream, TOMBSTONE_REVISION.toString())),
    };
  const target = heads.make(stream);
  const position = book.record(target, ownEvent("$streamDeleted", "application/octet-stream", Buffer.alloc(0)), true);
  sql.setLast.run(target.last, 1, target.id);
  return { kind: "written", revision: last, position };
}
