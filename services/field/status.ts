import type { QuarantineNote, Seq } from "../core/index.ts";
import { keyIdOf } from "../core/node.ts";
import { deviceKey, hubKeys, isRotating, unprovenAnswers } from "./keys.ts";
import type { Store } from "./store.ts";

/** How a device stands with the hub. */
export interface FieldStatus {
  readonly path: string;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  /** The origin that writes now. */
  readonly origin: string;
  readonly events: number;
  /** On this device only / taken by the broker / confirmed by the hub. */
  readonly levels: { readonly LOCAL: number; readonly QUEUED: number; readonly SYNCED: number };
  readonly quarantined: readonly (QuarantineNote & { readonly origin: string; readonly type: string; readonly entity: string })[];
  readonly syncedAt: string | null;
  /** Device clock minus hub clock at the last sync, milliseconds. */
  readonly clockOffsetMs: number | null;
  readonly keys: {
    /** This device's key, by its thumbprint; and whether another is about to take its place. */
    readonly device: string;
    readonly isRotating: boolean;
    /** The hub's keys: only what they sign is believed. None: whoever answers is. */
    readonly hub: readonly string[];
    /** Answers that none of them had signed, so far. */
    readonly unproven: number;
  };
  readonly origins: readonly {
    readonly origin: string;
    readonly events: number;
    readonly synced: number;
    readonly position: string | null;
  }[];
}

export function statusOf(store: Store): FieldStatus {
  const origins = store.origins();
  const sum = (of: (origin: (typeof origins)[number]) => number): number =>
    origins.reduce((total, origin) => total + of(origin), 0);
  const events = sum(({ nextSeq }) => nextSeq);
  const synced = sum(({ syncedThrough }) => syncedThrough + 1);
  const queued = sum(({ queuedThrough, syncedThrough }) => Math.max(0, queuedThrough - syncedThrough));
  const offset = store.meta("clock_offset_ms");
  const quarantined = store.db
    .prepare(
      `SELECT q.seq, q.code, q.reason, o.name, e.head FROM quarantined q
       JOIN origin o ON o.id = q.origin JOIN event e ON e.origin = q.origin AND e.seq = q.seq ORDER BY q.origin, q.seq`,
    )
    .all()
    .map((row) => {
      const head = JSON.parse(row.head as string) as { type: string; entity: { type: string; id: string } };
      return {
        seq: row.seq as Seq,
        code: row.code as string,
        reason: row.reason as string,
        origin: row.name as string,
        type: head.type,
        entity: `${head.entity.type}/${head.entity.id}`,
      };
    });
  return {
    path: store.path,
    ...store.name,
    origin: store.current().name,
    events,
    levels: { LOCAL: events - synced - queued, QUEUED: queued, SYNCED: synced },
    quarantined,
    syncedAt: store.meta("synced_at"),
    clockOffsetMs: offset === null ? null : Number(offset),
    keys: {
      device: keyIdOf(deviceKey(store)),
      isRotating: isRotating(store),
      hub: hubKeys(store).map(keyIdOf),
      unproven: unprovenAnswers(store),
    },
    origins: origins.map(({ name, nextSeq, syncedThrough, position }) => ({
      origin: name,
      events: nextSeq,
      synced: syncedThrough + 1,
      position,
    })),
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

/** All events on the device, origin by origin, in order. */
export function* eventsOf(store: Store): Generator<FieldEvent> {
  for (const { id, name, syncedThrough, queuedThrough } of store.origins()) {
    for (const row of store.db.prepare("SELECT seq, head, data, hash FROM event WHERE origin = ? ORDER BY seq").iterate(id)) {
      const seq = Number(row.seq);
      const { type, entity } = JSON.parse(row.head as string) as Pick<FieldEvent, "type" | "entity">;
      const level = seq <= syncedThrough ? "SYNCED" : seq <= queuedThrough ? "QUEUED" : "LOCAL";
      yield { origin: name, seq, type, entity, data: row.data as string, hash: row.hash as string, level };
    }
  }
}
