import {
  ANY,
  type EventStoreDBClient,
  type JSONEventType,
  jsonEvent,
  NO_STREAM,
  WrongExpectedVersionError,
} from "@eventstore/db-client";
import { type Journal, position } from "../core/index.ts";
import { asTributary, within } from "./client.ts";
import { readFacts } from "./facts.ts";
import { followFacts } from "./journal-follow.ts";
import { logEnd } from "./read.ts";

/** The journal over a client: facts about the hub itself, in streams of their own. */
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

    follow: (options) => followFacts(client, options),
  };
}
