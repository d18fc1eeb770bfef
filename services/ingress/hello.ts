import type { Msg, NatsConnection } from "nats";
import {
  type Hello,
  type HelloRequest,
  helloRequestSchema,
  isTributaryError,
  mayAnswerAt,
  partsOf,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import type { Acceptor } from "./accept.ts";
import { busy, sparing, turns } from "./fair.ts";
import { fromJson, quietly, refusalOf, toJson, tokenOf, wantsAnswer } from "./reply.ts";
import { inTime, isAway, type Standing } from "./standing.ts";
import { type Claims, checkOrigin, type Doorkeeper } from "./token.ts";

/** Hellos answered at a time, in all and of one site, and those of one site that wait. */
const HELLO_BOUNDS = { max: 32, maxEach: 8, maxWaitingEach: 200 };
/** A device waits 10 s for its answer; until then it must have one, whatever it is. */
const ANSWER_TIMEOUT_MS = 6_000;
const REFUSALS_EVERY_MS = 10_000;
const MAX_REFUSAL_KINDS = 1_000;

export interface HelloDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly accepts: Acceptor;
  readonly standing: Standing;
  readonly say: (event: Record<string, unknown>) => void;
}

/** Answers a hello, read from whatever door; throws what is told to who asked. */
export type AnswerHello = (claims: Claims, asked: unknown, nowMs: number) => Promise<Hello>;

/**
 * Answers hellos, sites in turn. While the event store is away the answer is why, at once: the device may send all the same, as the broker takes batches.
 */
export function helloAnswers({ accepts, standing }: Pick<HelloDeps, "accepts" | "standing">): AnswerHello {
  const turn = turns(HELLO_BOUNDS);
  const answer = async (request: HelloRequest, nowMs: number): Promise<Hello> => {
    const away = standing.away();
    if (away !== null) throw away;
    try {
      return await accepts.hello(request, nowMs);
    } catch (error) {
      if (isAway(error)) standing.failed(error);
      throw error;
    }
  };
  return async (claims, asked, nowMs) => {
    const request = helloRequestSchema.safeParse(asked);
    if (!request.success)
      throw new TributaryError(
        "input-malformed",
        "the hello cannot be read",
        'Send {"origin": "org.site.device.epoch", "since": <seq> or null}.',
      );
    const { origin } = request.data;
    checkOrigin(claims, origin);
    const { org, site } = partsOf(origin);
    // Not the event store's own word, which is kept: it is slow, or much is asked of it.
    return inTime(
      turn.run(`${org}.${site}`, () => answer(request.data, nowMs)),
      ANSWER_TIMEOUT_MS,
      () => busy("hellos take long"),
    );
  };
}

/** Answers "where do you stand with me?", asked on `hello.<org>.<site>.<device>`; one process answers each. */
export function answerHellos(deps: HelloDeps, answer: AnswerHello): { close(): Promise<void> } {
  const { nc, keeper, say } = deps;
  const sayRefused = sparing(say, { everyMs: REFUSALS_EVERY_MS, maxKinds: MAX_REFUSAL_KINDS });
  const serve = async (question: Msg): Promise<void> => {
    let answered: unknown;
    try {
      const nowMs = Date.now();
      const claims = await keeper.admitMessage(tokenOf(question), question.data, nowMs);
      answered = await answer(claims, fromJson(question.data), nowMs);
    } catch (error) {
      sayRefused(`${question.subject} ${isTributaryError(error) ? error.code : "internal"}`, { event: "hello-refused", error });
      answered = refusalOf(error);
    }
    quietly(say, "hello", () => question.respond(toJson(answered)));
  };
  const questions = nc.subscribe(`${SUBJECTS.hello}.>`, {
    queue: "ingress",
    callback: (failure, question) => {
      if (failure !== null || !wantsAnswer(question)) return;
      // Answering just anywhere would publish in the hub's name where the sender may not.
      if (mayAnswerAt(question.reply ?? "", question.subject.slice(SUBJECTS.hello.length + 1))) void serve(question);
      else
        sayRefused(`${question.subject} reply`, {
          event: "hello-unanswerable",
          subject: question.subject,
          reply: question.reply?.slice(0, 200),
        });
    },
  });
  return {
    close: async () => {
      if (!questions.isClosed() && !nc.isClosed()) await questions.drain();
    },
  };
}
