import { randomUUID } from "node:crypto";
import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import type { BucketId, Cursor, Hash, ScopeValue } from "../../core/index.ts";
import type { HeldBucket, Purge } from "../../exchange/protocol/index.ts";
import { eventRows, ownContentRows, ownRows, ownTexts } from "./event-rows.ts";
import { numberOrNull, type Prepared, preparer, type Row, textOrNull } from "./prepared.ts";

/** The SQL of the replica's own tables, one function a statement. The tables of views have theirs in `view-rows.ts`. `migrations.ts` makes the tables. */
export type ReplicaRows = ReturnType<typeof openReplicaRows>;

/**
 * How far the filling of a bucket has come:
 *
 *   states ─▶ events ─▶ compare ⇄ follow
 */
export type Phase = "states" | "events" | "compare" | "follow";

export interface BucketRow {
  readonly n: number;
  readonly id: BucketId;
  readonly entityType: string;
  readonly values: readonly ScopeValue[];
  readonly priority: number;
  readonly statesOnly: boolean;
  readonly phase: Phase;
  /** While it is filled: the last range key that has come. */
  readonly after: string | null;
  /** Where the replica stands in the bucket's feed; it counts in the phase `follow` only. */
  readonly cursor: Cursor;
  /** The first 16 digits of the head that the hub has; empty: the bucket has no segment. `null`: not told. */
  readonly hubEnd: string | null;
}

export interface EntityRow {
  readonly n: number;
  readonly type: string;
  readonly id: string;
  readonly leaving: number | null;
}

export interface MemberRow {
  readonly bucket: number;
  readonly key: string;
  readonly entity: number;
  readonly digest: Hash;
  readonly hasEvents: boolean;
}

export interface ViewRow {
  readonly name: string;
  readonly shape: string;
  readonly readers: string;
  readonly isOlder: boolean;
}

const PHASES: readonly Phase[] = ["states", "events", "compare", "follow"];

const CACHE_KIB = 32_768;
const CHECKPOINT_PAGES = 8_000;

export function openReplicaRows(db: DatabaseSync) {
  const prepared = preparer(db);
  const texts = ownTexts(prepared);
  /** What the last deletion left, as long as what it deleted may still stand in the files; `null`: nothing does. */
  const deletedMark = (): string | null => {
    const mark = prepared("SELECT value FROM meta WHERE key = 'replica_deleted'").get()?.value;
    return typeof mark === "string" && mark !== "0" ? mark : null;
  };
  return {
    /** Room for a replica: pages in memory, and a write-ahead log that is written back less often, since the events of a page go all over the file. */
    makeRoom(): void {
      db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    },
    /**
     * Writes the file anew. What was deleted is overwritten where it stood (`secure_delete`), but when SQLite moves rows between pages, copies stay behind in the room that becomes free.
     */
    vacuum: (): void => db.exec("VACUUM"),
    fileBytes: (): number =>
      Number(prepared("PRAGMA page_count").get()?.page_count) * Number(prepared("PRAGMA page_size").get()?.page_size),
    /** Whether nothing that was deleted may still stand in the files. It is noted in the transaction that deletes. */
    isClean: (): boolean => deletedMark() === null,
    deletedMark,
    /** Each deletion leaves another mark, so that whoever takes the bytes out of the files sees whether another program has deleted meanwhile. */
    noteDeleted(): void {
      prepared("INSERT INTO meta VALUES ('replica_deleted', ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(
        randomUUID(),
      );
    },
    /** Notes that nothing stands in the files of what was deleted until a mark was left. Later deletions keep theirs. */
    setClean(mark: string): void {
      prepared("UPDATE meta SET value = '0' WHERE key = 'replica_deleted' AND value = ?").run(mark);
    },
    /** A number that is another one after another connection has written. */
    version: (): number => Number(prepared("PRAGMA data_version").get()?.data_version ?? 0),
    /** Empties the write-ahead log, so that nothing that was deleted stays in it; `false`: another program is reading. */
    truncate: (): boolean => Number(db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.busy ?? 0) === 0,
    ...bucketRows(prepared),
    ...todoRows(prepared),
    ...partRows(prepared),
    ...entityRows(prepared),
    ...memberRows(db, prepared),
    ...texts,
    ...eventRows(prepared, texts),
    ...ownRows(prepared),
    ...ownContentRows(prepared, texts),
    ...purgeRows(prepared),
    ...viewCatalogRows(prepared),
  };
}

