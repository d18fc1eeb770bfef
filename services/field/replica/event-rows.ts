import type { SQLOutputValue } from "node:sqlite";
import {
  type Clips,
  type ClockNote,
  clipsFromStored,
  clipsToStored,
  type Hash,
  isJsonObject,
  type OriginId,
  type Position,
  positionFromNumber,
  positionToNumber,
  type QuarantineReason,
} from "../../core/index.ts";
import { type EventHead, PURGED_HEAD } from "../reading.ts";
import { isCorrupt } from "../store.ts";
import { numberOrNull, type Prepared, type Row, textOrNull } from "./prepared.ts";

/** The SQL of the replica's events, and of this device's own among them. */

/** What the hub says of an event beside its hash. */
export interface HubNote {
  readonly held: QuarantineReason | null;
  readonly clock: ClockNote | null;
  readonly clips?: Clips;
}

/** An event of the replica. */
export interface PlacedEvent extends HubNote {
  readonly head: EventHead;
  readonly prev: Hash;
  readonly hash: Hash;
  readonly position: Position;
  readonly recordedAtMs: number;
  /** The text of its data. */
  readonly text: string;
}

/** Own events by what became of them. `settled`: released or rejected. `aside`: it stays on the device. */
export type OwnState = "pending" | "confirmed" | "quarantined" | "settled" | "aside";

export interface OwnRow {
  /** The epoch's number in the table `origin`. */
  readonly origin: number;
  readonly seq: number;
  readonly entity: number;
  readonly state: OwnState;
  readonly isPlaced: boolean;
}

const noteText = ({ held, clock, clips }: HubNote): string | null =>
  held === null && clock === null && clips === undefined
    ? null
    : JSON.stringify({ held, clock, ...(clips === undefined ? {} : { clips: clipsToStored(clips) }) });

function noteIn(value: SQLOutputValue | undefined): HubNote {
  if (typeof value !== "string") return { held: null, clock: null };
  const note: unknown = JSON.parse(value);
  // Written by `noteText`.
  const {
    held,
    clock,
    clips: stored,
  } = (isJsonObject(note) ? note : {}) as { held?: HubNote["held"]; clock?: HubNote["clock"]; clips?: unknown };
  const clips = clipsFromStored(stored);
  return { held: held ?? null, clock: clock ?? null, ...(clips === undefined ? {} : { clips }) };
}

const hashIn = (value: SQLOutputValue | undefined): Hash =>
  Buffer.from(value instanceof Uint8Array ? value : []).toString("hex") as Hash;

/** What stands in an own event's row. */
export interface OwnText {
  readonly head: string;
  readonly data: string;
  readonly hash: string;
}

const ownTextIn = (row: Row | undefined): OwnText | undefined =>
  row && { head: String(row.head), data: String(row.data), hash: String(row.hash) };

/**
 * Reads own events, of which some may lie on damaged pages. SQLite lets nothing more be written in a transaction that has met such a page: all events of the epoch are looked at then, and when the
 * transaction is tried again, those that cannot be read are known.
 */
