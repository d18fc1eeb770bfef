import type { Msg, NatsConnection } from "nats";
import { isTributaryError, mayAnswerAt } from "../core/index.ts";
import type { Shown } from "../http/index.ts";
import { sparing } from "./fair.ts";
import { fromJson, quietly, refusalOf, shownBy, toJson, UNKNOWN, wantsAnswer } from "./reply.ts";
import type { seal, Vouch } from "./vouch.ts";

const REFUSALS_EVERY_MS = 10_000;
const MAX_REFUSAL_KINDS = 1_000;

export interface QuestionDeps {
  readonly nc: NatsConnection;
  readonly vouch: Pick<Vouch, "refusing">;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  readonly say: (event: Record<string, unknown>) => void;
}

/** A question as it came over the broker. */
export interface Came {
  readonly shown: Shown;
  /** Its JSON; `undefined`: it is not JSON. */
  readonly asked: unknown;
  /** Its bytes. */
  readonly length: number;
  /** On whose subject it came: `org.site.device`. */
  readonly sender: string;
}

/**
 * Answers questions on `<subject>.<org>.<site>.<device>`. One process answers each. `what`: its name in the log. What `answer` throws is told to the asker, with the
 * hub's signature.
 */
export function answerOn(
  { nc, vouch, seal, say }: QuestionDeps,
  { subject, what, answer }: { readonly subject: string; readonly what: string; answer(came: Came): Promise<Uint8Array> },
): { close(): Promise<void> } {
  const sayRefused = sparing(say, { everyMs: REFUSALS_EVERY_MS, maxKinds: MAX_REFUSAL_KINDS });
  const serve = async (question: Msg, sender: string): Promise<void> => {
    let answered: Uint8Array;
    const asked = fromJson(question.data);
    try {
      answered = await answer({ shown: shownBy(question), asked, length: question.data.length, sender });
    } catch (error) {
      const kind = `${question.subject} ${isTributaryError(error) ? error.code : "internal"}`;
      sayRefused(kind, { event: `${what}-refused`, error });
      answered = toJson(await seal(refusalOf(error, { ...UNKNOWN, ...vouch.refusing(asked) })));
    }
    quietly(say, what, () => question.respond(answered));
  };
  const questions = nc.subscribe(`${subject}.>`, {
    queue: "ingress",
    callback: (failure, question) => {
      if (failure !== null || !wantsAnswer(question)) return;
      const sender = question.subject.slice(subject.length + 1);
      // An answer to any subject would publish in the hub's name where the sender may not publish.
      if (mayAnswerAt(question.reply ?? "", sender)) void serve(question, sender);
      else
        sayRefused(`${question.subject} reply`, {
          event: `${what}-unanswerable`,
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
