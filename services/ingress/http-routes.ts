import { headers, type NatsConnection } from "nats";
import { z } from "zod";
import {
  enrolledSchema,
  enrolmentSchema,
  HEADER_TOKEN,
  helloRequestSchema,
  helloSchema,
  isJsonObject,
  isTributaryError,
  type JsonObject,
  MAX_FRAME_BYTES,
  MEDIA_TYPE_BATCH,
  type OriginId,
  partsOf,
  type Refusal,
  type Reply,
  receiptSchema,
  rotationSchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import {
  type Admission,
  type Answer,
  type Asking,
  type BodyKind,
  type Doorkeeper,
  problem,
  type Route,
  route,
  SCOPE_APPEND,
  type Shown,
  type Surface,
} from "../http/index.ts";
import { type BrokerWatch, publishFailure } from "./broker.ts";
import type { Health } from "./health.ts";
import type { AnswerHello } from "./hello.ts";
import { asksOf } from "./question.ts";
import { type Receipts, receipts } from "./receipts.ts";
import { fromJson, refusalOf, UNKNOWN } from "./reply.ts";
import { admittedBatch, type ShownToken, type SignedBatches, shownToken, signedBatches } from "./signed-batches.ts";
import type { Standing } from "./standing.ts";
import type { seal, Vouch } from "./vouch.ts";

/** How long a request waits for its receipt by default, and at most. Then the answer is 202: queued. */
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 60_000;
const PUBLISH_TIMEOUT_MS = 5_000;

export interface DoorDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  /** Whether the hub has signed what came over the broker in its name. */
  readonly isOwn: (message: Reply) => boolean;
  readonly hello: AnswerHello;
  readonly standing: Standing;
  readonly broker: Pick<BrokerWatch, "look">;
  readonly health: Health;
  readonly say: (event: Record<string, unknown>) => void;
}

/** The HTTP door of a hub: its routes, and how the whole server refuses. */
export interface DoorRoutes {
  readonly surface: Surface;
  /** A problem document that carries the hub's signed word. */
  failed(error: unknown, asking: Asking): Promise<Answer>;
  close(): void;
}

/**
 * The HTTP door, for sites where NATS is blocked:
 *
 *   POST /v1/ingress         a batch frame; published into the same stream. 200 receipt, 202 queued, 4xx problem
 *   GET  /v1/ingress/hello   ?origin=…&since=…: where the hub stands with this origin
 *   POST /v1/ingress/hello   the same, with the other members of a hello as body, or all of them, signed; an enrolment or a rotation
 *   GET  /healthz            200: the process is alive
 *   GET  /readyz             200, or 503 with the reason, part by part; /v1/health is the same
 *
 * Errors are problem documents (RFC 9457) with our code in `code` and what to do in `hint`.
 */
export function doorRoutes(deps: DoorDeps): DoorRoutes {
  const waiting = receipts(deps.nc, deps.isOwn);
  return {
    surface: {
      name: "ingress",
      roots: [],
      routes: [batches({ ...deps, waiting, signed: signedBatches(deps) }), ...hellos(deps), ...healthRoutes(deps.health)],
    },
    failed: (error, { instance }) => refused(deps, error, instance),
    close: waiting.close,
  };
}

// A JSON Schema is JSON, but zod's type for one has `unknown` members.
const schemaOf = (type: z.ZodType, io: "input" | "output" = "output"): JsonObject =>
  z.toJSONSchema(type, { unrepresentable: "any", io }) as unknown as JsonObject;

const tooLarge = (): TributaryError =>
  new TributaryError("batch-too-large", `a batch has at most ${MAX_FRAME_BYTES} bytes`, "Send fewer events at a time.");

const frameBody: BodyKind<Uint8Array> = {
  maxBytes: MAX_FRAME_BYTES,
  types: [MEDIA_TYPE_BATCH],
  read: (bytes) => bytes,
  tooLarge,
};

