import type { BucketId } from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import { rowText, unpackState, waitingFor } from "../../merge/engine.ts";
import type { OpenView } from "./entities.ts";
import { shownBy } from "./fold.ts";
import type { ReplicaRows } from "./rows.ts";

/**
 * What a view shows of each entity of a bucket, as text, by id; own events that the feed has not brought yet are left out. What stands in the table counts, where these are none: so a row that
 * was changed by anybody else is found.
 */
export function rowTexts(
  { rows }: { readonly rows: ReplicaRows },
  open: OpenView,
  bucket: BucketId,
): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  const found = rows.bucketBy(bucket);
  if (found === undefined) return out;
  for (const { id, entity } of rows.membersIn(found.n, "")) {
    const known = open.rows.known(entity);
    if (known?.placed == null) continue;
    const state = unpackState(known.placed);
    const placed = shownBy(open, id, state);
    const stored = known.shown === null ? open.rows.row(entity)?.row : undefined;
    const row = stored === undefined ? placed : { ...stored, tables: placed.tables };
    out.set(id, rowText(id, row, waitingFor(state)));
  }
  return out;
}

export const rowHashesOf = (texts: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...texts].map(([id, text]) => [id, sha256Hex(text)]));
