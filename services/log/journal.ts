import {
  ANY,
  type EventStoreDBClient,
  FORWARDS,
  type JSONEventType,
  jsonEvent,
  NO_STREAM,
  type ResolvedEvent,
  START,
  StreamNotFoundError,
  streamNameFilter,
  WrongExpectedVersionError,
} from "@eventstore/db-client";
import { type Fact, isJsonObject, type Journal, messageOf, type Position, position } from "../core/index.ts";
import { asTributary, LEADER, within } from "./client.ts";
import { logEnd } from "./read.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** An idle link is made anew this often: a server that went silent is not noticed otherwise. */
const RENEW_MS = 60_000;
/** The server reports progress after this many × 32 events that are no facts. */
const CHECKPOINT_INTERVAL = 32;

function toFact({ event }: ResolvedEvent): Fact | null {
  if (event === undefined || !event.isJson) return null;
  const data = event.data as unknown;
  if (!isJsonObject(data)) return null;
  return {
    stream: event.streamId,
    revision: Number(event.revision),
    type: event.type,
    data,
    by: isJsonObject(event.metadata) ? event.metadata : {},
    position: position((event as unknown as { position: { commit: bigint } }).position.commit),
    recordedAtMs: event.created.getTime(),
  };
}

export function journalOf(client: EventStoreDBClient): Journal {
  return {
    async append(stream, after, { type, data, by }) {
      const event = jsonEvent({ type, data: data as JSONEventType["data"], metadata: by as Record<string, unknown> });
      try {
        const result = await within(
          `writing to ${stream}`,
          client.appendToStream(stream, event, {
            expectedRevision: after === "any" ? ANY : after < 0 ? NO_STREAM : BigInt(after),
          }),
        );
        return position(result.position!.commit);
      } catch (error) {
        if (error instanceof WrongExpectedVersionError) return null;
        throw asTributary(`writing to ${stream}`, error);
      }
    },

    read: (stream, from = 0) => within(`reading ${stream}`, readFacts(client, stream, from)),
    end: () => within("reading the log's end", logEnd(client)),

    follow({ prefixes, after, signal, onFact, onInterruption, onResumed }) {
      let received = after;
      let last: Fact | null = null;
      let pauseMs = MIN_PAUSE_MS;
      let stop = (): void => {};
      const start = (): void => {
        if (signal.aborted) return;
        let isOver = false;
        const subscription = client.subscribeToAll({
          fromPosition: received === null ? START : { commit: received, prepare: received },
          filter: streamNameFilter({
            prefixes: [...prefixes],
            checkpointInterval: CHECKPOINT_INTERVAL,
            // Facts are few among many events: without this, a link made anew would have the server look through all of them again.
            checkpointReached: async (_, reached) => {
              if (!isOver && (received === null || reached.commit > received)) received = position(reached.commit);
            },
          }),
        });
        const again = (message: string, pause: number): void => {
          if (isOver) return;
          isOver = true;
          clearTimeout(renewal);
          subscription.unsubscribe().catch(() => {});
          if (signal.aborted) return;
          if (pause === 0) {
            start();
            return;
          }
          onInterruption?.(message);
          retry = setTimeout(() => void resume(), pause);
          pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
        };
        const renewal = setTimeout(() => again("", 0), RENEW_MS);
        renewal.unref();
        subscription.on("data", (resolved) => {
          const fact = toFact(resolved);
          if (isOver || fact === null || (received !== null && fact.position <= received)) return;
          pauseMs = MIN_PAUSE_MS;
          received = fact.position;
          last = fact;
          onFact(fact);
        });
        subscription.on("error", (error) => again(messageOf(error), pauseMs));
        subscription.on("end", () => again("the server ended the subscription", pauseMs));
        subscription.on("close", () => again("the subscription was closed", pauseMs));
        stop = () => again("", 0);
      };
      /** Whoever answers now may have a log that was set back: then places in it mean nothing any more, and facts come from the first. */
      const resume = async (): Promise<void> => {
        if (signal.aborted) return;
        try {
          if (await within("looking for the last fact received", isSetBack(client, last, received)))
            [received, last] = [null, null];
          start();
          onResumed?.();
        } catch (error) {
          onInterruption?.(messageOf(error));
          retry = setTimeout(() => void resume(), pauseMs);
          pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
        }
      };
      let retry: NodeJS.Timeout | undefined;
      signal.addEventListener(
        "abort",
        () => {
          clearTimeout(retry);
          stop();
        },
        { once: true },
      );
      start();
    },
  };
}

/** Whether the log ends before where it was followed to, or has something else where the last fact stood. */
async function isSetBack(client: EventStoreDBClient, last: Fact | null, received: Position | null): Promise<boolean> {
  if (received === null) return false;
  if (received > ((await logEnd(client)) ?? -1n)) return true;
  return last !== null && (await readFacts(client, last.stream, last.revision, 1))[0]?.position !== last.position;
}

async function readFacts(client: EventStoreDBClient, stream: string, from: number, maxCount?: number): Promise<Fact[]> {
  const facts: Fact[] = [];
  const options = {
    ...LEADER,
    direction: FORWARDS,
    fromRevision: BigInt(from),
    ...(maxCount === undefined ? {} : { maxCount }),
  } as const;
  try {
    for await (const resolved of client.readStream(stream, options)) {
      const fact = toFact(resolved);
      if (fact !== null) facts.push(fact);
    }
    return facts;
  } catch (error) {
    if (error instanceof StreamNotFoundError) return [];
    throw asTributary(`reading ${stream}`, error);
  }
}
