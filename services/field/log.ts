import { type EntityRef, keyAsSeen } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { eventReader } from "./reading.ts";
import { openReplicaRows } from "./replica/rows.ts";
import { type EntityEvent, told } from "./replica/stories.ts";
import type { OriginRow } from "./rows.ts";
import type { Store } from "./store.ts";

/** An event as a device's log lists it. What cannot be read of a damaged one is `null`. */
export interface LoggedEvent {
  readonly origin: string;
  readonly seq: number;
  readonly type: string | null;
  readonly entity: EntityRef | null;
  readonly actor: string | null;
  /** When it happened by the device's clock, ISO 8601. */
  readonly occurredAt: string | null;
  /** `ASIDE`: it stays on this device. */
  readonly level: "LOCAL" | "QUEUED" | "SYNCED" | "ASIDE";
  /** Why it was quarantined or set aside, or cannot be read; `null`: nothing is wrong with it. */
  readonly problem: string | null;
}

/** What the hub has sent to this device, in the order of the hub's log, read while it is used. */
export function* pulledLog(
  { store, gate }: { readonly store: Store; readonly gate: Pick<Gate, "open"> },
  { entity }: Pick<LogQuestion, "entity"> = {},
): Generator<EntityEvent> {
  const rows = openReplicaRows(store.db);
  const own = new Map<string, number>(store.origins().map(({ id, name }) => [name, id]));
  for (const { text, held, clock, clips, ...event } of rows.placedInOrder()) {
    if (entity !== undefined && !isSame(event.head.entity, entity)) continue;
    const { origin, seq } = event.head;
    const id = own.get(origin);
    const note = { held, clock, ...(clips === undefined ? {} : { clips }) };
    yield told({ ...event, text, note, own: id === undefined ? null : (rows.ownAt(id, seq)?.state ?? null) }, gate);
  }
}

export interface LogQuestion {
  /** From this seq of the origin that writes now; earlier origins are left out then. Default: all events of all origins. */
  readonly since?: number;
  readonly entity?: EntityRef;
}

/** A device's events, oldest first, read while they are used. An event that was written again under a later origin stands there only. */
export function* fieldLog(store: Store, { since, entity }: LogQuestion = {}): Generator<LoggedEvent> {
  const current = store.current();
  for (const origin of since === undefined ? store.origins() : [current])
    for (const event of eventsIn(store, origin, since ?? 0))
      if (entity === undefined || (event.entity !== null && isSame(event.entity, entity))) yield event;
}

const isSame = (a: EntityRef, b: EntityRef): boolean => a.type === b.type && keyAsSeen(a.id) === keyAsSeen(b.id);

function* eventsIn(store: Store, origin: OriginRow, since: number): Generator<LoggedEvent> {
  const { rows } = store;
  const { name, lastSeq, nextSeq, syncedThrough, queuedThrough } = origin;
  const aside = new Map(rows.asideOf(origin.id).map(({ seq, reason }) => [seq, reason] as const));
  const quarantined = new Map(rows.quarantinedOf(origin.id, lastSeq).map(({ seq, reason }) => [seq, reason] as const));
  for (const found of eventReader(store).from(origin, since, nextSeq - 1)) {
    const seq = found.kind === "event" ? found.row.seq : found.seq;
    const why = aside.get(seq);
    if (seq > lastSeq && why === undefined) continue;
    const level = why !== undefined ? "ASIDE" : seq <= syncedThrough ? "SYNCED" : seq <= queuedThrough ? "QUEUED" : "LOCAL";
    const held = quarantined.get(seq);
    const problem = why ?? (held === undefined ? null : `quarantined: ${held}`);
    yield found.kind === "event"
      ? {
          ...{ origin: name, seq, level, problem },
          ...{ type: found.head.type, entity: found.head.entity, actor: found.head.actor, occurredAt: found.head.occurredAt },
        }
      : {
          ...{ origin: name, seq, level, problem: problem ?? found.reason },
          type: null,
          entity: null,
          actor: null,
          occurredAt: null,
        };
  }
}