export const ownTexts = (prepared: Prepared) => {
  const damaged = new Map<string, OwnText | undefined>();
  const at = (origin: number, seq: number) =>
    ownTextIn(prepared("SELECT head, data, hash FROM event WHERE origin = ? AND seq = ?").get(origin, seq));
  /** Another way to the same row, which does not pass the pages on its other side. */
  const fromBehind = (origin: number, seq: number): OwnText | undefined => {
    try {
      const row = prepared("SELECT * FROM event WHERE origin = ? AND seq <= ? ORDER BY seq DESC LIMIT 1").get(origin, seq);
      return Number(row?.seq) === seq ? ownTextIn(row) : undefined;
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      return undefined;
    }
  };
  const lookAtAll = (origin: number): void => {
    const next = Number(prepared("SELECT next_seq FROM origin WHERE id = ?").get(origin)?.next_seq ?? 0);
    for (let seq = 0; seq < next; seq++) {
      try {
        at(origin, seq);
      } catch (error) {
        if (!isCorrupt(error)) throw error;
        damaged.set(`${origin}/${seq}`, fromBehind(origin, seq));
      }
    }
  };
  return {
    /** What stands in an own event's row; `undefined`: there is none, or it cannot be read. */
    ownText(origin: number, seq: number): OwnText | undefined {
      const key = damaged.size > 0 ? `${origin}/${seq}` : "";
      if (damaged.has(key)) return damaged.get(key);
      try {
        return at(origin, seq);
      } catch (error) {
        if (isCorrupt(error)) lookAtAll(origin);
        throw error;
      }
    },
    /** Notes that an own event cannot be overwritten, since a page beside its own is damaged. It can be read as before. */
    noteDamaged(origin: number, seq: number): void {
      let text: OwnText | undefined;
      try {
        text = at(origin, seq);
      } catch (error) {
        if (!isCorrupt(error)) throw error;
        text = fromBehind(origin, seq);
      }
      damaged.set(`${origin}/${seq}`, text);
    },
    /** Whether an own event lies on a damaged page or beside one, as far as one was met. */
    isDamaged: (origin: number, seq: number): boolean => damaged.has(`${origin}/${seq}`),
    countDamaged: (): number => damaged.size,
  };
};

export type OwnTexts = ReturnType<typeof ownTexts>;

const placedEvent = (r: Row, ownText: OwnTexts["ownText"]): PlacedEvent => ({
  // Written by `addEvent` below, from what was checked.
  head: JSON.parse(String(r.head)) as EventHead,
  prev: hashIn(r.prev),
  hash: hashIn(r.hash),
  position: positionFromNumber(Number(r.position)),
  recordedAtMs: Number(r.recorded_at),
  text: textOrNull(r.data) ?? (r.own == null ? undefined : ownText(Number(r.own), Number(r.seq))?.data) ?? "",
  ...noteIn(r.note),
});

/** Events; of those whose texts stand in the table `event`, since this device wrote them, with the epoch's number there. */
const PLACED = `SELECT r.*, CASE WHEN r.data IS NULL THEN (
    SELECT o.id FROM replica_origin p JOIN origin o ON o.name = p.name WHERE p.n = r.origin
  ) END AS own FROM replica_event r`;

export const eventRows = (prepared: Prepared, { ownText }: OwnTexts) => ({
  originNumber(name: OriginId): number | null {
    return numberOrNull(prepared("SELECT n FROM replica_origin WHERE name = ?").get(name)?.n);
  },
  addOriginNumber: (name: OriginId): number =>
    Number(prepared("INSERT INTO replica_origin (name) VALUES (?)").run(name).lastInsertRowid),
  /** `text`: `null` where the table `event` has it. `false`: the entity had the event already. */
  addPlaced(
    { entity, origin }: { readonly entity: number; readonly origin: number },
    event: Omit<PlacedEvent, "text"> & { readonly text: string | null },
  ): boolean {
    const { head, prev, hash, position, recordedAtMs, text } = event;
    return (
      prepared("INSERT INTO replica_event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING").run(
        entity,
        origin,
        head.seq,
        positionToNumber(position),
        Math.trunc(recordedAtMs),
        Buffer.from(prev, "hex"),
        Buffer.from(hash, "hex"),
        noteText(event),
        JSON.stringify(head),
        text,
      ).changes > 0
    );
  },
  hasPlaced: (entity: number, origin: number, seq: number): boolean =>
    prepared("SELECT 1 FROM replica_event WHERE entity = ? AND origin = ? AND seq = ?").get(entity, origin, seq) !== undefined,
  countPlaced: (entity: number): number =>
    Number(prepared("SELECT count(*) AS n FROM replica_event WHERE entity = ?").get(entity)?.n ?? 0),
  /** An entity's events in log order. */
  placedOf: (entity: number): PlacedEvent[] =>
    prepared(`${PLACED} WHERE r.entity = ? ORDER BY r.position`)
      .all(entity)
      .map((row) => placedEvent(row, ownText)),
  placedAt(entity: number, origin: number, seq: number): PlacedEvent | undefined {
    const row = prepared(`${PLACED} WHERE r.entity = ? AND r.origin = ? AND r.seq = ?`).get(entity, origin, seq);
    return row && placedEvent(row, ownText);
  },
  /** The replica's events in the order of the hub's log, read while they are used. An event that two entities have comes once. */
  *placedInOrder(): Generator<PlacedEvent> {
    const all = prepared(`${PLACED} GROUP BY r.origin, r.seq ORDER BY r.position, r.origin, r.seq`);
    for (const row of all.iterate()) yield placedEvent(row, ownText);
  },
  /** Returns whether there were any. */
  removePlaced: (entity: number): boolean => prepared("DELETE FROM replica_event WHERE entity = ?").run(entity).changes > 0,
});

