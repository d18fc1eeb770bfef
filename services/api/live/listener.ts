/** One connection on which PostgreSQL tells what has changed. It is made again whenever it is lost; whatever was told meanwhile is not known, so all is looked at again. */
import { messageOf } from "../../core/index.ts";
import { pause } from "../../core/node.ts";
import { answers, connectViews, type Db, limitQueries, listenForChanges, type ToldChange } from "../../views/index.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** How often the connection is asked whether it is still there: a broken line may say nothing. */
const ASK_MS = 10_000;
const ANSWER_MS = 5_000;

export interface Listening {
  readonly postgresUrl: string;
  readonly onChange: (told: ToldChange) => void;
  /** It listens, perhaps again. */
  readonly onListening: () => void;
  readonly say: (event: Record<string, unknown>) => void;
  readonly signal: AbortSignal;
}

/** Listens until `signal` aborts. What fails is told and tried again. */
export async function keepListening({ postgresUrl, onChange, onListening, say, signal }: Listening): Promise<void> {
  let pauseMs = MIN_PAUSE_MS;
  while (!signal.aborted) {
    let db: Db | null = null;
    try {
      db = await connectViews(postgresUrl, "tributary-live listens");
      await limitQueries(db, ANSWER_MS);
      const lost = new AbortController();
      await listenForChanges(db, onChange, () => lost.abort());
      pauseMs = MIN_PAUSE_MS;
      onListening();
      const until = AbortSignal.any([signal, lost.signal]);
      while (!until.aborted) {
        await pause(ASK_MS, until);
        if (!until.aborted) await inTime(answers(db));
      }
      if (!signal.aborted) throw new Error("the connection to PostgreSQL was lost");
    } catch (error) {
      if (!signal.aborted) {
        say({ event: "live-interrupted", message: messageOf(error), pauseMs });
        await pause(pauseMs, signal);
        pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
      }
    } finally {
      // On a line that says nothing, taking leave would be waited for as well.
      await db?.end().catch(() => {});
    }
  }
}

/** Throws where PostgreSQL does not answer in time. */
async function inTime(answer: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("PostgreSQL does not answer any more")), ANSWER_MS);
  try {
    await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
    answer.catch(() => {});
  }
}