const helloBody = (): BodyKind<JsonObject> => ({
  maxBytes: MAX_FRAME_BYTES,
  types: ["application/json"],
  schema: { anyOf: [helloRequestSchema.partial(), enrolmentSchema, rotationSchema].map((each) => schemaOf(each, "input")) },
  read(bytes) {
    const more = fromJson(bytes);
    if (isJsonObject(more)) return more;
    throw new TributaryError("input-malformed", "the hello's body is not a JSON object", 'Send {"have": {…}, "proposes": […]}.');
  },
  tooLarge,
});

/** A batch is refused only after it was read: it may be signed, and the refusal names it. */
const batchSender = (keeper: Doorkeeper): Admission<ShownToken> => ({
  token: "optional",
  scopes: [SCOPE_APPEND],
  admit: ({ authorization }) => shownToken(keeper, authorization),
});

/** Who asks is decided with the question, which may be signed. */
const asker: Admission<Shown> = {
  token: "optional",
  scopes: [SCOPE_APPEND],
  admit: ({ authorization }) => ({ authorization }),
};

interface BatchDeps extends DoorDeps {
  readonly waiting: Receipts;
  readonly signed: SignedBatches;
}

/** Puts a batch into the stream, and waits for the hub's word. A refusal names the batch once that was read, and so is good for no other. */
const batches = (deps: BatchDeps): Route =>
  route({
    method: "POST",
    path: "/v1/ingress",
    name: "sendBatch",
    words: "Sends a batch of events, and waits for its receipt.",
    who: batchSender(deps.keeper),
    body: frameBody,
    headers: { prefer: "`wait=<seconds>` (RFC 7240): how long to wait for the receipt, at most 60 s; default 10 s." },
    answers: {
      200: { words: "The receipt: the events are in the log.", schema: schemaOf(receiptSchema) },
      202: { words: "Queued: no receipt came in time, or the event store is away (`because`)." },
    },
    async handle({ body: frame, address, instance, who, headers: { prefer } }) {
      const key = batchKey(frame);
      try {
        const { origin, authorization } = await admittedBatch(deps.signed, who, { frame, address });
        return await taken(deps, { frame, key, origin, authorization, instance, waitMs: waitMsOf(prefer) });
      } catch (error) {
        return refused(deps, error, instance, { batch: key });
      }
    },
  });

interface Delivery {
  readonly frame: Uint8Array;
  readonly key: string;
  readonly origin: OriginId;
  readonly authorization: string | undefined;
  readonly instance: string;
  readonly waitMs: number;
}

async function taken({ nc, keeper, standing, broker, waiting }: BatchDeps, delivery: Delivery): Promise<Answer> {
  const { frame, key, origin, authorization, instance, waitMs } = delivery;
  const { org, site, device } = partsOf(origin);
  const receipt = waiting.wait(`${org}.${site}`, key, frame.length);
  try {
    const about = headers();
    if (authorization !== undefined) about.set(HEADER_TOKEN, keeper.forMessage(authorization, frame));
    await nc
      .jetstream()
      .publish(`${SUBJECTS.ingress}.${org}.${site}.${device}`, frame, { headers: about, timeout: PUBLISH_TIMEOUT_MS })
      .catch((error: unknown) => {
        void broker.look();
        throw publishFailure(error);
      });
    // While the event store is away, no receipt comes. The batch is in the stream nevertheless.
    const away = standing.away();
    if (away !== null) return { status: 202, body: { kind: "queued", batch: key, origin, because: away.code } };
    const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), waitMs).unref());
    const reply = await Promise.race([receipt.reply, late]);
    if (reply === null) return { status: 202, body: { kind: "queued", batch: key, origin } };
    if (reply.kind === "receipt") return { status: 200, body: reply };
    return problem(new TributaryError(reply.code, reply.message, reply.hint), instance, { ...reply, refusal: reply });
  } finally {
    receipt.end();
  }
}

