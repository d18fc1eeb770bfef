/**
 * What a field app imports. An event is durable on the device before `append` returns, and is sent when there is a link, until
 * the hub's receipt has come. No event is ever lost, and writing one never waits for the network.
 */

import {
  type EntityRef,
  isTributaryError,
  messageOf,
  type NatsSettings,
  type Opener,
  type SchemaRef,
  type SignedHead,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import { randomEpoch as nodeRandomEpoch } from "../core/node.ts";
import { createGate, type Fits, type Gate, withOpener } from "../gate/index.ts";
import { loadSchemas } from "../gate/node.ts";
import { fitsViews, type Projection, type View } from "../merge/engine.ts";
import { openAppender } from "./appender.ts";
import { type EnrolResult, enrol, rotateKey } from "./enrol.ts";
import { type Follower, type FollowOptions, follow } from "./follow.ts";
import { importCsv } from "./import/import.ts";
import type { ImportOptions, ImportResult } from "./import/options.ts";
import { deviceKey } from "./keys.ts";
import { type Appended, type AppendOptions, type NewEvent, openOutbox } from "./outbox.ts";
import { inTurns, type PullResult } from "./replica/pull.ts";
import { openReader, type Reader } from "./replica/reader.ts";
import { openReplica } from "./replica/replica.ts";
import type { EntityEvent, Explained, OpenConflict } from "./replica/stories.ts";
import type { Replica } from "./replica/types.ts";
import { type FieldSchemas, fieldSchemas } from "./schemas.ts";
import { eventsOf, type FieldEvent, type FieldStatus, statusOf } from "./status.ts";
import { type FieldName, isDamaged, openStore, type Store, storeError } from "./store.ts";
import { noViews, pull, type SyncOptions, type SyncResult, sync } from "./sync.ts";
import type { AnyEventOf, AnyTypes, EventName, EventOf, FieldTypes, QueryOf, RowOf, ViewName } from "./types.ts";

export interface FieldOptions {
  /** The database file; its folder is made if it is missing. */
  readonly path: string;
  /** Who writes. Needed to create the database; otherwise the name is checked against it. */
  readonly name?: FieldName;
  /**
   * The schemas that this device may write: a folder like `schemas/`, which each sync brings up to date with what the hub has registered
   * since (kept in the database); or a gate, whose schemas the app keeps itself.
   */
  readonly schemas: string | Gate;
  /** What the hub's views can show. A value that their columns cannot hold is then found here, and not only at the hub. Default: what `views` can show. */
  readonly fits?: Fits;
  /** The views that this device shows, as the hub's projects declare them. Without them it holds nothing of what others write. */
  readonly views?: readonly View[];
  /** Opens the values of events, as far as this device may; default: as the gate does, which is all of them unless it was told otherwise. */
  readonly opener?: Opener;
  /** The device's wall clock, milliseconds; default `Date.now`. */
  readonly now?: () => number;
  readonly randomEpoch?: () => string;
  /** Bounds the database's size, in pages of 4 KiB. */
  readonly maxPages?: number;
}

export interface Field<T extends FieldTypes = AnyTypes> {
  readonly store: Store;
  readonly gate: Gate;
  /** What this device holds of what all write; `null`: it was opened without views, or the file is damaged where that stands. */
  readonly replica: Replica | null;
  /**
   * Writes an event; resolves when it is durable on this device. Calls made at the same time share one disk flush.
   * Throws `event-invalid`, `event-too-large`, `schema-unknown` or `disk-full`; then nothing was written.
   */
  append<E extends EventName<T>, S extends SchemaRef | undefined = undefined>(
    event: EventOf<T, E, S>,
    options?: AppendOptions,
  ): Promise<Appended>;
  /** Writes many events in one transaction: all or none. */
  appendMany(
    events: readonly (AnyEventOf<T> | (NewEvent & { readonly schema: SchemaRef }))[],
    options?: AppendOptions,
  ): Promise<Appended[]>;
  /** Turns a CSV file's rows into events, offline; a row that was imported before is not imported again. A file of any size is read in pieces. */
  importCsv(options: ImportOptions): Promise<ImportResult>;
  /** Sends the events that have no receipt yet; returns when all have one. */
  sync(options: SyncOptions): Promise<SyncResult>;
  /** Brings what the hub has for this device, without sending anything. Throws `usage` where it was opened without views. */
  pull(options: SyncOptions): Promise<PullResult>;
  /** Stays connected, sends each event as soon as it is written, and pulls. */
  follow(options: FollowOptions): Follower;
  /** The rows of a view that a question chooses, from what this device holds and has written itself. Throws `usage` with what there is, for what there is not. */
  query<V extends ViewName<T>>(view: V, query?: QueryOf<T, V>): RowOf<T, V>[];
  /**
   * Calls the listener with the rows at once, and again whenever they have changed: by an event of this device, or by what came from the hub, once for all of a page. Returns what ends it. What a
   * listener throws becomes a warning of the process.
   */
  watch<V extends ViewName<T>>(view: V, query: QueryOf<T, V>, listener: (rows: readonly RowOf<T, V>[]) => void): () => void;
  /** The events of an entity that are here: those of the hub's log in its order, then those that only this device has. */
  history(entity: EntityRef): readonly EntityEvent[];
  /** How each view's row of an entity came to be what it is: who wrote what, having seen what, which rule decided, and which values lost. */
  explain(entity: EntityRef, of?: { readonly view?: string; readonly field?: string }): readonly Explained[];
  /** What waits for a person to decide, in one view or in all. */
  conflicts(view?: string): readonly OpenConflict[];
  /** The views that this device folds. */
  views(): readonly Projection[];
  /** Registers this device's key at a hub by a one-time code; from then on a sync needs no token. */
  enrol(options: { readonly url: string; readonly code: string; readonly nats?: NatsSettings }): Promise<EnrolResult>;
  /** Replaces this device's key by a new one. */
  rotateKey(options: { readonly url: string; readonly token?: string; readonly nats?: NatsSettings }): Promise<EnrolResult>;
  /** What this device has seen of an entity, to be handed on, for example in a code on the person's card. */
  seen(entity: EntityRef): Vector;
  /** Signed heads that prove what `seen` returns, to be handed on with it: about 200 bytes for each origin that it names. */
  signedHeads(entity: EntityRef): SignedHead[];
  /**
   * Notes that this device's user has been shown an entity as another device had it: what they write next builds on it. `heads`: that device's `signedHeads`; without them
   * the hub believes only what it already holds of that device.
   */
  noteSeen(entity: EntityRef, vector: Vector, heads?: readonly SignedHead[]): void;
  status(): FieldStatus;
  /** Every event on this device, with its level. */
  events(): Iterable<FieldEvent>;
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Opens a device's database.
 *
 *   const field = openField({ path: "site.db", name: { org: "relief", site: "juba", device: "tablet-1" }, schemas: "schemas" });
 *   await field.append({ type: "beneficiary.updated", entity: { type: "beneficiary", id: "JUB-000007" }, data: { phone: "+211912345678" }, actor: "deng" });
 *   await field.sync({ url: "https://hub.example.org", token });
 */
export function openField<T extends FieldTypes = AnyTypes>(options: FieldOptions): Field<T>;
// Long because it makes the parts of a device and gives them to each other; each of its members is one call.
export function openField(options: FieldOptions): Field {
  const { now = Date.now, randomEpoch = nodeRandomEpoch } = options;
  const store = openStore({
    path: options.path,
    create: options.name !== undefined,
    randomEpoch,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.maxPages === undefined ? {} : { maxPages: options.maxPages }),
  });
  // Made before anything is written, so that a copy of this database uses the same key.
  deviceKey(store);
  const schemas = typeof options.schemas === "string" ? schemasOf(store, options.schemas) : null;
  const all = schemas === null ? (options.schemas as Gate) : createGate(schemas);
  const gate = options.opener === undefined ? all : withOpener(all, options.opener);
  const outbox = openOutbox(store, gate, now, options.fits ?? fitsViews(options.views ?? [], gate.read));
  const { replica, damage } =
    options.views === undefined
      ? { replica: null, damage: null }
      : replicaOf(store, { gate, views: options.views, now, append: outbox.append });
  if (replica !== null) outbox.attach(replica);
  const reader = replica === null ? null : openReader({ store, gate, replica, declared: options.views ?? [] });
  const reading = (): Reader => {
    if (reader === null) throw damage ?? noViews();
    return reader;
  };
  const onTaken = (): void => reader?.tell();
  const pulling = replica === null ? null : { store, gate, schemas, replica, turns: inTurns(), onTaken };
  const deps = { store, gate, outbox, schemas, now, replica: pulling };
  const listeners = new Set<() => void>();
  const written = (): void => {
    for (const listener of listeners) listener();
    onTaken();
  };

  const appender = openAppender(outbox, written);

  const close = (): void => {
    appender.flush();
    reader?.close();
    if (store.db.isOpen) replica?.close();
    store.close();
  };
  return {
    store,
    gate,
    replica,
    append: appender.append,
    async appendMany(events, appendOptions) {
      const appended = outbox.appendNow(events, appendOptions);
      written();
      return appended;
    },
    async importCsv(importOptions) {
      try {
        return await importCsv(deps, importOptions);
      } finally {
        written();
      }
    },
    sync: (syncOptions) => sync(deps, syncOptions),
    pull: (pullOptions) => (damage === null ? pull(deps, pullOptions) : Promise.reject(damage)),
    follow: (followOptions) => follow(deps, listeners, followOptions),
    query: (view, query) => reading().query(view, query),
    watch: (view, query, listener) => reading().watch(view, query, listener),
    history: (entity) => reading().history(entity),
    explain: (entity, of) => reading().explain(entity, of),
    conflicts: (view) => reading().conflicts(view),
    views: () => reader?.views() ?? [],
    enrol: (enrolOptions) => enrol(store, { ...enrolOptions, now }),
    rotateKey: (rotateOptions) => rotateKey(store, { ...rotateOptions, now }),
    seen: outbox.seen,
    signedHeads: outbox.signedHeads,
    noteSeen: outbox.noteSeen,
    status: () => statusOf(store),
    events: () => eventsOf(store),
    close,
    [Symbol.dispose]: close,
  };
}

/** The replica, or why it cannot be opened, where the database is damaged: what the device writes is kept and sent all the same. Closes the database where anything else fails. */
function replicaOf(
  store: Store,
  options: Omit<Parameters<typeof openReplica>[0], "store">,
): { readonly replica: Replica | null; readonly damage: TributaryError | null } {
  try {
    return { replica: openReplica({ store, ...options }), damage: null };
  } catch (error) {
    if (isDamage(error)) {
      const damage = new TributaryError(
        "data-corrupt",
        `what the hub sent to ${store.path} cannot be read: the file is damaged (${messageOf(error)})`,
        "What this device writes is kept and sent. Sync it, then begin a new database beside this one, and pull into that.",
        { cause: error },
      );
      process.emitWarning(damage.message, { detail: damage.hint });
      return { replica: null, damage };
    }
    store.close();
    throw storeError(store.path, error);
  }
}

const isDamage = (error: unknown): boolean => isDamaged(error) || (isTributaryError(error) && isDamaged(error.cause));

/** Closes the database when the schemas of a folder cannot be read. */
function schemasOf(store: Store, dir: string): FieldSchemas {
  try {
    return fieldSchemas(store, loadSchemas(dir, { trusted: true }));
  } catch (error) {
    store.close();
    throw error;
  }
}

export type { CellHabit, DayOrder, DecimalMark } from "../gate/index.ts";
export type { Author, Decision, Reason, RegisterStory, Sibling, Step } from "../merge/engine.ts";
export type { EnrolResult } from "./enrol.ts";
export type { Follower, FollowOptions } from "./follow.ts";
export { type FailedRow, type ImportOptions, type ImportResult, type Misfit, PROBLEM_COLUMN } from "./import/options.ts";
export { fieldLog, type LoggedEvent, pulledLog } from "./log.ts";
export type { AsideNote } from "./move.ts";
export type { Appended, AppendOptions, NewEvent } from "./outbox.ts";
export type { PushOptions, RejectedNote, SyncProgress } from "./push/pass.ts";
export type { OwnState } from "./replica/event-rows.ts";
export type { PullOptions, PullResult } from "./replica/pull.ts";
export type { Comparison, Condition, Order, Query, ReplicaRow, RowFacts, Scalar } from "./replica/query.ts";
export type { Phase } from "./replica/rows.ts";
export type { EntityEvent, Explained, OpenConflict } from "./replica/stories.ts";
export type { BucketStatus, HistoryEvent, Refused, Replica, Taken, ViewStatus } from "./replica/types.ts";
export type { OriginRow } from "./rows.ts";
export { type Salvaged, salvage } from "./salvage.ts";
export type { FieldEvent, FieldStatus, ReplicaStatus } from "./status.ts";
export type { FieldName, Store } from "./store.ts";
export { type PullProblem, pauseMs, type SyncOptions, type SyncResult } from "./sync.ts";
export type { AnyEventOf, AnyTypes, EventName, EventOf, FieldTypes, QueryOf, RowOf, ViewName } from "./types.ts";
