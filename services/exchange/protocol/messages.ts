/** What a replica asks for. JSON, small, signed by the device as a hello is. The answer is a page (`page.ts`). */
import { z } from "zod";
import {
  type BucketId,
  type Hash,
  hashSchema,
  isBucketId,
  isOriginId,
  keyIdSchema,
  MAX_HUB_KEYS,
  MAX_WALL_MS,
  type OriginId,
  publicKeySchema,
  type Seq,
  signatureSchema,
} from "../../core/index.ts";

/** A replica holds at most so many buckets. */
export const MAX_BUCKETS = 10_000;
/** At most so many ranges, and so many entities by name, in one request for a bucket. */
export const MAX_RANGES = 256;
export const MAX_FETCHED = 1_000;
/** A range with at most so many entities is answered with their names and digests, a larger one with its 16 parts. */
export const LIST_AT = 64;
/** Events in one page, at most, and by default. */
export const MAX_PAGE_EVENTS = 2_000;
export const DEFAULT_PAGE_EVENTS = 1_000;

const hash = hashSchema as unknown as z.ZodType<Hash>;
const bucketId = z.custom<BucketId>((value) => typeof value === "string" && isBucketId(value), "is a bucket's id");
const origin = z.custom<OriginId>((value) => typeof value === "string" && isOriginId(value), "is written org.site.device.epoch");
const seqSchema = z.int().min(0) as unknown as z.ZodType<Seq>;
const prefix = z.string().regex(/^[0-9a-f]{0,16}$/);
const fingerprint = z.string().regex(/^[0-9a-f]{32}$/);

export const cursorSchema = z.strictObject({
  seal: z.int().min(0),
  head: hash,
  line: z.int().min(0).default(0),
  digest: hash.default("0".repeat(64) as Hash),
});

export const rangeSchema = z.strictObject({ prefix, count: z.int().min(0), fingerprint });

/** What a replica asks for of one bucket. */
export const bucketAskSchema = z.discriminatedUnion("kind", [
  /** What came after a cursor. */
  z.strictObject({ kind: z.literal("follow"), at: cursorSchema }),
  /** All entities, by range key, after one. `states`: their present states only; `events`: their histories. */
  z.strictObject({ kind: z.literal("members"), after: prefix.nullable(), want: z.enum(["states", "events"]) }),
  /** What differs in these ranges; and the histories of these entities (of a bucket of states only: their states). */
  z.strictObject({
    kind: z.literal("compare"),
    ranges: z.array(rangeSchema).max(MAX_RANGES),
    fetch: z.array(z.string().max(1_000)).max(MAX_FETCHED).default([]),
    /** Of entities to fetch whose histories are longer than a page: how many of their first events the replica has got already. */
    have: z.record(z.string().max(1_000), z.int().min(0)).optional(),
  }),
]);
export type BucketAsk = z.infer<typeof bucketAskSchema>;

export const pullRequestSchema = z.object({
  kind: z.literal("pull"),
  /** `org.site.device`. */
  device: z.string().refine((text) => isOriginId(`${text}.x`), "is written org.site.device"),
  protocol: z.object({ oldest: z.int().min(1).max(1_000), newest: z.int().min(1).max(1_000) }),
  nonce: z.string().min(16).max(64),
  sentAtMs: z.number().min(0).max(MAX_WALL_MS),
  /** The digest of the list of buckets that the replica was last told it may hold; `null`: it was told none. */
  holding: z.string().max(64).nullable(),
  /** The digest of all heads that the replica stands at (`summaryText`). The page then tells the hub's ends, unless they are the same; `buckets` is empty. */
  summary: z.string().max(64).optional(),
  /** The newest seal that the replica was told of. A door that remembers an earlier one looks again before it answers, so a device that goes from door to door is never told less than before. */
  seal: z.int().min(0).optional(),
  /** The device's own origins, each with the last seq that it holds itself: these events' contents need not be sent. */
  own: z.record(origin, seqSchema).default({}),
  /** The short fingerprints (`gate.fingerprint`) of the schema versions that the device has, by `subject@version`. Data in Avro can be sent in these only. */
  schemas: z.string().max(64).optional(),
  buckets: z
    .record(bucketId, bucketAskSchema)
    .refine((asked) => Object.keys(asked).length <= MAX_BUCKETS, `at most ${MAX_BUCKETS} buckets are asked for at a time`),
  /** Bounds of the page that is wanted. */
  maxBytes: z.int().min(1_000).max(1_000_000).default(256_000),
  maxEvents: z.int().min(1).max(MAX_PAGE_EVENTS).default(DEFAULT_PAGE_EVENTS),
  /** The hub's keys that the device knows. A hub that signs with none of them says first how its key follows from one of them. */
  pins: z.array(keyIdSchema).max(MAX_HUB_KEYS).optional(),
  key: publicKeySchema.optional(),
  signature: signatureSchema.optional(),
});
export type PullRequest = z.infer<typeof pullRequestSchema>;

/** What a replica asks for, without who asks: the device's identity adds that, and its signature. */
export type PullQuestion = Omit<
  PullRequest,
  "kind" | "device" | "protocol" | "nonce" | "sentAtMs" | "pins" | "key" | "signature"
>;
