import {
  type EntityRef,
  isJsonObject,
  type JsonValue,
  type OriginId,
  RESOLVED,
  type SchemaRef,
  type Seq,
  seq as seqOf,
  TributaryError,
} from "../../core/index.ts";
import type { Shown } from "../../desk/index.ts";
import { auditEvents, type Db, positionAsked, upToCommon } from "../../views/index.ts";
import { writtenEvents } from "./desk.ts";
import { type Answers, type Asking, given } from "./hub.ts";

interface EventArgs {
  readonly type: string;
  readonly entity: EntityRef;
  readonly data: JsonValue;
  readonly occurredAt?: string | null;
  readonly schema?: SchemaRef | null;
  readonly seenThrough?: string | null;
  readonly correlationId?: string | null;
  readonly causationId?: string | null;
}

/** Events of one call. */
const MAX_EVENTS = 500;

/**
 * Appends events for a program. Nothing is looked up that is not the person's, so that nobody learns from what is refused which entities there are: an event about an entity of
 * another organisation is taken as it would be from a device.
 */
async function append({ events }: { readonly events: readonly EventArgs[] }, { hub, principal }: Asking) {
  if (principal.kind !== "person")
    throw new TributaryError(
      "not-permitted",
      "a site's token appends through its own devices only",
      "Sync with a device of the site, or take a person's token (`tributary token issue`).",
    );
  if (events.length === 0 || events.length > MAX_EVENTS)
    throw new TributaryError("input-malformed", `these are ${events.length} events`, `Append 1 to ${MAX_EVENTS} at a time.`);
  const made = events.map(({ type, entity, data, occurredAt, schema, correlationId, causationId }) => {
    if (type === RESOLVED)
      throw new TributaryError("not-permitted", `${RESOLVED} is a decision`, "Decide by decideCase or decideRegister.");
    if (!isJsonObject(data))
      throw new TributaryError("event-invalid", `the data of ${type} are not a JSON object`, "Give the members of its form.");
    const when = occurredAt == null ? {} : { occurredAt: new Date(occurredAt).toISOString() };
    return { type, entity, data, actor: principal.subject, ...when, ...given({ schema, correlationId, causationId }) };
  });
  const shown = await hub.reading.read(principal.viewer, (db) => seenOf(db, events));
  return { events: writtenEvents(await hub.writeOf(principal.org)(made, shown)) };
}

/** What the authors had seen of the entities. */
async function seenOf(db: Db, events: readonly EventArgs[]): Promise<readonly Shown[]> {
  const out: Shown[] = [];
  for (const { entity, seenThrough } of events) {
    if (seenThrough === null || seenThrough === undefined) continue;
    const upTo = await upToCommon(db, await positionAsked(db, seenThrough));
    const seen: Record<OriginId, Seq> = {};
    for (const { origin, seq } of await auditEvents(db, entity, upTo)) seen[origin] = seqOf(seq);
    out.push({ entity, seen });
  }
  return out;
}

export const appendDecisions = { append } satisfies Answers;
