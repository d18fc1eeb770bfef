import type { Position } from "../../../core/index.ts";
import type { Expected, ProposedEvent } from "../messages.ts";

/** What one append may hold, as the real server counts: data, metadata, and two bytes a character of the type. */
export const MAX_APPEND_BYTES = 1_048_576;

/** Bytes of events that one read takes into memory; one that is larger comes alone. */
export const MAX_READ_BYTES = 4 * 1_048_576;

export interface StoredEvent {
  readonly position: Position;
  readonly revision: number;
  readonly stream: string;
  readonly type: string;
  readonly createdMs: number;
  /** The encoded ReadResp. */
  readonly message: Buffer;
}

export type WriteOutcome =
  | { readonly kind: "written"; readonly revision: number | null; readonly position: Position }
  | { readonly kind: "wrong-version"; readonly expected: Expected; readonly actual: number }
  | { readonly kind: "deleted" };

export type Write =
  | { readonly kind: "append"; readonly stream: string; readonly expected: Expected; readonly events: readonly ProposedEvent[] }
  | { readonly kind: "delete" | "tombstone"; readonly stream: string; readonly expected: Expected };

/** What a reader may see of a stream. */
export interface StreamView {
  readonly exists: boolean;
  readonly deleted: boolean;
  readonly tombstoned: boolean;
  readonly last: number;
  /** The first revision that truncation leaves visible. */
  readonly first: number;
  /** Events created before this are past their age. */
  readonly notBeforeMs: number;
}

export interface Store {
  /** Writes in a transaction shared with all writes asked for at the same time; durable when it resolves. */
  write(write: Write): Promise<WriteOutcome>;
  view(stream: string): StreamView;
  /** Events of a stream, from a revision on: at most `limit` of them and `MAX_READ_BYTES`, but at least one where there is any. */
  readStream(stream: string, from: number, limit: number, backwards: boolean): StoredEvent[];
  /** Events of the whole log, bounded likewise: from a position on, or backwards from before it. */
  readAll(from: Position, limit: number, backwards: boolean): StoredEvent[];
  /** Whether an event stands at exactly this position. */
  isPosition(position: Position): boolean;
  /** The last position written; 0 for an empty log. */
  end(): Position;
  /** Where the database lives; `null`: in memory. */
  readonly dataDir: string | null;
  /** Copies the database to a new file while it is at work, so many pages at a time; what is committed meanwhile is in the copy. */
  copyTo(path: string, pages: number, onProgress: (done: number, total: number) => void): Promise<void>;
  /** Called after each transaction with the events it wrote. Returns the way to stop. */
  onCommit(listener: (events: readonly StoredEvent[]) => void): () => void;
  close(): void;
}

export const appendBytes = (events: readonly ProposedEvent[]): number =>
  events.reduce((sum, { data, metadata, type }) => sum + data.length + metadata.length + type.length * 2, 0);
