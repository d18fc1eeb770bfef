import type { Position } from "../../../core/index.ts";
import type { Expected, ProposedEvent } from "../messages.ts";

/** How many bytes one append may hold, as a real server counts them: data, metadata, and two bytes for each character of the type. */
export const MAX_APPEND_BYTES = 1_048_576;

/** How many bytes of events one read takes into memory; a larger event is read alone. */
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
  /** Events created before this are older than the stream's age limit. */
  readonly notBeforeMs: number;
}

export interface Store {
  /** Writes in a transaction that all writes asked for at the same time share. The write is durable when this resolves. */
  write(write: Write): Promise<WriteOutcome>;
  view(stream: string): StreamView;
  /** Events of a stream, from a revision on: at most `limit` events and `MAX_READ_BYTES`, but at least one where there is any. */
  readStream(stream: string, from: number, limit: number, backwards: boolean): StoredEvent[];
  /** Events of the whole log, bounded in the same way: from a position on, or backwards from before it. */
  readAll(from: Position, limit: number, backwards: boolean): StoredEvent[];
  /** Whether an event stands at exactly this position. */
  isPosition(position: Position): boolean;
  /** The last position written; 0 for an empty log. */
  end(): Position;
  /** The folder of the database; `null`: it is in memory. */
  readonly dataDir: string | null;
  /** Copies the database to a new file while it is at work, `pages` at a time; what is committed meanwhile is in the copy. */
  copyTo(path: string, pages: number, onProgress: (done: number, total: number) => void): Promise<void>;
  /** Calls `listener` after each transaction with the events that it wrote. Returns a function that ends this. */
  onCommit(listener: (events: readonly StoredEvent[]) => void): () => void;
  close(): void;
}

export const appendBytes = (events: readonly ProposedEvent[]): number =>
  events.reduce((sum, { data, metadata, type }) => sum + data.length + metadata.length + type.length * 2, 0);
