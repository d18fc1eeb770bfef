import { z } from "zod";
import {
  enrolledSchema,
  enrolmentSchema,
  helloRequestSchema,
  helloSchema,
  isJsonObject,
  isTributaryError,
  type JsonObject,
  MAX_FRAME_BYTES,
  MAX_PAGE_BYTES,
  MEDIA_TYPE_BATCH,
  MEDIA_TYPE_PAGE,
  type Refusal,
  receiptSchema,
  rotationSchema,
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
import type { Deliveries } from "./deliver.ts";
import type { Health } from "./health.ts";
import type { AnswerHello } from "./hello.ts";
import { type PullDoor, pullTooLarge } from "./pulls.ts";
import { asksOf, pullOf } from "./question.ts";
import { fromJson, refusalOf, UNKNOWN } from "./reply.ts";
import { type ShownToken, shownToken } from "./signed-batches.ts";
import type { seal, Vouch } from "./vouch.ts";

/** How long a request waits for its receipt by default, and at most. Then the answer is 202: queued. */
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 60_000;

export interface DoorDeps {
  readonly keeper: Doorkeeper;
  readonly vouch: Pick<Vouch, "refusing">;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly hello: AnswerHello;
  readonly pulls: PullDoor;
  readonly deliveries: Pick<Deliveries, "take">;
  readonly health: Health;
  readonly say: (event: Record<string, unknown>) => void;
}

/** The HTTP door of a hub: its routes, and how the whole server refuses. */
export interface DoorRoutes {
  readonly surface: Surface;
  /** A problem document that carries the hub's signed word. */
  failed(error: unknown, asking: Asking): Promise<Answer>;
}

/**
 * The HTTP door, for sites where NATS is blocked:
 *
 *   POST /v1/ingress         a batch frame; published into the same stream. 200 receipt, 202 queued, 4xx problem
 *   GET  /v1/ingress/hello   ?origin=…&since=…: where the hub stands with this origin
 *   POST /v1/ingress/hello   the same, with the other members of a hello as body, or all of them, signed; an enrolment or a rotation
 *   POST /v1/exchange/pull   what a replica lacks: a page, as bytes
 *   GET  /healthz            200: the process is alive
 *   GET  /readyz             200, or 503 with the reason, part by part; /v1/health is the same
 *
 * Errors are problem documents (RFC 9457) with our code in `code` and what to do in `hint`.
 */
export function doorRoutes(deps: DoorDeps): DoorRoutes {
  return {
    surface: { name: "ingress", roots: [], routes: [batches(deps), ...hellos(deps), pull(deps), ...healthRoutes(deps.health)] },
    failed: (error, { instance }) => refused(deps, error, instance),
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

/** Puts a batch into the stream, and waits for the hub's word. A refusal names the batch once that was read, and so is good for no other. */
const batches = (deps: DoorDeps): Route =>
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
      try {
        const said = await deps.deliveries.take({ frame, address, token: who, waitMs: waitMsOf(prefer) });
        if (said.kind === "receipt") return { status: 200, body: said };
        if (said.kind === "queued") return { status: 202, body: said };
        return problem(new TributaryError(said.code, said.message, said.hint), instance, { ...said, refusal: said });
      } catch (error) {
        return refused(deps, error, instance, { batch: batchKey(frame) });
      }
    },
  });

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

const pullBody = ({ schema }: PullDoor): BodyKind<unknown> => ({
  ...{ maxBytes: MAX_FRAME_BYTES, types: ["application/json"], schema },
  read: fromJson,
  tooLarge: pullTooLarge,
});

/** Answers what a replica lacks. A refusal is the hub's word about this question. */
const pull = (deps: DoorDeps): Route =>
  route({
    method: "POST",
    path: "/v1/exchange/pull",
    name: "pull",
    words: "Asks for what a replica lacks of the buckets that its device may hold.",
    who: asker,
    body: pullBody(deps.pulls),
    answers: { 200: { words: "A page, signed by the hub for this question.", type: MEDIA_TYPE_PAGE } },
    async handle({ body: asked, who: shown, instance }) {
      try {
        const frame = await deps.pulls.answer({ shown, asks: pullOf(asked), atMs: Date.now(), maxBytes: MAX_PAGE_BYTES });
        return { status: 200, type: MEDIA_TYPE_PAGE, body: frame };
      } catch (error) {
        return refused(deps, error, instance, deps.vouch.refusing(asked));
      }
    },
  });

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
