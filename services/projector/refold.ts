import type { Client } from "pg";
import {
  type EntityRef,
  type JsonObject,
  type LogEntry,
  messageOf,
  type OriginId,
  type Position,
  type Seq,
} from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import { type Anew, type FullRow, foldAnew, packState, rowWith, unpackState } from "../merge/engine.ts";
import { inSavepoint, inTransaction } from "./connect.ts";
import { withoutNul } from "./copy.ts";
import { counting } from "./counts.ts";
import { isOfData, LACKS_A_RIGHT, sqlState, wordsOf } from "./failures.ts";
import { type Lease, type Member, moveShards } from "./leases.ts";
import {
  checkFunctions,
  foldView,
  type ParkedRow,
  type PassedOver,
  toFoldEvent,
  type ViewChanges,
  type ViewTarget,
} from "./prepare.ts";
import { freshStates } from "./states.ts";
import { at, declaredColumns, readColumn } from "./tables.ts";
import { settledAt, writeHistory, writeParked, writeViews } from "./write.ts";

/** Entities folded anew in one go, before following the log goes on. */
const MAX_AT_ONCE = 200;
/** How long a rehearsal waits for somebody who writes the same rows. */
const REHEARSAL_LOCK_MS = 2_000;
/** Events of a history that are asked for at a time. */
const READS_AT_ONCE = 16;

/**
 * Folds the entities that wait for it anew, each up to where its shard stands. One that still cannot be shown stays parked. Returns how many were done.
 */
export async function refold(
  deps: RefoldDeps,
  targets: readonly ViewTarget[],
  leases: readonly Lease[],
  layout: string,
): Promise<number> {
  const { db, reader } = deps;
  let done = 0;
  for (;;) {
    const { rows } = await reader.query<{ view: string; entity_id: string; shard: number }>(
      "SELECT view, entity_id, shard FROM tributary.refold WHERE shard = ANY($1) ORDER BY asked_at LIMIT $2",
      [leases.map(({ shard }) => shard), MAX_AT_ONCE],
    );
    if (rows.length === 0) return done;
    for (const { view, entity_id, shard } of rows) {
      const target = targets.find(({ projection }) => projection.name === view);
      const lease = leases.find((each) => each.shard === shard)!;
      const { position } = lease;
      // Before the transaction: a long history takes longer to read than PostgreSQL lets a transaction idle. That the shard is still ours is seen in it.
      const entries = target === undefined || position === null ? null : await historyOf(deps, target, entity_id, position);
      const settle = await inTransaction(db, async () => {
        if (position !== null) await moveShards(db, [lease], layout, position);
        const done =
          target === undefined || position === null || entries === null
            ? null
            : await refoldOne(deps, target, entity_id, entries, position, { isLive: true });
        await db.query("DELETE FROM tributary.refold WHERE view = $1 AND entity_id = $2", [view, entity_id]);
        return done;
      });
      settle?.();
      done++;
    }
  }
}

export interface RefoldDeps {
  readonly db: Client;
  /** Sees what has been committed: the audit, which is at least as far. */
  readonly reader: Client;
  readonly log: Log;
  readonly gate: Gate;
  /** An error has come again and again: it is taken for one of the data. */
  readonly insists?: boolean;
}

/** Folds parked entities that a page has brought events for anew, once the page is written. */
export async function mend(
  deps: RefoldDeps,
  waiting: readonly { readonly target: ViewTarget; readonly id: string }[],
  { leases, layout }: { readonly leases: readonly Lease[]; readonly layout: string; readonly member: Member },
  upTo: Position,
): Promise<void> {
  const { db } = deps;
  for (const { target, id } of waiting) {
    const entries = await historyOf(deps, target, id, upTo);
    const settle = await inTransaction(db, async () => {
      await moveShards(db, leases, layout, upTo);
      const done = await refoldOne(deps, target, id, entries, upTo, { isLive: true });
      await db.query("DELETE FROM tributary.refold WHERE view = $1 AND entity_id = $2", [target.projection.name, withoutNul(id)]);
      return done;
    });
    settle();
  }
}

