/**
 * Emmett 0.42 with Pongo 0.16, used as well as we know how. In go a server's address and events; out come its rates. Never a rate whose
 * documents are not those of the events.
 *
 * What was tried, on 2 shared cores with PostgreSQL 18 beside it, events/s (other load moved them by a fifth):
 *
 *     append, a stream per entity, windows of 500   1 in flight 1,050; 4: 2,200; 8: 2,450; 16: 2,300-3,050; 32: 2,500-3,200
 *     append, a stream per site, in hundreds        33,500 (few streams, so few appends; not what is asked of either side)
 *     its projector, single-stream projection       defaults (100, 50 ms) 600-630; 500 every 1 ms 900-1,030; 25 to 250 840-940
 *       a consumer for each collection              1,200
 *       a kept Pongo client, no CREATE TABLE each   1,430
 *       insertOne or updateOne in place of handle   1,900
 *       one raw SQL upsert each                     2,100
 *     whole batches of 500, one checkpoint each     single-stream projection 1,950; insertOne or updateOne 3,350; raw upserts 3,900
 *       merged in memory, insertMany, updateOne     100: 4,100; 500: 5,000-5,500; 1,000: 7,600; 2,000: 8,000; 5,000: 8,500-12,900
 *
 * The last is what `projectPerSecond` measures. What is left is mostly a round trip for each updated document: Pongo has no update of
 * many documents with different values. Its own projector makes four for each event: the table's creation, a read, a write, a checkpoint.
 */
import { isDeepStrictEqual } from "node:util";
import { parentPort, workerData } from "node:worker_threads";
import pg from "pg";
import type { PeerEvent, PeerFigures, PeerMessage, PeerTask } from "./emmett.ts";
import { loadEmmett, type Processor, type ProcessorContext, type Projection, type StoredEvent } from "./emmettShapes.ts";

const {
  getPostgreSQLEventStore,
  pongoProjection,
  pongoSingleStreamProjection,
  postgreSQLProjector,
  readProcessorCheckpoint,
  storeProcessorCheckpoint,
  transactionToPostgreSQLProjectionHandlerContext,
} = await loadEmmett();

const APPENDS_IN_FLIGHT = 16;
/** Events of one stream among so many of the workload go into one append, as Tributary's gate takes them. */
const WINDOW_EVENTS = 500;
const BULK = { batchSize: 5_000, pullingFrequencyInMs: 1 };
const TUNED = { batchSize: 500, pullingFrequencyInMs: 1 };
const MAX_POOL_CONNECTIONS = 16;
const CHECKED_EACH = 97;

type Data = Record<string, unknown>;
type Collection = (typeof COLLECTIONS)[number];

const COLLECTIONS = [
  { entity: "beneficiary", collectionName: "beneficiaries", canHandle: ["beneficiary.registered", "beneficiary.updated"] },
  { entity: "distribution", collectionName: "distributions", canHandle: ["distribution.recorded"] },
] as const;

const streamOf = ({ entity }: PeerEvent): string => `${entity.type}-${entity.id}`;
const idOf = (streamName: string): string => streamName.slice(streamName.indexOf("-") + 1);

async function rateOf(count: number, work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (count / (performance.now() - startedMs)) * 1000;
}

const databaseUrl = (url: string, name: string): string => {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
};

/** A pool for one database, ended with its scope: a database with a connection can neither be copied nor dropped. */
function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: MAX_POOL_CONNECTIONS });
  pool.on("error", () => {}); // an idle connection's; one in use reports to its query
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}

const storeOn = (url: string, pool: pg.Pool) =>
  getPostgreSQLEventStore(url, { schema: { autoMigration: "None" }, connectionOptions: { connectionString: url, pool } });

/** The appends of the workload in as many lanes as run at once: a stream's all in one lane, in order, so that none conflicts. */
function appendLanes(events: readonly PeerEvent[]): { readonly stream: string; readonly events: StoredEvent[] }[][] {
  const lanes = Array.from({ length: APPENDS_IN_FLIGHT }, (): { stream: string; events: StoredEvent[] }[] => []);
  const laneOf = new Map<string, number>();
  for (let at = 0; at < events.length; at += WINDOW_EVENTS) {
    const byStream = Map.groupBy(events.slice(at, at + WINDOW_EVENTS), streamOf);
    for (const [stream, some] of byStream) {
      const lane = laneOf.get(stream) ?? laneOf.size % lanes.length;
      laneOf.set(stream, lane);
      lanes[lane]!.push({ stream, events: some.map(({ type, data, actor }) => ({ type, data, metadata: { actor } })) });
    }
  }
  return lanes;
}

