import { positionToText, type QuarantineNote, seq as seqOf } from "../core/index.ts";
import { keyIdOf } from "../core/node.ts";
import { deviceKey, hubKeys, isRotating, unprovenAnswers } from "./keys.ts";
import type { AsideNote } from "./move.ts";
import { eventReader, headOf } from "./reading.ts";
import { askOf } from "./replica/asks.ts";
import { pulledAt } from "./replica/pull.ts";
import { openReplicaRows } from "./replica/rows.ts";
import type { OriginRow } from "./rows.ts";
import { isCorrupt, type Store } from "./store.ts";

/** How a device stands with the hub. */
export interface FieldStatus {
  readonly path: string;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  /** The origin that writes now. */
  readonly origin: string;
  /** How many events there are. Each counts once, even if it was written again under a later name or set aside. */
  readonly events: number;
  /** Events on this device only, taken by the broker, and confirmed by the hub. Those set aside are in none of these. */
  readonly levels: { readonly LOCAL: number; readonly QUEUED: number; readonly SYNCED: number };
  /** Events that stay on this device: damaged, or refused by a hub one by one. `tributary field salvage` writes what is readable of them. */
  readonly aside: readonly (AsideNote & { readonly at: string })[];
  readonly quarantined: readonly (QuarantineNote & { readonly origin: string; readonly type: string; readonly entity: string })[];
  /** Events that were in quarantine and that the hub's people have turned down. `rejection`: why, as far as the hub says. Those that they let count are in neither list. */
  readonly rejected: readonly (FieldStatus["quarantined"][number] & { readonly rejection: string | null })[];
  readonly syncedAt: string | null;
  /** Device clock minus hub clock at the last sync, milliseconds. */
  readonly clockOffsetMs: number | null;
  readonly keys: {
    /** The thumbprint of this device's key, and whether another key is about to replace it. */
    readonly device: string;
    readonly isRotating: boolean;
    /** The hub's keys: only what they sign is believed. If there are none, whoever answers is believed. */
    readonly hub: readonly string[];
    /** How many answers so far none of these keys had signed. */
    readonly unproven: number;
  };
  /** What the hub has sent down; `null`: nothing has come yet. */
  readonly replica: ReplicaStatus | null;
  readonly origins: readonly {
    readonly origin: string;
    readonly events: number;
    readonly synced: number;
    /** The position of the last confirmed event, which means nothing without the incarnation of the log that gave it. */
    readonly position: string | null;
    readonly incarnation: string | null;
  }[];
}

/** How a replica stands. */
export interface ReplicaStatus {
  /** Buckets that this device holds, and how many of them are not up to date, as far as the hub has told. */
  readonly buckets: number;
  readonly behind: number;
  /** Entities in them. An entity that is in two counts twice. */
  readonly entities: number;
  /** When the last pull came to its end, ISO 8601; `null`: none has. */
  readonly pulledAt: string | null;
  /** Views that are folded by another declaration than the hub's. */
  readonly olderRules: readonly string[];
  /** Deletions whose confirmation waits for something: for the receipt of an own event, or for a form to write it in. */
  readonly unconfirmed: number;
}

/** How the replica stands, from its tables: whichever views the caller knows. */
function replicaStatusOf(store: Store): ReplicaStatus | null {
  const rows = openReplicaRows(store.db);
  const buckets = rows.buckets();
  const at = pulledAt(store);
  if (buckets.length === 0 && at === null) return null;
  return {
    buckets: buckets.length,
    behind: buckets.filter((bucket) => askOf(rows, bucket) !== null).length,
    entities: buckets.reduce((sum, { n }) => sum + rows.countMembers(n), 0),
    pulledAt: at,
    olderRules: rows.views().flatMap(({ name, isOlder }) => (isOlder ? [name] : [])),
    unconfirmed: rows.countPurges(),
  };
}

