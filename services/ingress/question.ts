import {
  type Enrolment,
  enrolmentSchema,
  type HelloRequest,
  helloRequestSchema,
  isJsonObject,
  type JsonObject,
  type Rotation,
  rotationSchema,
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

/** What a device asks of the hub: who asks, what, and when. It is the same whichever door it came through. */
export interface Question<A extends Asks = Asks> {
  readonly shown: Shown;
  readonly asks: A;
  readonly atMs: number;
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
