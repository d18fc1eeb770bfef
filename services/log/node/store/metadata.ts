import type { Position } from "../../../core/index.ts";
import { dataIn, type ProposedEvent } from "../messages.ts";
import type { Book } from "./book.ts";

/** Streams named `$$x` hold the metadata of stream `x`. */
export const isMeta = (stream: string): boolean => stream.startsWith("$$");
export const aboutOf = (metaStream: string): string => metaStream.slice(2);

/** An event that the node itself writes. */
export const ownEvent = (type: string, contentType: string, data: Buffer): ProposedEvent => ({
  id: crypto.randomUUID(),
  type,
  contentType,
  data,
  metadata: Buffer.alloc(0),
});

/** Applies a metadata event to the stream that it is about. */
export function applyMeta({ sql, heads }: Book, metaStream: string, data: Buffer): void {
  const head = heads.make(aboutOf(metaStream));
  let meta: Record<string, unknown> = {};
  try {
    meta = JSON.parse(data.toString("utf8")) as Record<string, unknown>;
  } catch {
    // Metadata that is not JSON has no effect, as on a real server.
  }
  const whole = (value: unknown): number | null => (typeof value === "number" && value >= 0 ? value : null);
  head.maxCount = whole(meta.$maxCount);
  head.maxAgeS = whole(meta.$maxAge);
  const tb = whole(meta.$tb) ?? 0;
  head.truncateBefore = tb > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : tb;
  sql.setMeta.run(
    head.maxCount,
    head.maxAgeS,
    head.truncateBefore === Number.POSITIVE_INFINITY ? -1 : tb === 0 ? null : tb,
    head.id,
  );
}

/** Writes a stream's metadata. Returns the position. */
export function writeMeta(book: Book, stream: string, json: string): Position {
  const head = book.heads.make(`$$${stream}`);
  const data = Buffer.from(json);
  const position = book.record(head, ownEvent("$metadata", "application/json", data), false);
  book.sql.setLast.run(head.last, 0, head.id);
  applyMeta(book, head.name, data);
  return position;
}

/** The stream's metadata with another `$tb`, as JSON text: 2^63 − 1 is not a JavaScript number. */
export function metaWith({ sql, heads }: Book, stream: string, tb: string): string {
  const head = heads.find(`$$${stream}`);
  const last = head === null || head.last < 0 ? undefined : (sql.lastMessage.get(head.id)?.message as Uint8Array | undefined);
  let rest: Record<string, unknown> = {};
  if (last !== undefined) {
    try {
      const { $tb: _, ...others } = JSON.parse(dataIn(Buffer.from(last)).toString("utf8")) as Record<string, unknown>;
      rest = others;
    } catch {
      // Metadata that is not JSON has nothing to keep.
    }
  }
  const text = JSON.stringify(rest);
  return text === "{}" ? `{"$tb":${tb}}` : `{"$tb":${tb},${text.slice(1)}`;
}
