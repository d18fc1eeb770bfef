import type { BucketId } from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import { type EntityState, type FullRow, rowText, unpackState, type Withheld, waitingFor } from "../../merge/engine.ts";
import type { OpenView } from "./entities.ts";
import { shownBy } from "./fold.ts";
import type { ReplicaRows } from "./rows.ts";

interface Placed {
  readonly id: string;
  readonly entity: number;
  readonly state: EntityState;
  /** What the state shows. */
  readonly row: FullRow;
  readonly isOnTop: boolean;
}

/** What the feed has brought of a bucket's entities, without own events that it has not brought yet. */
function* placedIn({ rows }: { readonly rows: ReplicaRows }, open: OpenView, bucket: BucketId): Generator<Placed> {
  const found = rows.bucketBy(bucket);
  if (found === undefined) return;
  for (const { id, entity } of rows.membersIn(found.n, "")) {
    const known = open.rows.known(entity);
    if (known?.placed == null) continue;
    const state = unpackState(known.placed);
    yield { id, entity, state, row: shownBy(open, id, state), isOnTop: known.shown !== null };
  }
}

/**
 * What a view shows of each entity of a bucket, as text, by id; own events that the feed has not brought yet are left out. What stands in the table counts, where these are none: so a row that
 * was changed by anybody else is found. `there`: what the other side may not see, by id.
 */
export function rowTexts(
  deps: { readonly rows: ReplicaRows },
  open: OpenView,
  bucket: BucketId,
  there: ReadonlyMap<string, Withheld> = new Map(),
): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  for (const { id, entity, state, row: placed, isOnTop } of placedIn(deps, open, bucket)) {
    const stored = isOnTop ? undefined : open.rows.row(entity)?.row;
    const row = stored === undefined ? placed : { ...placed, ...stored, tables: placed.tables };
    out.set(id, rowText(id, row, waitingFor(state), there.get(id)));
  }
  return out;
}

/** What is withheld of each entity of a bucket, by id. */
export function withheldIn(
  deps: { readonly rows: ReplicaRows },
  open: OpenView,
  bucket: BucketId,
): ReadonlyMap<string, Withheld> {
  const out = new Map<string, Withheld>();
  for (const { id, row } of placedIn(deps, open, bucket)) {
    const { withheld, withheldTables } = row;
    if (withheld !== undefined) out.set(id, { withheld, ...(withheldTables === undefined ? {} : { withheldTables }) });
  }
  return out;
}

export const rowHashesOf = (texts: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...texts].map(([id, text]) => [id, sha256Hex(text)]));
