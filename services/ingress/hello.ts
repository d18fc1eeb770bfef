import type { NatsConnection } from "nats";
import { HEADER_TOKEN, helloRequestSchema, mayAnswerAt, type Refusal, SUBJECTS, TributaryError } from "../core/index.ts";
import type { Acceptor } from "./accept.ts";
import { checkOrigin, type Doorkeeper } from "./token.ts";
import { wordsForSenders } from "./words.ts";

export interface Deps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly accepts: Acceptor;
  readonly say: (event: Record<string, unknown>) => void;
}

const encoder = new TextEncoder();
export const toJson = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));

/** Anything thrown, as what is told to the sender. */
export function refusalOf(error: unknown, of: Pick<Refusal, "batch" | "origin" | "firstSeq" | "through">): Refusal {
  return { kind: "refusal", ...of, ...wordsForSenders(error) };
}

/** Answers "where do you stand with me?", asked on `hello.<org>.<site>.<device>`; one process answers each. */
export function answerHellos({ nc, keeper, accepts, say }: Deps): { close(): Promise<void> } {
  const questions = nc.subscribe(`${SUBJECTS.hello}.>`, { queue: "ingress" });
  const serve = async (): Promise<void> => {
    for await (const question of questions) {
      const answer = async (): Promise<void> => {
        const nowMs = Date.now();
        // Answering there would publish in the hub's name where the sender may not.
        if (!mayAnswerAt(question.reply ?? "", question.subject.slice(SUBJECTS.hello.length + 1))) {
          say({ event: "hello-unanswerable", subject: question.subject, reply: question.reply?.slice(0, 200) });
          return;
        }
        try {
          const claims = await keeper.admitMessage(question.headers?.get(HEADER_TOKEN), question.data, nowMs);
          const request = parseHello(question.data);
          checkOrigin(claims, request.origin);
          question.respond(toJson(await accepts.hello(request, nowMs)));
        } catch (error) {
          say({ event: "hello-refused", error });
          question.respond(toJson(refusalOf(error, { batch: null, origin: null, firstSeq: null, through: null })));
        }
      };
      void answer();
    }
  };
  void serve();
  return { close: () => questions.drain() };
}

function parseHello(data: Uint8Array): ReturnType<typeof helloRequestSchema.parse> {
  try {
    return helloRequestSchema.parse(JSON.parse(new TextDecoder().decode(data)));
  } catch (error) {
    throw new TributaryError("input-malformed", "the hello cannot be read", 'Send {"origin": …, "since": …}.', { cause: error });
  }
}