/** The events of an entity up to a position, as views count them: found by the audit, read from the log. */
export async function eventsOf(
  { log, reader }: { readonly log: Log; readonly reader: Client },
  entity: EntityRef,
  upTo: Position,
): Promise<LogEntry[]> {
  const { rows } = await reader.query<{ origin: OriginId; seq: string; counted: string }>(
    `SELECT a.origin, a.seq, a.position AS counted FROM tributary.audit a
       WHERE a.entity_type = $1 AND a.entity_id = $2 AND a.position <= $3 AND a.quarantine_code IS NULL
     UNION
     SELECT a.origin, a.seq, a.position FROM tributary.audit a
       WHERE a.held_otherwise IS NOT NULL AND a.held_otherwise ->> 'entity_id' = $2 AND a.position <= $3 AND a.quarantine_code IS NULL
         AND coalesce(a.held_otherwise ->> 'entity_type', a.entity_type) = $1
     UNION
     SELECT r.origin, r.seq, r.position FROM tributary.quarantine q JOIN tributary.audit r ON r.position = q.settled_position
       WHERE q.entity_type = $1 AND q.entity_id = $2 AND q.state = 'released' AND r.position <= $3
     ORDER BY counted`,
    [entity.type, withoutNul(entity.id), upTo.toString()],
  );
  const counts = counting(log, (settled) => settledAt(reader, settled));
  const out: LogEntry[] = [];
  for (let at = 0; at < rows.length; at += READS_AT_ONCE) {
    const found = await Promise.all(
      rows.slice(at, at + READS_AT_ONCE).map(async ({ origin, seq }) => {
        let found: LogEntry | null = null;
        for await (const entry of log.readOrigin(origin, { from: Number(seq) as Seq, maxCount: 1 })) found = entry;
        return found;
      }),
    );
    for (const entry of found) {
      const counted = entry === null ? null : (await counts.judge(entry)).counted;
      if (counted !== null) out.push(counted);
    }
  }
  return out;
}

/** All that is to be folded of an entity of a view, to be read before the transaction that folds it. */
export const historyOf = (
  deps: { readonly log: Log; readonly reader: Client },
  target: ViewTarget,
  id: string,
  upTo: Position,
): Promise<LogEntry[]> => eventsOf(deps, { type: target.projection.entity, id }, upTo);

/**
 * Folds an entity from all of its events, inside the caller's transaction: its row, past, decisions, claims and what it adds to totals are replaced.
 *
 *   parked or wrong ─▶ folded anew ─▶ its last version fits ─▶ shown, no longer parked; versions that cannot be kept are passed over, with a note
 *                                          ├ only an earlier one does ─▶ that is shown; parked at the event after it
 *                                          └ the database does not take it ─▶ left as it was, parked
 *
 * `isLive`: people are told, and the audit has the notes. What is returned is to be called once the transaction stands.
 */
export async function refoldOne(
  deps: RefoldDeps,
  target: ViewTarget,
  id: string,
  /** Its history, as `historyOf` gives it. */
  entries: readonly LogEntry[],
  upTo: Position,
  { isLive }: { readonly isLive: boolean },
): Promise<() => void> {
  const { db, gate } = deps;
  await gate.ensure(entries.map(({ head }) => head.schema));
  // What is parked is listed by a name that PostgreSQL can hold; the log has the entity's own.
  const name = entries[0]?.head.entity.id ?? id;
  const attempt = async (work: () => Promise<void>): Promise<unknown> => {
    try {
      await inSavepoint(db, work);
      return null;
    } catch (error) {
      if (!(await isOfData(db, [target], error, deps.insists))) throw error;
      return error ?? new Error("it threw nothing");
    }
  };
  const passedOver: PassedOver[] = [];
  let changes: ViewChanges | null = null;
  let parked: ParkedRow | null = null;
  const write = (all: ViewChanges): Promise<unknown> => attempt(() => replace(db, id, { changes: all, parked }, upTo, isLive));
  let failed = await attempt(async () => {
    ({ changes, parked } = changesOf(target, name, entries, gate, await shownNow(db, target, id)));
  });
  // TypeScript does not see what a function assigned.
  const whole = changes as ViewChanges | null;
  if (whole !== null) failed = await write(whole);
  if (failed !== null && whole !== null && whole.history.length > 0) {
    failed = await write({ ...whole, history: [] });
    if (failed === null)
      for (const version of whole.history) {
        const error = await attempt(() => writeHistory(db, target, [version]));
        const entry = entries.find(({ position }) => position.toString() === version.position);
        if (error !== null && entry !== undefined) passedOver.push({ entry, error: wordsOf(error) });
      }
  }
  if (failed !== null) await attempt(() => stayParked(db, target, id, entries, failed));
  else if (isLive && whole !== null)
    await attempt(() => notePassedOver(db, target.projection.name, [...whole.passedOver, ...passedOver]));
  const isParked = failed !== null || parked !== null;
  return () => {
    for (const each of new Set([id, name])) {
      target.states.forget(each);
      if (isParked) target.parked.add(each);
      else target.parked.delete(each);
    }
  };
}