async function fill(url: string, events: readonly PeerEvent[]): Promise<number> {
  await using pool = openPool(url);
  const store = storeOn(url, pool);
  await store.schema.migrate();
  const lanes = appendLanes(events);
  const rate = await rateOf(events.length, () =>
    Promise.all(
      lanes.map(async (lane) => {
        for (const { stream, events: some } of lane) await store.appendToStream(stream, some);
      }),
    ),
  );
  await inOneOrder(pool);
  return rate;
}

/**
 * The consumer of 0.42 reads by transaction and then remembers a position, so of events appended at the same time it leaves some out
 * (mended in 0.43, its pull request 336). As if of one transaction, the two orders are the same, and all events are projected.
 */
async function inOneOrder(pool: pg.Pool): Promise<void> {
  await pool.query("UPDATE emt_messages SET transaction_id = (SELECT min(transaction_id) FROM emt_messages)");
  await pool.query("VACUUM FULL ANALYZE emt_messages");
  await pool.query("VACUUM ANALYZE emt_streams");
}

const singleStream = ({ collectionName, canHandle }: Collection): Projection =>
  pongoSingleStreamProjection({
    collectionName,
    canHandle: [...canHandle],
    getDocumentId: ({ metadata }) => idOf(metadata.streamName),
    initialState: () => ({}),
    evolve: (document, event) => ({ ...document, ...event.data }),
  });

/** Merges a batch's events by document, inserts those documents in one statement, and updates the ones that were there. */
const bulk = ({ collectionName, canHandle }: Collection): Projection =>
  pongoProjection({
    name: collectionName,
    canHandle: [...canHandle],
    handle: async (events, { pongo }) => {
      const changes = new Map<string, Data>();
      for (const { data, metadata } of events) {
        const id = idOf(metadata.streamName);
        changes.set(id, { ...changes.get(id), ...data });
      }
      const collection = pongo.db().collection(collectionName);
      const { insertedIds } = await collection.insertMany([...changes].map(([_id, data]) => ({ ...data, _id })));
      const inserted = new Set(insertedIds);
      for (const [_id, data] of changes) if (!inserted.has(_id)) await collection.updateOne({ _id }, { $set: data });
    },
  });

/**
 * A processor for Emmett's consumer that hands a projection the whole batch, in one transaction with one checkpoint. Its own projector
 * calls the projection and stores a checkpoint for each event.
 */
function batchProcessor(projection: Projection, onError: (error: unknown) => void): Processor {
  const id = `bench:${projection.name}`;
  let isActive = false;
  let checkpoint: bigint | null = null;
  const inTransaction = (
    context: ProcessorContext,
    work: (context: { readonly execute: unknown }) => Promise<void>,
  ): Promise<void> => {
    const { pool, connectionString } = context.connection!;
    return pool.withTransaction(async (transaction) =>
      work(await transactionToPostgreSQLProjectionHandlerContext(connectionString, pool, transaction)),
    );
  };
  return {
    id,
    instanceId: id,
    type: "projector",
    get isActive() {
      return isActive;
    },
    init: (context) =>
      inTransaction(
        context,
        async (inner) => void (await projection.init?.({ version: 1, registrationType: "async", context: inner })),
      ),
    start: async ({ execute }) => {
      isActive = true;
      checkpoint = (await readProcessorCheckpoint(execute, { processorId: id })).lastProcessedCheckpoint;
      return checkpoint === null ? "BEGINNING" : { lastCheckpoint: checkpoint };
    },
    close: async () => {
      isActive = false;
    },
    handle: async (messages, context) => {
      const last = messages.at(-1)?.metadata.globalPosition;
      if (last === undefined) return;
      try {
        await inTransaction(context, async (inner) => {
          const mine = messages.filter(({ type }) => projection.canHandle.includes(type));
          if (mine.length > 0) await projection.handle(mine, inner);
          const move = { processorId: id, version: 1, lastProcessedCheckpoint: checkpoint, newCheckpoint: last };
          const { success } = await storeProcessorCheckpoint(inner.execute, move);
          if (!success) throw new Error(`${id}: the checkpoint was moved by another`);
        });
        checkpoint = last;
      } catch (error) {
        onError(error); // the consumer ends in silence
        isActive = false;
        return { type: "STOP" };
      }
    },
  };
}

