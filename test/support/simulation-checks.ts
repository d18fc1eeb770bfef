/** What must hold at the end of a simulated run. */
import { existsSync, readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import {
  type Bucket,
  bucketIdOf,
  coversBucket,
  grantsOf,
  OPEN_ENTITIES,
  policySchema,
  QUARANTINE_ENTITY,
} from "../../services/core/index.ts";
import { PURGED } from "../../services/exchange/protocol/index.ts";
import type { Field } from "../../services/field/index.ts";
import { entityViews, type Projection, scopesOf } from "../../services/merge/engine.ts";
import { entityName } from "../../services/views/index.ts";
import type { MemoryHub } from "./memory-hub.ts";
import { type Device, markOf, type World } from "./simulation-world.ts";

/** What must hold, and does not. */
export async function problemsIn(world: World): Promise<string[]> {
  const problems: string[] = [];
  problems.push(...lostOrTwice(world));
  const known = (await world.hub.store.policies()).map((policy) => policySchema.parse(policy));
  const given = await world.hub.store.roles();
  for (const device of world.devices) {
    const roles = given.get(`relief.${device.site}`) ?? [];
    const grants = grantsOf(known, { kind: "site", org: "relief", site: device.site, roles });
    const may = (bucket: Bucket): boolean =>
      OPEN_ENTITIES.includes(bucket.entityType) ||
      (bucket.entityType === QUARANTINE_ENTITY && bucket.values[0] === `relief.${device.site}`) ||
      grants.some((grant) => grant.direction !== "up" && coversBucket(grant, bucket));
    problems.push(
      ...differing(world, device, may),
      ...beyondScope(world, device, may),
      ...beyondRights(world, device),
      ...tablesOf(world, device),
    );
  }
  problems.push(...unconfirmed(world));
  return problems;
}

/** Every event that people were told is durable is in the log, once; also after the log was set back, where its author had it then. */
function lostOrTwice({ hub, durable }: World): string[] {
  const times = Map.groupBy(hub.log.entries, ({ head }) => markOf(head));
  const wrong = [...durable].filter((mark) => times.get(mark)?.length !== 1);
  return wrong.map((mark) => `${mark} is in the log ${times.get(mark)?.length ?? 0} times`);
}

/** What must not be in a device's tables once all is quiet, by the words that say what is. */
const NEVER: Readonly<Record<string, string>> = {
  "a history that no bucket gives it": `SELECT e.id FROM replica_event r JOIN replica_entity e ON e.n = r.entity WHERE NOT EXISTS (
    SELECT 1 FROM replica_member m JOIN replica_bucket b ON b.n = m.bucket WHERE m.entity = r.entity AND b.states_only = 0)`,
  "a part of a history": "SELECT id FROM replica_part",
  "an entity that it has nothing of": `SELECT id FROM replica_entity e WHERE NOT EXISTS (SELECT 1 FROM replica_member m WHERE m.entity = e.n)
    AND NOT EXISTS (SELECT 1 FROM replica_own o WHERE o.entity = e.n)`,
  "content under a name that it has no more": `SELECT e.head AS id FROM event e JOIN origin o ON o.id = e.origin
    WHERE e.seq > o.kept_through AND e.data <> '' AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.origin = e.origin AND a.seq = e.seq)`,
  "a purge that is not confirmed": "SELECT bucket AS id FROM replica_purge",
  "bytes of what was deleted": "SELECT key AS id FROM meta WHERE key = 'replica_deleted' AND value <> '0'",
};

/** Whether a device keeps what it should not have, places events where the hub's log does not have them, or shows own events as if these were still to come. */
function tablesOf({ hub, views, counts }: World, { site, field }: Device): string[] {
  const { db, name } = field.store;
  const who = `${site}.${name.device}`;
  const problems = Object.entries(NEVER).flatMap(([what, sql]) =>
    db
      .prepare(sql)
      .all()
      .map(({ id }) => `${who} has ${what}: ${id}`),
  );
  const positions = new Map(hub.log.entries.map(({ head, position }) => [`${head.origin}/${head.seq}`, position]));
  const placed = db
    .prepare("SELECT o.name, r.seq, r.position FROM replica_event r JOIN replica_origin o ON o.n = r.origin")
    .all();
  for (const event of placed) {
    const at = positions.get(`${event.name}/${event.seq}`);
    if (at !== BigInt(Number(event.position)))
      problems.push(`${who} has ${event.name}/${event.seq} at ${event.position}, the hub at ${at}`);
  }
  for (const view of entityViews(views)) {
    const onTop = db
      .prepare(
        `SELECT e.id FROM "state_${view.name}" s JOIN replica_entity e ON e.n = s.n
         WHERE s.shown IS NOT NULL AND EXISTS (SELECT 1 FROM replica_member m WHERE m.entity = s.n)`,
      )
      .all();
    problems.push(...onTop.map(({ id }) => `${who} shows its own events on top of ${id}, which the hub has placed`));
  }
  const bare = "SELECT count(*) AS n FROM replica_member m JOIN replica_bucket b ON b.n = m.bucket WHERE b.states_only = 1";
  counts.withoutHistory += Number(db.prepare(bare).get()?.n);
  return problems;
}

/** Whether the device holds exactly the buckets that it may hold, and shows each as the hub does. */
function differing(world: World, { site, field, hidden }: Device, may: (bucket: Bucket) => boolean): string[] {
  const { hub, counts } = world;
  const { name } = field.store;
  const who = `${site}.${name.device}`;
  const replica = field.replica;
  if (replica === null) return [`${who} has no replica`];
  const problems: string[] = [];
  const held = new Map(replica.buckets().map((bucket) => [bucket.bucket, bucket]));
  const scopes = scopesOf(hub.views);
  for (const { bucket, entityType, values, isCurrent } of held.values()) {
    const named = { entityType, columns: entityType === QUARANTINE_ENTITY ? [] : (scopes.get(entityType) ?? []), values };
    if (!may(named)) problems.push(`${who} holds ${entityType} ${values.join(", ")}, which it may not`);
    if (!isCurrent) problems.push(`${who} is behind with ${entityType} ${values.join(", ")}`);
    if (bucketIdOf(named) !== bucket) problems.push(`${who}: a bucket of another name`);
  }
  for (const view of entityViews(hub.views)) {
    for (const [id, bucket] of hub.bucketsOf(view.entity)) {
      if (!may(bucket) || view.hubOnly) continue;
      const rows = hub.rows(view.name, id);
      if (rows.length === 0) continue;
      counts.rows += rows.length;
      const there = replica.withheld(view.name, id);
      counts.withheld += there.size;
      for (const [row, { withheld = [] }] of there)
        if (!withheld.every((name) => hidden.includes(name)))
          problems.push(
            `${who} does not show ${withheld.join(", ")} of ${row}, and may not see ${hidden.join(", ") || "nothing"}`,
          );
      if (!held.has(id)) problems.push(`${who} lacks ${view.entity} ${bucket.values.join(", ")}`);
      else if (replica.rowsHash(view.name, id) !== hub.rowsHash(view.name, id, there))
        problems.push(
          `${who} shows other rows of ${view.name} in ${bucket.values.join(", ")} than the hub: ${difference(hub, field, view, id)}`,
        );
    }
  }
  return problems;
}

/** Which rows differ, for whoever plays the seed again. */
function difference(hub: MemoryHub, { replica }: Field, { name }: Projection, bucket: Parameters<MemoryHub["rows"]>[1]): string {
  const mine = replica?.rowHashes(name, bucket) ?? new Map<string, string>();
  const theirs = hub.rows(name, bucket);
  const lacks = theirs.filter(({ id }) => !mine.has(id)).map(({ id }) => id);
  const more = [...mine.keys()].filter((id) => !theirs.some((row) => row.id === id));
  const other = theirs.filter(({ id, row }) => {
    const shown = replica?.row(name, id);
    return shown !== null && shown !== undefined && !isDeepStrictEqual(shown, row);
  });
  return `lacks ${lacks.join(", ") || "none"}, has ${more.join(", ") || "none"} more, ${other.length} of ${theirs.length} to compare`;
}

/** Whether texts of households that the device may not hold stand in its files. What it wrote itself and was never told to delete may. */
function beyondScope(world: World, { field, path, site }: Device, may: (bucket: Bucket) => boolean): string[] {
  const { hub, marks } = world;
  const allowed = new Set<string>();
  for (const [id, bucket] of hub.bucketsOf("beneficiary"))
    if (may(bucket)) for (const row of hub.rows("beneficiaries", id)) allowed.add(row.id);
  for (const id of heldBack(world, site)) allowed.add(id);
  const wrote =
    "SELECT id FROM replica_entity e WHERE type = 'beneficiary' AND EXISTS (SELECT 1 FROM replica_own o WHERE o.entity = e.n)";
  for (const { id } of field.store.db.prepare(wrote).all()) allowed.add(String(id));
  const content = [path, `${path}-wal`].flatMap((file) => (existsSync(file) ? [readFileSync(file)] : []));
  return [...marks].flatMap(([id, texts]) =>
    allowed.has(id)
      ? []
      : [...texts]
          .filter((text) => content.some((bytes) => bytes.includes(text)))
          .map((text) => `${text} stands in the files of ${site}.${field.store.name.device}, which may not hold ${id}`),
  );
}

/** Whether a phone number stands in what a device has made of events, which may not see it. */
function beyondRights({ marks }: World, { field, hidden, site }: Device): string[] {
  if (!hidden.includes("phone")) return [];
  const { db } = field.store;
  const made = db
    .prepare(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND (name LIKE 'view|_%' ESCAPE '|' OR name LIKE 'state|_%' ESCAPE '|')",
    )
    .all()
    .map(({ name }) => JSON.stringify(db.prepare(`SELECT * FROM "${String(name)}"`).all()))
    .join();
  return [...marks].flatMap(([id, texts]) =>
    [...texts]
      .filter((text) => text !== id && made.includes(text))
      .map((text) => `${text} of ${id} stands in what ${site}.${field.store.name.device} shows, which may not see it`),
  );
}

/** The households of quarantined events of a site, which its devices may hold until these are settled. */
function heldBack({ hub }: World, site: string): string[] {
  const mine = bucketIdOf({ entityType: QUARANTINE_ENTITY, values: [`relief.${site}`] });
  return hub.log.entries.flatMap(({ head }) =>
    hub.feed.placed.get(entityName(QUARANTINE_ENTITY, `${head.origin}/${head.seq}`)) === mine ? [head.entity.id] : [],
  );
}

/** What a device was told to delete is confirmed by an event of it. */
function unconfirmed({ hub, counts }: World): string[] {
  const purges = hub.log.entries.flatMap(({ head, content }) =>
    head.type === PURGED && content.kind === "accepted" ? [{ device: head.entity.id, ...content.data }] : [],
  ) as { device: string; bucket?: string; seal?: number }[];
  counts.purges += purges.length;
  return hub.feed.debts
    .filter(
      ({ device, bucket, seal }) =>
        !purges.some((each) => each.device === device && each.bucket === bucket && Number(each.seal) >= seal),
    )
    .map(
      ({ device, bucket, seal, entityIds }) =>
        `${device} has not confirmed a purge of ${bucket} at ${seal}: ${entityIds?.join(", ") ?? "all"}`,
    );
}
