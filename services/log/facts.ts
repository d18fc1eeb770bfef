import { type EventStoreDBClient, FORWARDS, type ResolvedEvent, StreamNotFoundError } from "@eventstore/db-client";
import { type Fact, isJsonObject } from "../core/index.ts";
import { asTributary, LEADER } from "./client.ts";
import { positionIn } from "./stored.ts";

/** A stored event as a fact; `null`: it is not a fact. */
export function toFact({ event }: ResolvedEvent): Fact | null {
  if (event === undefined || !event.isJson) return null;
  const data = event.data as unknown;
  if (!isJsonObject(data)) return null;
  return {
    stream: event.streamId,
    revision: Number(event.revision),
    type: event.type,
    data,
    by: isJsonObject(event.metadata) ? event.metadata : {},
    position: positionIn(event),
    recordedAtMs: event.created.getTime(),
  };
}

/** The facts of a stream, from a revision on; none where there is no such stream. */
export async function readFacts(client: EventStoreDBClient, stream: string, from: number, maxCount?: number): Promise<Fact[]> {
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
