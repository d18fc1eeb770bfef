import type { NatsConnection } from "nats";
import {
  busy,
  type DeviceName,
  type IncarnationId,
  type JsonObject,
  MAX_FRAME_BYTES,
  MAX_PAGE_BYTES,
  partsOf,
  type Signature,
  SUBJECTS,
  siteOfDevice,
  TributaryError,
  turns,
} from "../core/index.ts";
import { type PullAsk, pullOf, type Question } from "./question.ts";
import { answerOn, type QuestionDeps } from "./questions.ts";
import { inTime, type Standing } from "./standing.ts";
import type { Vouch } from "./vouch.ts";

/** Pages made at a time, in all and for one site, and the questions of one site that wait. */
const PULL_BOUNDS = { max: 16, maxEach: 2, maxWaitingEach: 100 };
/** A device waits 15 s for the beginning of its answer. It must have one by then, whatever it is. */
const ANSWER_TIMEOUT_MS = 10_000;
/** What a broker's message has besides its data. */
const HEADER_BYTES = 1_024;

/** Who asks for a page, as the door has found out, and what bounds the answer. */
export interface Puller {
  readonly org: string;
  readonly site: string;
  /** `org.site.device`. */
  readonly device: DeviceName;
  /** The hub whose log gives the positions, by the id of its log's first incarnation; and the log's present incarnation. */
  readonly hub: IncarnationId;
  readonly incarnation: IncarnationId;
  /** The hub's clock, milliseconds. */
  readonly nowMs: number;
  /** The door carries no more, whatever is asked for. */
  readonly maxBytes: number;
  /** Signs a text in the hub's name; `null`: the hub has no key. */
  readonly sign: ((text: string) => Signature) | null;
}

/** What makes the pages, behind the door. The door has found out who asks; what is asked for is handed on as it came. */
export interface Pulls {
  /** A JSON Schema of the question, for the document that describes the routes. */
  readonly schema: JsonObject;
  /** Returns a page's frame. Throws what the asker is told, `input-malformed` for a question that cannot be read among it. */
  page(asked: JsonObject, puller: Puller): Promise<Uint8Array>;
}

/** A pull as it came through a door. */
export interface PullQuestion extends Question<PullAsk> {
  /** The most that the door carries. */
  readonly maxBytes: number;
}

export interface PullDoor {
  readonly schema: JsonObject;
  /** Returns a page's frame. Throws what the asker is told. */
  answer(question: PullQuestion): Promise<Uint8Array>;
}

export const noPulls = (): TributaryError =>
  new TributaryError(
    "backend-missing",
    "this hub answers no pulls, because it runs without views",
    "Events are taken all the same. The hub's operator has to start it with PostgreSQL.",
  );

export const pullTooLarge = (): TributaryError =>
  new TributaryError("batch-too-large", `a pull has at most ${MAX_FRAME_BYTES} bytes`, "Ask for fewer buckets at a time.");

const pageTooLarge = (bytes: number, maxBytes: number): TributaryError =>
  new TributaryError(
    "event-too-large",
    `the next page has ${bytes} bytes, and this way carries ${maxBytes}`,
    "Pull over HTTP, or have the broker's max_payload raised to 1 MiB.",
  );

/** Answers pulls from any door, sites in turn. Nothing of a question is looked at before it is known who asks. */
export function pullAnswers({
  pulls,
  vouch,
  standing,
  signing,
}: {
  readonly pulls: Pulls | null;
  readonly vouch: Pick<Vouch, "pull">;
  readonly standing: Pick<Standing, "logId" | "incarnation">;
  /** How the hub signs at present. */
  readonly signing: () => Puller["sign"];
}): PullDoor {
  const turn = turns(PULL_BOUNDS);
  const page = async ({ asks: { request, raw }, atMs: nowMs, maxBytes }: PullQuestion): Promise<Uint8Array> => {
    if (pulls === null) throw noPulls();
    const [hub, life] = [standing.logId(), standing.incarnation()];
    if (hub === null || life === null)
      throw new TributaryError(
        "backend-unreachable",
        "the log has not said yet which hub it belongs to",
        "Pull again in a few seconds.",
      );
    const { org, site } = partsOf(`${request.device}.x`);
    const frame = await pulls.page(raw, {
      ...{ org, site, device: request.device, hub, incarnation: life.id, nowMs, maxBytes, sign: signing() },
    });
    if (frame.length > maxBytes) throw pageTooLarge(frame.length, maxBytes);
    return frame;
  };
  const answer = async (question: PullQuestion): Promise<Uint8Array> => {
    await vouch.pull(question);
    return turn.run(siteOfDevice(question.asks.request.device), () => page(question));
  };
  return {
    schema: pulls?.schema ?? {},
    answer: (question) => inTime(answer(question), ANSWER_TIMEOUT_MS, () => busy("pulls take long")),
  };
}

/** Answers pulls on `pull.<org>.<site>.<device>`. A page goes only to inboxes of the site that the subject names, so the subject must be the asker's own. */
export const answerPulls = (deps: QuestionDeps, door: Pick<PullDoor, "answer">): { close(): Promise<void> } =>
  answerOn(deps, {
    subject: SUBJECTS.pull,
    what: "pull",
    answer: async ({ shown, asked, length, sender }) => {
      if (length > MAX_FRAME_BYTES) throw pullTooLarge();
      const asks = pullOf(asked);
      const { device } = asks.request;
      if (device !== sender)
        throw new TributaryError(
          "token-site",
          `a pull of ${device} cannot come on ${SUBJECTS.pull}.${sender}`,
          "Each device asks on its own subject.",
        );
      return door.answer({ shown, asks, atMs: Date.now(), maxBytes: roomOf(deps.nc) });
    },
  });

const roomOf = ({ info }: NatsConnection): number =>
  Math.min(MAX_PAGE_BYTES, (info?.max_payload ?? Number.POSITIVE_INFINITY) - HEADER_BYTES);