/** What this program itself wrote into the column `scope`. */
const scopeIn = (value: SQLOutputValue | undefined): readonly ScopeValue[] => JSON.parse(String(value)) as ScopeValue[];

const bucketRow = (r: Row): BucketRow => ({
  n: Number(r.n),
  id: String(r.id) as BucketId,
  entityType: String(r.type),
  values: scopeIn(r.scope),
  priority: Number(r.priority),
  statesOnly: r.states_only === 1,
  phase: PHASES.find((phase) => phase === r.phase) ?? "compare",
  after: textOrNull(r.after),
  cursor: { seal: Number(r.seal), head: String(r.head) as Hash, line: Number(r.line), digest: String(r.digest) as Hash },
  hubEnd: textOrNull(r.hub_end),
});

const bucketRows = (prepared: Prepared) => ({
  /** In the order of the holding. */
  buckets: (): BucketRow[] => prepared("SELECT * FROM replica_bucket ORDER BY rank").all().map(bucketRow),
  bucketBy(id: BucketId): BucketRow | undefined {
    const row = prepared("SELECT * FROM replica_bucket WHERE id = ?").get(id);
    return row && bucketRow(row);
  },
  addBucket(
    { bucket, entityType, values, priority, statesOnly }: HeldBucket,
    rank: number,
    { seal, head, line, digest }: Cursor,
  ): void {
    prepared(
      `INSERT INTO replica_bucket (id, type, scope, rank, priority, states_only, phase, seal, head, line, digest)
       VALUES (?, ?, ?, ?, ?, ?, 'states', ?, ?, ?, ?)`,
    ).run(bucket, entityType, JSON.stringify(values), rank, priority, statesOnly ? 1 : 0, seal, head, line, digest);
  },
  rankBucket(id: BucketId, rank: number, priority: number): void {
    prepared("UPDATE replica_bucket SET rank = ?, priority = ? WHERE id = ?").run(rank, priority, id);
  },
  removeBucket(n: number): void {
    prepared("DELETE FROM replica_bucket WHERE n = ?").run(n);
    prepared("DELETE FROM replica_todo WHERE bucket = ?").run(n);
    prepared("DELETE FROM replica_part WHERE bucket = ?").run(n);
  },
  setPhase(n: number, phase: Phase, after: string | null): void {
    prepared("UPDATE replica_bucket SET phase = ?, after = ? WHERE n = ?").run(phase, after, n);
  },
  setCursor(n: number, { seal, head, line, digest }: Cursor): void {
    prepared("UPDATE replica_bucket SET phase = 'follow', seal = ?, head = ?, line = ?, digest = ? WHERE n = ?").run(
      seal,
      head,
      line,
      digest,
      n,
    );
  },
  setHubEnd(n: number, end: string | null): void {
    prepared("UPDATE replica_bucket SET hub_end = ? WHERE n = ?").run(end, n);
  },
});

export type Todo = "range" | "fetch";

const todoRows = (prepared: Prepared) => ({
  todo: (bucket: number, kind: Todo, limit: number): string[] =>
    prepared("SELECT name FROM replica_todo WHERE bucket = ? AND kind = ? ORDER BY name LIMIT ?")
      .all(bucket, kind, limit)
      .map(({ name }) => String(name)),
  addTodo(bucket: number, kind: Todo, name: string): void {
    prepared("INSERT INTO replica_todo VALUES (?, ?, ?) ON CONFLICT DO NOTHING").run(bucket, kind, name);
  },
  removeTodo(bucket: number, kind: Todo, name: string): void {
    prepared("DELETE FROM replica_todo WHERE bucket = ? AND kind = ? AND name = ?").run(bucket, kind, name);
  },
  clearTodo(bucket: number): void {
    prepared("DELETE FROM replica_todo WHERE bucket = ?").run(bucket);
  },
});

