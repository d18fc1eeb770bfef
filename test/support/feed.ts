import type { Client } from "pg";
import { expect } from "vitest";
import {
  type BucketId,
  bucketIdOf,
  CASE_ENTITY,
  partsOf,
  QUARANTINE_ENTITY,
  quarantineBucket,
} from "../../services/core/index.ts";
import type { Log } from "../../services/log/index.ts";
import { bucketOf, scopedViews, type View } from "../../services/merge/engine.ts";
import { counting } from "../../services/projector/index.ts";
import { readColumns } from "../../services/views/index.ts";

interface Line {
  readonly kind: "enter" | "event" | "exit";
  readonly bucket: BucketId;
  readonly entity: string;
  readonly event: string | null;
  readonly position: string;
  readonly seal: string | null;
}

/** All lines in their order. */
export async function linesIn(db: Client): Promise<Line[]> {
  const { rows } = await db.query<Line>(
    `SELECT kind, bucket, entity_type || '/' || entity_id AS entity, origin || '/' || seq AS event, position, seal FROM tributary.feed ORDER BY position, ordinal`,
  );
  return rows;
}

/** What an entity's lines say, in words: `Kampala: enter 0`. The number is the event's seq. A bucket is told by its values (`*`: it has none); a line of no event has `-`. */
export async function linesOf(db: Client, entityType: string, entityId: string): Promise<string[]> {
  const { rows } = await db.query<{ says: string }>(
    `SELECT coalesce((SELECT string_agg(coalesce(value, '-'), '+') FROM jsonb_array_elements_text(b.scope)), '*') || ': ' || f.kind || ' ' || coalesce(f.seq::text, '-') AS says
     FROM tributary.feed f JOIN tributary.bucket b ON b.id = f.bucket WHERE f.entity_type = $1 AND f.entity_id = $2 ORDER BY position, ordinal`,
    [entityType, entityId],
  );
  return rows.map(({ says }) => says);
}

/** The buckets that entities are in by the table of members. */
export async function membersIn(db: Client): Promise<Map<string, string>> {
  const { rows } = await db.query<{ entity: string; bucket: string }>(
    "SELECT entity_type || '/' || entity_id AS entity, bucket FROM tributary.member WHERE until IS NULL ORDER BY 1",
  );
  return new Map(rows.map(({ entity, bucket }) => [entity, bucket]));
}

/** Where each entity is and which events it has by the lines alone. Throws where a line does not go on from the lines before it. */
export function followed(lines: readonly Line[]): { readonly at: Map<string, BucketId>; readonly events: Map<string, string[]> } {
  const at = new Map<string, BucketId>();
  const events = new Map<string, string[]>();
  for (const { kind, bucket, entity, event, position } of lines) {
    const here = at.get(entity);
    const fits = kind === "enter" ? here === undefined : here === bucket;
    if (!fits) throw new Error(`${kind} of ${entity} at ${position} in ${bucket}, but it is in ${here ?? "no bucket"}`);
    if (kind === "exit") at.delete(entity);
    else at.set(entity, bucket);
    if (event !== null) events.set(entity, [...(events.get(entity) ?? []), event]);
  }
  return { at, events };
}

/** Checks the feeds against log and rows: each entity is in the bucket that its row says, has all its events in the log's order, and never was in two buckets. */
export async function expectFeedWhole({
  log,
  db,
  projections,
}: {
  readonly log: Log;
  readonly db: Client;
  readonly projections: readonly View[];
}): Promise<void> {
  const homes = scopedViews(projections);
  const events = new Map<string, string[]>();
  const at = new Map<string, BucketId>();
  const notes = new Set<string>();
  const add = (entity: string, ...names: string[]): void => void events.set(entity, [...(events.get(entity) ?? []), ...names]);
  const counts = counting(log);
  for await (const entry of log.readAll()) {
    const { counted, settlement } = await counts.judge(entry);
    const { origin, seq, entity } = entry.head;
    const name = `${origin}/${seq}`;
    if (entity.type === CASE_ENTITY) notes.add(name);
    if (entry.content.kind === "quarantined") {
      const { org, site } = partsOf(origin);
      add(`${QUARANTINE_ENTITY}/${name}`, name);
      at.set(`${QUARANTINE_ENTITY}/${name}`, bucketIdOf(quarantineBucket(`${org}.${site}`)));
    }
    if (settlement !== null) {
      at.delete(`${QUARANTINE_ENTITY}/${settlement.of.origin}/${settlement.of.seq}`);
      events.delete(`${QUARANTINE_ENTITY}/${settlement.of.origin}/${settlement.of.seq}`);
    }
    const home = counted === null ? undefined : homes.get(counted.head.entity.type);
    if (counted === null || home === undefined) continue;
    const about = `${counted.head.entity.type}/${counted.head.entity.id}`;
    add(about, ...(settlement === null ? [name] : [`${settlement.of.origin}/${settlement.of.seq}`, name]));
    if (!at.has(about)) at.set(about, bucketIdOf(bucketOf(home, {})));
  }
  for (const [type, home] of homes) {
    const { rows } = await db.query(`SELECT id, ${readColumns(home).join(", ")} FROM views."${home.name}"`);
    for (const row of rows) at.set(`${type}/${row.id}`, bucketIdOf(bucketOf(home, row)));
  }
  // Nothing else is in a bucket, as the first comparison shows.
  const told = followed(await linesIn(db));
  const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  expect(sorted(told.at)).toEqual(sorted(at));
  expect(sorted(await membersIn(db))).toEqual(sorted(at));
  const known = sorted(told.events).flatMap(([entity, names]): [string, string[]][] => {
    const own = names.filter((name) => !notes.has(name));
    // A settled event has lines only if it was quarantined while the feed was written; an entity that no view shows any more has those from before.
    return events.has(entity) ? [[entity, own]] : [];
  });
  expect(known).toEqual(sorted(events));
}
