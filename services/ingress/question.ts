import { z } from "zod";
import {
  type DeviceName,
  type Enrolment,
  enrolmentSchema,
  type HelloRequest,
  helloRequestSchema,
  isJsonObject,
  isOriginId,
  type JsonObject,
  keyIdSchema,
  MAX_HUB_KEYS,
  MAX_WALL_MS,
  publicKeySchema,
  type Rotation,
  rotationSchema,
  signatureSchema,
  TributaryError,
} from "../core/index.ts";
import type { Shown } from "../http/index.ts";

/** One thing that is asked, parsed once. `raw` is what came: signatures cover it as it is. */
export interface Ask<Kind extends string, Request> {
  readonly kind: Kind;
  readonly request: Request;
  readonly raw: JsonObject;
}
export type HelloAsk = Ask<"hello", HelloRequest>;
export type KeyAsk = Ask<"enrolment", Enrolment> | Ask<"rotation", Rotation>;
export type Asks = HelloAsk | KeyAsk;
export type PullAsk = Ask<"pull", PullHead>;

/** What a device asks of the hub: who asks, what, and when. It is the same whichever door it came through. */
export interface Question<A extends Ask<string, unknown> = Asks> {
  readonly shown: Shown;
  readonly asks: A;
  readonly atMs: number;
}

const version = z.int().min(1).max(1_000);
/** Who pulls. What is pulled is a matter of those who make the pages. */
const pullHeadSchema = z.object({
  kind: z.literal("pull"),
  device: z.custom<DeviceName>((v) => typeof v === "string" && isOriginId(`${v}.x`), "is written org.site.device"),
  protocol: z.object({ oldest: version, newest: version }),
  nonce: z.string().min(16).max(64),
  sentAtMs: z.number().min(0).max(MAX_WALL_MS),
  pins: z.array(keyIdSchema).max(MAX_HUB_KEYS).optional(),
  key: publicKeySchema.optional(),
  signature: signatureSchema.optional(),
});
export type PullHead = z.infer<typeof pullHeadSchema>;

/** Parses who pulls. Throws `input-malformed`. */
export function pullOf(came: unknown): PullAsk {
  const raw: JsonObject = isJsonObject(came) ? came : {};
  return { kind: "pull", request: parsed(pullHeadSchema, raw), raw };
}

/** Parses what came. Throws `input-malformed`. */
export function asksOf(came: unknown): Asks {
  // No schema takes what is not an object.
  const raw: JsonObject = isJsonObject(came) ? came : {};
  if (raw.kind === "enrolment") return { kind: "enrolment", request: parsed(enrolmentSchema, raw), raw };
  if (raw.kind === "rotation") return { kind: "rotation", request: parsed(rotationSchema, raw), raw };
  const hello = helloRequestSchema.safeParse(raw);
  if (hello.success) return { kind: "hello", request: hello.data, raw };
  throw new TributaryError(
    "input-malformed",
    "the hello cannot be read",
    'Send {"origin": "org.site.device.epoch", "since": <seq> or null}.',
  );
}

function parsed<T>(schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } }, raw: unknown): T {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  throw new TributaryError("input-malformed", "the request cannot be read", "See docs/protocol.md for what it says.");
}