const OWN_STATES: readonly OwnState[] = ["pending", "confirmed", "quarantined", "settled", "aside"];
const ownRow = (r: Row): OwnRow => ({
  origin: Number(r.origin),
  seq: Number(r.seq),
  entity: Number(r.entity),
  state: OWN_STATES.find((state) => state === r.state) ?? "pending",
  isPlaced: r.placed === 1,
});

export const ownRows = (prepared: Prepared) => ({
  addOwn({ origin, seq, entity, state }: Omit<OwnRow, "isPlaced">): void {
    prepared("INSERT INTO replica_own VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING").run(origin, seq, entity, state);
  },
  setOwnState(origin: number, seq: number, state: OwnState): void {
    prepared("UPDATE replica_own SET state = ? WHERE origin = ? AND seq = ?").run(state, origin, seq);
  },
  /** Notes that the feed has brought an own event back for its entity. */
  placeOwn(origin: number, seq: number, entity: number): void {
    prepared(
      "UPDATE replica_own SET placed = 1, state = iif(state = 'pending', 'confirmed', state) WHERE origin = ? AND seq = ? AND entity = ?",
    ).run(origin, seq, entity);
  },
  unplaceOwn(entity: number): void {
    prepared("UPDATE replica_own SET placed = 0 WHERE entity = ?").run(entity);
  },
  removeOwn(origin: number, seq: number): void {
    prepared("DELETE FROM replica_own WHERE origin = ? AND seq = ?").run(origin, seq);
  },
  ownAt(origin: number, seq: number): OwnRow | undefined {
    const row = prepared("SELECT * FROM replica_own WHERE origin = ? AND seq = ?").get(origin, seq);
    return row && ownRow(row);
  },
  ownOf: (entity: number): OwnRow[] =>
    prepared("SELECT * FROM replica_own WHERE entity = ? ORDER BY origin, seq").all(entity).map(ownRow),
  /** Own events that are folded on top of what the feed has brought. */
  unplacedOf: (entity: number): OwnRow[] =>
    prepared(
      "SELECT * FROM replica_own WHERE entity = ? AND state IN ('pending', 'confirmed') AND placed = 0 ORDER BY origin, seq",
    )
      .all(entity)
      .map(ownRow),
  hasAnyOwn: (entity: number): boolean =>
    prepared("SELECT 1 FROM replica_own WHERE entity = ? LIMIT 1").get(entity) !== undefined,
  /** Those of some entities that have own events. */
  withOwn(entities: readonly number[]): ReadonlySet<number> {
    const out = new Set<number>();
    if (prepared("SELECT 1 FROM replica_own LIMIT 1").get() === undefined) return out;
    const found = prepared("SELECT DISTINCT o.entity FROM json_each(?) w CROSS JOIN replica_own o ON o.entity = w.value");
    for (const { entity } of found.all(JSON.stringify(entities))) out.add(Number(entity));
    return out;
  },
  hasOwn: (entity: number, state: OwnState): boolean =>
    prepared("SELECT 1 FROM replica_own WHERE entity = ? AND state = ? LIMIT 1").get(entity, state) !== undefined,
  ownThrough: (origin: number): number =>
    Number(prepared("SELECT through FROM replica_own_through WHERE origin = ?").get(origin)?.through ?? -1),
  setOwnThrough(origin: number, through: number): void {
    prepared(
      "INSERT INTO replica_own_through (origin, through) VALUES (?, ?) ON CONFLICT DO UPDATE SET through = excluded.through",
    ).run(origin, through);
  },
  /** Own events whose state is not what receipts, marks and epochs say now, with what they say; `null`: the event was written again under another epoch. */
  ownChanges: (): (OwnRow & { readonly now: OwnState | null })[] =>
    prepared(OWN_CHANGES)
      .all()
      .map((row) => ({ ...ownRow(row), now: OWN_STATES.find((state) => state === row.now) ?? null })),
});

