import type { Client } from "pg";
import type { EntityRef, OriginId, Position, Seq } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log, LogEntry } from "../log/index.ts";
import { rowWith, unpackState } from "../merge/index.ts";
import { inTransaction } from "./connect.ts";
import { type Lease, moveShards } from "./leases.ts";
import { foldView, type ViewTarget } from "./prepare.ts";
import { countedAs, settlements } from "./releases.ts";
import { shardOf } from "./shards.ts";
import { freshStates } from "./states.ts";
import { at } from "./tables.ts";
import { settledAt, writeViews } from "./write.ts";

/** Entities folded anew in one go, before following the log goes on. */
const MAX_AT_ONCE = 200;

/** Asks whoever holds their shards to fold entities of a view anew. */
export async function askRefold(db: Client, view: string, entities: readonly EntityRef[]): Promise<void> {
  await db.query(
    `INSERT INTO tributary.refold (view, entity_id, shard) SELECT $1, x.id, x.shard FROM unnest($2::text[], $3::int[]) AS x (id, shard)
     ON CONFLICT DO NOTHING`,
    [view, entities.map(({ id }) => id), entities.map(shardOf)],
  );
}

/** Whether entities of these shards wait to be folded anew. */
export async function isAsked(db: Client, leases: readonly Lease[]): Promise<boolean> {
  const { rows } = await db.query({
    name: "refold-asked",
    text: "SELECT 1 FROM tributary.refold WHERE shard = ANY($1) LIMIT 1",
    values: [leases.map(({ shard }) => shard)],
  });
  return rows.length > 0;
}

/**
 * Folds the entities that wait for it anew, each from all of its events in the log up to where its shard stands: its row, past, decisions, claims and what it
 * adds to totals are replaced. One that still makes the declaration throw stays parked. Returns how many were done.
 */
export async function refold(
  deps: { readonly db: Client; readonly reader: Client; readonly log: Log; readonly gate: Gate },
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
      await inTransaction(db, async () => {
        if (lease.position !== null) await moveShards(db, [lease], layout, lease.position);
        if (target !== undefined && lease.position !== null) await refoldOne(deps, target, entity_id, lease.position);
        await db.query("DELETE FROM tributary.refold WHERE view = $1 AND entity_id = $2", [view, entity_id]);
      });
      done++;
    }
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
     UNION ALL
     SELECT r.origin, r.seq, r.position FROM tributary.quarantine q JOIN tributary.audit r ON r.position = q.settled_position
       WHERE q.entity_type = $1 AND q.entity_id = $2 AND q.state = 'released' AND r.position <= $3
     ORDER BY counted`,
    [entity.type, entity.id, upTo.toString()],
  );
  const known = settlements((settled) => settledAt(reader, settled));
  const out: LogEntry[] = [];
  for (const { origin, seq } of rows) {
    let found: LogEntry | null = null;
    for await (const entry of log.readOrigin(origin, { from: Number(seq) as Seq, maxCount: 1 })) found = entry;
    const counted = found === null ? null : await countedAs(log, found, known);
    if (counted !== null) out.push(counted);
  }
  return out;
}

async function refoldOne(
  deps: { readonly db: Client; readonly reader: Client; readonly log: Log; readonly gate: Gate },
  target: ViewTarget,
  id: string,
  upTo: Position,
): Promise<void> {
  const { db, gate } = deps;
  const { projection, generation, place } = target;
  const entries = await eventsOf(deps, { type: projection.entity, id }, upTo);
  await gate.ensure(entries.map(({ head }) => head.schema));
  const { rows } = await db.query<{ state: string }>(`SELECT state FROM ${at(place, projection.name)} WHERE id = $1`, [id]);
  const folded = foldView(
    { ...target, states: freshStates(), parked: new Set() },
    entries.map((entry, index) => ({ entry, index })),
    gate,
    { replaces: { id, shown: rows[0] === undefined ? null : rowWith(projection, id, unpackState(rows[0].state)) } },
  );
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
  await writeViews(db, [folded], { tells: true, alone: false });
  if (folded.parked.length === 0) target.parked.delete(id);
  else target.parked.add(id);
}
