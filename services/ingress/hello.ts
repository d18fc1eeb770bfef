import type { NatsConnection } from "nats";
import {
  HEADER_TOKEN,
  helloRequestSchema,
  isTributaryError,
  messageOf,
  type Refusal,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import type { Acceptor } from "./accept.ts";
import type { Doorkeeper } from "./token.ts";
import type { seal, Vouch } from "./vouch.ts";

export interface Deps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly accepts: Acceptor;
  /** Who may speak for a device. */
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly say: (event: Record<string, unknown>) => void;
}

const encoder = new TextEncoder();
export const toJson = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));

/** Anything thrown, as what is told to the sender. */
export function refusalOf(
  error: unknown,
  of: Pick<Refusal, "batch" | "origin" | "firstSeq" | "through" | "nonce" | "successions">,
): Refusal {
  const known = isTributaryError(error)
    ? error
    : new TributaryError("internal", `the hub failed: ${messageOf(error)}`, "Try again; the hub's log has the details.");
  const clock = known.code === "request-stale" ? { nowMs: Date.now() } : {};
  return { kind: "refusal", ...of, code: known.code, message: known.message, hint: known.hint, ...clock };
}

/** Answers a question as it came over the broker or HTTP: a hello, an enrolment or a rotation. Throws what it refuses. */
export async function answerOf(
  { accepts, vouch, seal }: Pick<Deps, "accepts" | "vouch" | "seal">,
  authorization: string | undefined,
  raw: unknown,
  nowMs: number,
): Promise<object> {
  const enrolled = await vouch.enrolment(raw, nowMs);
  if (enrolled !== null) return enrolled;
  const asked = helloRequestSchema.safeParse(raw);
  if (!asked.success)
    throw new TributaryError(
      "input-malformed",
      "the hello cannot be read",
      'Send {"origin": "org.site.device.epoch", "since": <seq>}.',
    );
  await vouch.hello(authorization, asked.data, raw, nowMs);
  return seal({ ...(await accepts.hello(asked.data, nowMs)), ...vouch.introduction(asked.data) });
}

/** Answers "where do you stand with me?", asked on `hello.<org>.<site>.<device>`; one process answers each. */
export function answerHellos(deps: Deps): { close(): Promise<void> } {
  const { nc, say, seal, vouch } = deps;
  const questions = nc.subscribe(`${SUBJECTS.hello}.>`, { queue: "ingress" });
  const serve = async (): Promise<void> => {
    for await (const question of questions) {
      const answer = async (): Promise<void> => {
        const nowMs = Date.now();
        let raw: unknown = null;
        try {
          raw = parseJson(question.data);
          question.respond(toJson(await answerOf(deps, question.headers?.get(HEADER_TOKEN) || undefined, raw, nowMs)));
        } catch (error) {
          say({ event: "hello-refused", error });
          const refusal = refusalOf(error, { batch: null, origin: null, firstSeq: null, through: null, ...vouch.refusing(raw) });
          question.respond(toJson(await seal(refusal)));
        }
      };
      void answer();
    }
  };
  void serve();
  return { close: () => questions.drain() };
}

export function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch (error) {
    throw new TributaryError("input-malformed", "the hello is no JSON", 'Send {"origin": …, "since": …}.', { cause: error });
  }
}