/** Parts of histories that are longer than a page. They count for nothing until the last has come and the digest follows from them. */
const partRows = (prepared: Prepared) => ({
  /** The events that have come so far, as JSON, in their order. */
  partsOf: (bucket: number, id: string): string[] =>
    prepared("SELECT event FROM replica_part WHERE bucket = ? AND id = ? ORDER BY n")
      .all(bucket, id)
      .map(({ event }) => String(event)),
  countParts: (bucket: number, id: string): number =>
    Number(prepared("SELECT count(*) AS n FROM replica_part WHERE bucket = ? AND id = ?").get(bucket, id)?.n ?? 0),
  addPart(bucket: number, id: string, n: number, event: string): void {
    prepared("INSERT INTO replica_part VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET event = excluded.event").run(
      bucket,
      id,
      n,
      event,
    );
  },
  hasParts: (): boolean => prepared("SELECT 1 FROM replica_part LIMIT 1").get() !== undefined,
  /** Returns whether there were any. */
  removePartsOf: (bucket: number, id: string): boolean =>
    prepared("DELETE FROM replica_part WHERE bucket = ? AND id = ?").run(bucket, id).changes > 0,
  removeParts: (bucket: number): boolean => prepared("DELETE FROM replica_part WHERE bucket = ?").run(bucket).changes > 0,
});

const entityRow = (r: Row): EntityRow => ({
  n: Number(r.n),
  type: String(r.type),
  id: String(r.id),
  leaving: numberOrNull(r.leaving),
});

const entityRows = (prepared: Prepared) => ({
  entityBy(type: string, id: string): EntityRow | undefined {
    const row = prepared("SELECT n, type, id, leaving FROM replica_entity WHERE type = ? AND id = ?").get(type, id);
    return row && entityRow(row);
  },
  entity(n: number): EntityRow | undefined {
    const row = prepared("SELECT n, type, id, leaving FROM replica_entity WHERE n = ?").get(n);
    return row && entityRow(row);
  },
  /** The next entities after a number. */
  entitiesAfter: (after: number, limit: number): EntityRow[] =>
    prepared("SELECT n, type, id, leaving FROM replica_entity WHERE n > ? ORDER BY n LIMIT ?").all(after, limit).map(entityRow),
  addEntity: (type: string, id: string): number =>
    Number(prepared("INSERT INTO replica_entity (type, id) VALUES (?, ?)").run(type, id).lastInsertRowid),
  setLeaving(n: number, leaving: number | null): void {
    prepared("UPDATE replica_entity SET leaving = ? WHERE n = ?").run(leaving, n);
  },
  leaving: (): EntityRow[] =>
    prepared("SELECT n, type, id, leaving FROM replica_entity WHERE leaving IS NOT NULL").all().map(entityRow),
  removeEntity(n: number): void {
    prepared("DELETE FROM replica_entity WHERE n = ?").run(n);
  },
});

const memberRow = (r: Row): MemberRow => ({
  bucket: Number(r.bucket),
  key: String(r.key),
  entity: Number(r.entity),
  digest: String(r.digest) as Hash,
  hasEvents: r.has_events === 1,
});

/** An entity's number, and what a bucket has of it. */
export interface FoundMember {
  readonly n: number;
  readonly member: MemberRow | undefined;
}

/** A member with its entity's id. */
export interface NamedMember extends MemberRow {
  readonly id: string;
}

const NAMED =
  "m.bucket, m.key, m.entity, m.digest, m.has_events, e.id FROM replica_member m JOIN replica_entity e ON e.n = m.entity";
const MEMBER =
  "SELECT m.* FROM replica_entity e JOIN replica_member m ON m.entity = e.n AND m.bucket = ? WHERE e.type = ? AND e.id = ?";
/** The entities are looked up in the order in which they are named: SQLite would rather go through all members. */
const FOUND = `SELECT w.key, e.n, m.key, m.digest, m.has_events FROM json_each(?) w CROSS JOIN replica_entity e ON e.type = ? AND e.id = w.value
  LEFT JOIN replica_member m ON m.entity = e.n AND m.bucket = ?`;
/** The end of the keys that begin with a prefix: no digit sorts after it. */
const endOf = (prefix: string): string => `${prefix}g`;

