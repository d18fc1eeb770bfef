import { z } from "zod";
import type { ErrorCode } from "./errors.ts";
import { hashSchema, MAX_SCHEMA_VERSION } from "./event.ts";
import { MAX_WALL_MS } from "./hlc.ts";
import { type IncarnationId, isOriginId, type OriginId, type Seq } from "./ids.ts";
import { MAX_SCHEMA_TEXT } from "./schema-event.ts";
import { keyIdSchema, publicKeySchema, signatureSchema, successionSchema } from "./signing.ts";

/**
 * What field and hub say to each other besides batches: the hello with which a sync begins, and receipts.
 * All of it is JSON, small, and checked with these schemas on arrival.
 */

/** At most so many keys of one hub are named at a time, and so many successions between them in one answer. */
export const MAX_HUB_KEYS = 8;
export const MAX_SUCCESSIONS = 32;

const origin = z.custom<OriginId>((v) => typeof v === "string" && isOriginId(v), "is written org.site.device.epoch");
const seqSchema = z.int().min(0) as unknown as z.ZodType<Seq>;

/**
 * One life of the log. A log that was restored from a backup gives positions again that it gave before. So a new incarnation begins then, and
 * a position means nothing without the incarnation that gave it.
 */
export const incarnationIdSchema = z
  .string()
  .regex(/^[a-z2-7]{12}$/, "is an incarnation's id") as unknown as z.ZodType<IncarnationId>;
export const isIncarnationId = (text: string): text is IncarnationId => incarnationIdSchema.safeParse(text).success;

export const quarantineNoteSchema = z.object({ seq: seqSchema, code: z.string(), reason: z.string() });
/** One event that the gate held back: it is in the log at its seq, waiting for a fix. */
export type QuarantineNote = z.infer<typeof quarantineNoteSchema>;

export const receiptSchema = z.object({
  kind: z.literal("receipt"),
  /** `batchKey` of the frame that this answers; `null` in a hello. */
  batch: z.string().nullable(),
  origin,
  /** All events up to and including this seq are in the log. `null`: none yet. */
  through: seqSchema.nullable(),
  /** Hash of the event at `through`: tells a device that was restored from a backup that it is behind itself. */
  head: hashSchema.nullable(),
  /** Log position of the event at `through`, decimal. */
  position: z
    .string()
    .regex(/^\d{1,20}$/)
    .nullable(),
  /** The log's incarnation, which `position` belongs to. Absent: from a hub that does not send it. */
  incarnation: incarnationIdSchema.optional(),
  quarantined: z.array(quarantineNoteSchema),
  /** The hub's, over all the rest. */
  signature: signatureSchema.optional(),
});
/** The hub's word that events are in the log. Only this makes an event SYNCED. */
export type Receipt = z.infer<typeof receiptSchema>;

export const refusalSchema = z.object({
  kind: z.literal("refusal"),
  batch: z.string().nullable(),
  origin: origin.nullable(),
  firstSeq: seqSchema.nullable(),
  code: z.string() as unknown as z.ZodType<ErrorCode>,
  message: z.string(),
  hint: z.string(),
  /** How far the hub has the origin, if it knows it: a gap is closed by sending from `through + 1`. */
  through: seqSchema.nullable(),
  /** The nonce of the hello that this refuses. */
  nonce: z.string().max(64).optional(),
  /** The hub's clock, milliseconds: with `request-stale`, so that the sender asks again at once with the right time. */
  nowMs: z.number().min(0).max(MAX_WALL_MS).optional(),
  /** As in a hello, for a device that knows an older key of the hub. */
  successions: z.array(successionSchema).max(MAX_SUCCESSIONS).optional(),
  /** The hub's, over all the rest. */
  signature: signatureSchema.optional(),
});
/** The hub's word that a batch was not taken, and why. None of its events beyond `through` is in the log. */
export type Refusal = z.infer<typeof refusalSchema>;

export const replySchema = z.discriminatedUnion("kind", [receiptSchema, refusalSchema]);
export type Reply = z.infer<typeof replySchema>;