/** `Prefer: wait=<seconds>` (RFC 7240). */
function waitMsOf(prefer: string | undefined): number {
  const asked = /(?:^|,\s*)wait=(\d{1,9})(?=\s*(?:[,;]|$))/.exec(prefer ?? "")?.[1];
  return asked === undefined ? DEFAULT_WAIT_MS : Math.min(Number(asked) * 1000, MAX_WAIT_MS);
}

/** Answers where the hub stands. The question is in the query alone, or has the rest of a hello as its body. */
function hellos(deps: DoorDeps): Route[] {
  const shared = {
    path: "/v1/ingress/hello",
    who: asker,
    query: {
      origin: "Whose: org.site.device.epoch.",
      since: "The last seq that there is a receipt for; empty: none.",
      schemas: "A digest of the schemas that the device has.",
    },
  } as const;
  const hello = { words: "Where the hub stands.", schema: schemaOf(helloSchema) };
  return [
    route({
      ...{ ...shared, method: "GET", name: "askHello", words: "Asks where the hub stands with an origin." },
      answers: { 200: hello },
      handle: ({ query, who, instance }) => answered(deps, who, helloOf({}, query), instance),
    }),
    route({
      ...{
        ...shared,
        method: "POST",
        name: "sendHello",
        words: "Asks the same with more to say; enrols a device's key, or rotates it.",
      },
      body: helloBody(),
      answers: {
        200: { words: `${hello.words} Or: the key is enrolled.`, schema: { anyOf: [hello.schema, schemaOf(enrolledSchema)] } },
      },
      handle: ({ query, who, instance, body }) => answered(deps, who, helloOf(body, query), instance),
    }),
  ];
}

/** A signed question is taken as it came. The address may hold part of a hello, as in version 1. */
function helloOf(
  more: JsonObject,
  query: { readonly origin?: string; readonly since?: string; readonly schemas?: string },
): object {
  if ("kind" in more) return more;
  const { origin, since, schemas } = query;
  return {
    ...more,
    ...(origin === undefined ? {} : { origin }),
    ...(since !== undefined || !("since" in more)
      ? { since: since === undefined || since === "" ? null : wholeNumber(since) }
      : {}),
    ...(schemas === undefined ? {} : { schemas }),
  };
}

/** A number as people write it, not as JavaScript reads it: no `0x10`, no `1e9`. */
const wholeNumber = (text: string): number => (/^\d{1,16}$/.test(text) ? Number(text) : Number.NaN);

async function answered(deps: DoorDeps, shown: Shown, asked: object, instance: string): Promise<Answer> {
  try {
    return { status: 200, body: await deps.hello({ shown, asks: asksOf(asked), atMs: Date.now() }) };
  } catch (error) {
    return refused(deps, error, instance, deps.vouch.refusing(asked));
  }
}

function healthRoutes(health: Health): Route[] {
  const ready = {
    method: "GET",
    words: "Whether the hub does its work, part by part.",
    answers: { 200: { words: "It does." }, 503: { words: "It does not: `reasons` says why." } },
    handle: () => health.ready(),
  } as const;
  return [
    route({
      ...{ method: "GET", path: "/healthz", name: "alive", words: "Whether the process is alive." },
      answers: { 200: { words: "It is." } },
      handle: () => health.alive(),
    }),
    route({ ...ready, path: "/readyz", name: "ready" }),
    route({ ...ready, path: "/v1/health", name: "health" }),
  ];
}

/** A problem that carries the hub's signed word. */
async function refused(
  { seal, say }: Pick<DoorDeps, "seal" | "say">,
  error: unknown,
  instance: string,
  of: ReturnType<Vouch["refusing"]> & Partial<Pick<Refusal, "batch">> = {},
): Promise<Answer> {
  if (!isTributaryError(error)) say({ event: "http-failed", error });
  const refusal = refusalOf(error, { ...UNKNOWN, ...of });
  return problem(new TributaryError(refusal.code, refusal.message, refusal.hint), instance, { refusal: await seal(refusal) });
}
