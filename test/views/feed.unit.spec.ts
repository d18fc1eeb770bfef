import { describe, expect, it } from "vitest";
import {
  type Bucket,
  type BucketId,
  bucketIdOf,
  entityDigest,
  GENESIS,
  type Hash,
  headAfter,
  NO_ENTITIES,
  type OriginId,
  position,
  type Seq,
  segmentDigest,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import { entityName, type FeedRow, feedChanges, type Placement, seal } from "../../services/views/index.ts";

const bucket = (district: string): Bucket => ({ entityType: "beneficiary", values: [district] });
const [KAMPALA, NAIROBI] = [bucket("Kampala"), bucket("Nairobi")];
const event = (seq: number) => ({ origin: "relief.kampala.tablet-1.e1" as OriginId, seq: seq as Seq });
const placed = (at: number, entityId: string, to: Bucket | null, ...seqs: number[]): Placement => ({
  entityType: "beneficiary",
  entityId,
  position: position(BigInt(at)),
  bucket: to,
  events: seqs.map(event),
});
const says = ({ bucket: id, kind, entityId, event: from }: FeedRow): string =>
  `${id === bucketIdOf(KAMPALA) ? "Kampala" : "Nairobi"}: ${kind} ${entityId} ${from?.seq ?? "-"}`;
const hashOf = (row: FeedRow): Hash | null => (row.event === null ? null : (sha256Hex(`event ${row.event.seq}`) as Hash));

describe("the feed of a bucket", () => {
  it("says who entered, what came for them, and who left", () => {
    const { rows, moves } = feedChanges(new Map(), [
      placed(1, "K-1", KAMPALA, 0),
      placed(2, "K-1", KAMPALA, 1),
      placed(3, "K-1", NAIROBI, 2),
      placed(4, "K-2", KAMPALA, 3, 4),
      placed(5, "K-2", null, 5),
      placed(6, "K-3", null, 6),
    ]);
    expect(rows.map(says)).toEqual([
      "Kampala: enter K-1 0",
      "Kampala: event K-1 1",
      "Kampala: exit K-1 -",
      "Nairobi: enter K-1 2",
      "Kampala: enter K-2 3",
      "Kampala: event K-2 4",
      "Kampala: exit K-2 -",
    ]);
    expect(moves.map(({ entityId, from, to }) => [entityId, from === null, to === null])).toEqual([
      ["K-1", true, false],
      ["K-1", false, false],
      ["K-2", true, false],
      ["K-2", false, true],
    ]);
  });

  it("goes on from the buckets that entities are in, and from the lines that a position has", () => {
    const known = new Map<string, BucketId>([[entityName("beneficiary", "K-1"), bucketIdOf(KAMPALA)]]);
    const { rows } = feedChanges(known, [placed(9, "K-1", NAIROBI)], new Map([[position(9n), 2]]));
    expect(rows.map((row) => [says(row), row.ordinal])).toEqual([
      ["Kampala: exit K-1 -", 2],
      ["Nairobi: enter K-1 -", 3],
    ]);
  });

  it("keeps an entity that stays in its bucket, and puts one that is in none where it is to begin", () => {
    const stays = (at: number, entityId: string): Placement => ({ ...placed(at, entityId, NAIROBI, at), stays: true });
    const { rows, moves } = feedChanges(new Map(), [
      placed(1, "K-1", KAMPALA, 1),
      stays(2, "K-1"),
      stays(3, "K-2"),
      stays(4, "K-2"),
    ]);
    expect(rows.map(says)).toEqual([
      "Kampala: enter K-1 1",
      "Kampala: event K-1 2",
      "Nairobi: enter K-2 3",
      "Nairobi: event K-2 4",
    ]);
    expect(moves).toHaveLength(2);
  });

  it("is sealed so that a reader of its lines comes to the same head", () => {
    const { rows } = feedChanges(new Map(), [
      placed(1, "K-1", KAMPALA, 0),
      placed(2, "K-2", KAMPALA, 1),
      placed(3, "K-1", KAMPALA, 2),
    ]);
    const lines = rows.map((row) => ({ ...row, hash: hashOf(row) }));
    const sealed = seal(lines, { heads: new Map(), digests: new Map() }, { number: 1, through: position(3n) }, sha256Hex);
    let digest = GENESIS;
    for (const row of sealed.rows) digest = segmentDigest(digest, row, sha256Hex);
    expect(sealed.heads[0]).toMatchObject({
      head: headAfter(GENESIS, { seal: 1, through: position(3n), digest }, sha256Hex),
      count: 2,
    });
    const k1 = entityDigest(entityDigest(GENESIS, hashOf(rows[0]!)!, sha256Hex), hashOf(rows[2]!)!, sha256Hex);
    expect(sealed.entities.find(({ entityId }) => entityId === "K-1")?.digest).toBe(k1);
  });

  it("has the same fingerprint however it was cut into segments, and none once all have left", () => {
    const { rows } = feedChanges(new Map(), [
      placed(1, "K-1", KAMPALA, 0),
      placed(2, "K-2", KAMPALA, 1),
      placed(3, "K-1", KAMPALA, 2),
      placed(4, "K-2", NAIROBI, 3),
      placed(5, "K-1", NAIROBI, 4),
    ]);
    const lines = rows.map((row) => ({ ...row, hash: hashOf(row) }));
    const whole = seal(lines, { heads: new Map(), digests: new Map() }, { number: 1, through: position(5n) }, sha256Hex);
    const heads = new Map<BucketId, (typeof whole.heads)[number]>();
    const digests = new Map<string, Hash>();
    for (const [number, line] of lines.entries()) {
      const part = seal([line], { heads, digests }, { number: number + 1, through: line.position }, sha256Hex);
      for (const head of part.heads) heads.set(head.bucket, head);
      for (const each of part.entities) digests.set(entityName(each.entityType, each.entityId), each.digest);
    }
    for (const { bucket: id, fingerprint, count } of whole.heads) expect(heads.get(id)).toMatchObject({ fingerprint, count });
    expect(heads.get(bucketIdOf(KAMPALA))).toMatchObject({ fingerprint: NO_ENTITIES, count: 0 });
    expect(heads.get(bucketIdOf(NAIROBI))).toMatchObject({ count: 2 });
  });
});