const version = z.int().min(1).max(MAX_SCHEMA_VERSION);
const references = z.array(z.object({ name: z.string().max(200), subject: z.string().max(200), version })).max(100);
/** A schema on its way between device and hub. */
export const schemaNewsSchema = z.object({
  subject: z.string().max(200),
  version,
  kind: z.enum(["avro", "json"]),
  text: z.string().max(MAX_SCHEMA_TEXT),
  references,
});
export type SchemaNews = z.infer<typeof schemaNewsSchema>;
/** At most so many schemas in one hello, of the hub and of the device each. The rest comes with the next hello. */
export const MAX_SCHEMA_NEWS = 100;
const MAX_PROPOSALS = 10;
/** One hello asks for the hashes of at most so many events: 15 cut the range in doubt to a sixteenth. */
export const MAX_HASHES_ASKED = 15;
/** One hello names at most so many older epochs of a device. */
export const MAX_OTHER_ORIGINS = 50;
/** Quarantined events that one hello asks about. The rest is asked with the next. */
export const MAX_MARKS_ASKED = 100;

/** The versions of the protocol that a side speaks. */
const spokenSchema = z.object({ oldest: z.int().min(1).max(1_000), newest: z.int().min(1).max(1_000) });

/** What the hub's people have said of an event in quarantine. `reason`: why they turned it down; `null`: the hub holds none. */
export const settledMarkSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("released"), origin, seq: seqSchema }),
  z.object({ state: z.literal("rejected"), origin, seq: seqSchema, reason: z.string().max(2_000).nullable() }),
]);
export type SettledMark = z.infer<typeof settledMarkSchema>;

/** When the request was made, by the hub's clock as far as the asker knows it: a signed request counts for some minutes, and only once. */
const asked = { sentAtMs: z.number().min(0).max(MAX_WALL_MS).optional() };
const nonceSchema = z.string().min(16).max(64);
const deviceName = z.string().refine((text) => isOriginId(`${text}.x`), "is written org.site.device");

/** Registers a device's key by a one-time code. Signed by that key, so knowing its public part is not enough. */
export const enrolmentSchema = z.object({
  kind: z.literal("enrolment"),
  device: deviceName,
  key: publicKeySchema,
  code: z.string().max(100),
  nonce: nonceSchema,
  signature: signatureSchema,
});
export type Enrolment = z.infer<typeof enrolmentSchema>;

/** Replaces a device's present key by a new one. Signed by the present key; `proof` is the new key's signature, over all but the two signatures. */
export const rotationSchema = z.object({
  kind: z.literal("rotation"),
  device: deviceName,
  key: publicKeySchema,
  nonce: nonceSchema,
  ...asked,
  proof: signatureSchema,
  signature: signatureSchema,
});
export type Rotation = z.infer<typeof rotationSchema>;

/** The hub's word that a device's key is enrolled. */
export const enrolledSchema = z.object({
  kind: z.literal("enrolled"),
  device: deviceName,
  kid: keyIdSchema,
  nonce: z.string().max(64),
  /** The hub's clock, milliseconds. */
  nowMs: z.number().min(0).max(MAX_WALL_MS),
  protocol: spokenSchema,
  /** The hub's keys, now and next. */
  keys: z.array(publicKeySchema).max(MAX_HUB_KEYS),
  successions: z.array(successionSchema).max(MAX_SUCCESSIONS).optional(),
  signature: signatureSchema,
});
export type Enrolled = z.infer<typeof enrolledSchema>;