export function statusOf(store: Store): FieldStatus {
  const origins = store.origins();
  const sum = (of: (origin: (typeof origins)[number]) => number): number =>
    origins.reduce((total, origin) => total + of(origin), 0);
  const kept = sum(({ lastSeq }) => lastSeq + 1);
  const synced = sum(({ syncedThrough }) => syncedThrough + 1);
  const queued = sum(({ queuedThrough, syncedThrough }) => Math.max(0, queuedThrough - syncedThrough));
  const offset = store.meta("clock_offset_ms");
  const aside = asideOf(store, origins);
  return {
    path: store.path,
    ...store.name,
    origin: store.current().name,
    events: kept + aside.length,
    levels: { LOCAL: kept - synced - queued, QUEUED: queued, SYNCED: synced },
    aside,
    ...quarantinedOf(store, origins),
    syncedAt: store.meta("synced_at"),
    clockOffsetMs: offset === null ? null : Number(offset),
    keys: {
      device: keyIdOf(deviceKey(store)),
      isRotating: isRotating(store),
      hub: hubKeys(store).map(keyIdOf),
      unproven: unprovenAnswers(store),
    },
    replica: replicaStatusOf(store),
    origins: origins.map(({ name, lastSeq, syncedThrough, position, incarnation }) => ({
      origin: name,
      events: lastSeq + 1,
      synced: syncedThrough + 1,
      position: position === null ? null : positionToText(position),
      incarnation,
    })),
  };
}

/** What an event is about, if its row can be read. */
function aboutOf(
  store: Store,
  { id, name }: OriginRow,
  seq: number,
): { readonly type: string | null; readonly entity: string | null } {
  try {
    const text = store.rows.eventText("head", id, seq);
    const head = text === null ? null : headOf(text, name, seq);
    if (head !== null) return { type: head.type, entity: `${head.entity.type}/${head.entity.id}` };
  } catch (error) {
    if (!isCorrupt(error)) throw error;
  }
  return { type: null, entity: null };
}

function asideOf(store: Store, origins: readonly OriginRow[]): FieldStatus["aside"] {
  return origins.flatMap((origin) =>
    store.rows.asideOf(origin.id).map(({ seq, code, reason, at }) => ({
      origin: origin.name,
      seq: seqOf(seq),
      code,
      reason,
      at,
      ...aboutOf(store, origin, seq),
    })),
  );
}

function quarantinedOf(store: Store, origins: readonly OriginRow[]): Pick<FieldStatus, "quarantined" | "rejected"> {
  const all = origins.flatMap((origin) =>
    store.rows.quarantinedOf(origin.id, origin.lastSeq).map(({ seq, code, reason, isRejected, rejection }) => {
      const about = aboutOf(store, origin, seq);
      const type = about.type ?? "(damaged)";
      const entity = about.entity ?? "(damaged)";
      return { isRejected, rejection, note: { seq: seqOf(seq), code, reason, origin: origin.name, type, entity } };
    }),
  );
  return {
    quarantined: all.filter(({ isRejected }) => !isRejected).map(({ note }) => note),
    rejected: all.filter(({ isRejected }) => isRejected).map(({ note, rejection }) => ({ ...note, rejection })),
  };
}

/** An event on the device. */
export interface FieldEvent {
  readonly origin: string;
  readonly seq: number;
  readonly type: string;
  readonly entity: { readonly type: string; readonly id: string };
  readonly data: string;
  readonly hash: string;
  readonly level: "LOCAL" | "QUEUED" | "SYNCED";
}

/**
 * All events on the device, origin by origin, in order. An event that was written again under a later name comes under that name only. Events that were set aside
 * or cannot be read are left out: `statusOf` lists the former, `tributary field salvage` writes the latter.
 */
export function* eventsOf(store: Store): Generator<FieldEvent> {
  const rows = eventReader(store);
  for (const origin of store.origins()) {
    const { name, syncedThrough, queuedThrough, lastSeq } = origin;
    for (const found of rows.from(origin, 0, lastSeq)) {
      if (found.kind === "damaged") continue;
      const { row, head } = found;
      const level = row.seq <= syncedThrough ? "SYNCED" : row.seq <= queuedThrough ? "QUEUED" : "LOCAL";
      yield { origin: name, seq: row.seq, type: head.type, entity: head.entity, data: row.data, hash: row.hash, level };
    }
  }
}