/** What would become of a parked entity. `untold`: it could not be tried, for a reason of operation. */
export type Rehearsed =
  | { readonly kind: "shown" }
  | { readonly kind: "parked"; readonly event: string; readonly error: string }
  | { readonly kind: "untold"; readonly why: string };

const UNDONE = new Error("undone");

/**
 * Folds a parked entity anew as `refoldOne` does, and undoes it at once: whether what it is parked for still stands. Inside the caller's transaction. `mark`: the event
 * that it is parked at, where it stays when the database refuses what folding gives.
 */
export async function rehearseRefold(
  { db, gate }: Pick<RefoldDeps, "db" | "gate">,
  target: ViewTarget,
  id: string,
  entries: readonly LogEntry[],
  mark: string,
): Promise<Rehearsed> {
  let parked: ParkedRow | null = null;
  try {
    await inSavepoint(db, async () => {
      await db.query(`SET LOCAL lock_timeout = ${REHEARSAL_LOCK_MS}`);
      await gate.ensure(entries.map(({ head }) => head.schema));
      const folded = changesOf(target, id, entries, gate, await shownNow(db, target, id));
      parked = folded.parked;
      await replace(db, id, folded, entries.at(-1)!.position, true);
      await db.query("SET CONSTRAINTS ALL IMMEDIATE");
      throw UNDONE;
    });
  } catch (error) {
    if (error !== UNDONE)
      // A right that is lacking says nothing of the row, even where a projector would have it.
      return sqlState(error) !== LACKS_A_RIGHT && (await isOfData(db, [target], error))
        ? { kind: "parked", event: mark, error: wordsOf(error) }
        : { kind: "untold", why: messageOf(error) };
  }
  // TypeScript does not see what a function assigned.
  const stops = parked as ParkedRow | null;
  if (stops === null) return { kind: "shown" };
  const { origin, seq } = stops.entry.head;
  return { kind: "parked", event: `${origin}/${seq}`, error: stops.error };
}

/** What folding an entity anew changes in its view, and where it stops. */
function changesOf(
  target: ViewTarget,
  id: string,
  entries: readonly LogEntry[],
  gate: Gate,
  shown: FullRow | null,
): { readonly changes: ViewChanges; readonly parked: ParkedRow | null } {
  const { projection, pins } = target;
  const reads = entries.map((entry) => () => toFoldEvent(entry, dataOf(entry), gate, pins));
  const anew = foldAnew(projection, id, reads, (row) => checkFunctions(target, id, row));
  const changes = foldView(
    { ...target, states: freshStates(), parked: new Set() },
    entries.slice(0, anew.shown).map((entry, index) => ({ entry, index })),
    gate,
    { replaces: { id, shown } },
  );
  const [broken] = changes.parked;
  if (broken !== undefined) throw new Error(broken.error);
  return { changes, parked: anew.stop === null ? null : parkedAt(anew, id, entries) };
}

const dataOf = ({ content }: LogEntry): JsonObject => (content.kind === "accepted" ? content.data : {});

