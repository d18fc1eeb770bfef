import { busy, type Hello, type HelloRequest, partsOf, SUBJECTS, turns } from "../core/index.ts";
import type { Acceptor } from "./accept.ts";
import { asksOf, type Question } from "./question.ts";
import { answerOn, type QuestionDeps } from "./questions.ts";
import { toJson } from "./reply.ts";
import { inTime, isAway, type Standing } from "./standing.ts";
import type { seal, Vouch } from "./vouch.ts";

/** Hellos answered at a time, in all and of one site, and those of one site that wait. */
const HELLO_BOUNDS = { max: 32, maxEach: 8, maxWaitingEach: 200 };
/** A device waits 10 s for its answer. It must have one by then, whatever it is. */
const ANSWER_TIMEOUT_MS = 6_000;

export interface HelloDeps {
  readonly accepts: Acceptor;
  /** Who may speak for a device. */
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly standing: Standing;
  /** Whether the hub answers pulls, which a hello says. */
  readonly servesPulls: boolean;
}

/** Answers a hello, an enrolment or a rotation from any door, with the hub's signature. Throws what the asker is told. */
export type AnswerHello = (question: Question) => Promise<object>;

/**
 * Answers hellos, sites in turn. While the event store is away, the answer says why, at once. The device may send nevertheless, because the broker takes batches.
 */
export function helloAnswers({ accepts, standing, vouch, seal, servesPulls }: HelloDeps): AnswerHello {
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
    return seal({ ...hello, ...vouch.introduction(request), ...(servesPulls ? { pulls: true } : {}) });
  };
  // This is not kept as the event store's own failure: the store is slow, or busy.
  return (question) => inTime(admitted(question), ANSWER_TIMEOUT_MS, () => busy("hellos take long"));
}

/** Answers the question "where do you stand with me?" on `hello.<org>.<site>.<device>`. */
export const answerHellos = (deps: QuestionDeps, answer: AnswerHello): { close(): Promise<void> } =>
  answerOn(deps, {
    subject: SUBJECTS.hello,
    what: "hello",
    answer: async ({ shown, asked }) => toJson(await answer({ shown, asks: asksOf(asked), atMs: Date.now() })),
  });
