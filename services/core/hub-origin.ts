/** An origin of a hub itself, to which any process of the hub appends. */
import type { LogEntry } from "./entry.ts";
import type { EntityRef, SchemaRef } from "./event.ts";
import type { JsonObject } from "./json.ts";

/** An event of the hub's own, before it has its seq. */
export interface OwnEvent {
  readonly type: string;
  readonly entity: EntityRef;
  readonly schema: SchemaRef;
  readonly data: JsonObject;
  readonly actor: string;
  /** When it happened. */
  readonly atMs: number;
}

/** Who decides what an origin of the hub says next, by what it has said. */
export interface OwnAuthor {
  /** The log may be another one: what was seen of it is worth nothing. All of it is shown again. */
  restart(): void;
  /** Takes in an event of the hub's origins of this name, in each of their order. */
  see(entry: LogEntry): void;
  /** The next events; empty: there are none. Asked again after they are written, and whenever another process was first. */
  next(): Promise<readonly OwnEvent[]>;
}

export interface HubOrigin {
  /** Appends what the author asks for, until it asks for nothing more. Returns how many events were appended. One call at a time. */
  append(author: OwnAuthor): Promise<number>;
}