interface Way {
  readonly name: string;
  readonly projection: (collection: Collection) => Projection;
  readonly isBatched: boolean;
  readonly pulling?: typeof TUNED;
}

/** From the consumer's start on a filled store until it finds nothing left. */
async function project(url: string, count: number, { projection, isBatched, pulling }: Way): Promise<number> {
  await using pool = openPool(url);
  const store = storeOn(url, pool);
  const errors: unknown[] = [];
  const projections = COLLECTIONS.map(projection);
  const consumer = store.consumer({
    stopWhen: { noMessagesLeft: true },
    ...(pulling === undefined ? {} : { pulling }),
    processors: projections.map((projection) =>
      isBatched ? batchProcessor(projection, (error) => errors.push(error)) : postgreSQLProjector({ projection }),
    ),
  });
  const rate = await rateOf(count, () => consumer.start());
  await consumer.close();
  if (errors.length > 0) throw errors[0];
  return rate;
}

/** Counts all documents and compares one in so many, with what the events say. Returns how many there are. */
async function check(url: string, events: readonly PeerEvent[]): Promise<number> {
  await using pool = openPool(url);
  let documents = 0;
  for (const { entity, collectionName } of COLLECTIONS) {
    const wanted = new Map<string, Data>();
    for (const event of events) {
      if (event.entity.type === entity) wanted.set(event.entity.id, { ...wanted.get(event.entity.id), ...event.data });
    }
    const counted = await pool.query<{ count: string | bigint }>(`SELECT count(*) FROM ${collectionName}`);
    const found = Number(counted.rows[0]?.count);
    if (found !== wanted.size) throw new Error(`the peer has ${found} ${collectionName} instead of ${wanted.size}`);
    documents += found;
    const ids = [...wanted.keys()].filter((_, i) => i % CHECKED_EACH === 0);
    const { rows } = await pool.query<{ id: string; data: Data }>(
      `SELECT _id AS id, data - '_id' - '_version' AS data FROM ${collectionName} WHERE _id = ANY ($1)`,
      [ids],
    );
    for (const { id, data } of rows) {
      if (!isDeepStrictEqual(data, wanted.get(id)))
        throw new Error(`the peer's ${collectionName} ${id} is not what its events say`);
    }
    if (rows.length !== ids.length) throw new Error(`the peer lacks some of its ${collectionName}`);
  }
  return documents;
}

async function measure(
  { postgresUrl, events, withProjector = false, withDefaults = false }: PeerTask,
  say: (line: string) => void,
): Promise<PeerFigures> {
  const filled = `emmett_${process.pid}_${Date.now()}`;
  const copy = `${filled}_copy`;
  await using admin = openPool(postgresUrl);
  const drop = (name: string) => admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  const measured = async (way: Way): Promise<{ rate: number; documents: number }> => {
    await admin.query(`CREATE DATABASE ${copy} TEMPLATE ${filled}`);
    try {
      const url = databaseUrl(postgresUrl, copy);
      const rate = await project(url, events.length, way);
      const documents = await check(url, events);
      say(`Emmett, ${way.name}: ${Math.round(rate)} events/s into ${documents} documents`);
      return { rate, documents };
    } finally {
      await drop(copy);
    }
  };
  try {
    await admin.query(`CREATE DATABASE ${filled}`);
    const appendPerSecond = await fill(databaseUrl(postgresUrl, filled), events);
    say(`Emmett, append: ${Math.round(appendPerSecond)} events/s`);
    const best = await measured({ name: "whole batches", projection: bulk, isBatched: true, pulling: BULK });
    const figures = { appendPerSecond, projectPerSecond: best.rate, documents: best.documents };
    if (!withProjector) return figures;
    const own = { projection: singleStream, isBatched: false };
    const tuned = await measured({ ...own, name: "its projector, tuned", pulling: TUNED });
    if (!withDefaults) return { ...figures, projectorPerSecond: tuned.rate };
    const defaults = await measured({ ...own, name: "its projector, defaults" });
    return { ...figures, projectorPerSecond: tuned.rate, defaultsPerSecond: defaults.rate };
  } finally {
    await drop(filled);
  }
}

const post = (message: PeerMessage): void => parentPort?.postMessage(message);
// Sent by benchEmmett, the only one who starts this thread.
post({ figures: await measure(workerData as PeerTask, (line) => post({ line })) });
