import { type EntityRef, type LogEntry, type OriginId, ownerOfEntity, type Position, type Settlement } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";

interface Brought {
  readonly entity: EntityRef;
  readonly org: string;
  readonly position: Position;
}

/** Notes whose entities are that a page brings into being. An entity keeps the owner that its first admitted event gave it; a released event stands at its release. */
export async function writeOwners(db: Db, entries: readonly LogEntry[], settlements: readonly Settlement[]): Promise<void> {
  const first = new Map<string, Brought>();
  const bring = (entity: EntityRef, origin: OriginId, position: Position): void => {
    const name = `${entity.type}\n${withoutNul(entity.id)}`;
    const known = first.get(name);
    const org = ownerOfEntity(entity, [{ origin, position }]);
    if (org !== null && (known === undefined || position < known.position)) first.set(name, { entity, org, position });
  };
  for (const { head, content, position } of entries) if (content.kind === "accepted") bring(head.entity, head.origin, position);
  for (const { of, release, by } of settlements) if (release !== null) bring(release.entity, of.origin, by.position);
  if (first.size === 0) return;
  // In one order everywhere: processes that fold other shards may release events of the same entities.
  const brought = [...first].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
  await db.query({
    name: "owners",
    text: `INSERT INTO tributary.owner AS o (entity_type, entity_id, org, position)
      SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
      ON CONFLICT (entity_type, entity_id) DO UPDATE SET org = excluded.org, position = excluded.position WHERE excluded.position < o.position`,
    values: [
      brought.map(({ entity }) => entity.type),
      brought.map(({ entity }) => withoutNul(entity.id)),
      brought.map(({ org }) => org),
      brought.map(({ position }) => position),
    ],
  });
}