const RECEIVED = "iif(o.seq <= g.synced_through, 'confirmed', 'pending')";
const OWN_CHANGES = `
  SELECT o.*, 'confirmed' AS now FROM replica_own o JOIN origin g ON g.id = o.origin WHERE o.state = 'pending' AND o.seq <= g.synced_through
  UNION ALL SELECT o.*, 'pending' FROM origin g JOIN replica_own o ON o.origin = g.id AND o.seq > g.synced_through
    WHERE o.state = 'confirmed' AND o.placed = 0 AND (g.kept_through IS NULL OR o.seq <= g.kept_through)
  UNION ALL SELECT o.*, iif(q.state = 'held', 'quarantined', 'settled') FROM quarantined q JOIN replica_own o ON o.origin = q.origin AND o.seq = q.seq
    WHERE o.state NOT IN ('aside', iif(q.state = 'held', 'quarantined', 'settled'))
  UNION ALL SELECT o.*, 'aside' FROM aside a JOIN replica_own o ON o.origin = a.origin AND o.seq = a.seq WHERE o.state <> 'aside'
  UNION ALL SELECT o.*, ${RECEIVED} FROM replica_own o JOIN origin g ON g.id = o.origin
    WHERE o.state IN ('quarantined', 'settled', 'aside')
      AND NOT EXISTS (SELECT 1 FROM quarantined q WHERE q.origin = o.origin AND q.seq = o.seq)
      AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.origin = o.origin AND a.seq = o.seq)
      AND (g.kept_through IS NULL OR o.seq <= g.kept_through)
  UNION ALL SELECT o.*, NULL FROM origin g JOIN replica_own o ON o.origin = g.id AND o.seq > g.kept_through
    WHERE g.kept_through IS NOT NULL AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.origin = o.origin AND a.seq = o.seq)
`;

function noteLacking(prepared: Prepared, origin: number, seq: number): void {
  prepared(
    `INSERT INTO replica_own_through VALUES (?1, -1, ?2)
     ON CONFLICT DO UPDATE SET purged_from = min(coalesce(purged_from, ?2), ?2)`,
  ).run(origin, seq);
}

export const ownContentRows = (prepared: Prepared, { noteDamaged }: Pick<OwnTexts, "noteDamaged">) => ({
  /** Notes that an own event's content is not here any more, so that the hub sends it with the event. */
  noteLacking: (origin: number, seq: number): void => noteLacking(prepared, origin, seq),
  /**
   * Takes the content out of an own event; its hash stays, since the next one's follows from it. A row that becomes smaller makes SQLite look at the pages beside its own: if one of these is damaged, this
   * throws, and the event counts as damaged when the transaction is tried again.
   */
  purgeOwn(origin: number, seq: number): void {
    try {
      prepared("UPDATE event SET head = ?, data = '', fingerprint = '' WHERE origin = ? AND seq = ?").run(
        PURGED_HEAD,
        origin,
        seq,
      );
    } catch (error) {
      if (isCorrupt(error)) noteDamaged(origin, seq);
      throw error;
    }
    noteLacking(prepared, origin, seq);
    prepared("UPDATE quarantined SET reason = '', settled_reason = NULL WHERE origin = ? AND seq = ?").run(origin, seq);
  },
  purgedFrom: (origin: number): number | null =>
    numberOrNull(prepared("SELECT purged_from FROM replica_own_through WHERE origin = ?").get(origin)?.purged_from),
  forgetSeen(type: string, id: string): void {
    prepared("DELETE FROM entity WHERE type = ? AND id = ?").run(type, id);
  },
  forgetImported(eventType: string, id: string): void {
    prepared("DELETE FROM imported_last WHERE type = ? AND id = ?").run(eventType, id);
  },
});