const memberRows = (db: DatabaseSync, prepared: Prepared) => ({
  memberNamed(bucket: number, type: string, id: string): MemberRow | undefined {
    const row = prepared(MEMBER).get(bucket, type, id);
    return row && memberRow(row);
  },
  /** Entities by their ids, with what a bucket has of them. One statement for many takes a third of the time. Those that have no number are not among them. */
  membersNamed(bucket: number, type: string, ids: readonly string[]): Map<string, FoundMember> {
    const out = new Map<string, FoundMember>();
    for (const row of prepared(FOUND, "arrays").all(JSON.stringify(ids), type, bucket)) {
      const entity = Number(row[1]);
      const member =
        row[2] == null
          ? undefined
          : { bucket, key: String(row[2]), entity, digest: String(row[3]) as Hash, hasEvents: row[4] === 1 };
      out.set(ids[Number(row[0])] ?? "", { n: entity, member });
    }
    return out;
  },
  /** The buckets that an entity is in. */
  membershipsOf: (entity: number): MemberRow[] =>
    prepared("SELECT * FROM replica_member WHERE entity = ?").all(entity).map(memberRow),
  setMember(bucket: number, { key, entity, digest, hasEvents }: Omit<MemberRow, "bucket">): void {
    prepared(
      "INSERT INTO replica_member VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET digest = excluded.digest, has_events = excluded.has_events",
    ).run(bucket, key, entity, digest, hasEvents ? 1 : 0);
  },
  removeMember(bucket: number, key: string, entity: number): void {
    prepared("DELETE FROM replica_member WHERE bucket = ? AND key = ? AND entity = ?").run(bucket, key, entity);
  },
  /** Members whose range keys begin with a prefix, in their order. A new statement each time, since the caller writes while it reads. */
  membersIn: (bucket: number, prefix: string): NamedMember[] =>
    db
      .prepare(`SELECT ${NAMED} WHERE m.bucket = ? AND m.key >= ? AND m.key < ? ORDER BY m.key, m.entity`)
      .all(bucket, prefix, endOf(prefix))
      .map((row) => ({ ...memberRow(row), id: String(row.id) })),
  membersWithoutEvents: (bucket: number, limit: number): string[] =>
    prepared(`SELECT ${NAMED} WHERE m.bucket = ? AND m.has_events = 0 LIMIT ?`)
      .all(bucket, limit)
      .map(({ id }) => String(id)),
  /** Gives all members of a bucket a digest that no history has, so that they are fetched again. */
  staleMembers(bucket: number, digest: Hash): void {
    prepared("UPDATE replica_member SET digest = ? WHERE bucket = ?").run(digest, bucket);
  },
  countMembers: (bucket: number): number =>
    Number(prepared("SELECT count(*) AS n FROM replica_member WHERE bucket = ?").get(bucket)?.n ?? 0),
});

export interface PurgeRow extends Purge {
  readonly n: number;
}

const REASONS: readonly Purge["reason"][] = ["left", "withdrawn", "revoked"];

const purgeRows = (prepared: Prepared) => ({
  addPurge: ({ bucket, seal, entities, events, fingerprint, reason }: Purge): number =>
    Number(
      prepared("INSERT INTO replica_purge (bucket, seal, entities, events, fingerprint, reason) VALUES (?, ?, ?, ?, ?, ?)").run(
        bucket,
        seal,
        entities,
        events,
        fingerprint,
        reason,
      ).lastInsertRowid,
    ),
  /** Purges that wait for no own event any more. */
  donePurges: (): PurgeRow[] =>
    prepared(
      "SELECT * FROM replica_purge p WHERE NOT EXISTS (SELECT 1 FROM replica_entity e WHERE e.leaving IS NOT NULL AND e.leaving = p.n) ORDER BY n",
    )
      .all()
      .map((r) => ({
        n: Number(r.n),
        bucket: String(r.bucket),
        seal: Number(r.seal),
        entities: Number(r.entities),
        events: Number(r.events),
        fingerprint: String(r.fingerprint),
        reason: REASONS.find((reason) => reason === r.reason) ?? "left",
      })),
  countPurges: (): number => Number(prepared("SELECT count(*) AS n FROM replica_purge").get()?.n ?? 0),
  removePurge(n: number): void {
    prepared("DELETE FROM replica_purge WHERE n = ?").run(n);
  },
});

const viewCatalogRows = (prepared: Prepared) => ({
  views: (): ViewRow[] =>
    prepared("SELECT * FROM replica_view ORDER BY name")
      .all()
      .map((r) => ({ name: String(r.name), shape: String(r.shape), readers: String(r.readers), isOlder: r.is_older === 1 })),
  setView({ name, shape, readers, isOlder }: ViewRow): void {
    prepared(
      `INSERT INTO replica_view VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET shape = excluded.shape, readers = excluded.readers, is_older = excluded.is_older`,
    ).run(name, shape, readers, isOlder ? 1 : 0);
  },
  removeView(name: string): void {
    prepared("DELETE FROM replica_view WHERE name = ?").run(name);
  },
});
