import { z } from "zod";
import type { Hlc } from "./hlc.ts";
import { isHlc } from "./hlc.ts";
import type { EventId, Hash, OriginId, Seq } from "./ids.ts";
import { isHash, isOriginId, orgOf } from "./ids.ts";
import { isJsonObject, type JsonObject } from "./json.ts";
import type { Vector } from "./vector.ts";

/** What an event is about: one beneficiary, one distribution … */
export interface EntityRef {
  readonly type: string;
  readonly id: string;
}

export interface SchemaRef {
  readonly subject: string;
  readonly version: number;
}

/** All of an event that its hash covers. */
export interface EventBody {
  readonly type: string;
  readonly data: JsonObject;
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly entity: EntityRef;
  readonly schema: SchemaRef;
  /** Who did it, as the site names its people. */
  readonly actor: string;
  /** The organisation; always the first part of `origin`. */
  readonly org: string;
  /** When it happened by the device's clock or its user's word: ISO 8601, milliseconds, `Z`. */
  readonly occurredAt: string;
  readonly hlc: Hlc;
  /** What the author had seen of this entity. */
  readonly basis: Vector;
  readonly correlationId?: string;
  readonly causationId?: string;
}

/** An event with its place in the chain. `id` follows from `hlc` and `hash`. */
export interface TributaryEvent extends EventBody {
  readonly id: EventId;
  readonly prev: Hash;
  readonly hash: Hash;
}

/** What the hub noticed about the clock behind an event: added at ingress, beside the hashed event. */
export interface ClockNote {
  /** Device clock minus hub clock, in milliseconds. */
  readonly offsetMs: number;
}

/** An event in one stored append at the event store, at most: 1 MiB less room for names and framing. */
export const MAX_EVENT_BYTES = 1_048_576 - 16_384;
export const MAX_TEXT = 200;
/** The number of a schema's version, at most. */
export const MAX_SCHEMA_VERSION = 999_999;

const text = z
  .string()
  .min(1)
  .max(MAX_TEXT)
  .refine((s) => s.isWellFormed(), "holds half of a surrogate pair");
const eventType = z
  .string()
  .max(MAX_TEXT)
  .regex(
    /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$/,
    "is written like 'beneficiary.registered': small letters, digits and -, with a dot between words",
  );
const subject = z
  .string()
  .max(MAX_TEXT)
  .regex(/^[a-z][a-z0-9.-]*$/, "is written like 'beneficiary': small letters, digits, - and dots");
const isoInstant = z.string().refine((s) => {
  const ms = Date.parse(s);
  return s.length === 24 && !Number.isNaN(ms) && new Date(ms).toISOString() === s;
}, "is an instant like 2026-05-03T08:00:00.000Z");

export const entitySchema = z.strictObject({ type: subject, id: text });
export const vectorSchema = z.record(
  z.string().refine(isOriginId, "is an origin"),
  z.int().min(0),
) as unknown as z.ZodType<Vector>;

/** The envelope, for what comes from outside. Whether `data` fits its schema is the gate's question. */
export const eventBodySchema = z
  .strictObject({
    type: eventType,
    data: z.custom<JsonObject>(isJsonObject, "is a JSON object"),
    origin: z.custom<OriginId>((v) => typeof v === "string" && isOriginId(v), "is written org.site.device.epoch"),
    seq: z.int().min(0) as unknown as z.ZodType<Seq>,
    entity: entitySchema,
    // As wide as it ever was: a version beyond `MAX_SCHEMA_VERSION` is refused on the device and held back by the gate (`ranges.ts`).
    schema: z.strictObject({ subject, version: z.int().min(1) }),
    actor: text,
    org: text,
    occurredAt: isoInstant,
    hlc: z.custom<Hlc>((v) => typeof v === "string" && isHlc(v), "is a clock stamp"),
    basis: vectorSchema,
    correlationId: text.optional(),
    causationId: text.optional(),
  })
  .refine((e) => e.org === orgOf(e.origin), { path: ["org"], message: "is the first part of the origin" })
  .refine((e) => (e.basis[e.origin] ?? -1) < e.seq, { path: ["basis"], message: "cannot know the event itself" });

/** The envelope without its data, for events whose data is not JSON or not yet decoded. */
export const envelopeProblem = (body: Omit<EventBody, "data">): string | null => {
  const parsed = eventBodySchema.safeParse({ ...body, data: {} });
  if (parsed.success) return null;
  const issue = parsed.error.issues[0]!;
  return `${issue.path.join(".") || "the event"} ${issue.message}`;
};

export const hashSchema = z.custom<Hash>((v) => typeof v === "string" && isHash(v), "is a SHA-256 in hexadecimal");
