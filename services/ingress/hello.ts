import type { Msg, NatsConnection } from "nats";
import { type Hello, type HelloRequest, isTributaryError, mayAnswerAt, partsOf, SUBJECTS } from "../core/index.ts";
import type { Acceptor } from "./accept.ts";
import { busy, sparing, turns } from "./fair.ts";
import { asksOf, type Question } from "./question.ts";
import { fromJson, quietly, refusalOf, shownBy, toJson, UNKNOWN, wantsAnswer } from "./reply.ts";
import { inTime, isAway, type Standing } from "./standing.ts";
import type { seal, Vouch } from "./vouch.ts";

/** Hellos answered at a time, in all and of one site, and those of one site that wait. */
const HELLO_BOUNDS = { max: 32, maxEach: 8, maxWaitingEach: 200 };
/** A device waits 10 s for its answer. It must have one by then, whatever it is. */
const ANSWER_TIMEOUT_MS = 6_000;
const REFUSALS_EVERY_MS = 10_000;
const MAX_REFUSAL_KINDS = 1_000;

export interface HelloDeps {
  readonly nc: NatsConnection;
  readonly accepts: Acceptor;
  /** Who may speak for a device. */
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly standing: Standing;
  readonly say: (event: Record<string, unknown>) => void;
}

/** Answers a hello, an enrolment or a rotation from any door, with the hub's signature. Throws what the asker is told. */
export type AnswerHello = (question: Question) => Promise<object>;

/**
 * Answers hellos, sites in turn. While the event store is away, the answer says why, at once. The device may send nevertheless, because the broker takes batches.
 */
export function helloAnswers({
  accepts,
  standing,
  vouch,
  seal,
}: Pick<HelloDeps, "accepts" | "standing" | "vouch" | "seal">): AnswerHello {
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
  const admitted = async ({ shown, asks, atMs }: Question): Promise<object> => {
    if (asks.kind !== "hello") return vouch.enrolment({ shown, asks, atMs });
    await vouch.hello({ shown, asks, atMs });
    const { request } = asks;
    const { org, site } = partsOf(request.origin);
    const hello = await turn.run(`${org}.${site}`, () => answer(request, atMs));
    return seal({ ...hello, ...vouch.introduction(request) });
  };
  // This is not kept as the event store's own failure: the store is slow, or busy.
  return (question) => inTime(admitted(question), ANSWER_TIMEOUT_MS, () => busy("hellos take long"));
}

/** Answers the question "where do you stand with me?" on `hello.<org>.<site>.<device>`. One process answers each. */
export function answerHellos(deps: HelloDeps, answer: AnswerHello): { close(): Promise<void> } {
  const { nc, vouch, seal, say } = deps;
  const sayRefused = sparing(say, { everyMs: REFUSALS_EVERY_MS, maxKinds: MAX_REFUSAL_KINDS });
  const serve = async (question: Msg): Promise<void> => {
    let answered: unknown;
    const asked = fromJson(question.data);
    try {
      answered = await answer({ shown: shownBy(question), asks: asksOf(asked), atMs: Date.now() });
    } catch (error) {
      sayRefused(`${question.subject} ${isTributaryError(error) ? error.code : "internal"}`, { event: "hello-refused", error });
      answered = await seal(refusalOf(error, { ...UNKNOWN, ...vouch.refusing(asked) }));
    }
    quietly(say, "hello", () => question.respond(toJson(answered)));
  };
  const questions = nc.subscribe(`${SUBJECTS.hello}.>`, {
    queue: "ingress",
    callback: (failure, question) => {
      if (failure !== null || !wantsAnswer(question)) return;
      // An answer to any subject would publish in the hub's name where the sender may not publish.
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