export const helloRequestSchema = z.object({
  origin,
  /** Absent: version 1. */
  protocol: spokenSchema.optional(),
  /** The last event that the device holds a receipt for; the hub reports the quarantined events after it. */
  since: seqSchema.nullable(),
  /** The device's own random text. Only a hello that repeats it may lower what the device believes to be confirmed. */
  nonce: z.string().min(16).max(64).optional(),
  /** Events of `origin` whose hashes the device wants to know: to find the last one that both sides share. */
  hashesOf: z.array(seqSchema).max(MAX_HASHES_ASKED).optional(),
  /** The device's other origins, and what it holds receipts for; the hub names those of which its log holds less. */
  others: z
    .array(z.object({ origin, through: seqSchema }))
    .max(MAX_OTHER_ORIGINS)
    .optional(),
  /** Events of the device that it holds to be in quarantine, at most `MAX_MARKS_ASKED` in all; the hub says which of them are settled. */
  marks: z
    .array(z.object({ origin, seqs: z.array(seqSchema).max(MAX_MARKS_ASKED) }))
    .max(MAX_MARKS_ASKED)
    .optional(),
  /** A digest of the schemas that the device has; the hub says whether its own schemas are the same. */
  schemas: z.string().max(64).optional(),
  /** The fingerprints (first 16 digits) of each subject's versions that the device has; asked for when the digests differ. */
  have: z.record(z.string().max(200), z.array(z.string().max(64)).max(1_000)).optional(),
  /** Schemas that the device writes with and that the hub has not confirmed. */
  proposes: z.array(schemaNewsSchema).max(MAX_PROPOSALS).optional(),
  /** The hub's keys that the device knows; the hub answers with what differs. */
  pins: z.array(keyIdSchema).max(MAX_HUB_KEYS).optional(),
  ...asked,
  /** The device's public key: enrolled with its first hello, where a token lets it. */
  key: publicKeySchema.optional(),
  /** The device's signature, over all the rest: only the holder of the device's key can ask in its name. */
  signature: signatureSchema.optional(),
});
export type HelloRequest = z.infer<typeof helloRequestSchema>;

export const helloSchema = z.object({
  kind: z.literal("hello"),
  /** Absent: version 1. */
  protocol: spokenSchema.optional(),
  /** The hub's clock, milliseconds. */
  nowMs: z.number().min(0).max(MAX_WALL_MS),
  /** Repeated from the request. */
  nonce: z.string().max(64).optional(),
  receipt: receiptSchema,
  /** For each event that was asked for, its hash in the log; `null`: the log has no such event. */
  hashes: z.array(z.object({ seq: seqSchema, hash: hashSchema.nullable() })).optional(),
  /** Those of the device's other origins of which the log holds less than the device has receipts for. `through`: what it holds; `null`: nothing. */
  behind: z.array(z.object({ origin, through: seqSchema.nullable() })).optional(),
  /** Of `marks` those that the hub's people have settled. Absent: the hub cannot say now, or is of before this was asked. */
  settled: z.array(settledMarkSchema).max(MAX_MARKS_ASKED).optional(),
  /** The Avro schemas that the hub can decode, as `subject@version` → fingerprint; others travel as JSON. */
  avro: z.record(z.string(), z.string()),
  /** Whether the device's schemas differ from the hub's and, if the device has said what it has, in what. */
  schemas: z
    .object({
      differ: z.boolean(),
      /** Versions that the device lacks, or has with other content. */
      news: z.array(schemaNewsSchema).optional(),
      /** Versions that the device has and the hub does not. */
      unknown: z.array(z.object({ subject: z.string(), version })).optional(),
    })
    .optional(),
  /** The keys that the hub signs with, now and next: a device that knows one of them and finds this hello signed by it takes the others. */
  keys: z.array(publicKeySchema).max(MAX_HUB_KEYS).optional(),
  /** How the present key followed older ones, for a device that knows none of `keys`. */
  successions: z.array(successionSchema).max(MAX_SUCCESSIONS).optional(),
  /** Whether the hub answers pulls. Absent: it does not, or is of before there were any. */
  pulls: z.boolean().optional(),
  /** The hub's, over all the rest. */
  signature: signatureSchema.optional(),
});
export type Hello = z.infer<typeof helloSchema>;

/**
 * Broker subjects, each followed by `.<org>.<site>.<device>`: batches, hellos (request and reply; enrolments and
 * rotations likewise), pulls (request and reply), what the hub answers, and batches that cannot be taken.
 */
export const SUBJECTS = {
  ingress: "ingress",
  hello: "hello",
  pull: "pull",
  receipt: "receipt",
  dead: "dead",
} as const;

export const HEADER_TOKEN = "Authorization";
export const MEDIA_TYPE_BATCH = "application/vnd.tributary.batch";
export const MEDIA_TYPE_PAGE = "application/vnd.tributary.page";
/** No answer to a pull is longer: a broker's message has at most 1 MiB by default, with its headers. */
export const MAX_PAGE_BYTES = 1_040_000;
export const MEDIA_TYPE_PROBLEM = "application/problem+json";
