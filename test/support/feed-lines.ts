import {
  type Bucket,
  type BucketId,
  bucketIdOf,
  type Cursor,
  entityDigest,
  FEED_START,
  GENESIS,
  type Hash,
  headAfter,
  type LogEntry,
  type OriginId,
  type Position,
  position,
  type Seq,
  segmentDigest,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import {
  type Db,
  type EventName,
  entityName,
  feedChanges,
  historiesUpTo,
  type LinePlace,
  linesAfter,
  migrate,
  type Placement,
  type SealedLine,
  SHARDS,
  shardOf,
} from "../../services/views/index.ts";

/** A feed that a test writes itself, in an empty database: what a projector does for its pages. */
export async function openFeed(db: Db) {
  await migrate(db);
  const known = new Map<string, BucketId>();
  const taken = new Map<Position, number>();
  return {
    /** Writes the lines that placements give, and no more. */
    async place(...placements: readonly Placement[]): Promise<void> {
      const { rows, moves, buckets } = feedChanges(known, placements, taken);
      for (const { entityType, entityId, to } of moves) {
        if (to === null) known.delete(entityName(entityType, entityId));
        else known.set(entityName(entityType, entityId), to);
      }
      for (const { position: at, ordinal } of rows) taken.set(at, ordinal + 1);
      for (const [id, { entityType, values }] of buckets)
        await db.query("INSERT INTO tributary.bucket VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", [
          id,
          entityType,
          JSON.stringify(values),
        ]);
      for (const row of rows)
        await db.query(
          "INSERT INTO tributary.feed (position, ordinal, bucket, kind, entity_type, entity_id, origin, seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
          [
            ...[row.position, row.ordinal, row.bucket, row.kind, row.entityType, row.entityId],
            ...[row.event?.origin, row.event?.seq],
          ],
        );
    },
    /** Says that shards have been folded so far; by default all of them. */
    async fold(to: number, shards: readonly number[] = Array.from({ length: SHARDS }, (_, shard) => shard)): Promise<void> {
      await db.query("UPDATE tributary.shard SET position = $1 WHERE shard = ANY($2)", [to, shards]);
    },
  };
}

export const districtOf = (district: string): Bucket => ({ entityType: "beneficiary", values: [district] });
export const ORIGIN = "relief.kampala.tablet-1.e1" as OriginId;
export const eventNamed = (seq: number): EventName => ({ origin: ORIGIN, seq: seq as Seq });
/** An entity is in a district from a position on. The event that put it there has the position's number. */
export const placed = (at: number, entityId: string, district: string | null, seqs: readonly number[] = [at]): Placement => ({
  entityType: "beneficiary",
  entityId,
  position: position(BigInt(at)),
  bucket: district === null ? null : districtOf(district),
  events: seqs.map(eventNamed),
});
export const shardOfEntity = (id: string): number => shardOf({ type: "beneficiary", id });

/** The hash of such an event. */
export const hashOfEvent = ({ seq }: EventName): Hash => sha256Hex(`event ${seq}`) as Hash;
/** A log that has these events, and any other, as far as their hashes are asked for. */
export const eventAt = async (origin: OriginId, seq: Seq): Promise<LogEntry | null> =>
  ({ head: { origin, seq, hash: hashOfEvent({ origin, seq }) } }) as unknown as LogEntry;

/** What a reader of a bucket's whole feed comes to, by its lines and the hashes of their events alone. */
export interface ReadFeed {
  readonly cursor: Cursor;
  /** The digest of each entity that is in the bucket. */
  readonly entities: ReadonlyMap<string, Hash>;
  /** Lines whose digest is not what the events before it give. */
  readonly wrong: readonly string[];
}

/** Reads a bucket's feed from a cursor on, as a replica does, a few lines at a time. `hashOf`: the hashes of events. */
export async function readFeed(
  db: Db,
  bucket: Bucket,
  { from = FEED_START, hashOf = hashOfEvent }: { from?: Cursor; hashOf?: (event: EventName) => Hash } = {},
): Promise<ReadFeed> {
  const id = bucketIdOf(bucket);
  const entities = new Map<string, Hash>();
  const wrong: string[] = [];
  let { seal, head } = from;
  let open: { seal: number; through: Position; digest: Hash } | null = null;
  let last: LinePlace | null = null;
  const close = (): void => {
    if (open === null) return;
    head = headAfter(head, open, sha256Hex);
    ({ seal } = open);
    open = null;
  };
  for (;;) {
    const lines: readonly SealedLine[] = await linesAfter(db, id, { seal, line: last }, 3);
    if (lines.length === 0) break;
    const entered = lines.filter(({ kind }) => kind === "enter");
    const histories = await historiesUpTo(db, id, entered, 10_000);
    const eventsOf = (line: SealedLine): readonly EventName[] =>
      line.kind === "enter" ? (histories[entered.indexOf(line)] ?? []) : line.event === null ? [] : [line.event];
    last = lines.at(-1) ?? null;
    for (const line of lines) {
      if (open !== null && open.seal !== line.seal) close();
      open ??= { seal: line.seal, through: line.through, digest: GENESIS };
      const before = line.kind === "event" ? (entities.get(line.entityId) ?? GENESIS) : GENESIS;
      const after = eventsOf(line).reduce((digest, event) => entityDigest(digest, hashOf(event), sha256Hex), before);
      if (line.kind === "exit") entities.delete(line.entityId);
      else entities.set(line.entityId, after);
      if (line.kind !== "exit" && after !== line.digest) wrong.push(`${line.kind} ${line.entityId} at ${line.position}`);
      open = { ...open, digest: segmentDigest(open.digest, line, sha256Hex) };
    }
  }
  close();
  return { cursor: { ...FEED_START, seal, head }, entities, wrong };
}
