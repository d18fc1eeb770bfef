/**
 * As much of the peer's packages as `emmettThread.ts` uses, so that types are checked in a clone where they are not installed: they state no
 * licence, so they are no dependency of this project. In go nothing; out come their functions, loosely typed.
 */
import type pg from "pg";

export interface StoredEvent {
  readonly type: string;
  readonly data: Record<string, unknown>;
  readonly metadata: { readonly actor: string };
}

export interface ReadEvent {
  readonly type: string;
  readonly data: Record<string, unknown>;
  readonly metadata: { readonly streamName: string; readonly globalPosition: bigint };
}

type Execute = { readonly execute: unknown };
type Transaction = { readonly transaction: unknown };
type PeerPool = { withTransaction(work: (transaction: Transaction) => Promise<void>): Promise<void> };

interface Collection {
  insertMany(
    documents: readonly (Record<string, unknown> & { readonly _id: string })[],
  ): Promise<{ readonly insertedIds: readonly string[] }>;
  updateOne(filter: { readonly _id: string }, update: { readonly $set: Record<string, unknown> }): Promise<unknown>;
}

export interface Projection {
  readonly name?: string;
  readonly canHandle: readonly string[];
  readonly init?: (options: {
    readonly version: number;
    readonly registrationType: "async";
    readonly context: Execute;
  }) => Promise<void> | void;
  handle(events: ReadEvent[], context: Execute): Promise<unknown> | unknown;
}

export interface ProcessorContext {
  /** The consumer always gives it. */
  readonly connection?: { readonly pool: PeerPool; readonly connectionString: string };
  readonly execute?: unknown;
}

export interface Processor {
  readonly id: string;
  readonly instanceId: string;
  readonly type: "projector";
  readonly isActive: boolean;
  init(context: ProcessorContext): Promise<void>;
  start(context: ProcessorContext): Promise<"BEGINNING" | { readonly lastCheckpoint: bigint }>;
  close(): Promise<void>;
  handle(messages: readonly ReadEvent[], context: ProcessorContext): Promise<{ readonly type: "STOP" } | undefined>;
}

interface Store {
  readonly schema: { migrate(): Promise<unknown> };
  appendToStream(stream: string, events: readonly StoredEvent[]): Promise<unknown>;
  consumer(options: {
    readonly stopWhen: { readonly noMessagesLeft: boolean };
    readonly pulling?: { readonly batchSize: number; readonly pullingFrequencyInMs: number };
    readonly processors: readonly unknown[];
  }): { start(): Promise<unknown>; close(): Promise<unknown> };
}

export interface EmmettPostgres {
  getPostgreSQLEventStore(
    url: string,
    options: {
      readonly schema: { readonly autoMigration: "None" };
      readonly connectionOptions: { readonly connectionString: string; readonly pool: pg.Pool };
    },
  ): Store;
  pongoProjection(options: {
    readonly name: string;
    readonly canHandle: readonly string[];
    readonly handle: (
      events: readonly ReadEvent[],
      context: { readonly pongo: { db(): { collection(name: string): Collection } } },
    ) => Promise<void>;
  }): Projection;
  pongoSingleStreamProjection(options: {
    readonly collectionName: string;
    readonly canHandle: readonly string[];
    readonly getDocumentId: (event: ReadEvent) => string;
    readonly initialState: () => Record<string, unknown>;
    readonly evolve: (document: Record<string, unknown>, event: ReadEvent) => Record<string, unknown>;
  }): Projection;
  postgreSQLProjector(options: { readonly projection: Projection }): unknown;
  readProcessorCheckpoint(
    execute: unknown,
    of: { readonly processorId: string },
  ): Promise<{ readonly lastProcessedCheckpoint: bigint | null }>;
  storeProcessorCheckpoint(
    execute: unknown,
    place: {
      readonly processorId: string;
      readonly version: number;
      readonly lastProcessedCheckpoint: bigint | null;
      readonly newCheckpoint: bigint;
    },
  ): Promise<{ readonly success: boolean }>;
  transactionToPostgreSQLProjectionHandlerContext(
    connectionString: string,
    pool: PeerPool,
    transaction: Transaction,
  ): Promise<Execute>;
}

/** A name the compiler does not look up: the package is there on demand only. */
const PACKAGE: string = "@event-driven-io/emmett-postgresql";

export const loadEmmett = async (): Promise<EmmettPostgres> => (await import(PACKAGE)) as EmmettPostgres;