function parkedAt({ steps, stop }: Anew, entityId: string, entries: readonly LogEntry[]): ParkedRow {
  const { at: place, error } = stop!;
  const before = steps.slice(0, place).findLast(({ folded }) => folded !== null)?.folded;
  return {
    entityId,
    entry: entries[place]!,
    error: messageOf(error),
    stack: error instanceof Error ? (error.stack ?? "") : "",
    state: before == null ? null : packState(before.state),
  };
}

/** What the view shows of an entity at present: what it added to totals, and what it claims, follow from that. */
async function shownNow(db: Client, { projection, place }: ViewTarget, id: string): Promise<FullRow | null> {
  const columns = declaredColumns(projection).map(([name, { sql }]) => readColumn(name, sql));
  const { rows } = await db.query<JsonObject & { state: string; deleted: boolean; conflicts: number }>(
    `SELECT ${[...columns, "state", "deleted", "conflicts"].join(", ")} FROM ${at(place, projection.name)} WHERE id = $1`,
    [withoutNul(id)],
  );
  const [row] = rows;
  if (row === undefined) return null;
  const { state, deleted, conflicts, ...values } = row;
  try {
    return rowWith(projection, id, unpackState(state));
  } catch {
    // Its state cannot be read, or cannot be shown any more: its columns can.
    return { values: values as JsonObject, deleted, conflicts, tables: {} };
  }
}

async function replace(
  db: Client,
  entity: string,
  { changes, parked }: { readonly changes: ViewChanges; readonly parked: ParkedRow | null },
  upTo: Position,
  isLive: boolean,
): Promise<void> {
  const { projection, generation, place } = changes.target;
  const id = withoutNul(entity);
  const which = [projection.name, generation, id];
  await db.query("DELETE FROM tributary.parked WHERE view = $1 AND generation = $2 AND entity_id = $3", which);
  await db.query("DELETE FROM tributary.decision_row WHERE view = $1 AND generation = $2 AND entity_id = $3", which);
  await db.query(
    `UPDATE tributary.case_row SET closed_position = $4
     WHERE view = $1 AND generation = $2 AND subject = $3 AND kind = 'register' AND closed_position IS NULL`,
    [...which, upTo.toString()],
  );
  if (projection.keepsHistory) await db.query(`DELETE FROM ${at(place, `${projection.name}_history`)} WHERE id = $1`, [id]);
  for (const table of [projection.name, ...Object.keys(projection.tables).map((name) => `${projection.name}_${name}`)])
    await db.query(`DELETE FROM ${at(place, table)} WHERE id = $1`, [id]);
  // Notices are named after what they tell of: only what could not be told while the entity was parked is new.
  await writeViews(db, [changes], { tells: isLive, alone: false });
  if (parked !== null) await writeParked(db, changes.target, [parked]);
}

/** Leaves an entity as it was, with what the database says of it now. */
async function stayParked(
  db: Client,
  target: ViewTarget,
  id: string,
  entries: readonly LogEntry[],
  error: unknown,
): Promise<void> {
  const said = [withoutNul(wordsOf(error)), withoutNul(error instanceof Error ? (error.stack ?? "") : "")];
  const { rowCount } = await db.query(
    `UPDATE tributary.parked SET error = $4, stack = $5, parked_at = now() WHERE view = $1 AND generation = $2 AND entity_id = $3`,
    [target.projection.name, target.generation, withoutNul(id), ...said],
  );
  const entry = entries.at(-1);
  if (rowCount === 0 && entry !== undefined)
    await writeParked(db, target, [{ entityId: id, entry, error: said[0]!, stack: said[1]!, state: null }]);
}

async function notePassedOver(db: Client, view: string, passedOver: readonly PassedOver[]): Promise<void> {
  for (const { entry, error } of passedOver) {
    await db.query(
      `UPDATE tributary.audit SET projection_error = concat_ws('; ', projection_error, $3::text)
       WHERE origin = $1 AND seq = $2 AND position($3::text IN coalesce(projection_error, '')) = 0`,
      [entry.head.origin, entry.head.seq, withoutNul(`${view}: no version of the row is kept as of this event: ${error}`)],
    );
  }
}
